/**
 * What can go wrong with one request to RunPod.
 *
 * Every error holds the operation, method, path, ids, HTTP status and an excerpt of the body, scrubbed of the API key and of
 * the request's own secrets; never a request object, a header or a key.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { keyAdvice } from "../internal/text/apiKey.js"
import { excerpt, formatDuration } from "../internal/text/excerpt.js"
import { defined } from "../internal/text/json.js"
import { codeOf, isExplained, isLasting, reasonOf } from "../internal/text/transportCode.js"
import * as ErrorBody from "../schemas/ErrorBody.js"
import { BudgetExceededError } from "./budgetExceeded.js"
import { type Context, final, neverSent, refused, requestError, throttled, TypeId, unclear } from "./requestError.js"
import {
  connectAdvice,
  isEndpointMissing,
  isLocalWorkers,
  isRunPods,
  serverErrorSays,
  useLayerLocal
} from "./whoseAnswer.js"
import { NoWorkerError, WorkerGoneError } from "./workerErrors.js"

/**
 * What all errors of a request share.
 *
 * @since 0.1.0
 * @category models
 */
export { type Context, type Facts, TypeId } from "./requestError.js"

/**
 * HTTP 401: the API key is missing or not valid. Without `status` the key was refused before anything was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthenticationError extends requestError<AuthenticationError>()(
  "AuthenticationError",
  refused,
  {},
  ({ status }) =>
    status === undefined
      ? ["there is no API key that can be sent", keyAdvice]
      : ["RunPod did not accept the API key", "Check the key (RUNPOD_API_KEY) in the RunPod console."]
) {}

/**
 * HTTP 403: the key is valid but may not do this.
 *
 * @since 0.1.0
 * @category errors
 */
export class PermissionDeniedError extends requestError<PermissionDeniedError>()("PermissionDeniedError", refused, {}, [
  "the API key may not do this",
  "Give the key access to this endpoint in the RunPod console."
]) {}

/**
 * The request is wrong: a 4xx such as 400, a 2xx answer `{"error": …}` without a job, or, without `status`, refused before
 * anything was sent (a bad id, an input that is no object or empty, a value out of range). `reason` is `Unsupported` where the
 * layer has no such operation: `RunPod.layerLocal` cannot cancel.
 *
 * @since 0.1.0
 * @category errors
 */
export class BadRequestError extends requestError<BadRequestError>()(
  "BadRequestError",
  refused,
  { reason: Schema.optional(Schema.Literal("Unsupported")) },
  ({ reason, status }) => {
    if (reason === "Unsupported") return ["there is no such operation, and nothing was sent", "RunPod itself has it."]
    return status === undefined
      ? ["the request is not valid and was not sent", "Correct it and try again."]
      : ["RunPod refused the request", "Correct the request; sending it again as it is will not help."]
  }
) {}

/**
 * The body is larger than RunPod takes (10 MiB for run, 20 MB for runSync). Without `status` it was measured and not sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class PayloadTooLargeError extends requestError<PayloadTooLargeError>()(
  "PayloadTooLargeError",
  refused,
  {
    /** The size of the body in bytes, when it was measured here. */
    size: Schema.optional(Schema.Number),
    /** The most RunPod takes, in bytes, when it is known. */
    limit: Schema.optional(Schema.Number)
  },
  ({ limit, size }) => {
    const most = limit === undefined ? "" : `, at most ${limit} are allowed`
    const measured = size === undefined ? "" : `: ${size} bytes${most}`
    return [
      `the body is too large${measured}`,
      "Upload it and submit its URL: `withUploads` of `effect-runpod/Blob` does that."
    ]
  }
) {}

/**
 * HTTP 404: there is no such endpoint, or the key may not see it.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointNotFoundError extends requestError<EndpointNotFoundError>()(
  "EndpointNotFoundError",
  refused,
  {},
  ({ body }) => [
    "there is no such endpoint, or the key may not see it",
    isLocalWorkers(body) ? useLayerLocal : "Check the endpoint id, the key's account and the base URL."
  ]
) {}

const jobNotFound = {
  Expired: ["the job is gone", "Results are kept 30 minutes (runSync: 1 minute); read them sooner."],
  NotVisibleYet: ["the job is not visible yet", "It was submitted moments ago; ask again in a second."],
  Unknown: ["RunPod does not know the job", "It expired, was purged, or belongs to another endpoint."]
} as const

/**
 * HTTP 404: RunPod does not know the job. `reason`: `Expired` (it was there before: results are kept 30 minutes after run and
 * 1 minute after runSync, and `ttl` deletes a job in any state), `NotVisibleYet` (submitted moments ago) or `Unknown`.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobNotFoundError extends requestError<JobNotFoundError>()(
  "JobNotFoundError",
  refused,
  { reason: Schema.Literal("Expired", "NotVisibleYet", "Unknown") },
  ({ reason }) => jobNotFound[reason]
) {}

/**
 * HTTP 404 of an operation on a batch of the batch API, or on a request in it: RunPod does not know it.
 *
 * @since 0.1.0
 * @category errors
 */
