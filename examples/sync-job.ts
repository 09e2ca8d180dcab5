/**
 * Submit a job and wait for its output in one step.
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

  // `/run`, then held requests until the job has ended. It works for jobs of any length.
  const called = yield* endpoint.call({ prompt: "a red bicycle" }, { timeout: "5 minutes" })
  yield* Console.log("call:", called)

  // `/runsync` answers a short job with a single request. A job that takes longer is waited for just the same, but RunPod
  // keeps its result for one minute only: prefer `call`.
  const synced = yield* endpoint.runSync({ prompt: "a blue bicycle" }, { timeout: "5 minutes" })
  yield* Console.log("runSync:", synced)
})

const layer = runPodOrEmulator({
  handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: `drew ${prompt}` }), "500 millis")
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
