/**
 * An exact sliding window: any span of `length` milliseconds holds at most `limit` admissions. It remembers one number
 * per admission still inside the window, in a ring that grows and shrinks with them.
 *
 * Where it counts answers, it is the window of a server, which counts a request when it arrives, some time between its admission and its answer: an
 * admission leaves the window so long after its answer.
 */
export interface SlidingWindow {
  readonly limit: number
  readonly length: number
  readonly countsAnswers: boolean
  /** Admissions whose answers have not come. */
  pending: number
  times: Float64Array
  head: number
  size: number
}

const smallest = 16

export const make = (limit: number, length: number, countsAnswers = false): SlidingWindow => ({
  // Admissions are whole: of 2.5 only 2 fit.
  limit: Math.floor(limit),
  length,
  countsAnswers,
  pending: 0,
  times: new Float64Array(smallest),
  head: 0,
  size: 0
})

const at = (window: SlidingWindow, index: number): number =>
  window.times[(window.head + index) % window.times.length] ?? 0

const resize = (window: SlidingWindow, capacity: number): void => {
  const times = new Float64Array(capacity)
  for (let i = 0; i < window.size; i++) times[i] = at(window, i)
  window.times = times
  window.head = 0
}

const forgetBefore = (window: SlidingWindow, now: number): void => {
  while (window.size > 0 && at(window, 0) + window.length <= now) {
    window.head = (window.head + 1) % window.times.length
    window.size--
  }
  if (window.times.length > smallest && window.size * 4 <= window.times.length) {
    resize(window, Math.max(smallest, window.times.length / 2))
  }
}

/** When the next admission may happen: `now`, or the time at which the oldest one leaves the window, if no answer puts it off. */
export const nextAt = (window: SlidingWindow, now: number): number => {
  forgetBefore(window, now)
  const surplus = window.size + window.pending - window.limit
  if (surplus < 0) return now
  // One that is answered from now on leaves no sooner than this.
  return surplus < window.size ? at(window, surplus) + window.length : now + window.length
}

const record = (window: SlidingWindow, time: number): void => {
  if (window.size === window.times.length) resize(window, window.times.length * 2)
  window.times[(window.head + window.size) % window.times.length] = time
  window.size++
}

/** Records an admission. Times must not decrease. */
export const admit = (window: SlidingWindow, now: number): void => {
  forgetBefore(window, now)
  if (window.countsAnswers) window.pending++
  else record(window, now)
}

/** Records the end of an admission: an answer, or the certainty that there will be none. Times must not decrease. */
export const answered = (window: SlidingWindow, now: number): void => {
  if (!window.countsAnswers) return
  forgetBefore(window, now)
  window.pending--
  record(window, now)
}
