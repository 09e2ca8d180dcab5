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
import { excerpt } from "../internal/text/excerpt.js"
import { defined } from "../internal/text/json.js"
import * as ErrorBody from "../schemas/ErrorBody.js"
import {
  AmbiguityCause,
  ServerError,
  TransportError,
  RequestTimeoutError,
  DecodeError,
  SubmitAmbiguousError
} from "./faults.js"
import {
  AuthenticationError,
  PermissionDeniedError,
  BadRequestError,
  PayloadTooLargeError,
  EndpointNotFoundError,
  JobNotFoundError,
  BatchNotFoundError,
  EndpointPausedError,
  RateLimitedError
} from "./refusals.js"
import { type Context, type Facts, TypeId } from "./requestError.js"

export {
  /**
   * @since 0.1.0
   * @category type ids
   */
  TypeId,
  /**
   * @since 0.1.0
   * @category models
   */
  type Context,
  /**
   * @since 0.1.0
   * @category models
   */
  type Facts
}

/**
 * The request had no effect: RunPod refused it, or it was refused here.
 *
 * @since 0.1.0
 * @category errors
 */
export {
  AuthenticationError,
  PermissionDeniedError,
  BadRequestError,
  PayloadTooLargeError,
  EndpointNotFoundError,
  JobNotFoundError,
  BatchNotFoundError,
  EndpointPausedError,
  RateLimitedError
}

/**
 * The request may have had an effect, or never reached RunPod.
 *
 * @since 0.1.0
 * @category errors
 */
export { AmbiguityCause, ServerError, TransportError, RequestTimeoutError, DecodeError, SubmitAmbiguousError }

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
