import * as Either from "effect/Either"
import { identity } from "effect/Function"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { ChatChunk, ChatCompletion } from "../ChatCompletion.js"
import { MalformedAnswerError, type ModelError } from "../ModelError.js"
import { chunkOf, GrowingChoice } from "./choices.js"
import { ChunkReader } from "./chunkReader.js"
import { arrayOf, describe, isJsonObject, parseJson } from "./json.js"
import { readScrubbed, type Scrub, scrubJson } from "./scrub.js"
import { errorIn } from "./workerError.js"

/** What `ChatCompletion` promises of its instances; they are only made here. */
const isCompletion = (value: unknown): value is ChatCompletion =>
  isJsonObject(value) && "raw" in value && Array.isArray(value["choices"])

/** The answer that chunks make together. */
export const assemble = (chunks: Iterable<ChatChunk>, raw: unknown): ChatCompletion => {
  let head: ChatChunk | undefined
  let usage: ChatCompletion["usage"]
  const choices = new Map<number, GrowingChoice>()
  for (const chunk of chunks) {
    head ??= chunk
    usage = chunk.usage ?? usage
    for (const delta of chunk.choices) {
      const choice = choices.get(delta.index) ?? new GrowingChoice(delta.index)
      choices.set(delta.index, choice)
      choice.add(delta)
    }
  }
  const sorted = [...choices.values()].map(({ choice }) => choice).sort((a, b) => a.index - b.index)
  return { id: head?.id, model: head?.model, created: head?.created, choices: sorted, usage, raw }
}

const malformed = (found: unknown): Either.Either<never, ModelError> =>
  Either.left(new MalformedAnswerError({ issue: `expected a chat completion, got ${describe(found)}` }))

/** The pieces of a stream, all of them. */
const readPieces = (pieces: ReadonlyArray<unknown>, scrub: Scrub): Either.Either<ChatCompletion, ModelError> => {
  const reader = new ChunkReader(scrub)
  const chunks: Array<ChatChunk> = []
  for (const read of [...pieces.map((piece) => reader.push(piece)), reader.end()]) {
    chunks.push(...read.chunks)
    if (read.error !== undefined) return Either.left(read.error)
  }
  return Either.right(assemble(chunks, pieces))
}

/**
 * Reads an answer that is an object, or a job's output: the object, its JSON, an array of what the handler yielded, or the pieces of
 * a stream.
 */
export const read = (value: unknown, scrub: Scrub = identity): Either.Either<ChatCompletion, ModelError> =>
  Either.map(
    readScrubbed(
      value,
      (quoted) => scrubJson(quoted, scrub),
      (whole) => readAny(whole, scrub)
    ),
    (completion) => ({ ...completion, raw: value })
  )

const readAny = (value: unknown, scrub: Scrub): Either.Either<ChatCompletion, ModelError> => {
  if (Array.isArray(value)) {
    const pieces = arrayOf(value)
    const [first] = pieces
    if (pieces.length === 0) return malformed(value)
    if (pieces.length === 1 && (typeof first !== "string" || isJson(first))) return readAny(first, scrub)
    return readPieces(pieces, scrub)
  }
  if (typeof value === "string") return isJson(value) ? readAny(parseJson(value), scrub) : readPieces([value], scrub)
  const error = errorIn(value)
  if (error !== undefined) return Either.left(error)
  const chunk = chunkOf(value)
  return chunk === undefined || !saysSomething(value) ? malformed(value) : Either.right(assemble([chunk], value))
}

/** `ChatCompletion` whose issues are without what `scrub` strikes out. */
export const schemaOf = (scrub: Scrub): Schema.Schema<ChatCompletion, unknown> =>
  Schema.transformOrFail(
    Schema.Unknown,
    Schema.declare((value): value is ChatCompletion => isCompletion(value), { identifier: "ChatCompletion" }),
    {
      strict: true,
      decode: (value, _, ast) =>
        Either.mapLeft(read(value, scrub), (error) => new ParseResult.Type(ast, value, error.message)),
      encode: ({ raw }) => ParseResult.succeed(raw)
    }
  )

/** Whether each choice has its message: without one it is no short answer, but none. */
const saysSomething = (value: unknown): boolean => {
  const choices = isJsonObject(value) ? arrayOf(value["choices"]) : []
  return (
    choices.length > 0 &&
    choices.every((choice) => isJsonObject(choice) && [choice["message"], choice["delta"]].some(isJsonObject))
  )
}

/** Whether a text is an object or an array, whole. */
const isJson = (text: unknown): boolean => {
  const value = typeof text === "string" ? parseJson(text) : undefined
  return typeof value === "object" && value !== null
}
