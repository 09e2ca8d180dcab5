import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

/** Work that goes on after the fiber that began it has ended, until the layer closes. */
export interface Background {
  /** Starts `effect` on a fiber of its own. It must end by itself: closing the layer waits for it. */
  readonly fork: <A>(effect: Effect.Effect<A>) => Effect.Effect<Fiber.RuntimeFiber<A>>
}

export const make: Effect.Effect<Background, never, Scope.Scope> = Effect.gen(function* () {
  const running = new Set<Fiber.RuntimeFiber<unknown>>()
  yield* Effect.addFinalizer(() =>
    Effect.whileLoop({
      while: () => running.size > 0,
      body: () => Fiber.awaitAll(running),
      step: () => {}
    })
  )
  return {
    fork: (effect) =>
      Effect.map(Effect.forkDaemon(Effect.interruptible(effect)), (fiber) => {
        running.add(fiber)
        fiber.addObserver(() => running.delete(fiber))
        return fiber
      })
  }
})
