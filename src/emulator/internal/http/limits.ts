import * as Duration from "effect/Duration"
import * as SlidingWindow from "../../../internal/pace/slidingWindow.js"
import type { RateLimits } from "../../../layers/RateLimits.js"
import type { Operation } from "../../../schemas/Operation.js"

/** Of one operation of one endpoint. */
export interface Usage {
  readonly window: SlidingWindow.SlidingWindow | undefined
  readonly concurrency: number
  inFlight: number
}

const windowOf = (limit: RateLimits["overall"]): SlidingWindow.SlidingWindow | undefined =>
  limit === undefined || limit.limit === Infinity
    ? undefined
    : SlidingWindow.make(limit.limit, Duration.toMillis(limit.window))

const isFull = (window: SlidingWindow.SlidingWindow | undefined, now: number): boolean =>
  window !== undefined && SlidingWindow.nextAt(window, now) > now

/** The limits as a server enforces them: what is over them is refused, and does not count. */
export class Limits {
  private readonly overall: SlidingWindow.SlidingWindow | undefined
  private readonly usages = new Map<string, Usage>()

  constructor(private readonly limits: RateLimits) {
    this.overall = windowOf(limits.overall)
  }

  /** The usage in which the request is in flight until it ends; `undefined` when it is over the limits. */
  enter(endpointId: string, operation: Operation, now: number): Usage | undefined {
    const { overall } = this
    const usage = this.usageOf(endpointId, operation)
    if (usage.inFlight >= usage.concurrency || isFull(usage.window, now) || isFull(overall, now)) return undefined
    usage.inFlight++
    if (usage.window !== undefined) SlidingWindow.admit(usage.window, now)
    if (overall !== undefined) SlidingWindow.admit(overall, now)
    return usage
  }

  private usageOf(endpointId: string, operation: Operation): Usage {
    const key = `${operation}/${endpointId}`
    const known = this.usages.get(key)
    if (known !== undefined) return known
    const limit = this.limits.operations[operation]
    const usage: Usage = { window: windowOf(limit), concurrency: limit.concurrency, inFlight: 0 }
    this.usages.set(key, usage)
    return usage
  }
}
