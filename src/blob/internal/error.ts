import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { taggedError } from "../../errors/taggedError.js"
import { asOwnSentence, excerpt } from "../../internal/text/excerpt.js"
import type { Scrub } from "../../internal/text/scrub.js"
import { codeOf, reasonOf } from "../../internal/text/transportCode.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod/BlobError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * Why a blob could not be stored or read.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Reason = Schema.Literal(
  "AccessDenied",
  "NotFound",
  "TooLarge",
  "Throttled",
  "Server",
  "Transport",
  "Incomplete",
  "Changed",
  "Corrupt",
  "Intercepted",
  "Expired",
  "ForeignUrl",
  "Unsupported",
  "BadRequest"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

const retryable: ReadonlyArray<Reason> = ["Throttled", "Server", "Transport", "Incomplete"]

const advice: Readonly<Record<Reason, string>> = {
  AccessDenied: "Check the access key, its secret, the region, and what the key may do with this bucket.",
  NotFound: "Check the bucket and the key; what was uploaded may have been removed.",
  TooLarge: "Raise the limit that the message names, or split the data.",
  Throttled: "The store asked to slow down; try again later, with a lower concurrency.",
  Server: "The store failed; try again.",
  Transport: "Check the endpoint's address and the network, and try again.",
  Incomplete: "The connection was cut again and again; try again.",
  Changed: "Somebody replaced the object while it was read; read it again.",
  Corrupt:
    "Try again; if it stays, something on the way or in the store changes the bytes, or the store's ETags are no MD5s: then set `verifyETag` to false.",
  Intercepted: "Log in to the network, or check the proxy and the endpoint's address; then try again.",
  Expired: "Have it signed anew and for longer, or let the worker return the object's key.",
  ForeignUrl: "Name its origin in the option `origins` if this program may fetch from there.",
  Unsupported: "See docs/blob.md for what this store can do.",
  BadRequest: "Correct it and try again."
}

const fields = {
  /**
   * - `AccessDenied`: 401, 403, a wrong signature, temporary credentials that have expired
   * - `NotFound`: no such object, or no such bucket
   * - `TooLarge`: more than `maxSize`, more parts than S3 takes, or the store said so
   * - `Throttled`: 429, or 503 `SlowDown`
   * - `Server`: another 5xx
   * - `Transport`: no answer, or one that stalled
   * - `Incomplete`: an answer was cut, and could not be resumed
   * - `Changed`: the object was replaced while it was read
   * - `Corrupt`: the bytes that came, or those that were stored, are not those that the store's ETag or checksum tells of
   * - `Intercepted`: something else than the store answered, such as a proxy or a login page, whatever its status
   * - `Expired`: a signed URL that is valid no more
   * - `ForeignUrl`: a URL of an origin that the layer does not name
   * - `Unsupported`: the store has no such operation
   * - `BadRequest`: another 4xx, or refused before anything was sent
   */
  reason: Reason,
  operation: Schema.Literal("layer", "upload", "download", "head", "presign", "remove"),
  /** What happened. */
  detail: Schema.String,
  /** The key in the bucket, or the URL without its query. */
  location: Schema.optional(Schema.String),
  bucket: Schema.optional(Schema.String),
  /** The HTTP status of the answer; missing when there was none. */
  status: Schema.optional(Schema.Number),
  /** What the store or the transport calls the error: `NoSuchKey`, `ECONNRESET`. */
  code: Schema.optional(Schema.String)
}

/** What an error says. */
type Said = Schema.Struct.Type<typeof fields>

/**
 * A blob could not be stored, read, removed or signed for. Its texts hold neither the credentials nor the query of a URL, which can be
 * a signature; the client's own error, which holds the request, is not kept.
 *
 * @since 0.1.0
 * @category errors
 */
export class BlobError extends taggedError<BlobError>()("BlobError", fields, {
  typeId: TypeId,
  mark: ({ reason }: Said) => ({ retryable: retryable.includes(reason) }),
  message: ({ bucket, code, detail, location, operation, reason, status }: Said) => {
    const what = location === undefined ? "" : ` of ${location}`
    const where = bucket === undefined ? "" : ` in bucket ${bucket}`
    const facts = [status === undefined ? [] : `HTTP ${status}`, code ?? []].flat().join(", ")
    return `${operation}${what}${where}: ${reason}${facts === "" ? "" : ` (${facts})`}. ${asOwnSentence(detail)} ${advice[reason]}`
  }
}) {}

/**
 * Whether a value is a `BlobError`.
 *
 * @since 0.1.0
 * @category guards
 */
export const isBlobError = (value: unknown): value is BlobError => hasProperty(value, TypeId)

/**
 * Whether the same call may succeed later.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRetryable = (error: BlobError): boolean => error[TypeId].retryable

/** Where an error happened. */
export interface Where {
  readonly operation: BlobError["operation"]
  readonly location?: string | undefined
  readonly bucket?: string | undefined
}

/** What a status means. */
export const reasonOfStatus = (status: number, code?: string): Reason => {
  if (code === "EntityTooLarge" || status === 413) return "TooLarge"
  if (code === "SlowDown" || code === "TooManyRequests" || status === 429) return "Throttled"
  if (status === 401 || status === 403 || code === "InvalidAccessKeyId" || code === "ExpiredToken")
    return "AccessDenied"
  if (status === 404 || status === 410) return "NotFound"
  if (status === 412) return "Changed"
  if (status >= 500) return "Server"
  return "BadRequest"
}

/** An error without the fields that are not known. */
export const blobError = (
  reason: Reason,
  { bucket, location, operation }: Where,
  detail: string,
  answer: { readonly status?: number | undefined; readonly code?: string | undefined } = {}
): BlobError => new BlobError({ reason, operation, detail: excerpt(detail, 1024), bucket, location, ...answer })

/** No answer: what the transport says of it. */
export const transportError = (where: Where, cause: unknown, scrub: Scrub): BlobError => {
  // The client's own timeouts have a name, but no code.
  const isTimeout = hasProperty(cause, "name") && cause.name === "TimeoutError"
  const code = codeOf(cause) ?? (isTimeout ? "ETIMEDOUT" : undefined)
  const detail = scrub(reasonOf(cause) ?? "the transport failed")
  return blobError("Transport", where, detail, { code: code === undefined ? undefined : scrub(code) })
}
