/**
 * Cancel a job that is queued or running.
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

  const job = yield* endpoint.run({ prompt: "every leaf of an oak" })
  yield* Effect.sleep("500 millis")

  const cancelled = yield* job.cancel
  yield* Console.log(`${job.id} is ${cancelled.status}`)

  // Whoever waits for it is told.
  yield* job.result().pipe(
    Effect.tap((output) => Console.log("it had ended before:", output)),
    Effect.catchTag("JobCancelledError", (error) => Console.log(error.message))
  )
})

const layer = runPodOrEmulator({
  handler: () => Effect.delay(Effect.succeed({ text: "done" }), "1 minute")
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
