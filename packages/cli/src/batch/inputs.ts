import * as NodeStream from "@effect/platform-node/NodeStream"
import type { FileSystem } from "@effect/platform/FileSystem"
import { parse } from "csv-parse"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type LocalError, UsageError } from "../shell/errors.js"
import { bytesOf, isObject, type JsonObject } from "../shell/input.js"
import type { InputFormat } from "./formats.js"

/** Where the inputs of a batch are, and how they are written. */
export interface Source {
  /** `-` for stdin. */
  readonly path: string
  /** Default: by the name of the file, JSON lines for what does not end in `.csv`. */
  readonly format: InputFormat | undefined
}

export type Inputs<R = FileSystem> = Stream.Stream<JsonObject, LocalError | UsageError, R>

/** Lines of JSON, each an object; empty ones count for nothing. */
const jsonLines = ({ path }: Source): Inputs =>
  bytesOf(path).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.zipWithIndex,
    Stream.filter(([line]) => line.trim() !== ""),
    Stream.mapEffect(([line, index]) =>
      Effect.try({
        try: (): unknown => JSON.parse(line.replace(/^\ufeff/, "")),
        catch: (error) => new UsageError({ message: `Line ${index + 1} of ${path} is no JSON: ${String(error)}` })
      }).pipe(
        Effect.filterOrFail(
          isObject,
          () =>
            new UsageError({ message: `Line ${index + 1} of ${path} is no JSON object, such as {"prompt": "a cat"}` })
        )
      )
    )
  )

/** Rows by the names in the first one; all values are texts. The parser takes chunks as they come, with quotes and line ends in values. */
const csvRows = ({ path }: Source): Inputs =>
  bytesOf(path).pipe(
    NodeStream.pipeThroughDuplex<UsageError, JsonObject>(
      () => parse({ columns: true, bom: true, skip_empty_lines: true }),
      (error) =>
        new UsageError({ message: `${path} is no CSV: ${error instanceof Error ? error.message : String(error)}` })
    )
  )

/** The inputs, read as they are taken. */
export const inputsOf = (source: Source): Inputs => {
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
export const withKeys = <R>(inputs: Inputs<R>, field: string): Inputs<R> =>
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
