import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { isInterruption } from "../effect/cause.js"
import { type RuntimeFiber, withFiber } from "../effect/fiber.js"
import { valueIn } from "../effect/fiberRef.js"

/** Milliseconds of a clock that never goes back; under `TestClock`, the test's time. */
export const monotonicMillis = (clock: Clock.Clock): number => {
  try {
    return Number(clock.unsafeCurrentTimeNanos()) / 1_000_000
  } catch {
    // A TestClock that stands between two milliseconds has no nanoseconds.
    return clock.unsafeCurrentTimeMillis()
  }
}

/** `Effect.clockWith` in one step instead of three. */
export const withClock = <A, E, R>(f: (clock: Clock.Clock) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  withFiber((fiber) => f(clockOf(fiber)))

export const clockOf = (fiber: RuntimeFiber<unknown, unknown>): Clock.Clock =>
  Context.get(valueIn(fiber, DefaultServices.currentServices), Clock.Clock)

export const nanosOf = (clock: Clock.Clock): bigint => clock.unsafeCurrentTimeNanos()

/** Milliseconds of the wall clock, for times that leave the process. */
export const wallMillis = (clock: Clock.Clock): number => clock.unsafeCurrentTimeMillis()

/** A moment of the past, in milliseconds of the wall clock, on the monotonic clock. */
export const monotonicAt = (clock: Clock.Clock, at: number): number =>
  monotonicMillis(clock) - Math.max(0, wallMillis(clock) - at)

/** The longest time a JavaScript timer can wait; more fires at once. */
export const maxTimerMillis = 2 ** 31 - 1

/** A timer that fires so many milliseconds late tells that the process was suspended, or its event loop blocked. */
const late = 10

/**
 * Sleeps until `at` on the monotonic clock, for any distance. When it wakes up late it lets the event loop turn once more: what
 * has arrived in sockets meanwhile is read before whoever slept decides that nothing came.
 */
export const sleepUntil = (at: number): Effect.Effect<void> =>
  Effect.clockWith((clock) => {
    const left = Math.ceil(at - monotonicMillis(clock))
    if (left <= 0) return Effect.void
    const nap = clock.sleep(Duration.millis(Math.min(left, maxTimerMillis)))
    return Effect.flatMap(nap, () => {
      const past = monotonicMillis(clock) - at
      // A timer may fire a fraction of a millisecond early: look again.
      return past < 0 ? sleepUntil(at) : past < late ? Effect.void : clock.sleep(Duration.zero)
    })
  })

/**
 * Gives an effect time until `at` on the monotonic clock. Unlike `Effect.timeoutOption` it ends in time in an uninterruptible
 * region, too, such as a finalizer, and keeps the value of an effect that ends while it is interrupted.
 */
export const timeoutAt = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  at: number
): Effect.Effect<Option.Option<A>, E, R> =>
  at === Infinity
    ? Effect.asSome(effect)
    : Effect.uninterruptible(
        Effect.raceWith(Effect.interruptible(effect), Effect.interruptible(sleepUntil(at)), {
          onSelfDone: (exit, sleeper) => Effect.zipRight(Fiber.interrupt(sleeper), Effect.asSome(exit)),
          onOtherDone: (slept, fiber) =>
            Effect.flatMap(Fiber.interrupt(fiber), (exit) => {
              if (Exit.isSuccess(exit) || !isInterruption(exit.cause)) return Effect.asSome(exit)
              return Effect.as(slept, Option.none())
            })
        })
      )
