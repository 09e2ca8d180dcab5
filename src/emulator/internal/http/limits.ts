import * as Duration from "effect/Duration"
import * as SlidingWindow from "../../../internal/pace/slidingWindow.js"
import type { RateLimits } from "../../../layers/RateLimits.js"
import type { Operation } from "../../../schemas/Operation.js"

/** The limits as a server enforces them: what is over them is refused, and does not count. */
export interface Limits {
  /** Whether the request is within the limits; if so it is in flight until it leaves. */
  readonly enter: (endpointId: string, operation: Operation, now: number) => boolean
  readonly leave: (endpointId: string, operation: Operation) => void
}

/** The requests of one operation of one endpoint. */
interface Usage {
  readonly window: SlidingWindow.SlidingWindow | undefined
  readonly concurrency: number
  inFlight: number
}

type Window = { readonly limit: number; readonly window: Duration.DurationInput }

const windowOf = (limit: Window | undefined): SlidingWindow.SlidingWindow | undefined =>
  limit === undefined || limit.limit === Infinity
    ? undefined
    : SlidingWindow.make(limit.limit, Duration.toMillis(limit.window))

const isFull = (window: SlidingWindow.SlidingWindow | undefined, now: number): boolean =>
  window !== undefined && SlidingWindow.nextAt(window, now) > now

export const make = (limits: RateLimits): Limits => {
  const overall = windowOf(limits.overall)
  const usages = new Map<string, Usage>()
  const usageOf = (endpointId: string, operation: Operation): Usage => {
    const key = `${operation}/${endpointId}`
    const known = usages.get(key)
    if (known !== undefined) return known
    const limit = limits.operations[operation]
    const usage: Usage = { window: windowOf(limit), concurrency: limit.concurrency, inFlight: 0 }
    usages.set(key, usage)
    return usage
  }
  return {
    enter: (endpointId, operation, now) => {
      const usage = usageOf(endpointId, operation)
      if (usage.inFlight >= usage.concurrency || isFull(usage.window, now) || isFull(overall, now)) return false
      usage.inFlight++
      if (usage.window !== undefined) SlidingWindow.admit(usage.window, now)
      if (overall !== undefined) SlidingWindow.admit(overall, now)
      return true
    },
    leave: (endpointId, operation) => {
      usageOf(endpointId, operation).inFlight--
    }
  }
}
