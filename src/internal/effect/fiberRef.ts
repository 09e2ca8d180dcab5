/** What our own values in the context of a fiber are made of. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import type { RuntimeFiber } from "./fiber.js"

/** A value that a fiber hands down to those it forks; one for the process, however often this package is loaded. */
export const make = <A>(name: string, initial: A): FiberRef.FiberRef<A> =>
  globalValue(`effect-runpod/${name}`, () => FiberRef.unsafeMake(initial))

export const valueIn = <A>(fiber: RuntimeFiber<unknown, unknown>, ref: FiberRef.FiberRef<A>): A =>
  fiber.getFiberRef(ref)

export const provide: <A, E, R, V>(
  effect: Effect.Effect<A, E, R>,
  ref: FiberRef.FiberRef<V>,
  value: V
) => Effect.Effect<A, E, R> = Effect.locally

export const update: <A, E, R, V>(
  effect: Effect.Effect<A, E, R>,
  ref: FiberRef.FiberRef<V>,
  f: (outer: V) => V
) => Effect.Effect<A, E, R> = Effect.locallyWith

/** Changes the value for what comes after it in its fiber: for fibers of our own, which end with it. */
export const change: <V>(ref: FiberRef.FiberRef<V>, f: (outer: V) => V) => Effect.Effect<void> = FiberRef.update

/** Changes the context for what comes after it in its fiber, up to the end of the effect that was provided with that context. */
export const updateContext = (f: (context: Context.Context<never>) => Context.Context<never>): Effect.Effect<void> =>
  FiberRef.update(FiberRef.currentContext, f)
