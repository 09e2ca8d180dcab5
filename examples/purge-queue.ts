/**
 * Remove all queued jobs of an endpoint. Running ones go on.
 *
 * On RunPod this removes whatever is queued on RUNPOD_ENDPOINT_ID, by whomever: take an endpoint where that does no harm.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { Console, Effect, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })

  yield* Effect.forEach(["one", "two", "three", "four"], (prompt) => endpoint.run({ prompt }))

  const { removed } = yield* endpoint.purgeQueue
  yield* Console.log(`removed ${removed ?? "an unknown number of"} queued jobs`)

  const { jobs } = yield* endpoint.health
  yield* Console.log(`${jobs.inQueue ?? "?"} queued, ${jobs.inProgress ?? "?"} running`)
})

// One worker: the first job runs, the others queue behind it.
const layer = runPodOrEmulator({
  workers: 1,
  handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: prompt }), "1 second")
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
