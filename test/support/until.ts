import * as Effect from "effect/Effect"

/** Lets sockets do their work until `condition` holds; the test's clock stands still. */
export const until = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(condition, (holds) =>
    holds
      ? Effect.void
      : Effect.zipRight(
          Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))),
          until(condition)
        )
  )
