import { assert, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Either, Exit, Fiber, FiberId, Schedule, TestClock } from "effect"
import { describe } from "vitest"
import { callable } from "../../../src/internal/effect/callable.js"
import * as Causes from "../../../src/internal/effect/cause.js"
import { fromEither } from "../../../src/internal/effect/either.js"
import * as Fibers from "../../../src/internal/effect/fiber.js"
import * as FiberRefs from "../../../src/internal/effect/fiberRef.js"
import * as Schedules from "../../../src/internal/effect/schedule.js"

describe("a fiber", () => {
  it.effect("is interrupted without waiting, and tells its end", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(Effect.zipRight(Deferred.succeed(started, undefined), Effect.never))
      yield* Deferred.await(started)
      const ends: Array<boolean> = []
      Fibers.onEnd(fiber, (exit) => ends.push(Exit.isInterrupted(exit)))
      assert.isTrue(Fibers.isRunning(fiber))
      assert.isUndefined(Fibers.exitOf(fiber))
      Fibers.interruptLater(fiber)
      yield* Fiber.await(fiber)
      Fibers.onEnd(fiber, (exit) => ends.push(Exit.isInterrupted(exit)))
      assert.deepStrictEqual(ends, [true, true])
    })
  )

  it.effect("that has ended stays as it is", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Effect.succeed(1))
      yield* Fiber.await(fiber)
      Fibers.interruptLater(fiber)
      assert.isFalse(Fibers.isRunning(fiber))
      assert.deepStrictEqual(Fibers.exitOf(fiber), Exit.succeed(1))
    })
  )

  it.effect("hands its values down to those it forks", () =>
    Effect.gen(function* () {
      const ref = FiberRefs.make("test", "outer")
      const value = Fibers.withFiber<string>((fiber) => Effect.succeed(FiberRefs.valueIn(fiber, ref)))
      const inner = FiberRefs.update(Effect.flatMap(Effect.fork(value), Fiber.join), ref, (outer) => `${outer}, inner`)
      assert.strictEqual(yield* value, "outer")
      assert.strictEqual(yield* FiberRefs.provide(inner, ref, "other"), "other, inner")
      assert.strictEqual(FiberRefs.make("test", "again"), ref)
    })
  )

  it.effect("is forked with the context of the effect that asks for it", () =>
    Effect.gen(function* () {
      const ref = FiberRefs.make("test", "outer")
      const value = Fibers.withFiber<string>((fiber) => Effect.succeed(FiberRefs.valueIn(fiber, ref)))
      const fork = yield* FiberRefs.provide(Fibers.fork, ref, "forked")
      const promise = yield* FiberRefs.provide(Fibers.promise, ref, "promised")
      assert.strictEqual(yield* Fiber.join(fork(value)), "forked")
      assert.strictEqual(yield* Effect.promise(() => promise(value)), "promised")
    })
  )
})

describe("a cause", () => {
  const all = Cause.parallel(
    Cause.sequential(Cause.fail("a"), Cause.die("b")),
    Cause.sequential(Cause.interrupt(FiberId.none), Cause.empty)
  )

  it("has its errors and defects mapped, and nothing else", () => {
    const mapped = Causes.mapFailures(Exit.failCause(all), { onFail: (e) => `error ${e}`, onDie: (d) => `defect ${d}` })
    const expected = Cause.parallel(
      Cause.sequential(Cause.fail("error a"), Cause.die("defect b")),
      Cause.sequential(Cause.interrupt(FiberId.none), Cause.empty)
    )
    assert.deepStrictEqual(mapped, Exit.failCause(expected))
    assert.deepStrictEqual(
      Causes.mapFailures(Exit.succeed(1), { onFail: () => "error", onDie: () => "defect" }),
      Exit.succeed(1)
    )
  })

  it("says what the effect failed with", () => {
    assert.strictEqual(Causes.failureOf(all), "a")
    assert.strictEqual(Causes.squash(all), "a")
    assert.isUndefined(Causes.failureOf(Cause.die("b")))
    assert.strictEqual(Causes.squash(Cause.die("b")), "b")
    assert.isFalse(Causes.isInterruption(all))
    assert.isTrue(Causes.isInterruption(Cause.interrupt(FiberId.none)))
  })
})

it.effect("an Either is an effect with its end", () =>
  Effect.gen(function* () {
    assert.strictEqual(yield* fromEither(Either.right(1)), 1)
    assert.strictEqual(yield* Effect.flip(fromEither(Either.left("no"))), "no")
  })
)

describe("a schedule", () => {
  /** The delays in milliseconds after these inputs, until it has come to its end. */
  const delaysOf = <In>(schedule: Schedule.Schedule<unknown, In>, inputs: ReadonlyArray<In>) =>
    Effect.map(Schedule.run(Schedule.delays(schedule), 0, inputs), (delays) => [...delays].map(Duration.toMillis))

  it.effect("recurs as often as it is told, after delays by input and number", () =>
    Effect.gen(function* () {
      const schedule = Schedules.recurring({
        times: 2,
        delay: (input: number, recurrences) => Effect.succeed(input * 10 + recurrences)
      })
      assert.deepStrictEqual(yield* delaysOf(schedule, [1, 2, 3, 4]), [10, 21, 0])
    })
  )

  it.effect("goes on while it may", () =>
    Effect.gen(function* () {
      const schedule = Schedules.recurring({
        delay: (input: number) => Effect.succeed(input),
        while: (input) => Effect.succeed(input < 3)
      })
      assert.deepStrictEqual(yield* delaysOf(schedule, [1, 2, 3, 4]), [1, 2, 0])
    })
  )

  it.effect("is waited for, and fails at its end", () =>
    Effect.gen(function* () {
      const wait = yield* Schedules.start(Schedule.intersect(Schedule.recurs(1), Schedule.spaced("1 second")))
      const first = yield* Effect.fork(wait(undefined))
      yield* TestClock.adjust("999 millis")
      assert.isTrue(Fibers.isRunning(first))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(first)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(wait(undefined))))
    })
  )
})

describe("an effect that is a function, too", () => {
  let made = 0
  const numbered = callable((label: string) => Effect.sync(() => `${label} ${++made}`), "usual")

  it.effect("is run, piped and called, and makes a new value each time", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* numbered, "usual 1")
      assert.strictEqual(yield* numbered.pipe(Effect.map((text) => `${text}!`)), "usual 2!")
      assert.strictEqual(yield* numbered("other"), "other 3")
      assert.deepStrictEqual(yield* Effect.all([numbered, numbered], { concurrency: 2 }), ["usual 4", "usual 5"])
      assert.isTrue(Effect.isEffect(numbered))
      assert.strictEqual(yield* Effect.promise(() => Effect.runPromise(numbered)), "usual 6")
    })
  )
})
