/** Durations of options, which come from configurations: a number that is none is not taken for 0. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** In milliseconds; `NaN` where it is no duration. */
export const millisOf = (input: Duration.DurationInput): number =>
  typeof input === "number"
    ? input
    : Option.match(Duration.decodeUnknown(input), { onNone: () => NaN, onSome: Duration.toMillis })

/** In milliseconds. What cannot be one is a mistake of the program. */
export const boundedMillis = (name: string, input: Duration.DurationInput, least: number): number => {
  const millis = millisOf(input)
  if (millis >= least && millis < Infinity) return millis
  throw new RangeError(`\`${name}\` must be a duration of at least ${least} milliseconds, and none without an end`)
}
