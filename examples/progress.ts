/**
 * Follow a job: its status, and the progress updates its handler publishes.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { Console, Effect, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown,
    // What the handler gives to `runpod.serverless.progress_update`. An update that does not fit is left out.
    progress: Schema.Struct({ percent: Schema.Number })
  })

  const output = yield* endpoint.call(
    { prompt: "a red bicycle" },
    {
      // Called whenever the status or the progress is new, and once at the end.
      onProgress: ({ progress, status }) =>
        Console.log(progress === undefined ? status : `${status}: ${progress.percent} %`),
      // How stale a progress update may be. Default: 6 seconds.
      progressInterval: "250 millis",
      timeout: "10 minutes"
    }
  )
  yield* Console.log("output:", output)
})

const layer = runPodOrEmulator({
  coldStart: "500 millis",
  handler: ({ prompt }, { progress }) =>
    Effect.forEach([25, 50, 75], (percent) => Effect.zipLeft(progress({ percent }), Effect.sleep("600 millis"))).pipe(
      Effect.as({ text: `drew ${prompt}` })
    )
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
