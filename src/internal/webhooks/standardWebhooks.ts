import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Hmac from "./hmac.js"

/** Signatures as https://www.standardwebhooks.com describes them: version 1, HMAC-SHA-256. */

/** How far the clocks of sender and receiver may be apart, and how long a message may travel, in seconds. */
const tolerance = 300

/** What is signed, besides the body. */
export interface Envelope {
  readonly id: string
  readonly timestamp: string
  /** One or more of `v1,<base64>`, with spaces between. */
  readonly signatures: string
}

export type Problem = "Missing" | "Malformed" | "TooOld" | "TooNew" | "Mismatch"

/** A key that cannot be read back. A body can be long, so this is WebCrypto, which has threads of its own. */
export const importKey = (secret: Uint8Array<ArrayBuffer>): Effect.Effect<CryptoKey> =>
  Effect.promise(() => crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]))

const sign = (key: CryptoKey, message: Uint8Array<ArrayBuffer>): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.sign("HMAC", key, message)),
    (signature) => Encoding.encodeBase64(new Uint8Array(signature))
  )

/** Reads a key: base64, with or without `whsec_` before it. */
export const readKey = (secret: string): Uint8Array<ArrayBuffer> | undefined => {
  const text = secret.replace(/^whsec_/, "")
  if (text === "" || !/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.replaceAll("=", "").length % 4 === 1) return undefined
  return Uint8Array.from(atob(text.replaceAll("=", "")), (character) => character.charCodeAt(0))
}

/** The three headers, or what is wrong with them before the body has been looked at. `now` is milliseconds. */
export const readHeaders = (header: (name: string) => string | undefined, now: number): Envelope | Problem => {
  const id = header("webhook-id")
  const timestamp = header("webhook-timestamp")
  const signatures = header("webhook-signature")
  if (!id || !timestamp || !signatures) return "Missing"
  if (!/^\d{1,15}$/.test(timestamp)) return "Malformed"
  const age = Math.floor(now / 1000) - Number(timestamp)
  if (age > tolerance) return "TooOld"
  return age < -tolerance ? "TooNew" : { id, timestamp, signatures }
}

/** Whether one of the signatures is that of one of the keys. All are compared, whichever matches. */
export const verify = (
  { id, signatures, timestamp }: Envelope,
  body: Uint8Array,
  keys: ReadonlyArray<CryptoKey>
): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const head = Hmac.utf8(`${id}.${timestamp}.`)
    const message = new Uint8Array(head.length + body.length)
    message.set(head)
    message.set(body, head.length)
    const given = signatures
      .split(" ")
      .slice(0, 64)
      .filter((signature) => signature.startsWith("v1,"))
      .map((signature) => signature.slice(3))
    return Effect.map(
      Effect.forEach(keys, (key) => sign(key, message)),
      (expected) => {
        let matches = 0
        for (const a of expected) for (const b of given) if (Hmac.isSame(a, b)) matches++
        return matches > 0
      }
    )
  })
