import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricState from "effect/MetricState"

/** What the metrics of this process say of an endpoint: how long requests have waited for the limits in all, in seconds, and answers 429. */
export interface ProcessMetrics {
  readonly limiterWait: number
  readonly throttles: number
}

/** Reads the metrics of `RunPodMetrics` that have the endpoint's tag. */
export const read = (endpointId: string): Effect.Effect<ProcessMetrics> =>
  Effect.sync(() => {
    let limiterWait = 0
    let throttles = 0
    for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
      const isOurs = metricKey.tags.some(({ key, value }) => key === "endpoint" && value === endpointId)
      if (!isOurs) continue
      if (metricKey.name === "runpod_limiter_wait" && MetricState.isHistogramState(metricState))
        limiterWait += metricState.sum
      if (metricKey.name === "runpod_throttles" && MetricState.isCounterState(metricState))
        throttles += Number(metricState.count)
    }
    return { limiterWait, throttles }
  })
