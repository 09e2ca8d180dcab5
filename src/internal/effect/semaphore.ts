import * as Effect from "effect/Effect"
import { identity } from "effect/Function"

/**
 * Takes a place without the suspension of `take`, where there is one: `release(-1)` takes one in any case, and below 0 there was none. Else it waits
 * for one, in the way of `waiting`.
 */
export const takeAtOnce = (
  semaphore: Effect.Semaphore,
  waiting: (take: Effect.Effect<number>) => Effect.Effect<number> = identity
): Effect.Effect<unknown> =>
  Effect.flatMap(semaphore.release(-1), (free) =>
    free >= 0 ? Effect.void : Effect.zipRight(semaphore.release(1), waiting(semaphore.take(1)))
  )
