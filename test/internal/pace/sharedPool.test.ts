/** A limiter over a pool that processes share: what it takes, gives back and waits for. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as TestClock from "effect/TestClock"
import type { Pool } from "../../../src/layers/Permits.js"
import { Limiter } from "../../../src/internal/pace/limiter.js"
import * as Timer from "../../../src/internal/pace/timer.js"

/** A pool whose starts and places the test hands out. */
class TestPool implements Pool {
  taken = 0
  kept = 0
  released = 0
  /** What `release` was told last. */
  took: number | undefined
  /** What `ready` was told last. */
  waiting: () => number = () => 0
  private changed = Deferred.unsafeMake<void>(FiberId.none)

  constructor(
    private starts: number,
    private readonly places: number
  ) {}

  get inFlight(): number {
    return this.taken + this.kept - this.released
  }

  give(starts: number): void {
    this.starts += starts
    this.wake()
  }

  hasRoom = (): boolean => this.starts > 0 && this.inFlight < this.places

  tryTake = (): boolean => {
    if (!this.hasRoom()) return false
    this.starts--
    this.taken++
    return true
  }

  ready = (waiting: () => number): Effect.Effect<void> =>
    Effect.suspend(() => {
      this.waiting = waiting
      return this.hasRoom() ? Effect.void : Effect.zipRight(Deferred.await(this.changed), this.ready(waiting))
    })

  readonly start: Effect.Effect<void> = Effect.suspend(() => {
    if (this.starts === 0) return Effect.zipRight(Deferred.await(this.changed), this.start)
    this.starts--
    return Effect.void
  })

  keepPlace = (): void => {
    this.kept++
  }

  release = (took?: number): void => {
    this.released++
    this.took = took
    this.wake()
  }

  private wake(): void {
    const { changed } = this
    this.changed = Deferred.unsafeMake(FiberId.none)
    Deferred.unsafeDone(changed, Effect.void)
  }
}

const limiterOver = (pool: Pool, concurrency = 100) => new Limiter({ concurrency, windows: [], pool })

const settle = Effect.repeatN(Effect.yieldNow(), 20)

