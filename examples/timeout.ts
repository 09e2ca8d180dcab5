/**
 * Give a job a time limit, or interrupt the fiber that waits for it: either way the job is cancelled and stops billing.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { Console, Deferred, Effect, Fiber, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })

  // `timeout` counts from the call. The job is cancelled in the background.
  yield* endpoint.call({ prompt: "every leaf of an oak" }, { timeout: "1 second" }).pipe(
    Effect.tap((output) => Console.log("in time:", output)),
    Effect.catchTag("WaitTimeoutError", (error) => Console.log(`${error._tag}: ${error.message}`))
  )

  // Interruption comes from anywhere: a race, a closed connection, Ctrl-C. It waits until the cancel is through.
  const seen = yield* Deferred.make<string>()
  const fiber = yield* Effect.fork(
    endpoint.call(
      { prompt: "every leaf of a beech" },
      { onProgress: (job) => Effect.asVoid(Deferred.succeed(seen, job.id)), progressInterval: "1 second" }
    )
  )
  const jobId = yield* Deferred.await(seen)
  yield* Fiber.interrupt(fiber)

  const { status } = yield* endpoint.attach(jobId).status
  yield* Console.log(`the interrupted job is ${status}`)
})

const layer = runPodOrEmulator({
  handler: () => Effect.delay(Effect.succeed({ text: "done" }), "1 minute")
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
