/** The errors of a request that had no effect: RunPod refused it, or it was refused here. */
import * as Schema from "effect/Schema"
import { formatDuration } from "../internal/text/excerpt.js"
import { type Facts, refused, render, requestError, throttled, TypeId } from "./requestError.js"

/**
 * HTTP 401: the API key is missing or not valid. Without `status` the key was refused before anything was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthenticationError extends requestError<AuthenticationError>()("AuthenticationError", {}) {
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
export class PermissionDeniedError extends requestError<PermissionDeniedError>()("PermissionDeniedError", {}) {
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
export class BadRequestError extends requestError<BadRequestError>()("BadRequestError", {}) {
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
export class PayloadTooLargeError extends requestError<PayloadTooLargeError>()("PayloadTooLargeError", {
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
export class EndpointNotFoundError extends requestError<EndpointNotFoundError>()("EndpointNotFoundError", {}) {
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
export class JobNotFoundError extends requestError<JobNotFoundError>()("JobNotFoundError", {
  reason: Schema.Literal("Expired", "NotVisibleYet", "Unknown")
}) {
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
export class BatchNotFoundError extends requestError<BatchNotFoundError>()("BatchNotFoundError", {}) {
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
export class EndpointPausedError extends requestError<EndpointPausedError>()("EndpointPausedError", {}) {
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
export class RateLimitedError extends requestError<RateLimitedError>()("RateLimitedError", {
  /** How long RunPod asked to wait, from the answer on; missing when it did not say. */
  retryAfter: Schema.optional(Schema.DurationFromMillis)
}) {
  get [TypeId](): Facts {
    return throttled
  }
  override get message(): string {
    const wait = this.retryAfter === undefined ? "a while" : formatDuration(this.retryAfter)
    return render(
      this,
      "over RunPod's rate limit",
      `Wait ${wait} before the next request, or lower the layer's limits.`
    )
  }
}
