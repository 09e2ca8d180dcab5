import type * as Emulator from "effect-runpod/Emulator"
import * as Operation from "effect-runpod/Operation"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { excerptOf } from "../shell/errors.js"

const isDuration = (input: string | number) => Option.isSome(Duration.decodeUnknown(input))

/** A length of time as JSON has it: milliseconds, or a text such as `5 seconds`. */
const Time = Schema.transform(
  Schema.Union(Schema.NonNegative, Schema.String).pipe(
    Schema.filter((input) => isDuration(input) || `expected milliseconds or a text such as "5 seconds"`)
  ),
  Schema.DurationFromSelf,
  {
    strict: true,
    decode: (input) => Option.getOrElse(Duration.decodeUnknown(input), () => Duration.zero),
    encode: Duration.toMillis
  }
)

const Spread = Schema.Union(Time, Schema.Struct({ min: Time, max: Time }))

const Count = Schema.optional(Schema.NonNegativeInt)

const Endpoint = Schema.Struct({
  workers: Schema.optional(
    Schema.Union(
      Schema.NonNegativeInt,
      Schema.Struct({ max: Schema.NonNegativeInt, min: Count, throttled: Count, unhealthy: Count })
    )
  ),
  coldStart: Schema.optional(Spread),
  idleTimeout: Schema.optional(Time),
  concurrency: Schema.optional(Schema.Positive),
  execution: Schema.optional(Spread),
  externalWorkers: Schema.optional(Schema.Boolean)
})

const operations: ReadonlyArray<Emulator.EmulatedOperation> = [...Operation.names, "openai", "loadBalancer"]

const target = {
  operations: Schema.optional(Schema.Array(Schema.Literal(...operations))),
  endpoints: Schema.optional(Schema.Array(Schema.String)),
  rate: Schema.optional(Schema.Number.pipe(Schema.between(0, 1))),
  times: Count,
  after: Count,
  between: Schema.optional(Schema.Struct({ from: Schema.optional(Time), until: Schema.optional(Time) }))
}

/** The names of all faults. */
const faultNames: Array<string> = []

const fault = <Tag extends string, Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) => {
  faultNames.push(tag)
  return Schema.TaggedStruct(tag, { ...target, ...fields })
}

const processed = Schema.optional(Schema.Boolean)

const Fault = Schema.Union(
  fault("RateLimited", { retryAfter: Schema.optional(Time), as: Schema.optional(Schema.Literal("seconds", "date")) }),
  fault("ServerError", {
    processed,
    status: Schema.optional(Schema.Int.pipe(Schema.between(400, 599))),
    body: Schema.optional(Schema.Literal("json", "html", "text", "empty"))
  }),
  fault("HtmlOk", { processed }),
  fault("EmptyOk", { processed }),
  fault("Refused", {}),
  fault("ResetBefore", {}),
  fault("ResetAfter", {}),
  fault("Stall", { afterBytes: Count }),
  fault("Hang", { processed }),
  fault("Truncated", { afterBytes: Count }),
  fault("CutBody", { afterBytes: Count }),
  fault("NotVisibleYet", { for: Time }),
  fault("Paused", {}),
  fault("Delay", { by: Time }),
  fault("OutputMissing", {}),
  fault("LateProgress", { value: Schema.optional(Schema.Unknown) }),
  fault("WebhookLost", {}),
  fault("WebhookDuplicated", { copies: Count, gap: Schema.optional(Time) }),
  fault("WebhookLate", { by: Time }),
  fault("WebhookOutOfOrder", { behind: Count, within: Schema.optional(Time) })
)

/** Why something is no list of faults, by their names. What else is wrong with one, its schema says. */
export const wrongFaultIn = (value: unknown): string | undefined => {
  if (value === undefined) return undefined
  const such = `[{"_tag": "ServerError", "rate": 0.1}]`
  if (!Array.isArray(value)) return `faults are an array, such as ${such}.`
  const names = value.map((fault: unknown) => (hasProperty(fault, "_tag") ? fault._tag : undefined))
  const at = names.findIndex((name) => !faultNames.some((known) => known === name))
  if (at < 0) return undefined
  const name = names[at]
  const found = typeof name === "string" ? `has the unknown _tag ${excerptOf(name, 40)}` : `has no _tag, as in ${such}`
  return `fault ${at + 1} ${found}. There are ${faultNames.join(", ")}.`
}

/** What goes wrong, as `--faults` has it. */
export const Faults = Schema.Array(Fault)

/** Options of an emulator that JSON can hold, as `--config` has them. */
export const Config = Schema.Struct({
  endpoints: Schema.optionalWith(Schema.Record({ key: Schema.String, value: Endpoint }), { default: () => ({}) }),
  faults: Schema.optionalWith(Faults, { default: () => [] }),
  apiKey: Schema.optional(Schema.NonEmptyString),
  seed: Schema.optional(Schema.Union(Schema.Number, Schema.String))
})
