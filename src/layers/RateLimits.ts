/**
 * How many requests may be sent: by endpoint and operation.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Record from "effect/Record"
import { defined } from "../internal/text/json.js"
import { type Operation, operations } from "../schemas/Operation.js"

/**
 * The limit of one operation on one endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limit {
  /** Requests in any span of `window`. `Infinity` for no limit. */
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
  readonly overall?: { readonly limit: number; readonly window: Duration.DurationInput } | undefined
}

const free: Limit = { limit: Infinity, window: "10 seconds", concurrency: Infinity }

const check = <A extends { readonly limit: number; readonly window: Duration.DurationInput }>(limit: A): A => {
  if (!(limit.limit >= 1)) throw new RangeError(`a rate limit must be at least 1, got ${limit.limit}`)
  if (!(Duration.toMillis(limit.window) > 0)) throw new RangeError("the window of a rate limit must be longer than 0")
  return limit
}

/**
 * RunPod's documented limits as they stand, per 10 seconds; none is documented for retry, health and the batch API. Source:
 * RunPod's endpoint operation reference.
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

// Requests that leave evenly do not arrive evenly: a window that is a little longer here than at RunPod keeps two full
// ones from meeting there.
const margin = 1.02

const withMargin = (limit: Limit): Limit => ({
  ...limit,
  window: Duration.times(limit.window, margin)
})

/**
 * The documented limits with each window 2 % longer, for the jitter of arrival. The default.
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
export const uniform = (options: { readonly limit: number; readonly window: Duration.DurationInput }): RateLimits => ({
  operations: Record.map(table, () => free),
  overall: check(options)
})

/**
 * Limits of one's own by operation, for example for an endpoint whose workers raise them. What is left out, whole
 * operations or fields, comes from `documented`. A limit below 1 would let nothing through: RangeError.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (limits: { readonly [K in Operation]?: Partial<Limit> | undefined }): RateLimits => ({
  operations: Record.map(documented.operations, (documented, name) => {
    const limit: Limit = check({ ...documented, ...defined(limits[name] ?? {}) })
    if (!(limit.concurrency >= 1)) throw new RangeError(`concurrency must be at least 1, got ${limit.concurrency}`)
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
