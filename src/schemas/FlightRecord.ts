/**
 * What stands in the recording of a flight: one record for each attempt of a request and each delivery of a webhook. No record has
 * a place for a header, a URL, a text of an answer or an id as it came.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Count, Finite, Json, Millis } from "../internal/text/reply.js"

/**
 * The form of a JSON value without what is in it: lengths are those of JavaScript. Arrays and objects tell at most 32 of their
 * entries, `more` how many others there are. The names of an object's fields are data, too: only those that the recorder was given
 * (`keys`) stand in `named`, the others are left out.
 *
 * @since 0.1.0
 * @category models
 */
export type Shape =
  | "null"
  | "boolean"
  | "number"
  | { readonly string: number }
  | { readonly array: ReadonlyArray<Shape>; readonly more?: number | undefined }
  | {
      readonly object: ReadonlyArray<Shape>
      readonly named?: Readonly<Record<string, Shape>> | undefined
      readonly more?: number | undefined
    }

const nested = /* @__PURE__ */ Schema.suspend((): Schema.Schema<Shape> => Shape)

/**
 * @since 0.1.0
 * @category schemas
 */
export const Shape: Schema.Schema<Shape> = /* @__PURE__ */ (() =>
  Schema.Union(
    Schema.Literal("null", "boolean", "number"),
    Schema.Struct({ string: Finite }),
    Schema.Struct({ array: Schema.Array(nested), more: Count }),
    Schema.Struct({
      object: Schema.Array(nested),
      named: Schema.optional(Schema.Record({ key: Schema.String, value: nested })),
      more: Count
    })
  ).annotations({ identifier: "Shape" }))()

/**
 * A JSON value as the mode of the recording tells it: its shape, in `hash` the SHA-256 of its JSON besides; or in `keep` itself.
 *
 * @since 0.1.0
 * @category models
 */
export const Value = /* @__PURE__ */ (() =>
  Schema.Union(Schema.Struct({ shape: Shape, hash: Schema.optional(Schema.String) }), Schema.Struct({ value: Json })))()

/**
 * @since 0.1.0
 * @category models
 */
export type Value = typeof Value.Type

/**
 * What an answer or a delivery says of a job. A status that RunPod does not document is `OTHER`, and times are milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export const JobReading = /* @__PURE__ */ (() =>
  Schema.Struct({
    status: Schema.Literal(
      "IN_QUEUE",
      "IN_PROGRESS",
      "RUNNING",
      "COMPLETED",
      "FAILED",
      "CANCELLED",
      "TIMED_OUT",
      "OTHER"
    ),
    delayTime: Millis,
    executionTime: Millis,
    /** Renumbered: `w1`. */
    worker: Schema.optional(Schema.String),
    output: Schema.optional(Value),
    error: Schema.optional(Value)
  }))()

/**
 * @since 0.1.0
 * @category models
 */
export type JobReading = typeof JobReading.Type

/**
 * An answer: its status, and what was in its body. `Cut` is JSON that stops before its end.
 *
 * @since 0.1.0
 * @category models
 */
export const Answer = /* @__PURE__ */ (() =>
  Schema.TaggedStruct("Answer", {
    status: Finite,
    body: Schema.Literal("Json", "Cut", "Html", "Text", "Empty"),
    /** What `Retry-After` asked for, in milliseconds. */
    retryAfter: Millis,
    /** Of a status that is no success: the tag of the error it stands for. */
    error: Schema.optional(Schema.String),
    job: Schema.optional(JobReading),
    /** Of a stream: the chunks, without those of a form that is not known. */
    chunks: Schema.optional(Schema.Array(Value))
  }))()

/**
 * @since 0.1.0
 * @category models
 */
export type Answer = typeof Answer.Type

/**
 * No answer came, or not all of it. `phase` is that of a timeout.
 *
 * @since 0.1.0
 * @category models
 */
export const NoAnswer = /* @__PURE__ */ (() =>
  Schema.TaggedStruct("NoAnswer", {
    error: Schema.String,
    sent: Schema.Literal("No", "Maybe"),
    phase: Schema.optional(Schema.Literal("Headers", "Body"))
  }))()

/**
 * The client gave it up: its caller was interrupted, or had a deadline of its own.
 *
 * @since 0.1.0
 * @category models
 */
export const GivenUp = /* @__PURE__ */ (() => Schema.TaggedStruct("GivenUp", {}))()

/**
 * The attempt of a request. Times are milliseconds since the recording began.
 *
 * @since 0.1.0
 * @category models
 */
export const Attempt = /* @__PURE__ */ (() =>
  Schema.TaggedStruct("Attempt", {
    /** The attempts in the order they were sent, counting from 1. They stand in the file in the order they ended. */
    order: Finite,
    operation: Schema.String,
    /** Renumbered: `e1`. */
    endpoint: Schema.optional(Schema.String),
    /** Renumbered: `j1`. The job it asked for, or that its answer names. */
    job: Schema.optional(Schema.String),
    /** Of its request, counting from 1. */
    attempt: Finite,
    /** When it began to wait for its permit: what lies between this and `sent` are the limiter and its gate. */
    queued: Finite,
    sent: Finite,
    ended: Finite,
    /** Whether RunPod may hold the answer back. */
    held: Schema.optional(Schema.Boolean),
    /** Of a submit. */
    submit: Schema.optional(
      Schema.Struct({
        /** Renumbered: `i1`. Submits of one endpoint with the same input have the same. */
        input: Schema.String,
        value: Value,
        /** Renumbered: `h1`. The webhook it carries. */
        webhook: Schema.optional(Schema.String)
      })
    ),
    end: Schema.Union(Answer, NoAnswer, GivenUp)
  }))()

/**
 * @since 0.1.0
 * @category models
 */
export type Attempt = typeof Attempt.Type

/**
 * A delivery of a webhook that was verified, or in `error` why it was refused.
 *
 * @since 0.1.0
 * @category models
 */
export const Delivery = /* @__PURE__ */ (() =>
  Schema.TaggedStruct("Delivery", {
    at: Finite,
    endpoint: Schema.optional(Schema.String),
    job: Schema.optional(Schema.String),
    /** Which webhook of `Attempt.submit` it came to. */
    webhook: Schema.optional(Schema.String),
    reading: Schema.optional(JobReading),
    duplicate: Schema.optional(Schema.Boolean),
    error: Schema.optional(Schema.String)
  }))()

/**
 * @since 0.1.0
 * @category models
 */
export type Delivery = typeof Delivery.Type

/**
 * A recorder was opened. What follows in the file is its recording, with times, ids and inputs counted anew.
 *
 * @since 0.1.0
 * @category models
 */
export const Start = /* @__PURE__ */ (() =>
  Schema.TaggedStruct("Start", { mode: Schema.Literal("shape", "hash", "keep") }))()

/**
 * @since 0.1.0
 * @category models
 */
export type Start = typeof Start.Type

/**
 * So many records were not written, since the disk was slower than the requests.
 *
 * @since 0.1.0
 * @category models
 */
export const Lost = /* @__PURE__ */ (() => Schema.TaggedStruct("Lost", { records: Finite }))()

/**
 * Any record.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FlightRecord = /* @__PURE__ */ (() => Schema.Union(Attempt, Delivery, Start, Lost))()

/**
 * @since 0.1.0
 * @category models
 */
export type FlightRecord = typeof FlightRecord.Type
