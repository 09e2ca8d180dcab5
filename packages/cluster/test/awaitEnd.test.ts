import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { BatchStore } from "effect-runpod-cluster"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { inVirtualTime } from "../../../test/support/inVirtualTime.js"
import * as VirtualTime from "../../../test/support/virtualTime.js"

const numbers = BatchCluster.make({
  name: "numbers",
  endpoint: "ep",
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Unknown
})

const progress: BatchStore.Progress = {
  state: "Open",
  chunks: 12,
  done: 12,
  total: 1_000,
  waiting: 0,
  intended: 0,
  submitted: 0,
  settled: 1_000,
  failed: 0
}

/** A store with a batch of so many chunks. */
const makeStore = (chunks: number) => {
  const batch = { chunks, open: chunks, looks: 0 }
  const store = {
    status: () =>
      Effect.sync((): BatchStore.Status => {
        batch.looks++
        return { endpointId: "ep", state: "Open", chunks, open: batch.open }
      }),
    progress: () => Effect.succeed(progress)
  } as Partial<BatchStore.Service> as BatchStore.Service
  const looksIn = (time: `${number} seconds`) =>
    Effect.gen(function* () {
      const before = batch.looks
      yield* VirtualTime.advance(time)
      return batch.looks - before
    })
  return { batch, looksIn, store }
}

describe("awaitEnd", () => {
  inVirtualTime(
    "looks ten times a second, forty times when one of the last chunks has ended, and rarely where it waits for long",
    () =>
      Effect.gen(function* () {
        const { batch, looksIn, store } = makeStore(12)
        const waiting = yield* Effect.fork(Effect.provideService(numbers.awaitEnd("b"), BatchStore.BatchStore, store))
        assert.closeTo(yield* looksIn("10 seconds"), 100, 2)
        batch.open = 4
        assert.closeTo(yield* looksIn("1 seconds"), 10, 1)
        for (const open of [3, 2]) {
          batch.open = open
          assert.closeTo(yield* looksIn("1 seconds"), 38, 3)
          assert.closeTo(yield* looksIn("5 seconds"), 50, 3)
        }
        assert.isAtMost(yield* looksIn("1000 seconds"), 2_500)
        assert.isAtMost(yield* looksIn("100 seconds"), 101)
        batch.open = 0
        yield* VirtualTime.advance("1 seconds")
        assert.deepStrictEqual(yield* Fiber.join(waiting), progress)
      })
  )

  inVirtualTime("looks no more often while many chunks are open, though some end", () =>
    Effect.gen(function* () {
      const { batch, looksIn, store } = makeStore(1_000)
      yield* Effect.fork(Effect.provideService(numbers.awaitEnd("b"), BatchStore.BatchStore, store))
      for (const open of [900, 200, 100, 17]) {
        batch.open = open
        assert.isAtMost(yield* looksIn("1 seconds"), 11)
      }
      batch.open = 16
      assert.isAtLeast(yield* looksIn("1 seconds"), 35)
    })
  )
})
