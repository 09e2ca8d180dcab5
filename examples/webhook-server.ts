/**
 * A server for webhooks, jobs that report to it, and a live log of what comes in. With RunPod, set PORT to where it is to
 * listen and RUNPOD_WEBHOOK_URL to how that is reached from outside, through a tunnel for example.
 */
import { FetchHttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint, Webhooks } from "effect-runpod"
import { NodeWebhooks } from "effect-runpod/Node"
import { Config, Console, Effect, Layer, Schema, Stream } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"
import { webhookSecret, webhookUrl } from "./support/webhooks.js"

const program = Effect.gen(function* () {
  const webhooks = yield* Webhooks.Webhooks
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })

  // The live log: every delivery, once, as it comes in.
  yield* webhooks.events.pipe(
    Stream.runForEach(({ job }) => Console.log(`webhook: job ${job.id} is ${job.status}`)),
    Effect.forkScoped
  )

  // `webhook: true` issues a URL for each job. The wait listens for its delivery, asks RunPod once whether it is true, and
  // polls twice a minute in case it gets lost.
  const outputs = yield* Effect.forEach(
    ["a red bicycle", "a blue bicycle", "a green bicycle"],
    (prompt) => endpoint.call({ prompt }, { webhook: true, timeout: "10 minutes" }),
    { concurrency: "unbounded" }
  )
  yield* Console.log("outputs:", outputs)

  // Batch.run and Batch.wait take it, too, and so does a submit that somebody else waits for.
  const job = yield* endpoint.run({ prompt: "a last bicycle" }, { webhook: true })
  const event = yield* webhooks.next({ jobId: job.id })
  yield* Console.log(`delivered: ${event.job.status}, for the input`, event.input)
})

// The whole server. `layerStore` with `WebhookStore.layerFile` keeps deliveries over a restart.
const server = Layer.unwrapEffect(
  Effect.map(
    Config.all({
      secret: webhookSecret,
      url: webhookUrl(undefined),
      port: Config.port("PORT").pipe(Config.withDefault(0))
    }),
    NodeWebhooks.layer
  )
)

// Without RunPod: two workers. The emulator posts its webhooks with fetch, as RunPod would.
const runPod = runPodOrEmulator({
  workers: 2,
  coldStart: "200 millis",
  handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: `drew ${prompt}` }), "500 millis")
}).pipe(Layer.provide(FetchHttpClient.layer))

program.pipe(Effect.scoped, Effect.provide([server, runPod]), NodeRuntime.runMain)
