/**
 * A batch in chunks that workflows drive, here over a file. This program starts itself a second time as a child, kills that with SIGKILL in the
 * middle of the batch, and goes on with it. With `BatchCluster.layerPostgres` in the place of `layerSqlite` others go on at once, on any machine.
 */
import { NodeContext } from "@effect/platform-node"
import { FileSystem } from "@effect/platform"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { NodeRunPod } from "effect-runpod/Node"
import { Array, Console, Effect, Layer, Option, Schema, Stream } from "effect"
import { killedRun, sharedRunPod } from "./support/killedRun.js"
import { endpointId } from "./support/runpod.js"

/** What all processes have in common. */
const bicycles = Effect.map(endpointId, (endpoint) =>
  BatchCluster.make({
    name: "bicycles",
    endpoint,
    input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
    output: Schema.Unknown,
    chunkSize: 20,
    concurrency: 8
  })
)

const inputs = Array.makeBy(60, (seed) => ({ prompt: "a red bicycle", seed }))

/** Works on the batch until the outcomes behind `after` have come. */
const work = <A, E, R>(file: string, use: (kind: Effect.Effect.Success<typeof bicycles>) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(bicycles, (kind) =>
    use(kind).pipe(
      Effect.provide(
        kind.layer.pipe(Layer.provideMerge(BatchCluster.layerSqlite(file, { lease: "2 seconds", grace: "1 second" })))
      )
    )
  )

const child = (file: string) =>
  work(file, (kind) =>
    Effect.zipRight(
      kind.start("today", inputs),
      Stream.runForEach(kind.outcomes("today", { poll: "100 millis" }), ({ key }) => Console.log(key))
    )
  ).pipe(Effect.provide(NodeRunPod.layerConfig()))

const parent = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/batches.db`
  const runPod = yield* sharedRunPod({ min: "50 millis", max: "200 millis" })

  const seen = yield* killedRun(file, runPod.variables)
  yield* Console.log(`killed after ${seen} of ${inputs.length} outcomes`)
  yield* work(file, (kind) =>
    Effect.gen(function* () {
      // The same once more: it is gone on with.
      yield* kind.start("today", inputs)
      yield* kind.awaitEnd("today", { poll: "100 millis" })
      const { completed, counts, open } = yield* kind.report("today")
      yield* Console.log(`${completed} completed, ${open} open`, counts)
    })
  ).pipe(Effect.provide(runPod.layer))
  const submitted = yield* runPod.submitted
  if (Option.isSome(submitted)) yield* Console.log(`jobs submitted by both: ${submitted.value}`)
}).pipe(Effect.scoped)

const [file] = process.argv.slice(2)

const main = Effect.gen(function* () {
  if (file === undefined) yield* parent
  else yield* child(file)
})

NodeRunPod.runMain(Effect.provide(main, NodeContext.layer))
