import * as NodeStream from "@effect/platform-node/NodeStream"
import { FileSystem } from "@effect/platform/FileSystem"
import * as EndpointId from "effect-runpod/EndpointId"
import type { FileError } from "effect-runpod/FileError"
import * as Files from "effect-runpod/Files"
import * as Effect from "effect/Effect"
import { ArrayFormatter, type ParseError } from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import process from "node:process"
import { excerptOf, UsageError } from "./errors.js"

/** An error of stdin, which is one of Node's. */
const unreadable = (cause: unknown): UsageError => {
  const code = Predicate.hasProperty(cause, "code") ? cause.code : undefined
  const why = code === "EISDIR" ? "it is a folder" : `the system says ${String(code)}`
  return new UsageError({ message: `stdin cannot be read: ${why}. Give a file, or pipe the data into this command.` })
}

/** Fails where stdin would be read twice: there is one of it in a process. */
export const checkStdin = (...given: ReadonlyArray<string | undefined>): Effect.Effect<void, UsageError> =>
  given.filter((path) => path === "-").length > 1
    ? new UsageError({ message: "Only one of the arguments can be - for stdin: give a file for the others." })
    : Effect.void

const stdin = Stream.suspend(() => NodeStream.fromReadable(() => process.stdin, unreadable))

/** The bytes of stdin (`-`) or of a file. */
export const bytesOf = (path: string): Stream.Stream<Uint8Array, FileError | UsageError, FileSystem> => {
  if (path === "-") return stdin
  const bytes = Effect.map(FileSystem, (fs) => Stream.mapError(fs.stream(path), Files.fromPlatformError(path)))
  return Stream.unwrap(Effect.zipRight(Files.checkReadable(path), bytes))
}

/** The text of stdin (`-`) or of a file. */
export const textOf = (path: string): Effect.Effect<string, FileError | UsageError, FileSystem> =>
  Stream.mkString(Stream.decodeText(bytesOf(path)))

/** The text of an argument that is a literal, `@file` or `-` for stdin. */
export const literalOf = (argument: string): Effect.Effect<string, FileError | UsageError, FileSystem> => {
  if (argument === "-") return textOf("-")
  return argument.startsWith("@") ? textOf(argument.slice(1)) : Effect.succeed(argument)
}

/** The JSON of an argument that is a literal, `@file` or `-` for stdin. `what` names it for its errors. */
export const jsonOf = (argument: string, what: string): Effect.Effect<unknown, FileError | UsageError, FileSystem> =>
  Effect.flatMap(literalOf(argument), (text) =>
    Effect.try({
      try: (): unknown => JSON.parse(text),
      catch: (error) =>
        new UsageError({
          message: `${what} is no JSON: ${excerptOf(String(error))}. Give JSON, @file, or - for stdin.`
        })
    })
  )

export type JsonObject = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is JsonObject => Predicate.isRecord(value)

/** As `jsonOf`, and an object. */
export const objectOf = (
  argument: string,
  what: string
): Effect.Effect<JsonObject, FileError | UsageError, FileSystem> =>
  Effect.filterOrFail(
    jsonOf(argument, what),
    isObject,
    () => new UsageError({ message: `${what} is no JSON object, such as {"prompt": "a cat"}.` })
  )

/** What of a value is not as it has to be: the place that is the deepest, and what was expected there. */
export const issueOf = (error: ParseError): string => {
  const [issue] = [...ArrayFormatter.formatErrorSync(error)].sort((a, b) => b.path.length - a.path.length)
  if (issue === undefined) return excerptOf(error.message)
  const place = issue.path.map(String).join(".")
  return `${place === "" ? "" : `${excerptOf(place)}: `}${inShort(issue.message)}`
}

const longestType = 60

/** The types of whole schemas are left out of a message: they are as long as the schema. */
const inShort = (message: string): string => {
  const [, expected = "", actual = ""] = /^Expected ([^]*), actual ([^]*)$/.exec(message) ?? []
  if (expected === "") return excerptOf(message, 200)
  const type = expected.length > longestType ? (expected.startsWith("{") ? "an object" : "something else") : expected
  return `${type} was expected, and ${excerptOf(actual, 60)} was found`
}

/** Fails where ids could not be those of endpoints. */
export const checkEndpoints = (ids: ReadonlyArray<string>): Effect.Effect<void, UsageError> => {
  const wrong = ids.find((id) => EndpointId.problemOf(id) !== undefined)
  if (wrong === undefined) return Effect.void
  const problem = EndpointId.problemOf(wrong) ?? ""
  return new UsageError({ message: `"${excerptOf(wrong)}" can be no id of an endpoint: ${problem}.` })
}
