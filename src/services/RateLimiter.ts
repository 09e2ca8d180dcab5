/**
 * A rate limiter for any effect: an exact sliding window, and at most so many at once. `RunPod` limits its requests with it
 * (see `RateLimits`); a program can use it to start at most 100 jobs a minute, say, whatever RunPod allows.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Limiter, windowsOf } from "../internal/pace/limiter.js"
import type { Limit } from "../layers/RateLimits.js"

/**
 * A limiter.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Runs an effect when there is room, first come, first served. Interrupting it while it waits counts for nothing. */
  readonly withPermit: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/**
 * The tag of a limiter that a program shares.
 *
 * @since 0.1.0
 * @category tags
 */
export class RateLimiter extends Context.Tag("effect-runpod/RateLimiter")<RateLimiter, Service>() {}

/**
 * The choices of a limiter.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Pick<Limit, "limit" | "window"> {
  /** Effects that run at once. Default: no limit. */
  readonly concurrency?: number | undefined
}

/**
 * A limiter: any span of `window`, wherever it begins, sees at most `limit` starts. A limit below 1 is a RangeError.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Service> =>
  Effect.sync(() => {
    const { concurrency = Infinity, limit, window } = options
    if (!(limit >= 1 && concurrency >= 1)) throw new RangeError("A rate limit must be at least 1")
    const limiter = new Limiter({ concurrency, windows: windowsOf({ limit, window }) })
    return { withPermit: (effect) => limiter.withPermit(() => effect) }
  })

/**
 * A limiter as a layer, for a program to share; otherwise as `make`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<RateLimiter> => Layer.effect(RateLimiter, make(options))