export class BatchNotFoundError extends requestError<BatchNotFoundError>()("BatchNotFoundError", refused, {}, [
  "RunPod does not know the batch, or the request in it",
  "List the endpoint's batches."
]) {}

/**
 * HTTP 409 `ENDPOINT_PAUSED`: the endpoint's maximum of workers is 0. It lasts a while after the maximum was raised.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointPausedError extends requestError<EndpointPausedError>()("EndpointPausedError", refused, {}, [
  "the endpoint is paused",
  "Set its maximum of workers above 0, wait a minute and submit again."
]) {}

/**
 * The budget of the layer has no room for a further job; nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export { BudgetExceededError }

/**
 * What load-balancing endpoints refuse: no worker took the request, or that of a session is gone.
 *
 * @since 0.1.0
 * @category errors
 */
export { NoWorkerError, WorkerGoneError }

const asking = {
  /** How long the server asked to wait, from the answer on; missing when it did not say. */
  retryAfter: Schema.optional(Schema.DurationFromMillis)
}

/**
 * HTTP 429: over a limit of the endpoint and operation.
 *
 * @since 0.1.0
 * @category errors
 */
export class RateLimitedError extends requestError<RateLimitedError>()(
  "RateLimitedError",
  throttled,
  asking,
  ({ retryAfter }) => {
    const wait = retryAfter === undefined ? "a while" : formatDuration(retryAfter)
    return ["over RunPod's rate limit", `Wait ${wait} before the next request, or lower the layer's limits.`]
  }
) {}

/**
 * RunPod or a gateway before it failed, and what RunPod says is not known: HTTP 5xx, 408, a redirect, an answer that is not JSON
 * where JSON was due, or a 4xx whose body is not RunPod's own, such as a proxy's HTML page.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerError extends requestError<ServerError>()("ServerError", unclear, asking, serverErrorSays) {}

const bySent = ({ sent }: { readonly sent: "No" | "Maybe" }) => (sent === "No" ? neverSent : unclear)

const byCause = ({ cause, sent }: { readonly cause: unknown; readonly sent: "No" | "Maybe" }) =>
  sent === "No" && isLasting(cause) ? refused : bySent({ sent })

/**
 * No answer came. `sent`: whether RunPod can have got the request, `No` (refused, name not found, no socket) or `Maybe`. A
 * certificate that is not trusted is not tried again.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransportError extends requestError<TransportError>()(
  "TransportError",
  byCause,
  {
    sent: Schema.Literal("No", "Maybe"),
    /** What the transport reported: its name, code and message, without the request it belongs to. */
    cause: Schema.Defect
  },
  ({ cause, sent }) => {
    const code = codeOf(cause)
    const reason = code === undefined || isExplained(code) ? reasonOf(cause) : code
    const why = reason === undefined ? "" : ` (${excerpt(reason, 200)})`
    return sent === "No"
      ? [`no connection could be made${why}, and nothing was sent`, connectAdvice(code)]
      : [`the connection broke before the answer was complete${why}`, "RunPod may have acted on the request."]
  }
) {}

/**
 * An attempt's own deadline passed: no headers in time, or a body that stood still. `sent` as in `TransportError`.
 *
 * @since 0.1.0
 * @category errors
 */
export class RequestTimeoutError extends requestError<RequestTimeoutError>()(
  "RequestTimeoutError",
  bySent,
  {
    sent: Schema.Literal("No", "Maybe"),
    phase: Schema.Literal("Headers", "Body"),
    timeout: Schema.DurationFromMillis
  },
  ({ phase, sent, timeout }) =>
    sent === "No"
      ? [
          `it was not sent within ${formatDuration(timeout)}`,
          "It waited for a connection or the limits; nothing was sent."
        ]
      : [
          `${phase === "Headers" ? "no answer" : "the answer stood still"} for ${formatDuration(timeout)}`,
          "RunPod may have acted on the request."
        ]
) {}

