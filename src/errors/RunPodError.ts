/**
 * What can go wrong with one request to RunPod.
 *
 * Every error holds the operation, method, path, ids, HTTP status and an excerpt of the body; never a request object, a
 * header or a key. Texts from outside are scrubbed of the API key and of the request's own secrets first.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { excerpt, inWords, sentence } from "../internal/text/excerpt.js"
import { defined } from "../internal/text/json.js"
import * as ErrorBody from "../schemas/ErrorBody.js"

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

/**
 * Where an error happened: the fields that every member of the family has.
 *
 * @since 0.1.0
 * @category models
 */
export interface Context {
  /** The operation's name, as the methods of the `RunPod` service are named. */
  readonly operation: string
  readonly method: string
  /** The path below the base URL, ids percent-encoded, without the query. */
  readonly path: string
  readonly endpointId?: string | undefined
  readonly jobId?: string | undefined
  /** The batch of an operation of the batch API. */
  readonly batchId?: string | undefined
  /** Which attempt of the operation this was, counting from 1; missing when nothing was sent. */
  readonly attempt?: number | undefined
  /** The HTTP status of the answer; missing when there was none. */
  readonly status?: number | undefined
  /** What RunPod said, or what is wrong with the request. */
  readonly detail?: string | undefined
  /** The first 2 KiB of the answer's body. */
  readonly body?: string | undefined
}

const fields = {
  operation: Schema.String,
  method: Schema.String,
  path: Schema.String,
  endpointId: Schema.optional(Schema.String),
  jobId: Schema.optional(Schema.String),
  batchId: Schema.optional(Schema.String),
  attempt: Schema.optional(Schema.Number),
  status: Schema.optional(Schema.Number),
  detail: Schema.optional(Schema.String),
  body: Schema.optional(Schema.String)
}

const render = (error: Context, what: string, advice: string): string => {
  const job = error.jobId === undefined ? "" : ` of job ${error.jobId}`
  const batch = error.batchId === undefined ? "" : ` of batch ${error.batchId}`
  const endpoint = error.endpointId === undefined ? "" : ` on endpoint ${error.endpointId}`
  const status = error.status === undefined ? "" : ` (HTTP ${error.status})`
  const attempt = error.attempt === undefined || error.attempt === 1 ? "" : ` at attempt ${error.attempt}`
  const detail = error.detail === undefined ? "" : ` ${sentence(error.detail)}`
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

const refused: Facts = { retryable: false, throttled: false, withoutEffect: true }
const throttled: Facts = { retryable: true, throttled: true, withoutEffect: true }
const neverSent: Facts = { retryable: true, throttled: false, withoutEffect: true }
const unclear: Facts = { retryable: true, throttled: false, withoutEffect: false }
const undecodable: Facts = { retryable: false, throttled: false, withoutEffect: false }

/**
 * HTTP 401: the API key is missing or not valid. Without `status` the key was refused before anything was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthenticationError extends Schema.TaggedError<AuthenticationError>("effect-runpod/AuthenticationError")(
  "AuthenticationError",
  fields
) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    return render(this, "RunPod did not accept the API key", "Check the key (RUNPOD_API_KEY) in the RunPod console.")
  }
}

/**
 * HTTP 403: the key is valid but may not do this.
 *
 * @since 0.1.0
 * @category errors
 */
export class PermissionDeniedError extends Schema.TaggedError<PermissionDeniedError>(
  "effect-runpod/PermissionDeniedError"
)("PermissionDeniedError", fields) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    return render(this, "the API key may not do this", "Give the key access to this endpoint in the RunPod console.")
  }
}

/**
 * The request is wrong: HTTP 400 or another 4xx, a 2xx answer `{"error": …}` without a job, or, without `status`, refused
 * before anything was sent (a bad id, an input that is no object or empty, a value out of range).
 *
 * @since 0.1.0
 * @category errors
 */
