/** The errors of a request that may have had an effect, or never reached RunPod. */
import * as Schema from "effect/Schema"
import { formatDuration } from "../internal/text/excerpt.js"
import { type Facts, neverSent, render, requestError, TypeId, unclear, final } from "./requestError.js"

/**
 * RunPod or a gateway before it failed: HTTP 5xx, 408, or an answer that is not JSON where JSON was due.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerError extends requestError<ServerError>()("ServerError", {
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
export class TransportError extends requestError<TransportError>()("TransportError", {
  sent: Schema.Literal("No", "Maybe"),
  /** What the transport reported: its name, code and message, without the request it belongs to. */
  cause: Schema.Defect
}) {
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
export class RequestTimeoutError extends requestError<RequestTimeoutError>()("RequestTimeoutError", {
  sent: Schema.Literal("No", "Maybe"),
  /** What was waited for. */
  phase: Schema.Literal("Headers", "Body"),
  /** How long it was waited for. */
  timeout: Schema.DurationFromMillis
}) {
  get [TypeId](): Facts {
    return this.sent === "No" ? neverSent : unclear
  }
  override get message(): string {
    const what = this.phase === "Headers" ? "no answer" : "the answer stood still"
    return render(this, `${what} for ${formatDuration(this.timeout)}`, "RunPod may have acted on the request.")
  }
}

/**
 * The answer is JSON, but not what the operation promises.
 *
 * @since 0.1.0
 * @category errors
 */
export class DecodeError extends requestError<DecodeError>()("DecodeError", {
  /** What was expected and what was found. */
  issue: Schema.String
}) {
  get [TypeId](): Facts {
    return final
  }
  override get message(): string {
    return render(this, `the answer is not what the operation promises: ${this.issue}`, "Please report it with `body`.")
  }
}

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
 * A submit of which it is not known whether RunPod accepted it: it may have started a job that costs money, created a batch, or
 * added requests to one. It is never sent again unless the caller says so (`resubmit: true`). `cause` is the error behind it;
 * missing when the submitting process died and only its intent is known.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubmitAmbiguousError extends requestError<SubmitAmbiguousError>()("SubmitAmbiguousError", {
  cause: Schema.optional(AmbiguityCause)
}) {
  get [TypeId](): Facts {
    return final
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
