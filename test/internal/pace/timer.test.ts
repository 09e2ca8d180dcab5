import { assert, describe, it } from "@effect/vitest"
import type * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { maxTimerMillis } from "../../../src/internal/pace/monotonic.js"
import * as Timer from "../../../src/internal/pace/timer.js"

const make = Effect.map(Timer.make, (timer) => {
  const rung: Array<string> = []
  return {
    timer,
    rung,
    set: (at: number, name: string = String(at)) => timer.set(at, () => void rung.push(`${name}@${timer.now()}`))
  }
})

describe("Timer", () => {
  it.scoped("rings in order of time, whatever the order they were set in", () =>
    Effect.gen(function* () {
      const { rung, set } = yield* make
      for (const at of [30, 10, 50, 20, 40]) set(at)
      for (let i = 0; i < 5; i++) yield* TestClock.adjust(10)
      assert.deepStrictEqual(rung, ["10@10", "20@20", "30@30", "40@40", "50@50"])
    })
  )

  it.scoped("rings those of the same time in the order they were set", () =>
    Effect.gen(function* () {
      const { rung, set } = yield* make
      for (const name of ["a", "b", "c", "d", "e"]) set(7, name)
      yield* TestClock.adjust(7)
      assert.deepStrictEqual(rung, ["a@7", "b@7", "c@7", "d@7", "e@7"])
    })
  )

  it.scoped("rings all that are due when time has jumped, still in order", () =>
    Effect.gen(function* () {
      const { rung, set } = yield* make
      for (const at of [30, 10, 20, 200]) set(at)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(
        rung.map((name) => name.split("@")[0]),
        ["10", "20", "30"]
      )
    })
  )

  it.scoped("rings at once, but not within `set`, when the time is past", () =>
    Effect.gen(function* () {
      const { rung, set } = yield* make
      yield* TestClock.adjust(5)
      set(3)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(rung, ["3@5"])
    })
  )

  it.scoped("does not ring what was cleared, before, after and at its time", () =>
    Effect.gen(function* () {
      const { rung, set, timer } = yield* make
      const first = set(10)
      set(20)
      const last = set(30)
      timer.clear(first)
      timer.clear(first)
      yield* TestClock.adjust(20)
      timer.clear(last)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, ["20@20"])
    })
  )

  it.scoped("an alarm may clear another of the same time, and set new ones", () =>
    Effect.gen(function* () {
      const { rung, set, timer } = yield* make
      timer.set(10, () => {
        timer.clear(second)
        set(12)
        set(10, "now")
      })
      const second = set(10, "second")
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(rung, ["now@10"])
      yield* TestClock.adjust(2)
      assert.deepStrictEqual(rung, ["now@10", "12@12"])
    })
  )

  it.scoped("wakes for an earlier alarm that is set while it sleeps for a later one", () =>
    Effect.gen(function* () {
      const { rung, set } = yield* make
      set(1000)
      yield* TestClock.adjust(1)
      set(5)
      set(3)
      yield* TestClock.adjust(2)
      assert.deepStrictEqual(rung, ["3@3"])
      yield* TestClock.adjust(2)
      assert.deepStrictEqual(rung, ["3@3", "5@5"])
      yield* TestClock.adjust(995)
      assert.deepStrictEqual(rung, ["3@3", "5@5", "1000@1000"])
    })
  )

  it.scoped("rings an alarm set after the one it slept for was cleared", () =>
    Effect.gen(function* () {
      const { rung, set, timer } = yield* make
      timer.clear(set(10))
      set(20)
      yield* TestClock.adjust(20)
      assert.deepStrictEqual(rung, ["20@20"])
    })
  )

  it.scoped("sleeps only while an alarm is set, and on one sleep for all of them", () =>
    Effect.gen(function* () {
      const { set } = yield* make
      const sleeps = Effect.map(TestClock.sleeps(), (sleeps) => Array.from(sleeps))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* sleeps, [])
      for (let i = 0; i < 50; i++) set(10 + i)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* sleeps, [10])
      yield* TestClock.adjust(10_000)
      assert.deepStrictEqual(yield* sleeps, [])
    })
  )

  it.scoped("rings at times beyond what a timer can wait", () =>
    Effect.gen(function* () {
      const { rung, set } = yield* make
      const far = 2 * maxTimerMillis + 10
      set(far, "far")
      yield* TestClock.adjust(maxTimerMillis)
      yield* TestClock.adjust(maxTimerMillis)
      yield* TestClock.adjust(9)
      assert.deepStrictEqual(rung, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(rung, [`far@${far}`])
    })
  )

  it.effect("rings no more once its scope is closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { rung, set } = yield* Scope.extend(make, scope)
      set(10)
      yield* TestClock.adjust(1)
      yield* Scope.close(scope, Exit.void)
      set(20)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, [])
    })
  )

  it.effect("leaves nothing asleep behind, alarms that were due when they were set included", () =>
    Effect.gen(function* () {
      let asleep = 0
      const clock = yield* Effect.clock
      const sleep = (duration: Duration.Duration) =>
        Effect.acquireUseRelease(
          Effect.sync(() => asleep++),
          () => clock.sleep(duration),
          () => Effect.sync(() => asleep--)
        )
      const counting: Clock.Clock = Object.create(clock, { sleep: { value: sleep } })
      const scope = yield* Scope.make()
      const { rung, set } = yield* Effect.withClock(Scope.extend(make, scope), counting)
      yield* TestClock.adjust(50)
      for (let i = 0; i < 3; i++) {
        set(86_400_000 - i, "far")
        set(50 - i, "due")
        yield* TestClock.adjust(0)
      }
      assert.deepStrictEqual(rung, ["due@50", "due@50", "due@50"])
      assert.strictEqual(asleep, 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(asleep, 0)
    })
  )

  it.scoped("counts on its own clock", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust(5)
      const { timer } = yield* make
      assert.strictEqual(timer.now(), 5)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(timer.now(), 3_600_005)
    })
  )
})
