import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as RateLimits from "../../../src/layers/RateLimits.js"
import * as RequestLimiter from "../../../src/internal/pace/limiter.js"
import { finish } from "../../support/finish.js"

const laneOf = (limit: Partial<RateLimits.Limit>) =>
  RequestLimiter.make(RateLimits.make({ status: { limit: Infinity, concurrency: Infinity, ...limit } })).lane(
    "ep",
    "status"
  )

describe("RequestLimiter", () => {
  describe("10,000 waiters", () => {
    const waiters = Array.from({ length: 10_000 }, (_, i) => i)

    it.effect("on 20 permits are served in order", () =>
      Effect.gen(function* () {
        const lane = laneOf({ concurrency: 20 })
        const order: Array<number> = []
        let inFlight = 0
        let most = 0
        yield* Effect.forEach(
          waiters,
          (i) =>
            Effect.gen(function* () {
              const permit = yield* lane.acquire
              order.push(i)
              most = Math.max(most, ++inFlight)
              yield* Effect.yieldNow()
              inFlight--
              yield* permit.release
            }),
          { concurrency: "unbounded", discard: true }
        )
        assert.deepStrictEqual(order, waiters)
        assert.strictEqual(most, 20)
        assert.isTrue(yield* lane.isFree)
      })
    )

    it.effect("on a window of 2,000 are served in order", () =>
      Effect.gen(function* () {
        const lane = laneOf({ limit: 2_000, window: "10 seconds" })
        const served: Array<readonly [number, number]> = []
        yield* finish(
          Effect.forEach(
            waiters,
            (i) =>
              Effect.gen(function* () {
                const permit = yield* lane.acquire
                served.push([i, yield* Clock.currentTimeMillis])
                yield* permit.release
              }),
            { concurrency: "unbounded", discard: true }
          )
        )
        assert.deepStrictEqual(
          served,
          waiters.map((i) => [i, Math.floor(i / 2_000) * 10_000])
        )
      })
    )

    it.effect("that are interrupted leave nothing behind", () =>
      Effect.gen(function* () {
        const lane = laneOf({ concurrency: 1, limit: 2, window: "10 seconds" })
        const first = yield* lane.acquire
        const fibers = yield* Effect.forEach(waiters, () => Effect.fork(lane.acquire))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interruptAll(fibers)
        assert.isFalse(yield* lane.isFree)
        yield* first.release
        // The window has still room for the second of its two: none of the interrupted counted.
        assert.isTrue(yield* lane.isFree)
        yield* lane.acquire
      })
    )
  })

  it.effect("a waiter that is interrupted while it sleeps for the window gives its place in flight to the next", () =>
    Effect.gen(function* () {
      const lane = laneOf({ concurrency: 2, limit: 1, window: "10 seconds" })
      const permit = yield* lane.acquire
      const sleeps = yield* Effect.fork(lane.acquire)
      const next = yield* Effect.fork(Effect.zipRight(lane.acquire, Clock.currentTimeMillis))
      yield* TestClock.adjust("9 seconds")
      yield* Fiber.interrupt(sleeps)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(next), 10_000)
      yield* permit.release
    })
  )

  it.effect("a waiter that is interrupted while the gate is closed leaves it to the next", () =>
    Effect.gen(function* () {
      const lane = laneOf({})
      const permit = yield* lane.acquire
      yield* permit.throttled(Duration.seconds(10))
      yield* permit.release
      assert.strictEqual(lane.opensAt(), 10_000)
      const waits = yield* Effect.fork(lane.acquire)
      const next = yield* Effect.fork(Effect.zipRight(lane.acquire, Clock.currentTimeMillis))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.interrupt(waits)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(next), 10_000)
    })
  )

  // Whatever comes, when and from whom: no limit is ever passed, and in the end all is free again.
  const comings = FastCheck.array(
    FastCheck.record({
      at: FastCheck.nat({ max: 60 }),
      holds: FastCheck.nat({ max: 20 }),
      patience: FastCheck.option(FastCheck.nat({ max: 40 }), { nil: undefined }),
      end: FastCheck.constantFrom("accepted", "failed", "throttled", "throttled, with a time")
    }),
    { maxLength: 25 }
  )

  it.effect.prop(
    "no window and no number in flight is ever passed, and nothing is left behind",
    {
      limit: FastCheck.integer({ min: 1, max: 4 }),
      window: FastCheck.integer({ min: 1, max: 15 }),
      concurrency: FastCheck.integer({ min: 1, max: 4 }),
      comings
    },
    ({ comings, concurrency, limit, window }) =>
      Effect.gen(function* () {
        const lane = laneOf({ limit, window, concurrency })
        const starts: Array<number> = []
        let inFlight = 0
        const one = (coming: (typeof comings)[number]) => {
          const use = Effect.acquireUseRelease(
            lane.acquire,
            (permit) =>
              Effect.gen(function* () {
                starts.push(yield* Clock.currentTimeMillis)
                assert.isAtMost(++inFlight, concurrency)
                yield* Effect.sleep(coming.holds)
                if (coming.end === "accepted") yield* permit.accepted
                if (coming.end === "throttled") yield* permit.throttled(undefined)
                if (coming.end === "throttled, with a time") yield* permit.throttled(Duration.millis(7))
              }),
            (permit) =>
              Effect.suspend(() => {
                inFlight--
                return permit.release
              })
          )
          const { patience } = coming
          return Effect.delay(patience === undefined ? use : Effect.timeoutOption(use, patience), coming.at)
        }
        yield* finish(Effect.forEach(comings, one, { concurrency: "unbounded", discard: true }), "1 hour")
        for (let i = 0; i + limit < starts.length; i++) {
          assert.isAtLeast(starts[i + limit]! - starts[i]!, window)
        }
        // Once gate and window are open, all places are there again, one after the other.
        yield* TestClock.adjust("2 minutes")
        assert.isTrue(yield* lane.isFree)
        for (let i = 0; i < 20; i++) {
          const fiber = yield* Effect.fork(lane.acquire)
          yield* TestClock.adjust("1 minute")
          const permit = yield* Fiber.join(fiber)
          yield* permit.accepted
          yield* permit.release
        }
        const all = yield* Effect.fork(Effect.forEach(Array.from({ length: concurrency }), () => lane.acquire))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(all)).length, concurrency)
        assert.isFalse(yield* lane.isFree)
      }),
    { fastCheck: { numRuns: 10 } }
  )
})
