/**
 * Time that jumps to the next sleeper as soon as nothing runs: the same for a test as TestClock, where TestClock takes
 * milliseconds for each wake-up and thousands of fibers wake hundreds of times.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import type * as Scheduler from "effect/Scheduler"
import * as Fibers from "../../src/internal/effect/fiber.js"
import { Heap, type Timed } from "../../src/internal/pace/heap.js"

interface Sleeper extends Timed {
  readonly wake: () => void
}

/** Runs all tasks in one microtask, so that what is left to do is known. */
const makeScheduler = () => {
  let tasks: Array<() => void> = []
  let runs = false
  const drain = () => {
    while (tasks.length > 0) {
      const batch = tasks
      tasks = []
      for (const task of batch) task()
    }
    runs = false
  }
  const scheduler: Scheduler.Scheduler = {
    // Asked at each step: the FiberRef, whose default is 2,048, only where it counts.
    shouldYield: (fiber) =>
      fiber.currentOpCount > 2_048 && fiber.currentOpCount > fiber.getFiberRef(FiberRef.currentMaxOpsBeforeYield)
        ? fiber.getFiberRef(FiberRef.currentSchedulingPriority)
        : false,
    scheduleTask: (task) => {
      tasks.push(task)
      if (runs) return
      runs = true
      queueMicrotask(drain)
    }
  }
  return { scheduler, isIdle: () => !runs && tasks.length === 0 }
}

/** One turn of the event loop: promises that are ready are through. */
const turn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/**
 * Runs an effect that does nothing outside this process to its end, in its own time from 0. One that has not ended after
 * `within` of that time is a defect.
 */
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  within: Duration.DurationInput = Duration.infinity
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const end = Duration.toMillis(within)
    const { isIdle, scheduler } = makeScheduler()
    const sleepers = new Heap<Sleeper>()
    let now = 0
    const clock: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => now,
      unsafeCurrentTimeNanos: () => BigInt(now) * 1_000_000n,
      currentTimeMillis: Effect.sync(() => now),
      currentTimeNanos: Effect.sync(() => BigInt(now) * 1_000_000n),
      sleep: (duration) =>
        Effect.async<void>((resume) => {
          const at = now + Math.ceil(Duration.toMillis(duration))
          const sleeper: Sleeper = { at, order: 0, index: -1, wake: () => resume(Effect.void) }
          sleepers.add(sleeper)
          return Effect.sync(() => sleepers.remove(sleeper))
        })
    }
    const fiber = yield* Effect.forkDaemon(Effect.withScheduler(Effect.withClock(effect, clock), scheduler))
    let idleTurns = 0
    while (Fibers.isRunning(fiber)) {
      yield* turn
      idleTurns = isIdle() ? idleTurns + 1 : 0
      if (idleTurns < 2) continue
      const next = sleepers.peek()
      if (next === undefined) {
        if (idleTurns > 1000) throw new Error("nothing runs and nothing sleeps")
        continue
      }
      if (next.at > end) {
        yield* Fiber.interruptFork(fiber)
        throw new Error(`it did not end within ${Duration.format(within)}`)
      }
      now = next.at
      for (let due = sleepers.peek(); due !== undefined && due.at <= now; due = sleepers.peek()) {
        sleepers.remove(due)
        due.wake()
      }
      idleTurns = 0
    }
    return yield* Fiber.join(fiber)
  })

/** Sleeps within an effect that is run here, until all that is due by then is done: what `TestClock.adjust` is on the TestClock. */
export const advance = (duration: Duration.DurationInput): Effect.Effect<void> =>
  Effect.zipRight(Effect.sleep(duration), Effect.sleep(0))
