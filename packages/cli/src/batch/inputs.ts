import * as NodeStream from "@effect/platform-node/NodeStream"
import { FileSystem } from "@effect/platform/FileSystem"
import { parse } from "csv-parse"
import type { FileError } from "effect-runpod/FileError"
import * as Files from "effect-runpod/Files"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { excerptOf, UsageError } from "../shell/errors.js"
import { bytesOf, isObject, type JsonObject } from "../shell/input.js"
import type { InputFormat } from "./formats.js"

/** Where the inputs of a batch are, and how they are written. */
export interface Source {
  /** `-` for stdin. */
  readonly path: string
  /** Default: by the name of the file, JSON lines for what does not end in `.csv`. */
  readonly format?: InputFormat | undefined
  /** The field that names an input; without it its place does. */
  readonly key?: string | undefined
}

export type Inputs<R = FileSystem> = Stream.Stream<JsonObject, FileError | UsageError, R>

const nameOf = ({ path }: Source): string => (path === "-" ? "stdin" : path)

/** Lines of JSON, each an object; empty ones count for nothing. */
const jsonLines = (source: Source): Inputs =>
  bytesOf(source.path).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.zipWithIndex,
    Stream.filter(([line]) => line.trim() !== ""),
    Stream.mapEffect(([line, index]) => {
      const where = `Line ${index + 1} of ${source.path}`
      return Effect.try({
        try: (): unknown => JSON.parse(line.replace(/^\ufeff/, "")),
        catch: (error) => new UsageError({ message: `${where} is no JSON: ${excerptOf(String(error))}` })
      }).pipe(
        Effect.filterOrFail(
          isObject,
          () => new UsageError({ message: `${where} is no JSON object, such as {"prompt": "a cat"}` })
        )
      )
    })
  )

/** The names of the columns, each once: of two with one name the values of one would be lost. */
const columnsOf = (source: Source) => (names: ReadonlyArray<string>) => {
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice === undefined) return [...names]
  throw new UsageError({
    message: `${nameOf(source)} has two columns named "${excerptOf(twice)}": rename one of them.`
  })
}

/** Rows by the names in the first one; all values are texts. The parser takes chunks as they come, with quotes and line ends in values. */
const csvRows = (source: Source): Inputs =>
  bytesOf(source.path).pipe(
    NodeStream.pipeThroughDuplex<UsageError, JsonObject>(
      () => parse({ columns: columnsOf(source), bom: true, skip_empty_lines: true }),
      (error) =>
        error instanceof UsageError
          ? error
          : new UsageError({
              message: `${nameOf(source)} is no CSV: ${excerptOf(error instanceof Error ? error.message : String(error))}`
            })
    )
  )

const rowsOf = (source: Source): Inputs => {
  const format = source.format ?? (source.path.toLowerCase().endsWith(".csv") ? "csv" : "jsonl")
  return format === "csv" ? csvRows(source) : jsonLines(source)
}

/** The key of an input: the value of one of its fields. */
export const keyIn = (input: JsonObject, field: string): string | undefined => {
  const value = Object.hasOwn(input, field) ? input[field] : undefined
  if (typeof value === "number") return String(value)
  return typeof value === "string" && value !== "" ? value : undefined
}

/** Refuses inputs without a key. */
const withKeys = (inputs: Inputs, field: string): Inputs =>
  inputs.pipe(
    Stream.zipWithIndex,
    Stream.mapEffect(([input, index]) =>
      keyIn(input, field) === undefined
        ? new UsageError({
            message: `Input ${index + 1} has no ${field}, neither a text nor a number, which --key asks for`
          })
        : Effect.succeed(input)
    )
  )

/** The inputs, read as they are taken. */
export const inputsOf = (source: Source): Inputs =>
  source.key === undefined ? rowsOf(source) : withKeys(rowsOf(source), source.key)

/** Fails at the second input with a key. */
const checkKey = (field: string) => {
  const seen = new Set<string>()
  return (input: JsonObject): Effect.Effect<void, UsageError> => {
    const key = keyIn(input, field) ?? ""
    if (!seen.has(key)) return Effect.sync(() => void seen.add(key))
    const message = `Two inputs have the ${field} "${excerptOf(key)}", which --key takes for their name: change one of them.`
    return new UsageError({ message })
  }
}

/** Reads a file of inputs once before anything is sent for it, where it can be read again: whether it was. */
export const check = Effect.fnUntraced(function* (source: Source) {
  if (source.path === "-" || !(yield* Files.isRegular(source.path))) return false
  const { key } = source
  const checkInput = key === undefined ? () => Effect.void : checkKey(key)
  yield* Stream.runForEach(inputsOf(source), checkInput)
  return true
})

/** The inputs, of which the first were read: where that fails, nothing else has begun. */
export const begin = (source: Source) =>
  Effect.gen(function* (): Effect.fn.Return<Inputs<never>, FileError | UsageError, FileSystem | Scope.Scope> {
    const fs = yield* FileSystem
    const pull = yield* Stream.toPull(Stream.provideService(inputsOf(source), FileSystem, fs))
    const rest = Stream.repeatEffectChunkOption(pull)
    return yield* Effect.matchEffect(pull, {
      onFailure: Option.match({ onNone: () => Effect.succeed(Stream.empty), onSome: Effect.fail }),
      onSuccess: (first) => Effect.succeed(Stream.concat(Stream.fromChunk(first), rest))
    })
  })
