/**
 * How many requests may be sent: by endpoint and operation.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Record from "effect/Record"
import { defined } from "../internal/text/json.js"
import { type Definition, type Operation, operations } from "../schemas/Operation.js"

/**
 * The limit of one operation on one endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limit {
  /**
   * Requests, or effects of a `RateLimiter`, started in any span of `window`, or where an answer tells more: that may have arrived at RunPod in one.
   * `Infinity` for no limit.
   */
  readonly limit: number
  /** The span; numbers are milliseconds. */
  readonly window: Duration.DurationInput
  /** Requests in flight at once. `Infinity` for no limit. */
  readonly concurrency: number
}

/**
 * The limits of a layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface RateLimits {
  /** Per endpoint and operation. */
  readonly operations: Readonly<Record<Operation, Limit>>
  /** One more window over all requests of the layer. */
  readonly overall?: Pick<Limit, "limit" | "window"> | undefined
}

const free: Limit = { limit: Infinity, window: "10 seconds", concurrency: Infinity }

const check = <A extends Pick<Limit, "limit" | "window">>(limit: A): A => {
  if (!(limit.limit >= 1)) throw new RangeError(`A rate limit must be at least 1, got ${limit.limit}`)
  if (!(Duration.toMillis(limit.window) > 0)) throw new RangeError("The window of a rate limit must be longer than 0")
  return limit
}

/**
 * RunPod's limits per 10 seconds, from its endpoint operation reference, which has none for retry, health and the batch API.
 *
 * @since 0.1.0
 * @category constants
 */
export const table: Readonly<Record<Operation, Limit>> = {
  ...Record.map(operations, () => free),
  run: { limit: 1000, window: "10 seconds", concurrency: 200 },
  runSync: { limit: 2000, window: "10 seconds", concurrency: 400 },
  status: { limit: 2000, window: "10 seconds", concurrency: 400 },
  statusSync: { limit: 2000, window: "10 seconds", concurrency: 400 },
  stream: { limit: 2000, window: "10 seconds", concurrency: 400 },
  cancel: { limit: 100, window: "10 seconds", concurrency: 20 },
  purgeQueue: { limit: 2, window: "10 seconds", concurrency: Infinity },
  requests: { limit: 10, window: "10 seconds", concurrency: 2 }
}

// Clocks differ a little; and where answers may be held, they say nothing of when requests arrive, which is not as evenly as they leave.
const withMargin = (limit: Limit, operation: Operation): Limit => {
  const { hold }: Definition = operations[operation]
  return { ...limit, window: Duration.times(limit.window, hold === undefined ? 1.002 : 1.02) }
}

/**
 * The documented limits. The default. A request counts from its answer on, which is when it has arrived at the latest, and windows are 0.2 % longer
 * than RunPod's: what is sent stays within the limit where RunPod counts it. One whose answer may be held (runSync, statusSync, stream) counts from
 * its start, in windows that are 2 % longer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const documented: RateLimits = { operations: Record.map(table, withMargin) }

/**
 * No limits of our own. A 429 still closes the gate of its endpoint and operation for a while.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unlimited: RateLimits = { operations: Record.map(table, () => free) }

/**
 * One exact window over the whole layer, all endpoints and operations together, for example 100 requests a minute.
 *
 * @since 0.1.0
 * @category constructors
 */
export const uniform = (options: Pick<Limit, "limit" | "window">): RateLimits => ({
  ...unlimited,
  overall: check(options)
})

/**
 * Limits of one's own by operation; operations and fields left out are those of `documented`. RangeError for one below 1.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (limits: { readonly [K in Operation]?: Partial<Limit> | undefined }): RateLimits => ({
  operations: Record.map(documented.operations, (documented, name) => {
    const limit: Limit = check({ ...documented, ...defined(limits[name] ?? {}) })
    if (!(limit.concurrency >= 1))
      throw new RangeError(`The concurrency of a rate limit must be at least 1, got ${limit.concurrency}`)
    return limit
  })
})

/**
 * The limit of an operation by its name; none for one that the limits do not know, such as that of another API.
 *
 * @since 0.1.0
 * @category combinators
 */
export const limitOf = (limits: RateLimits, operation: string): Limit => {
  const known: Readonly<Record<string, Limit | undefined>> = limits.operations
  return known[operation] ?? free
}
