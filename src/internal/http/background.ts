import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"

/** What goes on in a layer beside its requests, and what happens to it when the layer closes. */
export interface Background {
  /** Starts `effect` on a fiber of its own. It must end by itself: closing the layer waits for it. */
  readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Fiber.RuntimeFiber<A, E>>
  /**
   * Runs `effect`, and interrupts it when the layer closes meanwhile: for what cleans up when it is interrupted, and could
   * not any more when its own fiber ends later than the layer.
   */
  readonly whileOpen: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** How long the layer's end waits for what was interrupted. */
const patience = "1 minute"

interface Guest {
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  readonly gone: Deferred.Deferred<void>
}

export const make: Effect.Effect<Background, never, Scope.Scope> = Effect.gen(function* () {
  const running = new Set<Fiber.RuntimeFiber<unknown>>()
  const guests = new Set<Guest>()

  const interruptGuests = Effect.withFiberRuntime<void>((self) => {
    const others = [...guests].filter(({ fiber }) => fiber !== self)
    for (const { fiber } of others) fiber.unsafeInterruptAsFork(self.id())
    return Effect.asVoid(
      Effect.timeoutOption(
        Effect.forEach(others, ({ gone }) => Deferred.await(gone), { discard: true }),
        patience
      )
    )
  })
  const awaitRunning = Effect.whileLoop({
    while: () => running.size > 0,
    body: () => Fiber.awaitAll(running),
    step: () => {}
  })
  yield* Effect.addFinalizer(() => Effect.zipRight(interruptGuests, awaitRunning))

  return {
    fork: (effect) =>
      Effect.map(Effect.forkDaemon(Effect.interruptible(effect)), (fiber) => {
        running.add(fiber)
        fiber.addObserver(() => running.delete(fiber))
        return fiber
      }),
    whileOpen: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.withFiberRuntime<A, E, R>((fiber) => {
        const guest: Guest = { fiber, gone: Deferred.unsafeMake(FiberId.none) }
        guests.add(guest)
        return Effect.onExit(effect, () => {
          guests.delete(guest)
          return Deferred.succeed(guest.gone, undefined)
        })
      })
  }
})
