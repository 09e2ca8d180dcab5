/**
 * What stands in the journal of a batch.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as LosslessJson from "../internal/text/losslessJson.js"
import { wrongFieldOf } from "../internal/text/parseIssue.js"
import { Count, Finite, Json } from "../internal/text/reply.js"

const item = {
  key: Schema.String,
  /** The SHA-256 of the encoded input's JSON, in hex; empty where the journal has the inputs (`hasInputs`). */
  hash: Schema.String,
  /** When it was written, in milliseconds of the clock. */
  at: Finite,
  /** How often jobs of the item were started before this one. Absent: never. */
  earlier: Schema.optional(Finite),
  /** How many milliseconds attempts and jobs of the item before this one were on a worker. Absent: none, or not known. */
  earlierExecutionTime: Schema.optional(Finite),
  /** Where the span of its submit stands, as the W3C's `traceparent`. */
  trace: Schema.optional(Schema.String)
}

const started = {
  ...item,
  jobId: Schema.String,
  /** How often the job was started: its submits and its retries. */
  attempts: Finite
}

/**
 * The item is about to be submitted.
 *
 * @since 0.1.0
 * @category models
 */
export const Intent = Schema.TaggedStruct("Intent", {
  ...item,
  /** The name its webhook's URL was issued under: it tells one webhook from another, and is of no use as a token. */
  webhook: Schema.optional(Schema.String),
  /** Why it is not known whether the submit started a job, as the schema of that error encodes it. */
  cause: Schema.optional(Json)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Intent = typeof Intent.Type

/**
 * The item's job was started; `at` is when.
 *
 * @since 0.1.0
 * @category models
 */
export const Submitted = Schema.TaggedStruct("Submitted", started)

/**
 * @since 0.1.0
 * @category models
 */
export type Submitted = typeof Submitted.Type

/**
 * The item's job has ended.
 *
 * @since 0.1.0
 * @category models
 */
export const Settled = Schema.TaggedStruct("Settled", {
  ...started,
  status: Schema.Literal("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"),
  delayTime: Count,
  executionTime: Count,
  workerId: Schema.optional(Schema.String),
  /** As it came: what a job returns is never changed, so a secret that the worker puts into it stands here. */
  output: Schema.optional(Json),
  /** As it came, the request's secrets replaced by `<redacted>`. */
  error: Schema.optional(Json)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Settled = typeof Settled.Type

/**
 * No job runs for the item, and the outcome of an earlier one, if there was one, is not wanted: it is to be submitted again.
 *
 * @since 0.1.0
 * @category models
 */
export const Released = Schema.TaggedStruct("Released", item)

/**
 * @since 0.1.0
 * @category models
 */
export type Released = typeof Released.Type

/**
 * One record of a journal. The newest one of a key says how its item stands.
 *
 * @since 0.1.0
 * @category models
 */
export const Entry = Schema.Union(Intent, Submitted, Settled, Released)

/**
 * @since 0.1.0
 * @category models
 */
export type Entry = typeof Entry.Type

/**
 * How long the jobs of an item were on a worker so far, as its newest entry tells.
 *
 * @since 0.1.0
 * @category models
 */
export type Work = Pick<Settled, "executionTime" | "earlierExecutionTime" | "workerId">

/**
 * How an item stands: its newest entry, without what a settled one holds beyond its hash.
 *
 * @since 0.1.0
 * @category models
 */
export type State = Intent | Submitted | Released | Pick<Settled, "_tag" | "key" | "hash">

const read = Schema.decodeUnknownEither(Entry)

const problemOf = (error: ParseResult.ParseError): string => {
  const field = wrongFieldOf(error)
  return field === "" ? "it is no entry of a journal" : `it is no entry of a journal (${field})`
}

/**
 * The text of an entry, for a journal of your own: JSON on one line, from which `decode` makes the same entry, whatever the output
 * holds that `parseJson` can give. `Left` says why there is none (`Unstorable`); nothing of the entry is in that.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (entry: Entry): Either.Either<string, string> =>
  Either.flatMap(Either.mapLeft(read(entry), problemOf), LosslessJson.encode)

/**
 * The entry of a text that `encode` has made. `Left` says why it is none.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (text: string): Either.Either<Entry, string> =>
  Either.try({ try: () => LosslessJson.decode(text), catch: () => "it is no JSON" }).pipe(
    Either.flatMap((value) => Either.mapLeft(read(value), problemOf))
  )
