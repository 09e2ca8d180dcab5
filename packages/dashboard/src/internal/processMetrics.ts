import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricState from "effect/MetricState"

/** What one operation has come to since the process began: requests that the limits let through, and what they waited, in seconds. */
export interface Admitted {
  readonly count: number
  readonly waited: number
}

/** What the metrics of this process say of an endpoint. */
export interface ProcessMetrics {
  readonly requests: number
  readonly retries: number
  readonly throttles: number
  readonly operations: ReadonlyMap<string, Admitted>
  /** Of all endpoints together. */
  readonly all: Admitted
}

const plus = (a: Admitted | undefined, b: Admitted): Admitted => ({
  count: (a?.count ?? 0) + b.count,
  waited: (a?.waited ?? 0) + b.waited
})

/** Reads those of `RunPodMetrics`. */
export const read = (endpointId: string | undefined): Effect.Effect<ProcessMetrics> =>
  Effect.sync(() => {
    const counts = { runpod_requests: 0, runpod_retries: 0, runpod_throttles: 0 }
    const operations = new Map<string, Admitted>()
    let all: Admitted = { count: 0, waited: 0 }
    for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
      const { name, tags } = metricKey
      const tagOf = (key: string) => tags.find((tag) => tag.key === key)?.value
      const isOurs = endpointId !== undefined && tagOf("endpoint") === endpointId
      if (MetricState.isHistogramState(metricState)) {
        if (name !== "runpod_limiter_wait") continue
        const admitted = { count: metricState.count, waited: metricState.sum }
        const operation = tagOf("operation") ?? ""
        all = plus(all, admitted)
        if (isOurs) operations.set(operation, plus(operations.get(operation), admitted))
      } else if (isOurs && MetricState.isCounterState(metricState) && isCounted(counts, name)) {
        counts[name] += Number(metricState.count)
      }
    }
    const { runpod_requests: requests, runpod_retries: retries, runpod_throttles: throttles } = counts
    return { requests, retries, throttles, operations, all }
  })

const isCounted = <Name extends string>(counts: Readonly<Record<Name, number>>, name: string): name is Name =>
  name in counts
