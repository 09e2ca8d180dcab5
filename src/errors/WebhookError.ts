/**
 * Why a delivery to a webhook was refused. No error holds a URL, a token, a signature, a signing key or a body; endpoint and
 * key of a URL appear once its token has been found genuine.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { visible } from "../internal/text/visible.js"
import { withoutFrames } from "./taggedError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod/WebhookError")

/**
 * What a server makes of an error.
 *
 * @since 0.1.0
 * @category models
 */
export interface Facts {
  /** The HTTP status to answer with. RunPod delivers again on anything but a 2xx. */
  readonly status: number
}

const tagged =
  <Self>() =>
  <Tag extends string, Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) =>
    withoutFrames(Schema.TaggedError<Self>(`effect-runpod/${tag}`)(tag, fields))

const unauthorized: Facts = { status: 401 }

const subject = { endpointId: Schema.String, key: Schema.String }

/**
 * The URL carries no token, and no signed relay vouches for the delivery.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookTokenMissingError extends tagged<WebhookTokenMissingError>()("WebhookTokenMissingError", {}) {
  readonly [TypeId]: Facts = unauthorized
  override get message(): string {
    return "A delivery came without a token and was refused. If it was meant to come, check that the proxy in front passes the query on."
  }
}

/**
 * The token was not issued here: forged, truncated or altered.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookTokenInvalidError extends tagged<WebhookTokenInvalidError>()("WebhookTokenInvalidError", {}) {
  readonly [TypeId]: Facts = unauthorized
  override get message(): string {
    return "A delivery came with a token that was not issued here and was refused. If it was meant to come, check that all instances share their keys and that no proxy rewrites the query."
  }
}

/**
 * The token is signed with a key that this receiver does not have (any more).
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookKeyUnknownError extends tagged<WebhookKeyUnknownError>()("WebhookKeyUnknownError", {}) {
  readonly [TypeId]: Facts = unauthorized
  override get message(): string {
    return "A delivery came with a token of an unknown key and was refused. After a rotation keep the old key in `keys` until its last token has expired."
  }
}

/**
 * The token is genuine and its time is over.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookTokenExpiredError extends tagged<WebhookTokenExpiredError>()("WebhookTokenExpiredError", {
  ...subject,
  /** When it expired. */
  expiredAt: Schema.DateFromNumber
}) {
  readonly [TypeId]: Facts = unauthorized
  override get message(): string {
    return visible(
      `A delivery for "${this.key}" on endpoint ${this.endpointId} came after its token had expired and was refused. Issue URLs with a longer \`expiresIn\` if jobs take that long.`
    )
  }
}

/**
 * The token is genuine but was used for another job before, or for more ends of its job than a job has.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookReplayedError extends tagged<WebhookReplayedError>()("WebhookReplayedError", {
  /** Missing when no token came with the delivery. */
  endpointId: Schema.optional(Schema.String),
  key: Schema.optional(Schema.String),
  /** The job that the refused delivery tells of. */
  jobId: Schema.String
}) {
  readonly [TypeId]: Facts = unauthorized
  override get message(): string {
    const whose = this.key === undefined ? "" : ` of "${this.key}" on endpoint ${this.endpointId}`
    return visible(
      `A delivery of job ${this.jobId} came with a token${whose} that had been used already, and was refused. Issue one URL for each job.`
    )
  }
}

/**
 * The signature of a relay does not hold (standard webhooks).
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookSignatureError extends tagged<WebhookSignatureError>()("WebhookSignatureError", {
  /** A header is missing or malformed, its time is too far from now, or no signature matches a key. */
  reason: Schema.Literal("Missing", "Malformed", "TooOld", "TooNew", "Mismatch")
}) {
  readonly [TypeId]: Facts = unauthorized
  override get message(): string {
    const advice =
      this.reason === "TooOld" || this.reason === "TooNew"
        ? "Check the clocks: relay and receiver may differ by five minutes."
        : "Check that the relay's signing secret is in `relaySecrets`, and that nothing rewrites the body."
    return `A delivery came with a signature that does not hold (${this.reason}) and was refused. ${advice}`
  }
}

/**
 * The body is larger than the receiver takes.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookTooLargeError extends tagged<WebhookTooLargeError>()("WebhookTooLargeError", {
  /** In bytes. */
  limit: Schema.Number
}) {
  readonly [TypeId]: Facts = { status: 413 }
  override get message(): string {
    return `A delivery was larger than ${this.limit} bytes and was refused. Raise \`bodyLimit\`, or let jobs store large results elsewhere.`
  }
}

/**
 * The body is not JSON.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookNotJsonError extends tagged<WebhookNotJsonError>()("WebhookNotJsonError", {}) {
  readonly [TypeId]: Facts = { status: 400 }
  override get message(): string {
    return "A delivery was not JSON and was refused. Check what stands between RunPod and the receiver."
  }
}

/**
 * The body is JSON, but no job with an id.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookShapeError extends tagged<WebhookShapeError>()("WebhookShapeError", {
  /** What was expected and what was found. */
  issue: Schema.String
}) {
  readonly [TypeId]: Facts = { status: 400 }
  override get message(): string {
    return visible(
      `A delivery was no job and was refused: ${this.issue}. Check what stands between RunPod and the receiver.`
    )
  }
}

/**
 * The store failed. A delivery that could not be stored is not acknowledged, so RunPod delivers it again.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookStoreError extends tagged<WebhookStoreError>()("WebhookStoreError", {
  /** What the store was doing. */
  operation: Schema.Literal("open", "add", "find", "after", "latest"),
  detail: Schema.String
}) {
  readonly [TypeId]: Facts = { status: 503 }
  override get message(): string {
    return visible(`The store of webhooks failed at "${this.operation}": ${this.detail}`)
  }
}

/**
 * Any way a delivery can fail.
 *
 * @since 0.1.0
 * @category errors
 */
export type WebhookError =
  | WebhookTokenMissingError
  | WebhookTokenInvalidError
  | WebhookKeyUnknownError
  | WebhookTokenExpiredError
  | WebhookReplayedError
  | WebhookSignatureError
  | WebhookTooLargeError
  | WebhookNotJsonError
  | WebhookShapeError
  | WebhookStoreError

/**
 * Whether a value says why a delivery was refused.
 *
 * @since 0.1.0
 * @category guards
 */
export const isWebhookError = (value: unknown): value is WebhookError => hasProperty(value, TypeId)

/**
 * The HTTP status to answer a refused delivery with: 401, 400, 413, or 503 when it should come again.
 *
 * @since 0.1.0
 * @category combinators
 */
export const statusOf = (error: WebhookError): number => error[TypeId].status

/**
 * The options of a `Webhooks` layer cannot be used. No part of a secret is in it.
 *
 * @since 0.1.0
 * @category errors
 */
export class WebhookSetupError extends tagged<WebhookSetupError>()("WebhookSetupError", { detail: Schema.String }) {
  override get message(): string {
    return visible(`The webhooks cannot be set up: ${this.detail}.`)
  }
}
