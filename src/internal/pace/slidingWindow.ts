/**
 * An exact sliding window: any span of `length` milliseconds holds at most `limit` admissions. It remembers one number
 * per admission still inside the window, in a ring that grows and shrinks with them.
 */
export interface SlidingWindow {
  readonly limit: number
  readonly length: number
  times: Float64Array
  head: number
  size: number
}

const smallest = 16

export const make = (limit: number, length: number): SlidingWindow => ({
  // Admissions are whole: of 2.5 only 2 fit.
  limit: Math.floor(limit),
  length,
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

/** When the next admission may happen: `now`, or the time at which the oldest one leaves the window. */
export const nextAt = (window: SlidingWindow, now: number): number => {
  forgetBefore(window, now)
  return window.size < window.limit ? now : at(window, window.size - window.limit) + window.length
}

/** Records an admission. Times must not decrease. */
export const admit = (window: SlidingWindow, now: number): void => {
  forgetBefore(window, now)
  if (window.size === window.times.length) resize(window, window.times.length * 2)
  window.times[(window.head + window.size) % window.times.length] = now
  window.size++
}
