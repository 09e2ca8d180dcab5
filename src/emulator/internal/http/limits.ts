import { windowsOf } from "../../../internal/pace/limiter.js"
import * as SlidingWindow from "../../../internal/pace/slidingWindow.js"
import type { RateLimits } from "../../../layers/RateLimits.js"
import type { EmulatedOperation } from "../../contract.js"

/** Of one operation of one endpoint. */
export interface Usage {
  readonly windows: ReadonlyArray<SlidingWindow.SlidingWindow>
  readonly concurrency: number
  inFlight: number
}

type Limited = Exclude<EmulatedOperation, "loadBalancer">

/** The OpenAI route has the limits of `/runsync`, for itself; a load balancer has none but its workers. */
const limitOf = ({ operations }: RateLimits, operation: Limited) =>
  operations[operation === "openai" ? "runSync" : operation]

/** Of a request that no limit holds back, once it is in flight. */
export const unlimited = (): Usage => ({ windows: [], concurrency: Infinity, inFlight: 1 })

/** The limits as a server enforces them: what is over them is refused, and does not count. */
export class Limits {
  private readonly overall: ReadonlyArray<SlidingWindow.SlidingWindow>
  private readonly usages = new Map<string, Usage>()

  constructor(private readonly limits: RateLimits) {
    this.overall = limits.overall === undefined ? [] : windowsOf(limits.overall)
  }

  /** The usage in which the request is in flight until it ends; `undefined` when it is over the limits. */
  enter(endpointId: string, operation: Limited, now: number): Usage | undefined {
    const usage = this.usageOf(endpointId, operation)
    const isFull = usage.windows.some((window) => SlidingWindow.nextAt(window, now) > now)
    if (usage.inFlight >= usage.concurrency || isFull) return undefined
    usage.inFlight++
    for (const window of usage.windows) SlidingWindow.admit(window, now)
    return usage
  }

  private usageOf(endpointId: string, operation: Limited): Usage {
    const key = `${operation}/${endpointId}`
    const known = this.usages.get(key)
    if (known !== undefined) return known
    const limit = limitOf(this.limits, operation)
    const windows = [...windowsOf(limit), ...this.overall]
    const usage: Usage = { windows, concurrency: limit.concurrency, inFlight: 0 }
    this.usages.set(key, usage)
    return usage
  }
}
