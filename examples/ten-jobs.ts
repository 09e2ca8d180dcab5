/**
 * Run ten jobs at once, and keep going when one of them fails.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { Array, Console, Effect, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
    output: Schema.Unknown
  })

  const inputs = Array.makeBy(10, (seed) => ({ prompt: "a red bicycle", seed }))

  // `either` turns a failed job into a value. Without it the first failure would end the rest, and cancel their jobs.
  const results = yield* Effect.forEach(inputs, (input) => Effect.either(endpoint.call(input)), {
    concurrency: "unbounded"
  })

  const [failures, outputs] = Array.separate(results)
  yield* Console.log(`${outputs.length} completed, ${failures.length} failed`)
  yield* Effect.forEach(failures, (error) => Console.log(`${error._tag}: ${error.message}`))
})

const layer = runPodOrEmulator({
  workers: 3,
  handler: ({ seed }) =>
    seed === 7
      ? Effect.fail(new Error("CUDA out of memory"))
      : Effect.delay(Effect.succeed({ image: `bicycle-${seed}.png` }), "300 millis")
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
