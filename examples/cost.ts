/**
 * What a batch has cost, and a budget that stops it. The same journal, with a larger budget, goes on.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Batch, BatchJournal, Cost, Endpoint } from "effect-runpod"
import { Array, Console, Effect, Layer, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

// USD a second. Take the rates of your GPU from RunPod's pricing page.
const cost = Cost.layer({
  rates: Cost.rates({ "NVIDIA L4": { flex: 0.00019, active: 0.00013 } }),
  gpu: "NVIDIA L4",
  startTime: "1 second",
  idleTimeout: "5 seconds"
})

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
    output: Schema.Unknown
  })
  const inputs = Array.makeBy(40, (seed) => ({ prompt: "a red bicycle", seed }))
  const journal = yield* BatchJournal.memory
  const options = { journal, retries: 1, expectedExecution: "500 millis" } as const

  // Each job takes a quarter of a second, so that 0.1 cents are room for about 20.
  const stopped = yield* Batch.collect(endpoint, inputs, { ...options, maxCost: 0.001 })
  yield* Console.log(Batch.toText(stopped))
  yield* Console.log(`stopped by: ${stopped.stopped}, with ${stopped.results.length} of ${inputs.length} outcomes`)

  const report = yield* Batch.collect(endpoint, inputs, { ...options, maxCost: 0.01 })
  yield* Console.log(Batch.toText(report))
  yield* Console.log(`all ${report.results.length}, ${report.replayed} of them from the journal`)
})

const layer = runPodOrEmulator({
  workers: 8,
  coldStart: "200 millis",
  handler: ({ seed }) =>
    Effect.delay(
      seed === 7 ? Effect.fail(new Error("CUDA out of memory")) : Effect.succeed({ image: `bicycle-${seed}.png` }),
      "250 millis"
    )
})

program.pipe(Effect.provide(Layer.merge(layer, cost)), NodeRuntime.runMain)
