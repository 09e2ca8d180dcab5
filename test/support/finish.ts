import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as VirtualTime from "./virtualTime.js"

/** Runs an effect to its end; one that has not ended after `within` of its own time is a defect. */
export const finish = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  within: Duration.DurationInput = "10 minutes"
): Effect.Effect<A, E, R> => VirtualTime.run(effect, within)

/** The same for an effect within one that is run in virtual time: it goes on where that one is. */
export const finishWithin = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  within: Duration.DurationInput = "10 minutes"
): Effect.Effect<A, E, R> =>
  Effect.raceFirst(
    effect,
    Effect.zipRight(VirtualTime.advance(within), Effect.dieMessage(`it did not end within ${Duration.format(within)}`))
  )

/** The same for an effect that uses what lives on the TestClock around it. */
export const finishOnTestClock = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  within: Duration.DurationInput = "10 minutes"
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(within)
    const exit = yield* Fiber.poll(fiber)
    return yield* Option.getOrThrowWith(exit, () => new Error(`it did not end within ${Duration.format(within)}`))
  })
