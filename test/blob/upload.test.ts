/** How an upload is cut into parts, over a bucket in memory. */
import { assert, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as MemoryStore from "../../src/blob/internal/memoryStore.js"
import { concatBytes } from "../../src/internal/text/bytes.js"
import { upload } from "../../src/blob/internal/upload.js"

const partSize = 4

it.effect("bytes and streams of any size are stored as they are, whether or not a part is full at their end", () =>
  Effect.gen(function* () {
    const bytes = Uint8Array.from({ length: 3 * partSize + 1 }, (_, n) => n + 1)
    const store = MemoryStore.make("data")
    for (let size = 0; size <= bytes.length; size++) {
      const source = bytes.subarray(0, size)
      const inPieces = (length: number) => {
        const starts = Array.from({ length: Math.ceil(size / length) }, (_, n) => n * length)
        return Stream.fromIterable(starts.map((from) => source.subarray(from, from + length)))
      }
      for (const given of [source, ...[1, 3, partSize, 2 * partSize + 1].map(inPieces)]) {
        const target = { key: "k", contentType: "text/plain" }
        assert.strictEqual(yield* upload(store, target, given, { partSize, concurrency: 3 }), size)
        const { stream } = yield* store.open("k", { offset: 0, etag: undefined })
        const stored = concatBytes(Chunk.toReadonlyArray(yield* Stream.runCollect(stream)))
        assert.deepStrictEqual([...stored], [...source])
      }
    }
  })
)
