import * as Effect from "effect/Effect"

const encoder = new TextEncoder()

/** The UTF-8 of a text, in an array of its own as WebCrypto wants it. */
export const utf8 = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(encoder.encode(text))

/** A key for HMAC-SHA-256 that cannot be read back. */
export const importKey = (secret: Uint8Array<ArrayBuffer>): Effect.Effect<CryptoKey> =>
  Effect.promise(() => crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]))

/** HMAC-SHA-256 in base64, with its padding. */
export const sign = (key: CryptoKey, message: Uint8Array<ArrayBuffer>): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.sign("HMAC", key, message)),
    toBase64
  )

/** SHA-256 in base64, with its padding. */
export const digest = (message: Uint8Array<ArrayBuffer>): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.digest("SHA-256", message)),
    toBase64
  )

const toBase64 = (bytes: ArrayBuffer): string => btoa(String.fromCharCode(...new Uint8Array(bytes)))

/** Base64 in the letters that a URL can hold, without padding. */
export const toUrlSafe = (base64: string): string =>
  base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")

/**
 * Whether two texts are the same, in a time that tells nothing of where they differ. They are compared as they stand:
 * base64 that was decoded first would match altered last characters as well.
 */
export const isSame = (a: string, b: string): boolean => {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
