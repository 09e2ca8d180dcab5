/** What the errors of a request share: their fields, the form of their messages, and what a retry policy asks them. */
import * as Schema from "effect/Schema"
import { asOwnSentence } from "../internal/text/excerpt.js"
import { taggedError } from "./taggedError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod/RunPodError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

const fields = {
  /** The operation's name, as the methods of the `RunPod` service are named. */
  operation: Schema.String,
  method: Schema.String,
  /** The path below the base URL, ids percent-encoded, without the query. */
  path: Schema.String,
  endpointId: Schema.optional(Schema.String),
  jobId: Schema.optional(Schema.String),
  batchId: Schema.optional(Schema.String),
  /** Which attempt of the operation this was, counting from 1; missing when nothing was sent. */
  attempt: Schema.optional(Schema.Number),
  /** The HTTP status of the answer; missing when there was none. */
  status: Schema.optional(Schema.Number),
  /** What RunPod said, or what is wrong with the request. */
  detail: Schema.optional(Schema.String),
  /** The first 2 KiB of the answer's body. */
  body: Schema.optional(Schema.String)
}

/**
 * Where an error happened: the fields that every member of the family has.
 *
 * @since 0.1.0
 * @category models
 */
export interface Context extends Schema.Struct.Type<typeof fields> {}

export type Says = readonly [what: string, advice: string]

const render = (error: Context, [what, advice]: Says): string => {
  const job = error.jobId === undefined ? "" : ` of job ${error.jobId}`
  const batch = error.batchId === undefined ? "" : ` of batch ${error.batchId}`
  const endpoint = error.endpointId === undefined ? "" : ` on endpoint ${error.endpointId}`
  // A browser tells of a redirect with the status 0.
  const status = error.status === undefined || error.status === 0 ? "" : ` (HTTP ${error.status})`
  const attempt = error.attempt === undefined || error.attempt === 1 ? "" : ` at attempt ${error.attempt}`
  const detail = error.detail === undefined ? "" : ` ${asOwnSentence(error.detail)}`
  return `${error.operation}${job}${batch}${endpoint}: ${what}${status}${attempt}.${detail} ${advice}`
}

/**
 * What a retry policy asks an error.
 *
 * @since 0.1.0
 * @category models
 */
export interface Facts {
  /** The same request may succeed later. Whether it may be sent again depends on the operation. */
  readonly retryable: boolean
  /** RunPod asked to slow down. */
  readonly throttled: boolean
  /** The request had no effect: nothing was started, whatever the operation. */
  readonly withoutEffect: boolean
}

export const refused: Facts = { retryable: false, throttled: false, withoutEffect: true }
export const throttled: Facts = { retryable: true, throttled: true, withoutEffect: true }
export const neverSent: Facts = { retryable: true, throttled: false, withoutEffect: true }
/** RunPod may have acted on the request. */
export const unclear: Facts = { retryable: true, throttled: false, withoutEffect: false }
/** RunPod may have acted on the request, and sending it again does not help. */
export const final: Facts = { retryable: false, throttled: false, withoutEffect: false }

export const requestError =
  <Self>() =>
  <Tag extends string, Own extends Schema.Struct.Fields>(
    tag: Tag,
    facts: Facts | ((error: Schema.Struct.Type<Own>) => Facts),
    own: Own,
    says: Says | ((error: Context & Schema.Struct.Type<Own>) => Says)
  ) =>
    taggedError<Self>()(
      tag,
      { ...fields, ...own },
      {
        typeId: TypeId,
        mark: (error: Context & Schema.Struct.Type<Own>): Facts => (typeof facts === "function" ? facts(error) : facts),
        message: (error: Context & Schema.Struct.Type<Own>) =>
          render(error, typeof says === "function" ? says(error) : says)
      }
    )
