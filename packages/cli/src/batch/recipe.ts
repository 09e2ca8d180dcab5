import * as Files from "effect-runpod/Files"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { resolve } from "node:path"
import { UsageError } from "../shell/errors.js"
import { issueOf, textOf } from "../shell/input.js"
import { inputFormats } from "./formats.js"
import { recipeOf } from "./recipePath.js"

/** How a batch is run: what `batch resume` has to know of it. */
export const Recipe = Schema.Struct({
  endpoint: Schema.String,
  /** The file of the inputs, or `-`. */
  inputs: Schema.String,
  format: Schema.optional(Schema.Literal(...inputFormats)),
  key: Schema.optional(Schema.String),
  out: Schema.optional(Schema.String),
  keyFile: Schema.optional(Schema.String),
  concurrency: Schema.optional(Schema.Number),
  maxFailures: Schema.optional(Schema.Number),
  /** Times are milliseconds. */
  deadline: Schema.optional(Schema.DurationFromMillis),
  timeout: Schema.optional(Schema.DurationFromMillis),
  executionTimeout: Schema.optional(Schema.DurationFromMillis),
  ttl: Schema.optional(Schema.DurationFromMillis),
  retries: Schema.optional(Schema.Number),
  /** In USD. */
  maxCost: Schema.optional(Schema.Number),
  /** What a worker costs, in USD a second. */
  rate: Schema.optional(Schema.Number),
  expectedExecution: Schema.optional(Schema.DurationFromMillis)
})

export interface Recipe extends Schema.Schema.Type<typeof Recipe> {}

const Stored = Schema.parseJson(Recipe)

const absolute = (path: string | undefined) => (path === undefined || path === "-" ? path : resolve(path))

/** Notes how the batch of a journal is run. From another folder it is resumed with the same files. */
export const write = Effect.fnUntraced(function* (journal: string, recipe: Recipe) {
  const { inputs, keyFile, out, ...others } = recipe
  const text = Schema.encodeSync(Stored)({
    ...others,
    inputs: absolute(inputs) ?? inputs,
    out: absolute(out),
    keyFile: absolute(keyFile)
  })
  yield* Files.replace(recipeOf(journal), `${text}\n`)
})

/** How the batch of a journal was run. */
export const read = Effect.fnUntraced(function* (journal: string) {
  yield* Files.checkReadable(journal)
  const file = recipeOf(journal)
  const wrong = (why: string) =>
    new UsageError({
      message: `${file}, which batch run writes beside the journal, ${why}. Use batch run with the same inputs and journal.`
    })
  const text = yield* Effect.mapError(textOf(file), (error) =>
    error._tag === "FileError" && error.reason === "Missing" ? wrong("is not there") : error
  )
  return yield* Effect.mapError(Schema.decode(Stored)(text), (error) =>
    wrong(`does not tell how to resume it: ${issueOf(error)}`)
  )
})