/**
 * The answer is JSON, but not what the operation promises: `issue` says what was expected and what was found. Or it is one that
 * `parseJson` refuses (`isUnread`).
 *
 * @since 0.1.0
 * @category errors
 */
export class DecodeError extends requestError<DecodeError>()(
  "DecodeError",
  final,
  {
    /** What was expected and what was found; if `isUnread`, what was thrown. */
    issue: Schema.String,
    /** The answer is JSON, but `parseJson` (or the reader of an operation of your own) has thrown. Default: false. */
    isUnread: Schema.optional(Schema.Boolean),
    /** The status of the job in an answer that `isUnread`. */
    jobStatus: Schema.optional(Schema.String)
  },
  ({ isUnread, issue, jobStatus }) => {
    if (isUnread !== true)
      return [`the answer is not what the operation promises: ${issue}`, "Please report it with `body`."]
    const job = jobStatus === undefined ? "" : ` of a job that is ${jobStatus}`
    return [
      `\`parseJson\` has thrown for an answer${job}, which is JSON: ${issue}`,
      "Correct `parseJson`, and read the job again while RunPod has its result (30 minutes)."
    ]
  }
) {}

/**
 * The errors after which it is not known whether RunPod accepted a submit.
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
 * A submit of which it is not known whether RunPod accepted it: it may have started a paid job, created a batch, or added to
 * one. It is sent again only with `resubmit: true`. `cause` is missing when the submitting process died.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubmitAmbiguousError extends requestError<SubmitAmbiguousError>()(
  "SubmitAmbiguousError",
  final,
  { cause: Schema.optional(AmbiguityCause) },
  ({ cause, operation }) => {
    const why = cause === undefined ? "" : ` (${cause._tag}: ${cause.message})`
    const whether = (what: string) => `it is not known whether ${what}${why}`
    if (operation === "createBatch") return [whether("the batch was created"), "Look for it with list."]
    if (operation === "appendBatch") {
      return [whether("the requests were added"), "Read the batch's requestTotal before you append them again."]
    }
    return [
      whether("the job was started"),
      "Look for it with requests or in the RunPod console before you submit it again, or pass `resubmit: true` if a second job does no harm."
    ]
  }
) {}

/**
 * The schema of any error of a request.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RunPodError = Schema.Union(
  AuthenticationError,
  PermissionDeniedError,
  BadRequestError,
  PayloadTooLargeError,
  EndpointNotFoundError,
  JobNotFoundError,
  BatchNotFoundError,
  EndpointPausedError,
  NoWorkerError,
  WorkerGoneError,
  BudgetExceededError,
  RateLimitedError,
  ServerError,
  TransportError,
  RequestTimeoutError,
  DecodeError,
  SubmitAmbiguousError
)

/**
 * Any error of a request.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunPodError = Schema.Schema.Type<(typeof RunPodError)["members"][number]>

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
 * How long the server asked to wait, from its answer on; `undefined` when it did not say, or there was no answer.
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
 * The error an answer stands for. The HTTP status decides when the body is RunPod's own; otherwise it is a `ServerError`, which says
 * nothing about the job.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromResponse = (where: Context, response: ErrorResponse): Exclude<RunPodError, SubmitAmbiguousError> => {
  const { retryAfter, status, text } = response
  const said = ErrorBody.fromText(text)
  const { code, detail, jobId } = said
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
  if (!isRunPods(where, status, said)) return new ServerError({ ...at, retryAfter })
  if (status === 401) return new AuthenticationError(at)
  if (status === 403) return new PermissionDeniedError(at)
  if (status === 429) return new RateLimitedError({ ...at, retryAfter })
  if (status === 413 || (status === 400 && (says("max body size") || says("max size")))) {
    return new PayloadTooLargeError(at)
  }
  if (status === 404) {
    if (isEndpointMissing(detail)) return new EndpointNotFoundError(at)
    if (where.batchId !== undefined) return new BatchNotFoundError(at)
    return where.jobId === undefined && !says("job not found")
      ? new EndpointNotFoundError(at)
      : new JobNotFoundError({ ...at, reason: "Unknown" })
  }
  if (status === 409 && (code === "ENDPOINT_PAUSED" || says("endpoint_paused") || says("paused"))) {
    return new EndpointPausedError(at)
  }
  return new BadRequestError(at)
}
