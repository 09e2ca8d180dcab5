import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as BatchApi from "../../src/services/BatchApi.js"

const { Fault } = Emulator

const overHttp = <A, E>(
  faults: ReadonlyArray<Emulator.Fault.Fault>,
  use: (batches: BatchApi.Service, emulator: NodeEmulator.Server) => Effect.Effect<A, E>
) =>
  Effect.gen(function* () {
    const server = yield* NodeEmulator.serve({
      faults,
      endpoints: { up: { workers: 8, handler: ({ word }) => Effect.succeed(String(word).toUpperCase()) } }
    })
    const layer = Layer.provide(BatchApi.layer, NodeRunPod.layer({ apiKey: "key", baseUrl: server.url }))
    return yield* Effect.provide(
      Effect.flatMap(BatchApi.BatchApi, (batches) => use(batches, server)),
      layer
    )
  }).pipe(Effect.scoped)

const words = (count: number) => Array.from({ length: count }, (_, n) => ({ input: { word: `w${n}` } }))
const outputs = (batches: BatchApi.Service, id: string) =>
  Effect.map(Stream.runCollect(batches.results("up", id)), (results) =>
    Chunk.toReadonlyArray(results)
      .map(({ output }) => String(output))
      .sort()
  )

describe("the batch API over HTTP", () => {
  it.live("every method, the whole way", () =>
    overHttp([], (batches) =>
      Effect.gen(function* () {
        const { id } = yield* batches.create("up", words(1))
        yield* batches.append("up", id, words(120).slice(1))
        yield* batches.update("up", id, { name: "all of it" })
        const [first] = yield* Effect.map(Stream.runCollect(batches.results("up", id)), Chunk.toReadonlyArray)
        yield* batches.deleteRequest("up", id, first!.id)
        yield* batches.finalize("up", id)
        const done = yield* batches.settle("up", id, { interval: "20 millis" })
        assert.deepInclude(done, { name: "all of it", requestTotal: 119, requestCompleted: 119 })
        assert.strictEqual((yield* outputs(batches, id)).length, 119)
        assert.strictEqual((yield* batches.list("up")).length, 1)
        const draft = yield* batches.create("up")
        assert.strictEqual((yield* batches.cancel("up", draft.id)).status, "CANCELLED")
      })
    )
  )

  it.live("bodies of 10 MiB arrive, and larger appends in parts", () =>
    overHttp([], (batches) =>
      Effect.gen(function* () {
        const { id } = yield* batches.create("up")
        const large = Array.from({ length: 5 }, (_, n) => ({
          input: { word: `w${n}`, ballast: "x".repeat(4_500_000) }
        }))
        const { parts } = yield* batches.append("up", id, large)
        assert.deepStrictEqual(
          parts.map(({ count }) => count),
          [2, 2, 1]
        )
        yield* batches.finalize("up", id)
        yield* batches.settle("up", id, { interval: "20 millis" })
        assert.deepStrictEqual(yield* outputs(batches, id), ["W0", "W1", "W2", "W3", "W4"])
      })
    )
  )

  it.live("everything but a create and an append outlives broken connections", () =>
    overHttp(
      [
        Fault.resetAfter({
          operations: ["batchStatus", "batchResults", "finalizeBatch", "listBatches", "updateBatch"],
          rate: 0.3
        })
      ],
      (batches, emulator) =>
        Effect.gen(function* () {
          const { id } = yield* batches.create("up", words(60))
          yield* batches.update("up", id, { name: "again" })
          yield* batches.finalize("up", id)
          yield* batches.settle("up", id, { interval: "20 millis" })
          assert.strictEqual((yield* outputs(batches, id)).length, 60)
          assert.strictEqual((yield* emulator.counts).submitted, 60)
        })
    )
  )

  it.live("an append whose answer is lost is told, with its fate, and not sent again", () =>
    overHttp([Fault.resetAfter({ operations: ["appendBatch"], times: 1 })], (batches, emulator) =>
      Effect.gen(function* () {
        const { id } = yield* batches.create("up")
        const error = yield* Effect.flip(batches.append("up", id, words(3)))
        assert(error._tag === "AppendError")
        assert.deepStrictEqual(error.parts, [{ from: 0, count: 3, fate: "Unknown" }])
        assert.strictEqual((yield* batches.status("up", id)).requestTotal, error.totalBefore! + 3)
        assert.strictEqual((yield* emulator.counts).byOperation.appendBatch.total, 1)
      })
    )
  )
})
