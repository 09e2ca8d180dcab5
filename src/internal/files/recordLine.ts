/**
 * How a record stands in a log: its JSON, an object, on one line, with the CRC-32 of what stands before as its last field. A
 * file of version 1 has lines without it.
 */
import * as Either from "effect/Either"
import { utf8 } from "../text/bytes.js"
import { crc32 } from "../text/crc32.js"
import { isJsonObject, type JsonObject } from "../text/json.js"
import * as LosslessJson from "../text/losslessJson.js"

const sealStart = utf8(`,"crc":"`)
const digits = 8
const sealEnd = utf8(`"}`)
const sealLength = sealStart.length + digits + sealEnd.length
const brace = 125

const crcText = (crc: number): string => crc.toString(16).padStart(digits, "0")

const seal = (text: string): Uint8Array => {
  const bytes = utf8(`${text.slice(0, -1)},"crc":"00000000"}\n`)
  const end = bytes.length - 1
  const crc = crcText(crc32(bytes, end - sealLength))
  for (let i = 0; i < digits; i++) bytes[end - sealEnd.length - digits + i] = crc.charCodeAt(i)
  return bytes
}

/** A record's line with its line feed; `Left` says why it cannot be written. */
export const encode = (record: object): Either.Either<Uint8Array, string> => {
  const text = LosslessJson.encode(record)
  if (Either.isLeft(text)) return Either.left(text.left)
  try {
    return Either.right(seal(text.right))
  } catch {
    return Either.left("it is too long for a string")
  }
}

/** Whether a seal ends at this place. */
const hasSeal = (bytes: Uint8Array, end: number): boolean => {
  const start = end - sealLength
  const has = (part: Uint8Array, at: number) => part.every((byte, i) => bytes[at + i] === byte)
  return start > 0 && has(sealStart, start) && has(sealEnd, end - sealEnd.length)
}

const crcIn = (bytes: Uint8Array, end: number): string =>
  String.fromCharCode(...bytes.subarray(end - sealEnd.length - digits, end - sealEnd.length))

/** Whether a line has a checksum, true or not. */
export const isSealed = (bytes: Uint8Array): boolean => hasSeal(bytes, bytes.length)

const parse = (text: string, read: (text: string) => unknown): Either.Either<JsonObject, "NotJson"> =>
  Either.try(() => read(text)).pipe(
    Either.mapLeft(() => "NotJson" as const),
    Either.filterOrLeft(isJsonObject, () => "NotJson" as const)
  )

const textOf = (bytes: Uint8Array): Either.Either<string, "NotJson"> =>
  Either.try({
    try: () => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
    catch: () => "NotJson" as const
  })

/** Reads a line without its line feed, and without a seal, as it is in files of version 1. */
export const decodeUnsealed = (bytes: Uint8Array): Either.Either<JsonObject, "NotJson"> =>
  Either.flatMap(textOf(bytes), (text) => parse(text, JSON.parse))

/** Reads a line without its line feed. `Damaged`: it is not what was written. */
export const decode = (bytes: Uint8Array): Either.Either<JsonObject, "NotJson" | "Damaged"> => {
  if (!isSealed(bytes)) return Either.left("Damaged")
  const sealed = bytes.subarray(0, bytes.length - sealLength)
  if (crcIn(bytes, bytes.length) !== crcText(crc32(bytes, sealed.length))) return Either.left("Damaged")
  return Either.flatMap(textOf(sealed), (text) => parse(`${text}}`, LosslessJson.decode))
}

/** Whether a line without a line feed begins with a whole record: then it is no torn end of a write, but damaged. */
export const isOverrun = (bytes: Uint8Array): boolean => {
  let crc = 0
  let done = 0
  for (let at = bytes.indexOf(brace); at >= 0 && at < bytes.length - 1; at = bytes.indexOf(brace, at + 1)) {
    const end = at + 1
    if (!hasSeal(bytes, end)) continue
    crc = crc32(bytes, end - sealLength, done, crc)
    done = end - sealLength
    if (crcIn(bytes, end) === crcText(crc)) return true
  }
  return false
}
