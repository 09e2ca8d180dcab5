import * as Duration from "effect/Duration"
import * as SlidingWindow from "../../internal/pace/slidingWindow.js"
import type { RateLimits } from "../../layers/RateLimits.js"
import type { Operation } from "../../schemas/Operation.js"

/** The limits as a server enforces them: what is over them is refused, and does not count. */
export interface Limits {
  /** Whether the request is within the limits; if so it is in flight until it leaves. */
  readonly enter: (endpointId: string, operation: Operation, now: number) => boolean
  readonly leave: (endpointId: string, operation: Operation) => void
}

interface Lane {
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
  const lanes = new Map<string, Lane>()
  const laneOf = (endpointId: string, operation: Operation): Lane => {
    const key = `${operation}/${endpointId}`
    const known = lanes.get(key)
    if (known !== undefined) return known
    const limit = limits.operations[operation]
    const lane: Lane = { window: windowOf(limit), concurrency: limit.concurrency, inFlight: 0 }
    lanes.set(key, lane)
    return lane
  }
  return {
    enter: (endpointId, operation, now) => {
      const lane = laneOf(endpointId, operation)
      if (lane.inFlight >= lane.concurrency || isFull(lane.window, now) || isFull(overall, now)) return false
      lane.inFlight++
      if (lane.window !== undefined) SlidingWindow.admit(lane.window, now)
      if (overall !== undefined) SlidingWindow.admit(overall, now)
      return true
    },
    leave: (endpointId, operation) => {
      laneOf(endpointId, operation).inFlight--
    }
  }
}
