import { FileSystem } from "@effect/platform/FileSystem"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as BatchJournal from "effect-runpod/BatchJournal"
import * as Files from "effect-runpod/Files"
import * as Effect from "effect/Effect"
import type { Plan } from "./plan.js"
import * as Recipes from "./recipe.js"
import { recipeOf } from "./recipePath.js"

/** Notes how the batch is run when the first of its items is: a batch that never began leaves what was noted of another. */
const withRecipe = (journal: BatchJournal.BatchJournal, file: string, recipe: Recipes.Recipe) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    const write = Recipes.write(file, recipe).pipe(
      Effect.provideService(FileSystem, fs),
      Effect.mapError(
        ({ detail, file, reason }) => new BatchJournalError({ reason: "Io", file, detail, problem: reason })
      )
    )
    const once = yield* Effect.cached(write)
    const isNoted = yield* Effect.orElseSucceed(fs.exists(recipeOf(file)), () => false)
    const noting: BatchJournal.BatchJournal = {
      ...journal,
      begin: (endpointId) => Effect.zipRight(journal.begin(endpointId), isNoted ? Effect.void : once),
      append: (entry) => Effect.zipRight(once, journal.append(entry))
    }
    return noting
  })

export const openJournal = Effect.fnUntraced(function* ({ journal: file, ofThisRun, recipe }: Plan) {
  if (file === undefined) return undefined
  yield* Files.makeFolder(file)
  return yield* withRecipe(yield* BatchJournal.file(file, { force: ofThisRun.force }), file, recipe)
})
