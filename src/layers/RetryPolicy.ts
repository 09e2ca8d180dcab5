/**
 * When a failed request is sent again. Whether it may be at all depends on the operation, and is not a choice.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import { isThrottled, retryAfter, type RunPodError } from "../errors/RunPodError.js"
import { recurring } from "../internal/effect/schedule.js"
import { askedMillis } from "../internal/http/retry.js"
import { delayAfter } from "../internal/pace/backoff.js"
import { maxTimerMillis } from "../internal/pace/monotonic.js"
import { defined } from "../internal/text/json.js"

/**
 * A retry policy of the layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryPolicy {
  /** Gets each retryable error; its delay is waited before the next attempt, its end makes the error final. */
  readonly schedule: Schedule.Schedule<unknown, RunPodError>
  /**
   * Tokens of the retry budget that all requests of a layer share, or `Infinity` for none. A retry takes 5, one after a
   * timeout or a broken connection 10; success gives back what its retries took, or 1. Without enough tokens an error is final.
   */
  readonly budget: number
  /** For an endpoint that is paused (409). Default: none, and that error is final at once. */
  readonly whilePaused?: Schedule.Schedule<unknown, RunPodError> | undefined
}

/**
 * The choices of `make`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Pick<RetryPolicy, "whilePaused"> {
  /** Attempts in all, the first included. Default: 5. */
  readonly maxAttempts?: number | undefined
  /** The delay before the first retry. Default: 250 milliseconds. */
  readonly base?: Duration.DurationInput | undefined
  /** The same after a 429 that came without Retry-After. Default: 1 second. */
  readonly throttleBase?: Duration.DurationInput | undefined
  /** What each further delay is multiplied by. Default: 2. */
  readonly factor?: number | undefined
  /** The longest delay of our own; a Retry-After may be longer. Default: 8 seconds. */
  readonly cap?: Duration.DurationInput | undefined
  /** `full`: a random time between 0 and the delay, from Effect's `Random`; `none`: the delay itself. Default: `full`. */
  readonly jitter?: "full" | "none" | undefined
  /** See `RetryPolicy.budget`. Default: 500. */
  readonly budget?: number | undefined
}

/**
 * The defaults of `make`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  maxAttempts: 5,
  base: "250 millis",
  throttleBase: "1 second",
  factor: 2,
  cap: "8 seconds",
  jitter: "full",
  budget: 500
} as const satisfies Options

/**
 * The wait a server asked for, when the error carries one.
 *
 * @since 0.1.0
 * @category combinators
 */
export { retryAfter }

/**
 * Exponential backoff with jitter. A Retry-After is waited exactly, whatever the cap, up to the 24.8 days a timer can wait.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): RetryPolicy => {
  const { maxAttempts, budget, ...growth } = { ...defaults, ...defined(options) }
  const { factor, jitter } = growth
  const ordinary = { base: Duration.toMillis(growth.base), factor, cap: Duration.toMillis(growth.cap), jitter }
  const throttled = { ...ordinary, base: Duration.toMillis(growth.throttleBase) }
  return {
    schedule: recurring({
      times: Math.max(0, maxAttempts - 1),
      delay: (error: RunPodError, retries) => {
        const asked = askedMillis(error)
        return asked > 0
          ? Effect.succeed(Math.min(asked, maxTimerMillis))
          : delayAfter(isThrottled(error) ? throttled : ordinary, retries)
      }
    }),
    budget,
    whilePaused: options.whilePaused
  }
}

/**
 * Nothing is sent again; waits and batches still go on after a failed poll, and with the cancel of a job they give up.
 *
 * @since 0.1.0
 * @category constructors
 */
export const none: RetryPolicy = make({ maxAttempts: 1 })

/**
 * A policy from any schedule over the errors, such as `Schedule.spaced("1 second")`. It decides alone: where a server's wish
 * counts, it must look at `retryAfter`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromSchedule = (
  schedule: Schedule.Schedule<unknown, RunPodError>,
  options: { readonly budget?: number | undefined } = {}
): RetryPolicy => ({ schedule, budget: options.budget ?? defaults.budget })
