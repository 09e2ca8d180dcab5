import type { Scrub } from "../text/scrub.js"
import { invalidUrl, isCertificate, proxyTunnel, reasonOf } from "../text/transportCode.js"

// Codes of faults that happen before a request's first byte can leave: name lookup, connect, TLS.
const neverSentCodes = new Set<string>([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EAI_FAIL",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "EMFILE",
  "ENFILE",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_INVALID_ARG",
  "UND_ERR_CLOSED",
  invalidUrl,
  proxyTunnel,
  // Bun's, of a proxy such as socks5.
  "UnsupportedProxyProtocol"
])

const property = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null && key in value ? Reflect.get(value, key) : undefined

/** Whether the request behind a transport's error can have reached the server. Unknown errors count as "Maybe". */
export const sentOf = (cause: unknown, depth = 0): "No" | "Maybe" => {
  if (depth > 8 || typeof cause !== "object" || cause === null) return "Maybe"
  const code = property(cause, "code")
  if (typeof code === "string" && (neverSentCodes.has(code) || isCertificate(code))) return "No"
  // A connect that timed out; the same code after it is a dead connection.
  if (code === "ETIMEDOUT" && property(cause, "syscall") === "connect") return "No"
  const errors = property(cause, "errors")
  if (Array.isArray(errors) && errors.length > 0) {
    return errors.every((error) => sentOf(error, depth + 1) === "No") ? "No" : "Maybe"
  }
  return sentOf(property(cause, "cause"), depth + 1)
}

/**
 * A copy of a transport's error that is safe to print: name, message and code, and those of its causes. The original can
 * hold the request, and with it the key.
 */
export const safeCause = (cause: unknown, scrub: Scrub, depth = 0): Error => {
  const message = depth === 0 ? reasonOf(cause) : property(cause, "message")
  const inner = property(cause, "cause")
  const copy = new Error(
    scrub(typeof message === "string" ? message : typeof cause === "string" ? cause : "unknown transport error"),
    inner === undefined || depth > 8 ? undefined : { cause: safeCause(inner, scrub, depth + 1) }
  )
  const name = property(cause, "name")
  if (typeof name === "string") copy.name = scrub(name)
  const code = property(cause, "code")
  if (typeof code === "string") Object.defineProperty(copy, "code", { value: scrub(code), enumerable: true })
  copy.stack = `${copy.name}: ${copy.message}`
  return copy
}

export const safeDefect = (defect: unknown, scrub: Scrub): unknown => {
  if (typeof defect === "string") return scrub(defect)
  const copy = safeCause(defect, scrub)
  const stack = property(defect, "stack")
  if (typeof stack === "string") copy.stack = scrub(stack)
  return copy
}
