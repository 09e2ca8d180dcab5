import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import { maxTimerMillis, monotonicMillis, sleepUntil } from "../../../src/internal/pace/monotonic.js"

describe("monotonic", () => {
  it.effect("reads the test's time", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("90 seconds")
      assert.strictEqual(monotonicMillis(yield* Effect.clock), 90_000)
    })
  )

  it.live("does not go back, and counts fractions of milliseconds", () =>
    Effect.gen(function* () {
      const clock = yield* Effect.clock
      const times = Array.from({ length: 1000 }, () => monotonicMillis(clock))
      for (let i = 1; i < times.length; i++) assert.isAtLeast(times[i]!, times[i - 1]!)
      assert.isTrue(times.some((time) => !Number.isInteger(time)))
    })
  )

  it.effect("sleeps until a time, not at all when it is past", () =>
    Effect.gen(function* () {
      yield* sleepUntil(0)
      yield* sleepUntil(-5)
      const fiber = yield* Effect.fork(Effect.andThen(sleepUntil(1000), Clock.currentTimeMillis))
      yield* TestClock.adjust(999)
      assert.isNull(fiber.unsafePoll())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), 1000)
    })
  )

  it.effect("never wakes before a time between two milliseconds", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(sleepUntil(10.25))
      yield* TestClock.adjust(10)
      assert.isNull(fiber.unsafePoll())
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("goes back to sleep when its timer fires early", () =>
    Effect.gen(function* () {
      const clock = yield* Effect.clock
      const naps: Array<number> = []
      let now = 0
      const early: Clock.Clock = {
        [Clock.ClockTypeId]: Clock.ClockTypeId,
        currentTimeMillis: clock.currentTimeMillis,
        currentTimeNanos: clock.currentTimeNanos,
        unsafeCurrentTimeMillis: () => now,
        unsafeCurrentTimeNanos: () => BigInt(Math.round(now * 1e6)),
        sleep: (duration) =>
          Effect.sync(() => {
            const millis = Duration.toMillis(duration)
            naps.push(millis)
            now += naps.length === 1 ? millis - 0.25 : millis
          })
      }
      yield* Effect.withClock(sleepUntil(20), early)
      assert.deepStrictEqual(naps, [20, 1])
      assert.isAtLeast(now, 20)
    })
  )

  it.effect("sleeps further than a timer can wait", () =>
    Effect.gen(function* () {
      const far = 3 * maxTimerMillis + 5
      const fiber = yield* Effect.fork(sleepUntil(far))
      yield* TestClock.adjust(maxTimerMillis)
      yield* TestClock.adjust(maxTimerMillis)
      yield* TestClock.adjust(maxTimerMillis)
      yield* TestClock.adjust(4)
      assert.isNull(fiber.unsafePoll())
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("asks the clock for no more than a timer can wait, also for ever", () =>
    Effect.gen(function* () {
      yield* Effect.fork(sleepUntil(Infinity))
      yield* Effect.fork(sleepUntil(2 ** 40))
      yield* Effect.yieldNow()
      yield* TestClock.adjust(0)
      const sleeps = Array.from(yield* TestClock.sleeps())
      assert.deepStrictEqual(sleeps, [maxTimerMillis, maxTimerMillis])
    })
  )
})
