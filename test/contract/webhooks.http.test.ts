/** The same over real sockets: the emulator posts to a real receiver. */
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Duration, Effect, Layer, Schema, Stream } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as NodeWebhooks from "../../src/node/NodeWebhooks.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Webhooks from "../../src/services/Webhooks.js"

const { Fault } = Emulator
const count = 100

/** Calls the endpoint for every input, against an emulator with these faults. */
const run = (faults: ReadonlyArray<Emulator.Fault.Fault>) =>
  Effect.gen(function* () {
    const emulator = yield* NodeEmulator.serve({
      endpoints: { ep: { workers: 50, execution: { min: "100 millis", max: "500 millis" } } },
      faults
    })
    const layer = Layer.merge(
      NodeRunPod.layer({ apiKey: "key", baseUrl: emulator.url }),
      NodeWebhooks.layer({ secret: "a-secret-of-32-characters-for-tests", host: "127.0.0.1" })
    )
    return yield* Effect.gen(function* () {
      const { eventsSince, latest } = yield* Webhooks.Webhooks
      const endpoint = yield* Endpoint.make("ep", {
        input: Schema.Struct({ n: Schema.Number }),
        output: Schema.Struct({ n: Schema.Number })
      })
      const inputs = Array.from({ length: count }, (_, n) => ({ n }))
      const [took, outputs] = yield* Effect.timed(
        Effect.forEach(inputs, (input) => endpoint.call(input, { webhook: true }), { concurrency: 50 })
      )
      assert.deepStrictEqual(outputs, inputs)
      // The delivery of a call that a poll has ended may still be under way.
      const events = yield* Stream.runCollect(Stream.take(eventsSince(0), count))
      const ids = new Set(Chunk.map(events, ({ job }) => job.id))
      assert.strictEqual(ids.size, count)
      return { took: Duration.toMillis(took), events: yield* latest, counts: yield* emulator.counts }
    }).pipe(Effect.provide(layer))
  })

describe(`${count} calls with webhooks over HTTP`, () => {
  it.scopedLive("with 30 % of the submits' replies lost: every result, and no job submitted twice", () =>
    Effect.gen(function* () {
      const { counts, events } = yield* run([Fault.resetAfter({ operations: ["run"], rate: 0.3 })])
      assert.strictEqual(counts.submitted, count)
      assert.strictEqual(events, count)
      assert.isAbove(counts.faults.ResetAfter ?? 0, 15)
    })
  )

  it.scopedLive("with all deliveries doubled and out of order: every result once, without a poll for most", () =>
    Effect.gen(function* () {
      const { counts, events, took } = yield* run([
        Fault.webhookDuplicated(),
        Fault.webhookOutOfOrder({ rate: 0.5, within: "100 millis" })
      ])
      assert.strictEqual(counts.submitted, count)
      assert.strictEqual(events, count)
      assert.isAtMost(counts.byOperation.status.total, 1.2 * count)
      assert.isBelow(took, 20_000)
    })
  )
})
