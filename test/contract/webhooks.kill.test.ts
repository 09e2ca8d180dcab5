/** The receiver is killed between storing a delivery and answering it. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { freePort } from "../support/listening.js"
import { spawnReceiver } from "../support/webhookProcess.js"

describe("a receiver that is killed between storing a delivery and answering it", () => {
  it.scopedLive("loses nothing and doubles nothing: RunPod delivers again, and it knows what it has", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/webhooks.jsonl`
      const port = yield* freePort
      const url = `http://127.0.0.1:${port}/hooks`
      const first = yield* spawnReceiver({ file, port, killAt: 3 })
      // It is there, and takes over when the first has gone.
      const second = yield* spawnReceiver({ file, port })
      yield* first.begin(0)
      const emulator = yield* NodeEmulator.serve({ endpoints: { ep: { workers: 1, execution: "20 millis" } } })
      // Submits and waits; the receiver that issued its URLs is another process.
      const client = Layer.merge(
        NodeRunPod.layer({ apiKey: "key", baseUrl: emulator.url }),
        Webhooks.layer({ secret: "a-secret-of-32-characters-for-tests", url })
      )
      const submitted = yield* Effect.gen(function* () {
        const endpoint = yield* Endpoint.make("ep", {
          input: Schema.Struct({ n: Schema.Number }),
          output: Schema.Unknown
        })
        return yield* Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
          Effect.map(endpoint.run({ n }, { webhook: true }), ({ id }) => id)
        )
      }).pipe(Effect.provide(client))

      assert.strictEqual(yield* first.ended, "SIGKILL")
      const seen = first.events.map(({ sequence }) => sequence)
      yield* second.begin(Math.max(0, ...seen))
      const all = () => [...first.events, ...second.events]
      const tries = yield* emulator.deliveries.pipe(
        Effect.map((deliveries) => deliveries.filter(({ jobId }) => jobId === all()[2]?.jobId)),
        Effect.delay("100 millis"),
        Effect.repeat({ until: (tries) => all().length >= 6 && tries.at(-1)?.status !== undefined }),
        Effect.timeout("20 seconds")
      )
      // Time for what should not come.
      yield* Effect.sleep("300 millis")
      assert.sameMembers(
        all().map(({ jobId }) => jobId),
        submitted
      )
      assert.deepStrictEqual(
        all().map(({ sequence }) => sequence),
        [1, 2, 3, 4, 5, 6]
      )
      // The third was stored and not acknowledged: it came again, and was acknowledged as known.
      assert.isUndefined(tries[0]?.status)
      assert.strictEqual(tries.at(-1)?.status, 200)
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )
})
