import * as Files from "effect-runpod/Files"
import * as RunPod from "effect-runpod/RunPod"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as Effect from "effect/Effect"
import { UsageError } from "../shell/errors.js"
import { check, isStdout, journal as journalUses, log as logUses, read as readUses, written } from "../shell/files.js"
import { checkStdin } from "../shell/input.js"
import type { Source } from "./inputs.js"
import type * as Recipes from "./recipe.js"

/** What holds for one run only. */
export interface OfThisRun {
  readonly retryFailed: boolean
  readonly resubmitAmbiguous: boolean
  readonly force: boolean
  readonly record: string | undefined
}

/** A batch, as its command line and its recipe have it. */
export interface Plan {
  readonly recipe: Recipes.Recipe
  readonly journal: string | undefined
  readonly ofThisRun: OfThisRun
}

export const sourceOf = ({ recipe }: Plan): Source => ({ path: recipe.inputs, format: recipe.format, key: recipe.key })

/** Options that contradict each other, or need another one. */
export const checkOptions = ({ journal, ofThisRun: { force, retryFailed }, recipe: { maxCost, rate } }: Plan) => {
  const wrong = (message: string) => new UsageError({ message })
  if (maxCost !== undefined && rate === undefined) {
    return wrong("--max-cost needs --rate: what a worker costs in USD a second.")
  }
  if (journal !== undefined) return Effect.void
  if (force) return wrong("--force needs --journal: it takes the journal although another process seems to have it.")
  return retryFailed ? wrong("--retry-failed needs --journal, which has what an earlier run saw fail.") : Effect.void
}

/** Fails where the files of a batch cannot be used together, before any of them is opened. */
export const checkFiles = ({ journal, ofThisRun, recipe }: Plan) =>
  Effect.gen(function* () {
    yield* checkStdin(recipe.inputs, recipe.keyFile)
    yield* check(
      written("--out", recipe.out),
      journalUses("the journal", journal),
      logUses("--record", ofThisRun.record),
      readUses("the file of the inputs", recipe.inputs),
      readUses("--key-file", recipe.keyFile)
    )
    if (recipe.inputs !== "-") yield* Files.checkReadable(recipe.inputs)
    const all = [recipe.out, journal, ofThisRun.record].filter((path) => path !== undefined)
    for (const path of all) if (!isStdout(path)) yield* Files.checkWritable(path)
  })

/** What means that nothing can be submitted. */
const refusals: ReadonlyArray<string> = [
  ...["AuthenticationError", "PermissionDeniedError", "EndpointNotFoundError", "EndpointPausedError"]
]

/**
 * Asks for the endpoint before any file is touched: whether RunPod has answered. Fails where nothing could be submitted: the key or the endpoint is
 * wrong, or, for a new batch, nobody is reached. A batch that goes on may have all of its outcomes in the journal.
 */
export const reach = (endpoint: string, isNew: boolean) => {
  const isFatal = (error: RunPodError): boolean =>
    refusals.includes(error._tag) ||
    (error._tag === "BadRequestError" && error.status === undefined) ||
    (error._tag === "TransportError" && error.sent === "No" && isNew)
  return Effect.flatMap(RunPod.RunPod, ({ health }) => health(endpoint)).pipe(
    Effect.as(true),
    Effect.catchIf(
      (error) => !isFatal(error),
      () => Effect.succeed(false)
    )
  )
}
