/**
 * A batch with a progress bar and a report. Jobs that fail are outcomes like others; a job whose worker failed is tried once
 * more.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Batch, Endpoint } from "effect-runpod"
import { NodeProgress } from "effect-runpod/Node"
import { Array, Console, Effect, Exit, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
    output: Schema.Unknown
  })

  const inputs = Array.makeBy(60, (seed) => ({ prompt: "a red bicycle", seed }))

  const tracker = yield* Batch.tracker
  const report = yield* Batch.collect(endpoint, inputs, {
    key: ({ seed }) => `bicycle-${seed}`,
    retries: 1,
    timeout: "10 minutes",
    tracker
  }).pipe(NodeProgress.show(tracker, { label: "bicycles" }))

  yield* Console.log(Batch.toText(report))
  const failed = report.results.filter(({ result }) => Exit.isFailure(result))
  yield* Console.log(`failed: ${failed.map(({ attempts, key }) => `${key} (${attempts} attempts)`).join(", ")}`)
})

const layer = runPodOrEmulator({
  workers: 12,
  coldStart: "200 millis",
  handler: ({ seed }) =>
    Effect.delay(
      seed === 7 ? Effect.fail(new Error("CUDA out of memory")) : Effect.succeed({ image: `bicycle-${seed}.png` }),
      "250 millis"
    )
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
