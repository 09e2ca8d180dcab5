/** A process that runs a batch with a journal, says when it has begun, and at its end how each item came out. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Effect from "effect/Effect"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import { endpoint, inputs, kindOf, type Numbered } from "./batches.js"

const [baseUrl = "", file = "", count = "0", json = "{}"] = process.argv.slice(2)
const options: Batch.Options<Numbered> = JSON.parse(json)

const program = Effect.gen(function* () {
  const ep = yield* endpoint
  const journal = yield* BatchJournal.file(file, { id: "crashes" })
  process.stdout.write("begun\n")
  const { results } = yield* Batch.collect(ep, inputs(Number(count)), { concurrency: 12, ...options, journal })
  process.stdout.write(`${JSON.stringify(results.map((outcome) => [outcome.key, kindOf(outcome)]))}\n`)
})

program.pipe(
  Effect.scoped,
  Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl })),
  Effect.provide(NodeFileSystem.layer),
  NodeRunPod.runMain
)
