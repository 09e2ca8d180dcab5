/**
 * Webhooks on a host that calls a function from `Request` to `Response`, as serverless hosts, Bun and Deno do.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint, Webhooks } from "effect-runpod"
import { Config, Console, Effect, Layer, ManagedRuntime, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"
import { webhookSecret, webhookUrl } from "./support/webhooks.js"

// What the host's module has: one runtime for all requests, and the function that the host calls.
const runtime = ManagedRuntime.make(
  Layer.unwrapEffect(
    Effect.map(Config.all({ secret: webhookSecret, url: webhookUrl("https://app.example/hooks") }), Webhooks.layer)
  )
)
const handler = runtime.runPromise(Webhooks.webHandler)

const host = {
  fetch: async (request: Request): Promise<Response> => (await handler)(request)
}

// In RunPod's place, an emulator that delivers to this host.
const runPod = runPodOrEmulator(
  { handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: `drew ${prompt}` }), "500 millis") },
  {
    deliver: ({ body, headers, url }) =>
      Effect.promise(async () => {
        const { status } = await host.fetch(new Request(url, { method: "POST", headers, body }))
        console.log(`POST ${new URL(url).pathname} is answered with ${status}`)
        return status
      })
  }
)

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })
  const output = yield* endpoint.call({ prompt: "a red bicycle" }, { webhook: true, timeout: "10 minutes" })
  yield* Console.log("output:", output)

  // Anybody else's requests get a status, and nothing to learn from.
  const forged = new Request("https://app.example/hooks?token=v1.guess", { method: "POST", body: "{}" })
  const { status } = yield* Effect.promise(() => host.fetch(forged))
  yield* Console.log(`a forged one is answered with ${status}`)
})

const webhooks = Layer.effectContext(runtime.runtimeEffect.pipe(Effect.map(({ context }) => context)))

program.pipe(Effect.provide(Layer.merge(webhooks, runPod)), Effect.ensuring(runtime.disposeEffect), NodeRuntime.runMain)
