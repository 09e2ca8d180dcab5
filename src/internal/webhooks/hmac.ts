import { hmac as hmacOf } from "@noble/hashes/hmac"
import { sha256 } from "@noble/hashes/sha2"
import * as Effect from "effect/Effect"

const sliceLength = 1024 * 1024

/** HMAC-SHA-256 (RFC 2104) of a short message, at once. */
export const hmac = (key: Uint8Array, message: Uint8Array): Uint8Array => hmacOf(sha256, key, message)

/** HMAC-SHA-256 of a prefix and a body that can be long (32 MiB take 185 ms): other fibers run between its slices. */
export const hmacOfBody = Effect.fnUntraced(function* (key: Uint8Array, prefix: Uint8Array, body: Uint8Array) {
  const mac = hmacOf.create(sha256, key).update(prefix)
  for (let start = 0; start < body.length; start += sliceLength) {
    if (start > 0) yield* Effect.yieldNow()
    mac.update(body.subarray(start, start + sliceLength))
  }
  return mac.digest()
})

/**
 * Whether two texts are the same, in a time that does not depend on where they differ. They are compared as they stand:
 * base64 that was decoded first would match altered last characters as well.
 */
export const isSame = (a: string, b: string): boolean => {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
