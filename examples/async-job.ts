/**
 * Submit a job, do something else meanwhile, then poll for its result.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { Console, Effect, Schedule, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })

  // Returns as soon as RunPod has accepted the job.
  const job = yield* endpoint.run({ prompt: "a red bicycle" })
  yield* Console.log(`submitted ${job.id}`)

  const { status } = yield* job.status
  yield* Console.log(`it is ${status}`)

  // Asks every half second, for ten minutes at most. Leave `poll` out and RunPod holds each request until the job has
  // ended: fewer requests, and the end is seen at once.
  const output = yield* job.result({ poll: Schedule.spaced("500 millis"), timeout: "10 minutes" })
  yield* Console.log("output:", output)
})

// Without RunPod: a worker that takes 0.4 seconds to start, and a second of work.
const layer = runPodOrEmulator({
  coldStart: "400 millis",
  handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: `drew ${prompt}` }), "1 second")
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
