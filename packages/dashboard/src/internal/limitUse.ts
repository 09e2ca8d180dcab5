import * as Duration from "effect/Duration"
import * as RateLimits from "effect-runpod/RateLimits"
import type { LimitUse } from "../Api.js"
import type { Admitted, ProcessMetrics } from "./processMetrics.js"

interface Reading {
  readonly at: number
  readonly metrics: Pick<ProcessMetrics, "operations" | "all">
}

const nothing: Admitted = { count: 0, waited: 0 }

/** What requests have waited for the limits within the last window of each, by readings of the metrics. */
export class LimitUses {
  /** The oldest first; no more than the longest window needs. */
  private readonly readings: Array<Reading> = []
  private readonly longest: number

  constructor(private readonly limits: RateLimits.RateLimits = RateLimits.documented) {
    const windows = [...Object.values(limits.operations), ...(limits.overall === undefined ? [] : [limits.overall])]
    this.longest = Math.max(...windows.map(({ window }) => Duration.toMillis(window)))
  }

  /** What the windows that end with this reading come to, for each operation that was ever sent. */
  add(reading: Reading): ReadonlyArray<LimitUse> {
    const { readings } = this
    readings.push(reading)
    while ((readings[1]?.at ?? Infinity) <= reading.at - this.longest) readings.shift()
    const { overall } = this.limits
    const uses = [...reading.metrics.operations]
      .filter(([, { count }]) => count > 0)
      .map(([operation]) =>
        this.useOf(operation, RateLimits.limitOf(this.limits, operation), ({ metrics }) =>
          metrics.operations.get(operation)
        )
      )
    return overall === undefined ? uses : [...uses, this.useOf("all together", overall, ({ metrics }) => metrics.all)]
  }

  private useOf(
    operation: string,
    { limit, window: length }: Pick<RateLimits.Limit, "limit" | "window">,
    of: (reading: Reading) => Admitted | undefined
  ): LimitUse {
    const window = Duration.toMillis(length)
    const last = this.readings.at(-1)
    const first = this.readings.findLast(({ at }) => at <= (last?.at ?? 0) - window) ?? this.readings[0]
    const before = (first && of(first)) ?? nothing
    const after = (last && of(last)) ?? nothing
    const sent = after.count - before.count
    const meanWait = sent === 0 ? 0 : Math.max(0, ((after.waited - before.waited) * 1000) / sent)
    return {
      operation,
      ...(Number.isFinite(limit) ? { limit } : {}),
      window,
      sent,
      meanWait,
      share: meanWait / window
    }
  }
}
