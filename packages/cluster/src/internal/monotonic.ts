import type * as Clock from "effect/Clock"

/** Milliseconds of a clock that never goes back, whatever is done to the time of day; under `TestClock`, the test's time. */
export const monotonicMillis = (clock: Clock.Clock): number => {
  try {
    return Number(clock.unsafeCurrentTimeNanos()) / 1_000_000
  } catch {
    // A TestClock that stands between two milliseconds has no nanoseconds.
    return clock.unsafeCurrentTimeMillis()
  }
}
