import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"

/** When the caller of an operation gives up on it, on the monotonic clock in milliseconds. */
export const currentDeadline: FiberRef.FiberRef<number> = globalValue("effect-runpod/currentDeadline", () =>
  FiberRef.unsafeMake(Infinity)
)

/** Runs `effect` with a deadline that is no later than the one it is under already. */
export const within = <A, E, R>(effect: Effect.Effect<A, E, R>, at: number): Effect.Effect<A, E, R> =>
  Effect.locallyWith(effect, currentDeadline, (outer) => Math.min(outer, at))