export class BadRequestError extends Schema.TaggedError<BadRequestError>("effect-runpod/BadRequestError")(
  "BadRequestError",
  fields
) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    return this.status === undefined
      ? render(this, "the request is not valid and was not sent", "Correct it and try again.")
      : render(this, "RunPod refused the request", "Correct the request; sending it again as it is will not help.")
  }
}

/**
 * The body is larger than RunPod takes (10 MiB for run, 20 MB for runSync). Without `status` it was measured and not sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class PayloadTooLargeError extends Schema.TaggedError<PayloadTooLargeError>(
  "effect-runpod/PayloadTooLargeError"
)("PayloadTooLargeError", {
  ...fields,
  /** The size of the body in bytes, when it was measured here. */
  size: Schema.optional(Schema.Number),
  /** The most RunPod takes, in bytes, when it is known. */
  limit: Schema.optional(Schema.Number)
}) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    const size =
      this.size === undefined
        ? ""
        : `: ${this.size} bytes${this.limit === undefined ? "" : `, at most ${this.limit} are allowed`}`
    return render(this, `the body is too large${size}`, "Upload large data to storage and submit its URL instead.")
  }
}

/**
 * HTTP 404: there is no such endpoint, or the key may not see it.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointNotFoundError extends Schema.TaggedError<EndpointNotFoundError>(
  "effect-runpod/EndpointNotFoundError"
)("EndpointNotFoundError", fields) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    return render(
      this,
      "there is no such endpoint, or the key may not see it",
      "Check the endpoint id, the key's account and the base URL."
    )
  }
}

/**
 * HTTP 404: RunPod does not know the job.
 *
 * `reason` tells what the client knows: `Expired` (it was there before: results are kept 30 minutes after run and 1 minute after
 * runSync, and `ttl` deletes a job in any state), `NotVisibleYet` (it was submitted moments ago) or `Unknown`.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobNotFoundError extends Schema.TaggedError<JobNotFoundError>("effect-runpod/JobNotFoundError")(
  "JobNotFoundError",
  {
    ...fields,
    reason: Schema.Literal("Expired", "NotVisibleYet", "Unknown")
  }
) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    switch (this.reason) {
      case "Expired":
        return render(this, "the job is gone", "Results are kept 30 minutes (runSync: 1 minute); read them sooner.")
      case "NotVisibleYet":
        return render(this, "the job is not visible yet", "It was submitted moments ago; ask again in a second.")
      case "Unknown":
        return render(this, "RunPod does not know the job", "It expired, was purged, or belongs to another endpoint.")
    }
  }
}

/**
 * HTTP 404 of an operation on a batch of the batch API, or on a request in it: RunPod does not know it.
 *
 * @since 0.1.0
 * @category errors
 */
export class BatchNotFoundError extends Schema.TaggedError<BatchNotFoundError>("effect-runpod/BatchNotFoundError")(
  "BatchNotFoundError",
  fields
) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    return render(this, "RunPod does not know the batch, or the request in it", "List the endpoint's batches.")
  }
}

/**
 * HTTP 409 `ENDPOINT_PAUSED`: the endpoint's maximum of workers is 0. It lasts a while after the maximum was raised.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointPausedError extends Schema.TaggedError<EndpointPausedError>("effect-runpod/EndpointPausedError")(
  "EndpointPausedError",
  fields
) {
  get [TypeId](): Facts {
    return refused
  }
  override get message(): string {
    return render(this, "the endpoint is paused", "Set its maximum of workers above 0, wait a minute and submit again.")
  }
}

/**
 * HTTP 429: over a limit of the endpoint and operation.
 *
 * @since 0.1.0
 * @category errors
 */
export class RateLimitedError extends Schema.TaggedError<RateLimitedError>("effect-runpod/RateLimitedError")(
  "RateLimitedError",
  {
    ...fields,
    /** How long RunPod asked to wait, from the answer on; missing when it did not say. */
    retryAfter: Schema.optional(Schema.DurationFromMillis)
  }
) {
  get [TypeId](): Facts {
    return throttled
  }
  override get message(): string {
    const wait = this.retryAfter === undefined ? "a while" : inWords(this.retryAfter)
    return render(
      this,
      "over RunPod's rate limit",
      `Wait ${wait} before the next request, or lower the layer's limits.`
    )
  }
}

