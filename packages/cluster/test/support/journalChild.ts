/** A process that runs a batch with a journal in a database, says when it has begun, and at its end how each item came out. */
import { Cause, Effect, Exit, Option, Schema } from "effect"
import { Batch, Endpoint } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Sql } from "effect-runpod-cluster"
import { clientOf, type Place } from "./clients.js"

export interface JournalChild {
  readonly url: string
  readonly place: Place
  readonly count: number
  readonly journal: Sql.JournalOptions
  readonly concurrency: number
}

const { concurrency, count, journal: journalOptions, place, url }: JournalChild = JSON.parse(process.argv[2] ?? "")
const Numbered = Schema.Struct({ n: Schema.Number })

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make("ep", { input: Numbered, output: Numbered })
  const journal = yield* Sql.journal(journalOptions)
  process.stdout.write("begun\n")
  const inputs = Array.from({ length: count }, (_, n) => ({ n }))
  const { results } = yield* Batch.collect(endpoint, inputs, { concurrency, journal })
  const kinds = results.map(({ key, result }) => [
    key,
    Exit.isSuccess(result) ? "Completed" : Option.getOrThrow(Cause.failureOption(result.cause))._tag
  ])
  process.stdout.write(`${JSON.stringify(kinds)}\n`)
})

program.pipe(
  Effect.scoped,
  Effect.provide(clientOf(place)),
  Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: url })),
  NodeRunPod.runMain
)
