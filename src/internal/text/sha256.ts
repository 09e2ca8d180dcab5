import { sha256 as hash } from "@noble/hashes/sha2"
import { bytesToHex } from "@noble/hashes/utils"
import { utf8 } from "./bytes.js"

/** SHA-256, at once: `crypto.subtle` answers on a later turn, which a test's clock does not wait for. */
export const digest = (message: Uint8Array): Uint8Array => hash(message)

export const sha256 = (text: string): string => bytesToHex(digest(utf8(text)))