/**
 * RunPod or a gateway before it failed: HTTP 5xx, 408, or an answer that is not JSON where JSON was due.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerError extends Schema.TaggedError<ServerError>("effect-runpod/ServerError")("ServerError", {
  ...fields,
  /** How long the server asked to wait, from the answer on; missing when it did not say. */
  retryAfter: Schema.optional(Schema.DurationFromMillis)
}) {
  get [TypeId](): Facts {
    return unclear
  }
  override get message(): string {
    const what =
      this.status !== undefined && this.status < 300 ? "the answer is not JSON" : "RunPod or its gateway failed"
    return render(this, what, "It is often gone in a moment; if it stays, look at RunPod's status page.")
  }
}

/**
 * No answer came. `sent` tells whether RunPod can have got the request: `No` (connection refused, name not found, no socket)
 * or `Maybe` (the connection broke after that).
 *
 * @since 0.1.0
 * @category errors
 */
export class TransportError extends Schema.TaggedError<TransportError>("effect-runpod/TransportError")(
  "TransportError",
  {
    ...fields,
    sent: Schema.Literal("No", "Maybe"),
    /** What the transport reported: its name, code and message, without the request it belongs to. */
    cause: Schema.Defect
  }
) {
  get [TypeId](): Facts {
    return this.sent === "No" ? neverSent : unclear
  }
  override get message(): string {
    return this.sent === "No"
      ? render(this, "no connection to RunPod; nothing was sent", "Check the network and the base URL.")
      : render(this, "the connection broke before the answer was complete", "RunPod may have acted on the request.")
  }
}

/**
 * An attempt's own deadline passed: no headers in time, or a body that stood still. `sent` as in `TransportError`.
 *
 * @since 0.1.0
 * @category errors
 */
export class RequestTimeoutError extends Schema.TaggedError<RequestTimeoutError>("effect-runpod/RequestTimeoutError")(
  "RequestTimeoutError",
  {
    ...fields,
    sent: Schema.Literal("No", "Maybe"),
    /** What was waited for. */
    phase: Schema.Literal("Headers", "Body"),
    /** How long it was waited for. */
    timeout: Schema.DurationFromMillis
  }
) {
  get [TypeId](): Facts {
    return this.sent === "No" ? neverSent : unclear
  }
  override get message(): string {
    const what = this.phase === "Headers" ? "no answer" : "the answer stood still"
    return render(this, `${what} for ${inWords(this.timeout)}`, "RunPod may have acted on the request.")
  }
}

/**
 * The answer is JSON, but not what the operation promises.
 *
 * @since 0.1.0
 * @category errors
 */
export class DecodeError extends Schema.TaggedError<DecodeError>("effect-runpod/DecodeError")("DecodeError", {
  ...fields,
  /** What was expected and what was found. */
  issue: Schema.String
}) {
  get [TypeId](): Facts {
    return undecodable
  }
  override get message(): string {
    return render(this, `the answer is not what the operation promises: ${this.issue}`, "Please report it with `body`.")
  }
}

/**
 * What can leave a submit's fate open.
 *
 * @since 0.1.0
 * @category models
 */
export const AmbiguityCause = Schema.Union(TransportError, RequestTimeoutError, ServerError, DecodeError)

/**
 * @since 0.1.0
 * @category models
 */
export type AmbiguityCause = typeof AmbiguityCause.Type

