/**
 * A batch that is run twice: some of its jobs failed, the worker was mended, and the second run with the same journal runs
 * those again and no other. Out of memory is worth another try; a prompt that the worker refuses is not.
 */
import { NodeContext } from "@effect/platform-node"
import { FileSystem } from "@effect/platform"
import { Batch, BatchJournal, Endpoint, type JobError } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Array, Console, Effect, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const inputs = Array.makeBy(60, (seed) => ({ prompt: seed === 13 ? "" : "a red bicycle", seed }))

const isOutOfMemory = (error: JobError.JobError) =>
  error._tag === "JobFailedError" && (error.detail?.includes("out of memory") ?? false)

/** The whole program, were it started by hand each time: only the journal knows what was done before. */
const runBatch = (file: string) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make(yield* endpointId, {
      input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
      output: Schema.Unknown
    })
    const journal = yield* BatchJournal.file(file)
    const key = ({ seed }: (typeof inputs)[number]) => `bicycle-${seed}`
    return yield* Batch.collect(endpoint, inputs, { key, journal, onFailed: isOutOfMemory })
  }).pipe(Effect.scoped)

/** What the emulator's worker is: one with too little memory, until it is mended. */
let memory = 16

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/bicycles.jsonl`
  yield* Console.log(Batch.toText(yield* runBatch(file)))

  memory = 24
  const second = yield* runBatch(file)
  yield* Console.log(`\n${Batch.toText(second)}`)
  const again = second.results.filter(({ replayed }) => !replayed)
  yield* Console.log(`run again: ${again.map(({ attempts, key }) => `${key} (${attempts} attempts)`).join(", ")}`)
}).pipe(Effect.scoped)

const layer = runPodOrEmulator({
  workers: 12,
  handler: ({ prompt, seed }) => {
    if (prompt === "") return Effect.fail(new Error("the prompt is empty"))
    if (Number(seed) % 20 === 7 && memory < 24) return Effect.fail(new Error("CUDA out of memory"))
    return Effect.delay(Effect.succeed({ image: `bicycle-${seed}.png` }), "100 millis")
  }
})

program.pipe(Effect.provide(layer), Effect.provide(NodeContext.layer), NodeRunPod.runMain)
