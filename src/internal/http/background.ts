import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import type { Service } from "../../layers/RunPodHttpClient.js"
import * as Fibers from "../effect/fiber.js"
import { clockOf, monotonicMillis, timeoutAt } from "../pace/monotonic.js"

/** How long closing the layer waits for what it has interrupted, in milliseconds. */
const patience = 60_000

/** What goes on in a layer beside its requests, and what happens to it when the layer closes. */
export const make: Effect.Effect<Pick<Service, "fork" | "supervise">, never, Scope.Scope> = Effect.gen(function* () {
  const running = new Set<Fibers.RuntimeFiber<unknown, unknown>>()
  const supervised = new Set<{
    readonly fiber: Fibers.RuntimeFiber<unknown, unknown>
    readonly ended: Deferred.Deferred<void>
  }>()

  const interruptSupervised = Fibers.withFiber<void>((self) => {
    const others = [...supervised].filter(({ fiber }) => fiber !== self)
    for (const { fiber } of others) Fibers.interruptLater(fiber)
    const ended = Effect.forEach(others, ({ ended }) => Deferred.await(ended), { discard: true })
    return Effect.asVoid(timeoutAt(ended, monotonicMillis(clockOf(self)) + patience))
  })
  // Not a FiberSet, whose scope interrupts what is left: a submit that was sent is awaited.
  const awaitRunning = Effect.whileLoop({
    while: () => running.size > 0,
    body: () => Fiber.awaitAll(running),
    step: () => {}
  })
  yield* Effect.addFinalizer(() => Effect.zipRight(interruptSupervised, awaitRunning))

  return {
    fork: (effect) =>
      Effect.map(Effect.forkDaemon(Effect.interruptible(effect)), (fiber) => {
        running.add(fiber)
        Fibers.onEnd(fiber, () => running.delete(fiber))
        return fiber
      }),
    supervise: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Fibers.withFiber<A, E, R>((fiber) => {
        const entry = { fiber, ended: Deferred.unsafeMake<void>(FiberId.none) }
        supervised.add(entry)
        return Effect.onExit(effect, () => {
          supervised.delete(entry)
          return Deferred.succeed(entry.ended, undefined)
        })
      })
  }
})
