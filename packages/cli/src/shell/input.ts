import * as NodeStream from "@effect/platform-node/NodeStream"
import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import process from "node:process"
import { LocalError, UsageError } from "./errors.js"

/** A failure of the file system as the user sees it. */
const unreadable = (what: string) => (error: { readonly message: string }) =>
  new LocalError({ message: `${what} cannot be read: ${error.message}` })

/** Whether stdin was read: there is one of it in a process. */
let isStdinTaken = false

const stdin = Stream.suspend(() => {
  if (isStdinTaken) return Stream.fail(new LocalError({ message: "Only one of the arguments can be - for stdin." }))
  isStdinTaken = true
  return NodeStream.fromReadable(
    () => process.stdin,
    (cause) => unreadable("stdin")({ message: String(cause) })
  )
})

/** The bytes of stdin (`-`) or of a file. */
export const bytesOf = (path: string): Stream.Stream<Uint8Array, LocalError, FileSystem> => {
  if (path === "-") return stdin
  return Stream.unwrap(Effect.map(FileSystem, (fs) => Stream.mapError(fs.stream(path), unreadable(path))))
}

/** The text of stdin (`-`) or of a file. */
export const textOf = (path: string): Effect.Effect<string, LocalError, FileSystem> =>
  Stream.mkString(Stream.decodeText(bytesOf(path)))

/** The text of an argument that is a literal, `@file` or `-` for stdin. */
export const literalOf = (argument: string): Effect.Effect<string, LocalError, FileSystem> => {
  if (argument === "-") return textOf("-")
  return argument.startsWith("@") ? textOf(argument.slice(1)) : Effect.succeed(argument)
}

/** The JSON of an argument that is a literal, `@file` or `-` for stdin. `what` names it for its errors. */
export const jsonOf = (argument: string, what: string): Effect.Effect<unknown, LocalError | UsageError, FileSystem> =>
  Effect.flatMap(literalOf(argument), (text) =>
    Effect.try({
      try: (): unknown => JSON.parse(text),
      catch: (error) =>
        new UsageError({
          message: `${what} is no JSON: ${error instanceof Error ? error.message : String(error)}. Give JSON, @file, or - for stdin.`
        })
    })
  )

export type JsonObject = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is JsonObject => Predicate.isRecord(value)

/** As `jsonOf`, and an object. */
export const objectOf = (
  argument: string,
  what: string
): Effect.Effect<JsonObject, LocalError | UsageError, FileSystem> =>
  Effect.filterOrFail(
    jsonOf(argument, what),
    isObject,
    () => new UsageError({ message: `${what} is no JSON object, such as {"prompt": "a cat"}.` })
  )
