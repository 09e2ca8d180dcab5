/**
 * The program of a receiver in a process of its own, that begins when it is told the first sequence number it has not to print. It prints
 * where it is, then every later delivery and, now and then, how much memory it takes. With `killAt` it dies between storing that
 * delivery and answering it.
 */
import { Effect, Layer, Logger, Stream } from "effect"
import * as NodeWebhooks from "../../src/node/NodeWebhooks.js"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import * as Webhooks from "../../src/services/Webhooks.js"

/** What is logged is no line of what it prints. */
const logger = Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))

const print = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)

const program = (after: number) =>
  Effect.gen(function* () {
    const { eventsSince, issue } = yield* Webhooks.Webhooks
    const { origin, pathname } = yield* issue({ endpointId: "ep", key: "where" })
    print({ url: origin + pathname })
    const memory = Effect.sync(() => print({ rss: process.memoryUsage.rss() }))
    yield* Effect.fork(Effect.forever(Effect.delay(memory, "250 millis")))
    yield* Stream.runForEach(eventsSince(after), ({ job, key, sequence }) =>
      Effect.sync(() => print({ sequence, jobId: job.id, key }))
    )
  })

export const runReceiver = <E>(
  store: Layer.Layer<WebhookStore.WebhookStore, E>,
  { killAt, port }: { readonly port: number; readonly killAt: number }
): void => {
  const killing = Effect.map(WebhookStore.WebhookStore, (store): WebhookStore.Service => ({
    ...store,
    add: (delivery) =>
      Effect.tap(store.add(delivery), (added) =>
        Effect.sync(() => {
          if (added._tag === "Stored" && added.sequence === killAt) process.kill(process.pid, "SIGKILL")
        })
      )
  }))
  const layer = NodeWebhooks.layerStore({
    secret: "a-secret-of-32-characters-for-tests",
    host: "127.0.0.1",
    port,
    path: "/hooks",
    bodyLimit: 64 * 1024,
    readTimeout: "1 second"
  }).pipe(Layer.provide(Layer.effect(WebhookStore.WebhookStore, killing)), Layer.provide(store))

  process.stdin.once("data", (line) => {
    void Effect.runPromise(program(Number(String(line))).pipe(Effect.provide(layer), Effect.provide(logger)))
  })
}
