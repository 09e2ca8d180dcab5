/** Items of which only an intent is known: the owner before, which was taken for dead, may still tell of their jobs. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** How often is looked whether it has. */
const lookEvery = "500 millis"

/**
 * Looks at these items, until of none of them more can be told: `look` gives those of which that is not so yet. What comes out waits for
 * one of them; for any other item there is nothing to wait for.
 */
export const make = <E>(
  keys: ReadonlyArray<string>,
  look: (keys: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>, E>
): Effect.Effect<(key: string) => Effect.Effect<void, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const waiting = new Map<string, Deferred.Deferred<void, E>>()
    for (const key of keys) waiting.set(key, yield* Deferred.make<void, E>())
    const round = Effect.gen(function* () {
      yield* Effect.sleep(lookEvery)
      const left = new Set(yield* look([...waiting.keys()]))
      for (const [key, told] of waiting) {
        if (left.has(key)) continue
        waiting.delete(key)
        yield* Deferred.succeed(told, undefined)
      }
    })
    // Where the database is away, they wait no longer than anything else that it is asked for.
    const failed = (error: E) =>
      Effect.forEach(waiting.values(), (told) => Deferred.fail(told, error), { discard: true })
    yield* Effect.whileLoop({ while: () => waiting.size > 0, body: () => round, step: () => {} }).pipe(
      Effect.catchAll(failed),
      Effect.forkScoped
    )
    return (key) => {
      const told = waiting.get(key)
      return told === undefined ? Effect.void : Deferred.await(told)
    }
  })
