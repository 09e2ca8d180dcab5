/** Receivers that share a database: processes that are killed, deliveries that come to another process than the one that waits, and a database that crashes. */
import { assert, describe, it } from "@effect/vitest"
import { Array, Effect, Fiber, Layer, Ref, Schema } from "effect"
import { Batch, Endpoint, Webhooks, type WebhookStore } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator, NodeRunPod, NodeWebhooks } from "effect-runpod/Node"
import { Sql } from "effect-runpod-cluster"
import { freePort } from "../../../test/support/listening.js"
import { delivery, sequences } from "../../../test/support/storeBehaviours.js"
import { spawnReceiver } from "../../../test/support/webhookProcess.js"
import { clientOf, everyDatabase, newPrefix, ownPostgres, type Place } from "./support/databases.js"
import type { WebhookChild } from "./support/webhookChild.js"

const secret = "a-secret-of-32-characters-for-tests"
const Numbered = Schema.Struct({ n: Schema.Number })
const endpoint = Endpoint.make("ep", { input: Numbered, output: Schema.Unknown })
const inputs = (count: number) => Array.makeBy(count, (n) => ({ n }))

/** A process's layer over the database, with a client of its own. */
const storeIn = (place: Place, prefix: string, poll?: "100 millis") =>
  Layer.provideMerge(Sql.layerWebhookStore({ prefix, poll }), clientOf(place))

