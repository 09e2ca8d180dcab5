import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import { MalformedAnswerError, type ModelError } from "../ModelError.js"
import { arrayOf, describe, isJsonObject, type JsonObject, parseJson } from "./json.js"
import { errorIn } from "./workerError.js"

/** The vectors of an answer, each with the index of its input. */
export interface Embedding {
  readonly index: number
  readonly embeddings: Array<number>
}

const malformed = (issue: string): Either.Either<never, ModelError> => Either.left(new MalformedAnswerError({ issue }))

const vectorOf = (value: unknown): Array<number> | undefined =>
  Array.isArray(value) && value.length > 0 && value.every((entry) => typeof entry === "number") ? value : undefined

/** Reads an answer, or a job's output with one, to so many inputs: a vector for each of them. */
export const read = (value: unknown, inputs: number): Either.Either<Array<Embedding>, ModelError> => {
  if (Array.isArray(value) && value.length === 1) return read(arrayOf(value)[0], inputs)
  if (typeof value === "string" && isJsonObject(parseJson(value))) return read(parseJson(value), inputs)
  const error = errorIn(value)
  if (error !== undefined) return Either.left(error)
  if (!isJsonObject(value) || !Array.isArray(value["data"]))
    return malformed(`expected embeddings, got ${describe(value)}`)
  const found = new Map<number, Embedding>()
  for (const [position, entry] of arrayOf(value["data"]).entries()) {
    const { embedding, index = position } = isJsonObject(entry) ? entry : {}
    const embeddings = vectorOf(embedding)
    if (embeddings === undefined || typeof index !== "number") {
      return malformed(`expected a vector at ${position}, got ${describe(entry)}`)
    }
    found.set(index, { index, embeddings })
  }
  const missing = Array.from({ length: inputs }, (_, index) => index).find((index) => !found.has(index))
  if (missing !== undefined || found.size !== inputs) {
    return malformed(`expected a vector for each of ${inputs} inputs, got ${found.size}`)
  }
  return Either.right([...found.values()])
}

/** A vector in base64: floats of 32 bits, little endian. */
const toBase64 = (vector: ReadonlyArray<number>): string => {
  const view = new DataView(new ArrayBuffer(4 * vector.length))
  for (const [at, value] of vector.entries()) view.setFloat32(4 * at, value, true)
  return Encoding.encodeBase64(new Uint8Array(view.buffer))
}

const floatsOf = (bytes: Uint8Array): Array<number> | undefined => {
  if (bytes.byteLength === 0 || bytes.byteLength % 4 !== 0) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: bytes.byteLength / 4 }, (_, at) => view.getFloat32(4 * at, true))
}

const isFilledList = (value: unknown): boolean => Array.isArray(value) && value.length > 0

/**
 * An answer with its vectors in the format that was asked for, numbers where none was: a client reads one of the other as an empty vector.
 * `undefined` where it has them so, or the format is another.
 */
export const inFormat = (answer: JsonObject, format: unknown): Either.Either<JsonObject | undefined, ModelError> => {
  const isBase64 = format === "base64"
  if (!isBase64 && format !== undefined && format !== null && format !== "float") return Either.right(undefined)
  let hasChanged = false
  const data: Array<unknown> = []
  for (const [position, entry] of arrayOf(answer["data"]).entries()) {
    const { embedding } = isJsonObject(entry) ? entry : {}
    const came = typeof embedding === "string" ? Encoding.decodeBase64(embedding) : undefined
    const bytes = came === undefined ? undefined : Either.getOrElse(came, () => new Uint8Array())
    const vector = bytes === undefined ? vectorOf(embedding) : floatsOf(bytes)
    // Base64 can be of other numbers, which the client has asked for; and a list, of several vectors.
    const isAsAsked = isBase64 ? bytes !== undefined && bytes.byteLength > 0 : isFilledList(embedding)
    if (isAsAsked) data.push(entry)
    else if (vector === undefined) return malformed(`expected a vector at ${position}, got ${describe(entry)}`)
    else {
      hasChanged = true
      data.push({ ...(isJsonObject(entry) ? entry : {}), embedding: isBase64 ? toBase64(vector) : vector })
    }
  }
  return Either.right(hasChanged ? { ...answer, data } : undefined)
}
