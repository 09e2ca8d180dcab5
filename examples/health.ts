/**
 * Look at an endpoint's queue and workers.
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

  // RunPod may leave any number out: missing means unknown, not zero.
  const report = Effect.flatMap(endpoint.health, ({ jobs, workers }) =>
    Console.log(
      `jobs: ${jobs.inQueue ?? "?"} queued, ${jobs.inProgress ?? "?"} running, ${jobs.completed ?? "?"} completed;`,
      `workers: ${workers.initializing ?? "?"} starting, ${workers.running ?? "?"} running, ${workers.idle ?? "?"} idle`
    )
  )

  yield* report
  const jobs = yield* Effect.forEach(["one", "two", "three"], (prompt) => endpoint.run({ prompt }))
  yield* report
  yield* Effect.forEach(jobs, (job) => job.settle(), { concurrency: "unbounded" })
  yield* report
})

const layer = runPodOrEmulator({
  workers: 2,
  coldStart: "300 millis",
  handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: prompt }), "300 millis")
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
