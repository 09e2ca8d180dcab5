import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Scope, Exit, TestClock } from "effect"
import type { BatchStore } from "effect-runpod-cluster"
import { lookAt } from "../src/internal/looks.js"

const status: BatchStore.Status = { endpointId: "ep", state: "Open", chunks: 2, open: 2 }

/** A store that answers after a second, and counts. */
const makeStore = () => {
  const asked: Array<string> = []
  const store = {
    status: (id: string) =>
      Effect.suspend(() => {
        asked.push(id)
        return Effect.delay(Effect.succeed(status), "1 second")
      })
  } as Partial<BatchStore.Service> as BatchStore.Service
  return { asked, store }
}

describe("a look at a batch", () => {
  it.scoped("is one for all chunks of a process, for a while", () =>
    Effect.gen(function* () {
      const { asked, store } = makeStore()
      const [a, b, other] = yield* Effect.forEach(["a", "a", "b"], (id) => lookAt(store, id, "1900 millis"))
      const both = yield* Effect.fork(Effect.all([a!, b!, other!], { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(both), [status, status, status])
      assert.deepStrictEqual(asked, ["a", "b"])
      yield* TestClock.adjust("2 seconds")
      const again = yield* Effect.fork(b!)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(again)
      assert.deepStrictEqual(asked, ["a", "b", "a"])
    })
  )

  it.scoped("is there for others when the chunk that began it has ended", () =>
    Effect.gen(function* () {
      const { asked, store } = makeStore()
      const scope = yield* Scope.make()
      const ending = yield* Scope.extend(lookAt(store, "a", "1900 millis"), scope)
      const staying = yield* lookAt(store, "a", "1900 millis")
      const first = yield* Effect.fork(ending)
      yield* Effect.yieldNow()
      const second = yield* Effect.fork(staying)
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(second), status)
      assert.deepStrictEqual(asked, ["a"])
    })
  )
})
