import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as RateLimiter from "../../src/services/RateLimiter.js"

describe("RateLimiter.withPermit", () => {
  it.effect("waits interruptibly, and an interrupted wait counts for nothing", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.make({ limit: 1, window: "1 minute", concurrency: 1 })
      yield* limiter.withPermit(Effect.void)
      const waiting = yield* Effect.fork(limiter.withPermit(Effect.die("it was not interrupted")))
      const inLine = yield* Effect.fork(limiter.withPermit(Effect.die("it was not interrupted")))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interruptAll([waiting, inLine])
      const next = yield* Effect.fork(limiter.withPermit(TestClock.currentTimeMillis))
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* Fiber.join(next), 60_000)
    })
  )

  it.effect("gives the place back when the effect fails or is interrupted", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.make({ limit: Infinity, window: "1 minute", concurrency: 1 })
      assert.strictEqual(yield* Effect.flip(limiter.withPermit(Effect.fail("no"))), "no")
      const fiber = yield* Effect.fork(limiter.withPermit(Effect.never))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* limiter.withPermit(Effect.succeed(1)), 1)
    })
  )
})