/**
 * A submit whose fate is unknown: it may have started a job that costs money, created a batch, or added requests to one.
 * It is never sent again unless the caller says so (`resubmit: true`). `cause` is the error behind it; missing when the submitting process died and only its intent is known.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubmitAmbiguousError extends Schema.TaggedError<SubmitAmbiguousError>(
  "effect-runpod/SubmitAmbiguousError"
)("SubmitAmbiguousError", {
  ...fields,
  cause: Schema.optional(AmbiguityCause)
}) {
  get [TypeId](): Facts {
    return undecodable
  }
  override get message(): string {
    const why = this.cause === undefined ? "" : ` (${this.cause._tag}: ${this.cause.message})`
    if (this.operation === "createBatch") {
      return render(this, `it is not known whether the batch was created${why}`, "Look for it with list.")
    }
    if (this.operation === "appendBatch") {
      return render(
        this,
        `it is not known whether the requests were added${why}`,
        "Read the batch's requestTotal before you append them again."
      )
    }
    return render(
      this,
      `it is not known whether the job was started${why}`,
      "Look for it with requests or in the RunPod console before you submit it again, or pass `resubmit: true` if a second job does no harm."
    )
  }
}

/**
 * Any error of a request.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunPodError =
  | AuthenticationError
  | PermissionDeniedError
  | BadRequestError
  | PayloadTooLargeError
  | EndpointNotFoundError
  | JobNotFoundError
  | BatchNotFoundError
  | EndpointPausedError
  | RateLimitedError
  | ServerError
  | TransportError
  | RequestTimeoutError
  | DecodeError
  | SubmitAmbiguousError

/**
 * Whether a value is an error of a request.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRunPodError = (value: unknown): value is RunPodError => hasProperty(value, TypeId)

/**
 * Whether the same request may succeed later: throttled, a server or transport fault, a timeout.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRetryable = (error: RunPodError): boolean => error[TypeId].retryable

/**
 * Whether RunPod asked to slow down.
 *
 * @since 0.1.0
 * @category guards
 */
export const isThrottled = (error: RunPodError): boolean => error[TypeId].throttled

/**
 * Whether the error proves that the request had no effect, so that a submit started nothing.
 *
 * @since 0.1.0
 * @category guards
 */
export const provesNoEffect = (error: RunPodError): boolean => error[TypeId].withoutEffect

/**
 * The wait a server asked for, when the error carries one.
 *
 * @since 0.1.0
 * @category guards
 */
export const retryAfter = (error: RunPodError): Duration.Duration | undefined =>
  error._tag === "RateLimitedError" || error._tag === "ServerError" ? error.retryAfter : undefined

/**
 * An answer with a status that is no success, as text.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorResponse {
  readonly status: number
  readonly text: string
  /** What the `Retry-After` header asks for. */
  readonly retryAfter?: Duration.Duration | undefined
}

/**
 * The error an answer stands for. The HTTP status decides first; a body is read only for what it adds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromResponse = (where: Context, response: ErrorResponse): Exclude<RunPodError, SubmitAmbiguousError> => {
  const { status, text } = response
  const { code, detail, jobId } = ErrorBody.fromText(text)
  const at = {
    ...where,
    status,
    ...defined({
      detail: detail === undefined ? undefined : excerpt(detail, 512),
      jobId: where.batchId === undefined ? (where.jobId ?? jobId) : undefined,
      body: text === "" ? undefined : excerpt(text)
    })
  }
  const says = (phrase: string) => detail !== undefined && detail.toLowerCase().includes(phrase)
  if (status === 401) return new AuthenticationError(at)
  if (status === 403) return new PermissionDeniedError(at)
  if (status === 429) return new RateLimitedError({ ...at, retryAfter: response.retryAfter })
  if (status === 408 || status >= 500) return new ServerError({ ...at, retryAfter: response.retryAfter })
  if (status === 413 || (status === 400 && (says("max body size") || says("max size")))) {
    return new PayloadTooLargeError(at)
  }
  if (status === 404 && where.batchId !== undefined && !says("endpoint not found")) return new BatchNotFoundError(at)
  if (status === 404) {
    return says("endpoint not found") || (where.jobId === undefined && !says("job not found"))
      ? new EndpointNotFoundError(at)
      : new JobNotFoundError({ ...at, reason: "Unknown" })
  }
  if (status === 409 && (code === "ENDPOINT_PAUSED" || says("endpoint_paused") || says("paused"))) {
    return new EndpointPausedError(at)
  }
  return new BadRequestError(at)
}
