import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import { WaitQueue } from "../../../src/internal/pace/waitQueue.js"

const enter = (queue: WaitQueue) => Effect.uninterruptibleMask((restore) => queue.enter(restore))

/** Lets every fiber run that can. */
const settle = Effect.repeatN(Effect.yieldNow(), 9)

const waiters = (queue: WaitQueue, count: number, served: Array<number>) =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => i),
    (i) =>
      Effect.fork(
        Effect.andThen(
          enter(queue),
          Effect.sync(() => served.push(i))
        )
      )
  )

describe("WaitQueue", () => {
  it.effect("lets the first in at once and the others one by one, in order", () =>
    Effect.gen(function* () {
      const queue = new WaitQueue()
      const served: Array<number> = []
      assert.isTrue(queue.isEmpty)
      yield* enter(queue)
      assert.isFalse(queue.isEmpty)
      yield* waiters(queue, 3, served)
      yield* settle
      assert.deepStrictEqual(served, [])
      for (const expected of [[0], [0, 1], [0, 1, 2]]) {
        queue.leave()
        yield* settle
        assert.deepStrictEqual(served, expected)
        assert.isFalse(queue.isEmpty)
      }
      queue.leave()
      assert.isTrue(queue.isEmpty)
    })
  )

  it.effect("closes up when a waiter is interrupted, at the front, in the middle or at the end", () =>
    Effect.gen(function* () {
      for (const gone of [0, 1, 2, 3]) {
        const queue = new WaitQueue()
        const served: Array<number> = []
        yield* enter(queue)
        const fibers = yield* waiters(queue, 4, served)
        yield* settle
        yield* Fiber.interrupt(fibers[gone]!)
        for (let i = 0; i < 3; i++) {
          queue.leave()
          yield* settle
        }
        assert.deepStrictEqual(
          served,
          [0, 1, 2, 3].filter((i) => i !== gone)
        )
        queue.leave()
        assert.isTrue(queue.isEmpty)
      }
    })
  )

  it.effect("passes the head on when the new head is interrupted in the same moment", () =>
    Effect.gen(function* () {
      const queue = new WaitQueue()
      const served: Array<number> = []
      yield* enter(queue)
      const [first] = yield* waiters(queue, 2, served)
      yield* settle
      // The interruption is on its way when the turn comes.
      first!.unsafeInterruptAsFork(first!.id())
      queue.leave()
      yield* settle
      // Whoever of the two won, the queue goes on.
      if (served.includes(0)) queue.leave()
      yield* settle
      assert.include(served, 1)
      queue.leave()
      assert.isTrue(queue.isEmpty)
    })
  )

  it.effect("is empty again when all waiters were interrupted", () =>
    Effect.gen(function* () {
      const queue = new WaitQueue()
      yield* enter(queue)
      const fibers = yield* waiters(queue, 100, [])
      yield* settle
      yield* Fiber.interruptAll(fibers)
      queue.leave()
      assert.isTrue(queue.isEmpty)
    })
  )

  it.effect("cannot be left by an interruption where its caller forbids one", () =>
    Effect.gen(function* () {
      const queue = new WaitQueue()
      const served: Array<string> = []
      yield* enter(queue)
      const fiber = yield* Effect.fork(
        Effect.uninterruptible(
          Effect.andThen(
            queue.enter(identity),
            Effect.sync(() => served.push("in"))
          )
        )
      )
      yield* settle
      yield* Effect.fork(Fiber.interrupt(fiber))
      yield* settle
      assert.deepStrictEqual(served, [])
      queue.leave()
      yield* Fiber.await(fiber)
      assert.deepStrictEqual(served, ["in"])
    })
  )
})
