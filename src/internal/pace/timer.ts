import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Fibers from "../effect/fiber.js"
import { Heap, type Timed } from "./heap.js"
import { monotonicMillis, sleepUntil } from "./monotonic.js"

export interface Alarm extends Timed {
  readonly run: () => void
}

/**
 * Many alarms on one fiber that sleeps until the earliest of them: an alarm costs no fiber, and with none set nothing
 * sleeps. They run in order of time, those of the same time in the order they were set.
 */
export interface Timer {
  readonly now: () => number
  readonly set: (at: number, run: () => void) => Alarm
  /** Sets an alarm that is an object of the caller's own, and not set. */
  readonly add: (alarm: Alarm) => void
  readonly clear: (alarm: Alarm) => void
}

export const make: Effect.Effect<Timer, never, Scope.Scope> = Effect.gen(function* () {
  const clock = yield* Effect.clock
  const fork = yield* Fibers.fork
  const alarms = new Heap<Alarm>()
  let sleeper: Fibers.RuntimeFiber<void> | undefined
  let wakesAt = Infinity
  let closed = false
  let changes = 0

  const wake = () => {
    changes++
    wakesAt = Infinity
    sleeper = undefined
    const now = monotonicMillis(clock)
    for (let next = alarms.peek(); next !== undefined && next.at <= now; next = alarms.peek()) {
      alarms.remove(next)
      next.run()
    }
    arm()
  }

  const arm = () => {
    const next = alarms.peek()
    // An earlier wake-up than needed is harmless: it finds nothing due and goes back to sleep.
    if (closed || next === undefined || next.at >= wakesAt) return
    if (sleeper !== undefined) Fibers.interruptLater(sleeper)
    wakesAt = next.at
    const change = ++changes
    const fiber = fork(Effect.zipRight(sleepUntil(next.at), Effect.sync(wake)))
    // For an alarm that is due already, it has woken up meanwhile: the sleeper is then the one that was armed after that.
    if (changes === change) sleeper = fiber
  }

  const add = (alarm: Alarm) => {
    alarms.add(alarm)
    arm()
  }

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closed = true
      return sleeper === undefined ? Effect.void : Fiber.interrupt(sleeper)
    })
  )

  return {
    now: () => monotonicMillis(clock),
    set: (at, run) => {
      const alarm: Alarm = { at, order: 0, index: -1, run }
      add(alarm)
      return alarm
    },
    add,
    clear: (alarm) => alarms.remove(alarm)
  }
})