describe("a limiter over a shared pool", () => {
  it.effect("sends in the order of arrival, as the pool has starts and places", () =>
    Effect.gen(function* () {
      const pool = new TestPool(0, 2)
      const limiter = limiterOver(pool)
      const sent: Array<number> = []
      const end = yield* Deferred.make<void>()
      const fibers = yield* Effect.forEach([0, 1, 2, 3], (i) =>
        Effect.fork(
          limiter.withPermit(() =>
            Effect.suspend(() => {
              sent.push(i)
              return Deferred.await(end)
            })
          )
        )
      )
      yield* settle
      assert.deepStrictEqual(sent, [])
      assert.strictEqual(pool.waiting(), 4)
      assert.isFalse(yield* limiter.hasRoom)
      pool.give(4)
      yield* settle
      assert.deepStrictEqual(sent, [0, 1])
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(sent, [0, 1, 2, 3])
      assert.deepInclude(pool, { taken: 4, released: 4 })
    })
  )

  it.effect("takes nothing for one that is interrupted while it waits, and lets the next one have its turn", () =>
    Effect.gen(function* () {
      const pool = new TestPool(0, 5)
      const limiter = limiterOver(pool, 1)
      const [first, second] = yield* Effect.all([
        Effect.fork(limiter.withPermit(() => Effect.succeed("first"))),
        Effect.fork(limiter.withPermit(() => Effect.succeed("second")))
      ])
      yield* settle
      yield* Fiber.interrupt(first)
      pool.give(1)
      assert.strictEqual(yield* Fiber.join(second), "second")
      assert.deepInclude(pool, { taken: 1, released: 1 })
      pool.give(1)
      assert.isTrue(yield* limiter.hasRoom)
    })
  )

  it.scoped("gives up at the deadline of one that waits, without a start", () =>
    Effect.gen(function* () {
      const pool = new TestPool(0, 5)
      const limiter = limiterOver(pool)
      const timer = yield* Timer.make
      const until = { timer, deadline: () => 1_000, onLate: () => Effect.succeed("late") }
      const fiber = yield* Effect.fork(limiter.withPermit(() => Effect.succeed("sent"), undefined, until))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), "late")
      pool.give(1)
      assert.strictEqual(yield* limiter.withPermit(() => Effect.succeed("sent")), "sent")
      assert.deepInclude(pool, { taken: 1, released: 1 })
    })
  )

  const ends: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
    ["succeeds", Effect.void],
    ["fails", Effect.fail("no")],
    ["dies", Effect.die("bug")],
    ["is interrupted", Effect.interrupt],
    ["succeeds later", Effect.yieldNow()]
  ]
  for (const [how, use] of ends) {
    for (const waits of [false, true]) {
      it.effect(`gives a place back once when what uses it ${how}${waits ? ", after a wait" : ""}`, () =>
        Effect.gen(function* () {
          const pool = new TestPool(waits ? 0 : 1, 1)
          const limiter = limiterOver(pool, 1)
          const fiber = yield* Effect.fork(limiter.withPermit(() => use))
          yield* settle
          if (waits) pool.give(1)
          yield* Fiber.await(fiber)
          assert.deepInclude(pool, { taken: 1, released: 1 })
        })
      )
    }
  }

  it.effect("gives back a place that is kept beyond its request when it is released", () =>
    Effect.gen(function* () {
      const pool = new TestPool(2, 2)
      const limiter = limiterOver(pool)
      const kept = yield* limiter.withPermit(() => limiter.keepPlace)
      assert.strictEqual(pool.inFlight, 1)
      yield* kept.release
      assert.deepInclude(pool, { taken: 1, kept: 1, released: 2 })
    })
  )

  it.effect("tells how long after its start a request was answered, unless its answer may be held", () =>
    Effect.gen(function* () {
      const pool = new TestPool(3, 1)
      const late = Effect.delay(Effect.fail("no"), "800 millis")
      const held = new Limiter({ concurrency: 1, windows: [], pool, isHeld: true })
      for (const [limiter, took] of [
        [limiterOver(pool), 800],
        [held, undefined]
      ] as const) {
        const fiber = yield* Effect.fork(limiter.withPermit(() => late))
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.await(fiber)
        assert.strictEqual(pool.took, took)
      }
    })
  )

  it.scoped("loses no place to interrupts at any step", () =>
    Effect.gen(function* () {
      for (const withDeadline of [false, true]) {
        for (let steps = 0; steps < 60; steps++) {
          const pool = new TestPool(1, 1)
          const limiter = limiterOver(pool, 1)
          const timer = yield* Timer.make
          const until = { timer, deadline: () => 1e9, onLate: () => Effect.void }
          const send = () => limiter.withPermit(() => Effect.yieldNow(), undefined, withDeadline ? until : undefined)
          const fibers = yield* Effect.forEach([0, 1, 2], () => Effect.fork(send()))
          for (let i = 0; i < steps; i++) {
            yield* Effect.yieldNow()
            if (i % 7 === 3) pool.give(1)
          }
          pool.give(5)
          yield* Effect.forEach(fibers, Fiber.interruptFork)
          for (const fiber of fibers) yield* Fiber.await(fiber)
          assert.strictEqual(pool.inFlight, 0, `after ${steps} steps`)
          assert.isTrue(Exit.isSuccess(yield* Effect.exit(Effect.suspend(send))))
          assert.strictEqual(pool.inFlight, 0)
        }
      }
    })
  )

  it.effect("asks for another start only for a request that was kept from leaving", () =>
    Effect.gen(function* () {
      const pool = new TestPool(0, 1)
      const limiter = new Limiter({ concurrency: 100, windows: [], pool, isHeld: true })
      const permit = { closings: 0, startedAt: 0 }
      assert.isUndefined(limiter.beforeLeaving(permit, 50))
      assert.isUndefined(new Limiter({ concurrency: 1, windows: [] }).beforeLeaving(permit, 5_000))
      yield* TestClock.adjust("5 seconds")
      const fiber = yield* Effect.fork(limiter.beforeLeaving(permit, 5_000) ?? Effect.void)
      yield* settle
      assert.isNull(fiber.unsafePoll())
      pool.give(1)
      yield* Fiber.join(fiber)
      assert.strictEqual(pool.taken, 0)
      assert.strictEqual(permit.startedAt, 5_000)
    })
  )
})
