import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

const isDurationInput = (value: unknown): value is Duration.DurationInput =>
  Option.isSome(Duration.decodeUnknown(value))

/** The schema of a duration between two others: any `DurationInput` here, whole milliseconds on the wire. */
export const millisBetween = (
  name: string,
  min: Duration.DurationInput,
  max: Duration.DurationInput
): Schema.Schema<Duration.DurationInput, number> => {
  const check = (input: Duration.DurationInput) => {
    if (Duration.between(input, { minimum: min, maximum: max })) return undefined
    const millis = Duration.toMillis(input)
    // `Duration.format` throws when the nanoseconds of a duration are no safe integer.
    const got = millis < Number.MAX_SAFE_INTEGER ? Duration.format(input) : String(millis)
    return `${name} must be between ${Duration.format(min)} and ${Duration.format(max)}, got ${got}`
  }
  const [minimum, maximum] = [Duration.toMillis(min), Duration.toMillis(max)]
  return Schema.transformOrFail(
    Schema.Number.annotations({ jsonSchema: { type: "integer", minimum, maximum, description: "in milliseconds" } }),
    Schema.typeSchema(
      Schema.Unknown.pipe(
        Schema.filter(isDurationInput, {
          identifier: "DurationInput",
          message: () => `${name} must be a duration, such as "30 seconds", or a number of milliseconds`
        }),
        Schema.filter((input) => check(input) ?? true, {
          arbitrary: () => (fc) =>
            fc
              .integer({ min: minimum, max: maximum })
              .chain((millis) =>
                fc.constantFrom<Duration.DurationInput>(millis, `${millis} millis`, Duration.millis(millis))
              ),
          equivalence: () => Duration.equals
        })
      )
    ),
    {
      strict: true,
      decode: (millis) => ParseResult.succeed(Duration.millis(millis)),
      encode: (input) => ParseResult.succeed(Math.round(Duration.toMillis(input)))
    }
  ).annotations({ identifier: name })
}
