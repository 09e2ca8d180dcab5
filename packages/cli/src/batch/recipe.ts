import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { resolve } from "node:path"
import { LocalError, UsageError } from "../shell/errors.js"
import { inputFormats } from "./formats.js"

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

/** Where the recipe of a journal stands: beside it. */
const fileOf = (journal: string): string => `${journal}.batch.json`

const absolute = (path: string | undefined) => (path === undefined || path === "-" ? path : resolve(path))

/** Notes how the batch of a journal is run. From another folder it is resumed with the same files. */
export const write = Effect.fnUntraced(
  function* (journal: string, recipe: Recipe) {
    const fs = yield* FileSystem
    const { inputs, keyFile, out, ...others } = recipe
    const text = yield* Schema.encode(Stored)({
      ...others,
      inputs: absolute(inputs) ?? inputs,
      out: absolute(out),
      keyFile: absolute(keyFile)
    })
    yield* fs.writeFileString(fileOf(journal), `${text}\n`)
  },
  Effect.mapError(
    ({ message }) => new LocalError({ message: `How the batch is run cannot be noted beside its journal: ${message}` })
  )
)

/** How the batch of a journal was run. */
export const read = Effect.fnUntraced(function* (journal: string) {
  const fs = yield* FileSystem
  return yield* Effect.flatMap(fs.readFileString(fileOf(journal)), Schema.decode(Stored)).pipe(
    Effect.mapError(
      ({ message }) =>
        new UsageError({
          message: `${fileOf(journal)}, which batch run writes, does not tell how to resume it: ${message}. Use batch run with the same inputs and journal.`
        })
    )
  )
})
