import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import process from "node:process"
import * as Line from "./line.js"
import { print } from "./terminal.js"

export const formats = ["text", "json", "jsonl"] as const

/** How data is written: for people, as one JSON document, or as a line of JSON for each value. */
export type Format = (typeof formats)[number]

/** Where data goes: stdout, or a file. */
export type Write<E = never> = (text: string) => Effect.Effect<void, E>

/** Writes what a command was asked for to stdout, and nothing else. */
export interface Service<W = never> {
  readonly format: Format
  /** The only value of a command. */
  readonly one: (value: unknown, text: string) => Effect.Effect<void, W>
  /** Values as they come: with `json` an array, which is closed however the stream ends. `text` brings its own line ends. */
  readonly each: <A, E, R>(
    values: Stream.Stream<A, E, R>,
    toJson: (value: A) => unknown,
    text: (value: A) => string
  ) => Effect.Effect<void, E | W, R>
}

export class Output extends Context.Tag("effect-runpod-cli/Output")<Output, Service>() {}

/** Writes to stdout, and waits until it has room. Where the reader has gone, `main.ts` stops the command: here that is no error. */
export const toStdout: Write = (text) =>
  Effect.async((resume) => {
    Line.makeRoom()
    print(process.stdout, text, () => resume(Effect.void))
  })

/** JSON, secrets left out. What JSON does not have, such as BigInts of a worker's answer, is text. */
export const toJson = (value: unknown, indent?: number): string =>
  JSON.stringify(
    value,
    (_, entry: unknown) => {
      if (Redacted.isRedacted(entry)) return undefined
      return typeof entry === "bigint" ? String(entry) : entry
    },
    indent
  ) ?? "null"

/** A value for people: texts as they are. */
export const toText = (value: unknown): string => (typeof value === "string" ? value : toJson(value, 2))

/** A row of a list for people: its texts on one line, with tabs between them. */
export const toRow = (...texts: ReadonlyArray<string>): string =>
  `${texts.map((text) => text.replace(/[\r\n\t]+/g, " ")).join("\t")}\n`

export const make = <W = never>(format: Format, write: Write<W>): Service<W> => ({
  format,
  one: (value, text) =>
    write(format === "text" ? `${text}\n` : `${toJson(value, format === "json" ? 2 : undefined)}\n`),
  each: (values, valueOf, text) => {
    if (format === "text") return Stream.runForEach(values, (value) => write(text(value)))
    if (format === "jsonl") return Stream.runForEach(values, (value) => write(`${toJson(valueOf(value))}\n`))
    let separator = "[\n"
    const all = Stream.runForEach(values, (value) => {
      const begin = separator
      separator = ",\n"
      return write(`${begin}${toJson(valueOf(value))}`)
    })
    return Effect.onExit(all, () => Effect.ignore(write(separator === "[\n" ? "[]\n" : "\n]\n")))
  }
})

export const layer = (format: Format): Layer.Layer<Output> => Layer.succeed(Output, make(format, toStdout))
