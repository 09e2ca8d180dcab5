import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import { Line } from "../../../src/internal/pace/waitQueue.js"

const enter = (line: Line) => Effect.uninterruptibleMask((restore) => line.enter(restore))

/** Lets every fiber run that can. */
const settle = Effect.repeatN(Effect.yieldNow(), 9)

const waiters = (line: Line, count: number, served: Array<number>) =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => i),
    (i) =>
      Effect.fork(
        Effect.andThen(
          enter(line),
          Effect.sync(() => served.push(i))
        )
      )
  )

describe("Line", () => {
  it.effect("lets the first in at once and the others one by one, in order", () =>
    Effect.gen(function* () {
      const line = new Line()
      const served: Array<number> = []
      assert.isTrue(line.isEmpty)
      yield* enter(line)
      assert.isFalse(line.isEmpty)
      yield* waiters(line, 3, served)
      yield* settle
      assert.deepStrictEqual(served, [])
      for (const expected of [[0], [0, 1], [0, 1, 2]]) {
        line.leave()
        yield* settle
        assert.deepStrictEqual(served, expected)
        assert.isFalse(line.isEmpty)
      }
      line.leave()
      assert.isTrue(line.isEmpty)
    })
  )

  it.effect("closes up when a waiter is interrupted, at the front, in the middle or at the end", () =>
    Effect.gen(function* () {
      for (const gone of [0, 1, 2, 3]) {
        const line = new Line()
        const served: Array<number> = []
        yield* enter(line)
        const fibers = yield* waiters(line, 4, served)
        yield* settle
        yield* Fiber.interrupt(fibers[gone]!)
        for (let i = 0; i < 3; i++) {
          line.leave()
          yield* settle
        }
        assert.deepStrictEqual(
          served,
          [0, 1, 2, 3].filter((i) => i !== gone)
        )
        line.leave()
        assert.isTrue(line.isEmpty)
      }
    })
  )

  it.effect("passes the head on when the new head is interrupted in the same moment", () =>
    Effect.gen(function* () {
      const line = new Line()
      const served: Array<number> = []
      yield* enter(line)
      const [first] = yield* waiters(line, 2, served)
      yield* settle
      // The interruption is on its way when the turn comes.
      first!.unsafeInterruptAsFork(first!.id())
      line.leave()
      yield* settle
      // Whoever of the two won, the line goes on.
      if (served.includes(0)) line.leave()
      yield* settle
      assert.include(served, 1)
      line.leave()
      assert.isTrue(line.isEmpty)
    })
  )

  it.effect("is empty again when all waiters were interrupted", () =>
    Effect.gen(function* () {
      const line = new Line()
      yield* enter(line)
      const fibers = yield* waiters(line, 100, [])
      yield* settle
      yield* Fiber.interruptAll(fibers)
      line.leave()
      assert.isTrue(line.isEmpty)
    })
  )

  it.effect("cannot be left by an interruption where its caller forbids one", () =>
    Effect.gen(function* () {
      const line = new Line()
      const served: Array<string> = []
      yield* enter(line)
      const fiber = yield* Effect.fork(
        Effect.uninterruptible(
          Effect.andThen(
            line.enter(identity),
            Effect.sync(() => served.push("in"))
          )
        )
      )
      yield* settle
      yield* Effect.fork(Fiber.interrupt(fiber))
      yield* settle
      assert.deepStrictEqual(served, [])
      line.leave()
      yield* Fiber.await(fiber)
      assert.deepStrictEqual(served, ["in"])
    })
  )
})
