import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as RateLimits from "../../../src/layers/RateLimits.js"
import { Limiter, noPermit, type Permit, windowsOf } from "../../../src/internal/pace/limiter.js"
import { finish } from "../../support/finish.js"

const limiterOf = (limit: Partial<RateLimits.Limit>) => {
  const { operations } = RateLimits.make({ status: { limit: Infinity, concurrency: Infinity, ...limit } })
  return new Limiter({ concurrency: operations.status.concurrency, windows: windowsOf(operations.status) })
}

/** A permit that is kept until it is released. */
const acquire = (limiter: Limiter) =>
  Effect.gen(function* () {
    const got = yield* Deferred.make<Permit>()
    const released = yield* Deferred.make<void>()
    const use = limiter.withPermit((permit) => Effect.zipRight(Deferred.succeed(got, permit), Deferred.await(released)))
    const fiber = yield* Effect.forkDaemon(use)
    const permit = yield* Effect.onInterrupt(Deferred.await(got), () => Fiber.interrupt(fiber))
    return { permit, release: Effect.zipRight(Deferred.succeed(released, undefined), Fiber.join(fiber)) }
  })

describe("Limiter", () => {
  describe("4,000 waiters", () => {
    const waiters = Array.from({ length: 4_000 }, (_, i) => i)

    it.effect("on 20 permits are served in order", () =>
      Effect.gen(function* () {
        const limiter = limiterOf({ concurrency: 20 })
        const order: Array<number> = []
        let inFlight = 0
        let most = 0
        yield* Effect.forEach(
          waiters,
          (i) =>
            limiter.withPermit(() =>
              Effect.gen(function* () {
                order.push(i)
                most = Math.max(most, ++inFlight)
                yield* Effect.yieldNow()
                inFlight--
              })
            ),
          { concurrency: "unbounded", discard: true }
        )
        assert.deepStrictEqual(order, waiters)
        assert.strictEqual(most, 20)
        assert.isTrue(yield* limiter.hasRoom)
      })
    )

    it.effect("on a window of 2,000 are served in order", () =>
      Effect.gen(function* () {
        const limiter = limiterOf({ limit: 2_000, window: "10 seconds" })
        const served: Array<readonly [number, number]> = []
        yield* finish(
          Effect.forEach(
            waiters,
            (i) =>
              limiter.withPermit(() =>
                Effect.map(Clock.currentTimeMillis, (now) => {
                  served.push([i, now])
                })
              ),
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
        const limiter = limiterOf({ concurrency: 1, limit: 2, window: "10 seconds" })
        const first = yield* acquire(limiter)
        const fibers = yield* Effect.forEach(waiters, () => Effect.fork(limiter.withPermit(() => Effect.void)))
        yield* Effect.sleep("1 second")
        yield* Fiber.interruptAll(fibers)
        assert.isFalse(yield* limiter.hasRoom)
        yield* first.release
        // The window has still room for the second of its two: none of the interrupted counted.
        assert.isTrue(yield* limiter.hasRoom)
        yield* acquire(limiter)
      }).pipe(finish)
    )
  })

  it.effect("a waiter that is interrupted while it sleeps for the window gives its place in flight to the next", () =>
    Effect.gen(function* () {
      const limiter = limiterOf({ concurrency: 2, limit: 1, window: "10 seconds" })
      const permit = yield* acquire(limiter)
      const sleeps = yield* Effect.fork(acquire(limiter))
      const next = yield* Effect.fork(Effect.zipRight(acquire(limiter), Clock.currentTimeMillis))
      yield* TestClock.adjust("9 seconds")
      yield* Fiber.interrupt(sleeps)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(next), 10_000)
      yield* permit.release
    })
  )

  it.effect("a waiter that is interrupted while the gate is closed leaves it to the next", () =>
    Effect.gen(function* () {
      const limiter = limiterOf({})
      const held = yield* acquire(limiter)
      yield* limiter.throttled(held.permit, Duration.seconds(10))
      yield* held.release
      assert.strictEqual(limiter.opensAt, 10_000)
      const waits = yield* Effect.fork(acquire(limiter))
      const next = yield* Effect.fork(Effect.zipRight(acquire(limiter), Clock.currentTimeMillis))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.interrupt(waits)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(next), 10_000)
    })
  )

  describe("of a wait, our own limits account", () => {
    it("for all of it, but not for what passes while the server answers nothing", () => {
      const limiter = limiterOf({})
      const wait = limiter.beginWait(1_000)
      assert.strictEqual(limiter.ownWait(wait, 4_000), 3_000)
      limiter.unanswered(3_000)
      assert.strictEqual(limiter.ownWait(wait, 9_000), 2_000)
      assert.strictEqual(limiter.ownWait(limiter.beginWait(5_000), 9_000), 0)
      limiter.answered()
      assert.strictEqual(limiter.ownWait(wait, 9_000), 8_000)
    })

    it.effect("not for what passes while it has closed the gate", () =>
      Effect.gen(function* () {
        const limiter = limiterOf({})
        const wait = limiter.beginWait(0)
        yield* TestClock.adjust("2 seconds")
        yield* limiter.throttled(noPermit, Duration.seconds(10))
        assert.strictEqual(limiter.ownWait(wait, 7_000), 2_000)
      })
    )

    it.effect("for what a window of ours takes meanwhile, until the server has been silent for 25 seconds", () =>
      Effect.gen(function* () {
        const limiter = limiterOf({ limit: 1, window: "30 seconds" })
        yield* acquire(limiter)
        const wait = limiter.beginWait(0)
        yield* Effect.fork(acquire(limiter))
        yield* TestClock.adjust("1 second")
        limiter.unanswered(1_000)
        assert.strictEqual(limiter.ownWait(wait, 26_000), 26_000)
        assert.strictEqual(limiter.ownWait(wait, 26_001), 1_000)
      })
    )
  })

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
        const limiter = limiterOf({ limit, window, concurrency })
        const starts: Array<number> = []
        let inFlight = 0
        const one = (coming: (typeof comings)[number]) => {
          const use = limiter.withPermit((permit) =>
            Effect.gen(function* () {
              starts.push(yield* Clock.currentTimeMillis)
              assert.isAtMost(++inFlight, concurrency)
              yield* Effect.sleep(coming.holds)
              if (coming.end === "accepted") yield* limiter.accepted(permit)
              if (coming.end === "throttled") yield* limiter.throttled(permit, undefined)
              if (coming.end === "throttled, with a time") yield* limiter.throttled(permit, Duration.millis(7))
            }).pipe(Effect.ensuring(Effect.sync(() => inFlight--)))
          )
          const { patience } = coming
          return Effect.delay(patience === undefined ? use : Effect.timeoutOption(use, patience), coming.at)
        }
        yield* Effect.forEach(comings, one, { concurrency: "unbounded", discard: true })
        for (let i = 0; i + limit < starts.length; i++) {
          assert.isAtLeast(starts[i + limit]! - starts[i]!, window)
        }
        // Once gate and window are open, all places are there again, one after the other.
        yield* Effect.sleep("2 minutes")
        assert.isTrue(yield* limiter.hasRoom)
        for (let i = 0; i < 20; i++) {
          const held = yield* Effect.timeout(acquire(limiter), "1 minute")
          yield* limiter.accepted(held.permit)
          yield* held.release
        }
        const all = Effect.forEach(Array.from({ length: concurrency }), () => acquire(limiter))
        assert.strictEqual((yield* Effect.timeout(all, "1 minute")).length, concurrency)
        assert.isFalse(yield* limiter.hasRoom)
      }).pipe((program) => finish(program, "1 hour")),
    { fastCheck: { numRuns: 10 } }
  )
})
