import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { clockOf } from "../pace/monotonic.js"
import * as RequestOptions from "./requestOptions.js"

/** What a request takes from the fiber that makes it. */
export interface Caller {
  readonly clock: Clock.Clock
  /** Whether its spans have times. */
  readonly isTimed: boolean
  readonly choices: RequestOptions.RequestOptions
}

/** Reads the fiber once, in one step. */
export const withCaller = <A, E, R>(f: (caller: Caller) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) =>
    f({
      clock: clockOf(fiber),
      isTimed: fiber.getFiberRef(FiberRef.currentTracerTimingEnabled),
      choices: fiber.getFiberRef(RequestOptions.current)
    })
  )
