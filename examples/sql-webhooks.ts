/**
 * Webhooks for several processes: one receives what RunPod posts, another waits for it, and a database is all they share, here SQLite. The two
 * are layers of one program, each with a client of its own. With `PgClient` in the place of `LibsqlClient` they are any two, on any
 * machine, and a wait wakes at once. With RunPod, set PORT and RUNPOD_WEBHOOK_URL as for `webhook-server.ts`.
 */
import { FetchHttpClient, FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { LibsqlClient } from "@effect/sql-libsql"
import { Endpoint, Webhooks } from "effect-runpod"
import { Sql } from "effect-runpod-cluster"
import { NodeWebhooks } from "effect-runpod/Node"
import { Config, Console, Effect, Fiber, Layer, Schema, Stream } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"
import { webhookSecret, webhookUrl } from "./support/webhooks.js"

/** What each process has: the same tables, by its own client. */
const store = (file: string) =>
  Layer.provide(Sql.layerWebhookStore({ poll: "200 millis" }), LibsqlClient.layer({ url: `file:${file}` }))

/** The process that receives: it submits nothing, and waits for no job. */
const receiver = (file: string) =>
  Layer.unwrapEffect(
    Effect.map(
      Config.all({
        secret: webhookSecret,
        url: webhookUrl(undefined),
        port: Config.port("PORT").pipe(Config.withDefault(0))
      }),
      NodeWebhooks.layerStore
    )
  ).pipe(Layer.provide(store(file)))

/** The process that submits and waits: it has no server. */
const submitter = Effect.gen(function* () {
  const webhooks = yield* Webhooks.Webhooks
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })
  const prompts = ["a red bicycle", "a blue bicycle", "a green bicycle"]
  const deliveries = yield* webhooks.events.pipe(
    Stream.take(prompts.length),
    Stream.runForEach(({ job, sequence }) => Console.log(`delivery ${sequence}: ${job.status}`)),
    Effect.fork
  )
  const outputs = yield* Effect.forEach(
    prompts,
    (prompt) => endpoint.call({ prompt }, { webhook: true, timeout: "10 minutes" }),
    { concurrency: "unbounded" }
  )
  yield* Fiber.join(deliveries)
  yield* Console.log("outputs:", outputs)
}).pipe(Effect.scoped)

// Without RunPod: two workers. The emulator posts its webhooks with fetch, as RunPod would.
const runPod = runPodOrEmulator({
  workers: 2,
  handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: `drew ${prompt}` }), "500 millis")
}).pipe(Layer.provide(FetchHttpClient.layer))

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/webhooks.db`
  // Where it is reached: a URL without its token.
  const receiving = yield* Layer.build(receiver(file))
  const issued = yield* Effect.flatMap(Webhooks.Webhooks, ({ issue }) =>
    issue({ endpointId: "none", key: "none" })
  ).pipe(Effect.provide(receiving))
  const url = issued.origin + issued.pathname
  const waiting = Layer.unwrapEffect(Effect.map(webhookSecret, (secret) => Webhooks.layerStore({ secret, url }))).pipe(
    Layer.provide(store(file))
  )
  yield* Effect.provide(submitter, [waiting, runPod])
})

program.pipe(Effect.scoped, Effect.provide(NodeContext.layer), NodeRuntime.runMain)
