import type { Span } from "./forecasts.js"

/** The numbers of a `PollPolicy`, in milliseconds. */
export interface Numbers {
  readonly initial: number
  readonly interval: number
  readonly ageShare: number
  readonly cap: number
}

/** Polls for an expected end are never nearer. */
const shortestStep = 900
/** How long a job whose end is far may be left alone, since it may end before. */
const restAtLeast = 30_000
const restAtMost = 5 * 60_000

/**
 * How long after `age` the next plain poll is, in milliseconds. Without a forecast polls begin early and become rare as
 * the job ages. With one, the job is left alone until it may have ended, but for a look now and then; while its end is
 * due polls are a part of that span apart, many for a short one and few for a long; and when it is overdue they become
 * rarer again. They are never rarer there than they would be without.
 */
export const plainPause = (age: number, isFirst: boolean, numbers: Numbers, end: Span | undefined): number => {
  const ordinary = Math.max(numbers.interval, Math.min(age * numbers.ageShare, numbers.cap))
  if (end === undefined) return isFirst ? numbers.initial : ordinary
  const width = end.to - end.from
  const parts = width <= end.to / 4 ? 8 : 3
  const step = Math.min(ordinary, Math.max(shortestStep, width / parts))
  if (age < end.from) {
    const left = Math.min(end.from + step, end.to) - age
    const rest = Math.min(restAtMost, Math.max(restAtLeast, end.from / 8))
    return left / Math.ceil(left / rest)
  }
  return age < end.to ? step : Math.min(ordinary, Math.max(step, age - end.to))
}
