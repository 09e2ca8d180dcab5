import { hmac as hmacOf } from "@noble/hashes/hmac"
import { sha256 } from "@noble/hashes/sha2"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import { utf8 } from "../text/bytes.js"

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

// Signatures as https://www.standardwebhooks.com describes them: version 1, HMAC-SHA-256.

/** How far the clocks of sender and receiver may be apart, and how long a message may travel, in seconds. */
const tolerance = 300

/** Reads a key: base64, with or without `whsec_` before it. */
export const readKey = (secret: string): Uint8Array | undefined => {
  const text = secret.replace(/^whsec_/, "")
  if (text === "" || !/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.replaceAll("=", "").length % 4 === 1) return undefined
  return Uint8Array.from(atob(text.replaceAll("=", "")), (character) => character.charCodeAt(0))
}

/** The three headers, or what is wrong with them. The signatures are one or more of `v1,<base64>`, with spaces between. */
export const readHeaders = (header: (name: string) => string | undefined, now: number) => {
  const id = header("webhook-id")
  const timestamp = header("webhook-timestamp")
  const signatures = header("webhook-signature")
  if (!id || !timestamp || !signatures) return "Missing"
  if (!/^\d{1,15}$/.test(timestamp)) return "Malformed"
  const age = Math.floor(now / 1000) - Number(timestamp)
  if (age > tolerance) return "TooOld"
  return age < -tolerance ? "TooNew" : { id, timestamp, signatures }
}

type Envelope = Exclude<ReturnType<typeof readHeaders>, string>

/** Whether one of the signatures was made with one of the keys. All are compared, whichever matches. */
export const verify = Effect.fnUntraced(function* (
  { id, signatures, timestamp }: Envelope,
  body: Uint8Array,
  keys: ReadonlyArray<Uint8Array>
) {
  const given = signatures
    .split(" ")
    .slice(0, 64)
    .filter((signature) => signature.startsWith("v1,"))
    .map((signature) => signature.slice(3))
  const prefix = utf8(`${id}.${timestamp}.`)
  let matches = 0
  for (const key of keys) {
    const expected = Encoding.encodeBase64(yield* hmacOfBody(key, prefix, body))
    for (const signature of given) if (isSame(expected, signature)) matches++
  }
  return matches > 0
})
