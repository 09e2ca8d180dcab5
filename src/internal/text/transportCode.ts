import { hasProperty } from "effect/Predicate"

// As OpenSSL and Node name them.
const certificateCodes = new Set([
  "CERT_CHAIN_TOO_LONG",
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REJECTED",
  "CERT_REVOKED",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_PURPOSE",
  "PATH_LENGTH_EXCEEDED",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
])

/** Whether a transport's code says that it does not trust the server's certificate. */
export const isCertificate = (code: string | undefined): boolean => code !== undefined && certificateCodes.has(code)

/** The code of a tunnel that a proxy has not made. */
export const proxyTunnel = "ERR_PROXY_TUNNEL"
/** Node's code of a URL that is none, and ours of a proxy's that cannot be used. */
export const invalidUrl = "ERR_INVALID_URL"

/** Whether the message of such an error says more than the code: those of our own making. */
export const isExplained = (code: string): boolean => code === proxyTunnel || code === invalidUrl

/** Whether another attempt would fail alike: a certificate, a proxy that wants another password, an address that is none. */
export const isLasting = (cause: unknown): boolean => {
  const code = codeOf(cause)
  if (code === proxyTunnel) return /\b407\b/.test(messageOf(cause) ?? "")
  return isCertificate(code) || code === invalidUrl
}

const messageOf = (cause: unknown): string | undefined =>
  hasProperty(cause, "message") && typeof cause.message === "string" ? cause.message : undefined

const innerOf = (cause: unknown): unknown => {
  if (hasProperty(cause, "cause") && cause.cause !== undefined) return cause.cause
  // Of the addresses of a host that were all tried, the first tells why.
  return hasProperty(cause, "errors") && Array.isArray(cause.errors) ? cause.errors[0] : undefined
}

const ownCode = (cause: unknown, depth = 0): string | undefined => {
  if (depth > 8 || typeof cause !== "object" || cause === null) return undefined
  return hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : ownCode(innerOf(cause), depth + 1)
}

/** A code in a message: `ENOTFOUND`, `CERT_HAS_EXPIRED`. */
const written = /\b(?:E(?!RROR)[A-Z_]{4,}|[A-Z]{2,}(?:_[A-Z0-9]+)+)\b/g

/** The code of a transport's error, such as `ECONNREFUSED`: that of its causes, or one that its message names. */
export const codeOf = (cause: unknown): string | undefined => ownCode(cause) ?? messageOf(cause)?.match(written)?.at(-1)

/** What a transport's error says, with its code, or else with what its innermost cause says: all that an encoded error keeps. */
export const reasonOf = (cause: unknown, depth = 0): string | undefined => {
  const message = messageOf(cause)
  const reason = codeOf(cause) ?? (depth > 8 || cause === undefined ? undefined : reasonOf(innerOf(cause), depth + 1))
  if (message === undefined || message === "") return reason
  return reason === undefined || message.includes(reason) ? message : `${message} (${reason})`
}
