/**
 * Retries with backoff: what is sent again, after how long, and what is not.
 */
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint, RetryPolicy } from "effect-runpod"
import { Fault } from "effect-runpod/Emulator"
import { Console, Effect, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })

  // A 429 means that nothing was started, so a submit is sent again.
  const output = yield* endpoint.call({ prompt: "a red bicycle" })
  yield* Console.log("output:", output)

  // A read does no harm when it is sent twice, so it is retried after server errors, too.
  yield* endpoint.health
  yield* Console.log("the endpoint is well")

  // A submit whose answer was lost may have started a job, and RunPod has no way to tell. It is not sent again: that could
  // be a second job, and a second bill. `resubmit: true` in the options says that you do not mind.
  yield* endpoint.run({ prompt: "a blue bicycle" }).pipe(
    Effect.tap((job) => Console.log(`submitted ${job.id}`)),
    Effect.catchTag("SubmitAmbiguousError", (error) => Console.log(`${error._tag}: ${error.message}`))
  )
})

const layer = runPodOrEmulator(
  { handler: ({ prompt }) => Effect.succeed({ text: `drew ${prompt}` }) },
  {
    client: {
      // 0.2, 0.4, 0.8 seconds. The default has full jitter, which keeps many clients from coming back at once.
      retry: RetryPolicy.make({ maxAttempts: 4, base: "200 millis", factor: 2, jitter: "none" }),
      // Sees every attempt.
      transformClient: HttpClient.tapRequest((request) =>
        Console.log(`  ${process.uptime().toFixed(2)} s  ${request.method} ${request.url}`)
      )
    },
    faults: [
      Fault.rateLimited({ operations: ["run"], times: 1, retryAfter: "1 second" }),
      Fault.resetAfter({ operations: ["run"], after: 1, times: 1 }),
      Fault.serverError({ operations: ["health"], status: 503, times: 2 })
    ]
  }
)

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