describe.concurrent("receivers with a store in a database", () => {
  for (const { name, place } of everyDatabase) {
    it.scopedLive(
      `of which one is killed between storing a delivery and answering it lose nothing and double nothing (${name})`,
      () =>
        Effect.gen(function* () {
          const port = yield* freePort
          const url = `http://127.0.0.1:${port}/hooks`
          const child: WebhookChild = { place: yield* place, prefix: newPrefix() }
          const receiver = { file: JSON.stringify(child), server: "webhookChild" }
          const first = yield* spawnReceiver({ ...receiver, port, killAt: 3 })
          // It sees what the first stores, and takes its place when that has died.
          const second = yield* spawnReceiver({ ...receiver, port: 0 })
          const third = yield* spawnReceiver({ ...receiver, port })
          yield* first.begin(0)
          yield* second.begin(0)
          const emulator = yield* NodeEmulator.serve({ endpoints: { ep: { workers: 1, execution: "20 millis" } } })
          const client = Layer.merge(
            NodeRunPod.layer({ apiKey: "key", baseUrl: emulator.url }),
            Webhooks.layer({ secret, url })
          )
          const submitted = yield* Effect.gen(function* () {
            const ep = yield* endpoint
            return yield* Effect.forEach(inputs(6), (input) =>
              Effect.map(ep.run(input, { webhook: true }), ({ id }) => id)
            )
          }).pipe(Effect.provide(client))
          assert.strictEqual(yield* first.ended, "SIGKILL")
          yield* third.begin(3)
          const tries = yield* emulator.deliveries.pipe(
            Effect.map((deliveries) => deliveries.filter(({ jobId }) => jobId === second.events[2]?.jobId)),
            Effect.delay("100 millis"),
            Effect.repeat({ until: (tries) => second.events.length >= 6 && tries.at(-1)?.status !== undefined }),
            Effect.timeout("30 seconds")
          )
          // Time for what should not come.
          yield* Effect.sleep("300 millis")
          assert.sameMembers(
            second.events.map(({ jobId }) => jobId),
            submitted
          )
          assert.deepStrictEqual(
            second.events.map(({ sequence }) => sequence),
            Array.range(1, 6)
          )
          assert.deepStrictEqual(third.events, second.events.slice(3))
          // The third was stored and not acknowledged: it came again, to another process, and was acknowledged as known.
          assert.isUndefined(tries[0]?.status)
          assert.strictEqual(tries.at(-1)?.status, 200)
        }),
      60_000
    )

    it.scopedLive(
      `let a batch in one process adopt, by their keys, jobs of which another is told (${name})`,
      () =>
        Effect.gen(function* () {
          const count = 30
          const where = yield* place
          const prefix = newPrefix()
          const receiving = NodeWebhooks.layerStore({ secret, host: "127.0.0.1", port: 0, path: "/hooks" }).pipe(
            Layer.provide(storeIn(where, prefix))
          )
          const receiver = yield* Layer.build(receiving)
          const issued = yield* Effect.flatMap(Webhooks.Webhooks, ({ issue }) =>
            issue({ endpointId: "ep", key: "where" })
          ).pipe(Effect.provide(receiver))
          const server = yield* NodeEmulator.serve({
            endpoints: { ep: { workers: 20, execution: { min: "50 millis", max: "500 millis" } } },
            // The answers to half of the submits are lost: only the webhook says which job it was.
            faults: [Emulator.Fault.resetAfter({ operations: ["run"], rate: 0.5 })],
            seed: name
          })
          const run = Effect.gen(function* () {
            const ep = yield* endpoint
            const journal = yield* Sql.journal({ id: "a", prefix, wait: "10 seconds", grace: "100 millis" })
            return yield* Batch.collect(ep, inputs(count), { journal, concurrency: 6, webhook: true })
          }).pipe(
            Effect.scoped,
            Effect.provide(
              Layer.merge(
                NodeRunPod.layer({ apiKey: "key", baseUrl: server.url }),
                Webhooks.layerStore({ secret, url: issued.origin + issued.pathname })
              ).pipe(Layer.provideMerge(storeIn(where, prefix, "100 millis")))
            )
          )
          // It is interrupted while submits are in doubt, and another process goes on.
          const first = yield* Effect.fork(run)
          yield* Effect.repeat(Effect.delay(server.counts, "5 millis"), { until: ({ submitted }) => submitted >= 12 })
          yield* Fiber.interrupt(first)
          const report = yield* run
          assert.deepStrictEqual(report.counts, { Completed: count })
          assert.strictEqual((yield* server.counts).submitted, count)
        }),
      60_000
    )
  }

  it.scopedLive(
    "outlast a database that crashes and comes back: what was acknowledged is there, once and in order, and waits go on",
    () =>
      Effect.gen(function* () {
        const { crash, place } = yield* ownPostgres("webhooks")
        const total = 3_000
        const stores = yield* Effect.forEach(Array.range(1, 3), () => Layer.build(storeIn(place, "w_", "100 millis")))
        const [adding, other, waiting] = yield* Effect.forEach(stores, (context) =>
          Effect.provide(Sql.webhookStore({ prefix: "w_", poll: "100 millis" }), context)
        )
        const webhooks = yield* Effect.provide(Webhooks.make({ secret, url: "https://app.example/hooks" }), stores[2]!)
        const told = yield* Effect.fork(webhooks.next({ jobId: `job ${total}` }))
        const acknowledged = yield* Ref.make<ReadonlyArray<number>>([])
        // As RunPod does, whoever got no 200 comes again.
        const deliver = (store: WebhookStore.Service, n: number) =>
          Effect.retry(store.add(delivery(n)), { times: 5 }).pipe(
            Effect.flatMap((added) => (added._tag === "Stored" ? Effect.succeed(added.sequence) : Effect.succeed(0))),
            Effect.flatMap((sequence) => Ref.update(acknowledged, (all) => [...all, sequence]))
          )
        const run = yield* Effect.fork(
          Effect.forEach(
            Array.range(1, total),
            (n) => Effect.delay(deliver(n % 2 === 0 ? adding : other!, n), n === total ? "1 second" : 0),
            { concurrency: 20, discard: true }
          )
        )
        for (const count of [400, 1_600]) {
          yield* Effect.repeat(Effect.delay(Ref.get(acknowledged), "5 millis"), {
            until: (all) => all.length >= count
          })
          yield* crash
        }
        yield* Fiber.join(run)
        const numbers = (yield* acknowledged).filter((n) => n > 0)
        assert.strictEqual(numbers.length, total)
        assert.strictEqual(new Set(numbers).size, total)
        const kept = yield* waiting!.after(0, total + 100)
        assert.deepStrictEqual(sequences(kept), Array.range(1, total))
        assert.strictEqual(new Set(kept.map(({ jobId }) => jobId)).size, total)
        assert.strictEqual((yield* Fiber.join(told)).job.id, `job ${total}`)
      }),
    90_000
  )
})
