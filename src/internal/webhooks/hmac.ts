import { concatBytes } from "../text/bytes.js"
import { digest } from "../text/sha256.js"

const encoder = new TextEncoder()
const blockLength = 64

/** The UTF-8 of a text. */
export const utf8 = (text: string): Uint8Array => encoder.encode(text)

/** HMAC-SHA-256 (RFC 2104) of a short message, at once. */
export const hmac = (key: Uint8Array, message: Uint8Array): Uint8Array => {
  const block = new Uint8Array(blockLength)
  block.set(key.length > blockLength ? digest(key) : key)
  const padded = (pad: number) => block.map((byte) => byte ^ pad)
  return digest(concatBytes([padded(0x5c), digest(concatBytes([padded(0x36), message]))]))
}

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
