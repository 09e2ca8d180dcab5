import { Effect, Fiber, TestClock } from "effect"

/** Runs an effect while time passes; one that has not ended after so many minutes hangs. */
export const passing = <A, E, R>(effect: Effect.Effect<A, E, R>, minutes = 5) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(`${minutes} minutes`)
    return yield* Fiber.join(fiber)
  })
