/** What is counted and measured, found once for each set of tags: a `Metric` that is tagged looks itself up at each update. */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import type * as MetricKeyType from "effect/MetricKeyType"
import * as MetricLabel from "effect/MetricLabel"
import * as Struct from "effect/Struct"
import { rows } from "../../schemas/Operation.js"

export type Labels = ReadonlyArray<MetricLabel.MetricLabel>

/** 0.05 seconds × 2^n, to 1.8 hours: 18 buckets, and one for what took longer. */
const seconds = MetricBoundaries.exponential({ start: 0.05, factor: 2, count: 19 })

const unit = (name: string): Labels => [MetricLabel.make("unit", name)]

const count = (name: string, description: string) =>
  MetricKey.counter(`runpod_${name}`, { description, incremental: true })
const duration = (name: string, description: string) =>
  MetricKey.taggedWithLabels(MetricKey.histogram(`runpod_${name}`, seconds, description), unit("s"))
const gauge = (name: string, description: string) => MetricKey.gauge(`runpod_${name}`, { description })

/** The keys of the metrics, by the names that `RunPodMetrics` exports them under. */
export const keys = {
  requests: count("requests", "Requests sent, every attempt"),
  requestDuration: duration("request_duration", "From the sending of a request to the end of its answer"),
  limiterWait: duration("limiter_wait", "What requests waited for the limits, and for a 429 to pass"),
  retries: count("retries", "Requests sent again"),
  throttles: count("throttles", "Answers 429"),
  retryBudget: gauge("retry_budget", "What is left of the budget that a layer's retries share"),
  jobsSubmitted: count("jobs_submitted", "Jobs that RunPod has taken"),
  ambiguousSubmits: count("ambiguous_submits", "Submits of which nobody knows whether they started a job"),
  jobsInFlight: gauge("jobs_in_flight", "Jobs that are waited for"),
  jobsEnded: count("jobs_ended", "Jobs seen to end"),
  delayTime: duration("delay_time", "What ended jobs spent in the queue"),
  executionTime: duration("execution_time", "What ended jobs spent on a worker"),
  waitTime: duration("wait_time", "From the beginning of a wait until its job was seen to end"),
  seenAfterEnd: duration("seen_after_end", "From a job's end until it was seen to have ended"),
  cancels: count("cancels", "Jobs that were cancelled"),
  failedCancels: count("failed_cancels", "Jobs that could not be cancelled and may go on running"),
  workers: gauge("workers", "Workers of an endpoint, as /health last told"),
  queue: gauge("queue", "Jobs on an endpoint, as /health last told"),
  batchItems: count("batch_items", "Items of batches with an outcome"),
  batchEta: MetricKey.taggedWithLabels(
    gauge("batch_eta", "How long until the end of a batch whose progress is followed"),
    unit("s")
  ),
  webhookDeliveries: count("webhook_deliveries", "Deliveries to the webhook receiver"),
  cost: MetricKey.taggedWithLabels(count("cost", "What ended jobs cost, by their time on a worker"), unit("USD"))
} as const

type Tags = Readonly<Record<string, string | undefined>>

/** The metric of a key with these tags, in this order. It is in the registry from then on. */
const tagged = <Type extends MetricKeyType.MetricKeyType.Untyped>(key: MetricKey.MetricKey<Type>, tags: Tags) => {
  const labels = Object.entries(tags).flatMap(([name, value]) =>
    value === undefined ? [] : [MetricLabel.make(name, value)]
  )
  return Metric.fromMetricKey(MetricKey.taggedWithLabels(key, labels)).register()
}

/** Makes something once for each name. */
const kept = <K extends string | number, A>(make: (name: K) => A): ((name: K) => A) => {
  const known = new Map<K, A>()
  return (name) => {
    let made = known.get(name)
    if (made === undefined) known.set(name, (made = make(name)))
    return made
  }
}

/** Of one operation, on one endpoint where it is one's. */
export class OperationMeters {
  readonly requests
  readonly retries
  readonly throttles
  readonly limiterWait
  /** By the status of the answer, or the tag of the error where there was none. */
  readonly duration

  constructor(operation: string, endpoint: string | undefined) {
    const tags = { endpoint, operation }
    this.requests = tagged(keys.requests, tags)
    this.retries = tagged(keys.retries, tags)
    this.throttles = tagged(keys.throttles, tags)
    this.limiterWait = tagged(keys.limiterWait, tags)
    this.duration = kept((status: number | string) => tagged(keys.requestDuration, { ...tags, status: String(status) }))
    this.duration(200)
  }
}

/** One for each endpoint and operation, whichever layers send. */
const operations = new Map<string, OperationMeters>()
export const ofOperation = (operation: string, endpoint: string | undefined): OperationMeters => {
  const name = `${operation} ${endpoint}`
  let meters = operations.get(name)
  if (meters === undefined) operations.set(name, (meters = new OperationMeters(operation, endpoint)))
  return meters
}

/** Of one endpoint. */
export class EndpointMeters {
  readonly submitted
  readonly ambiguous
  readonly inFlight
  readonly ended
  readonly delayTime
  readonly executionTime
  readonly waitTime
  readonly seenAfterEnd
  readonly cancels
  readonly failedCancels
  readonly workers
  readonly queue
  readonly batchItems
  readonly batchEta
  readonly cost

  constructor(endpoint: string) {
    const tags = { endpoint }
    for (const operation of Struct.keys(rows)) ofOperation(operation, endpoint)
    this.submitted = tagged(keys.jobsSubmitted, tags)
    this.ambiguous = tagged(keys.ambiguousSubmits, tags)
    this.inFlight = tagged(keys.jobsInFlight, tags)
    this.ended = kept((status: string) => tagged(keys.jobsEnded, { ...tags, status }))
    for (const status of ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]) this.ended(status)
    this.delayTime = tagged(keys.delayTime, tags)
    this.executionTime = tagged(keys.executionTime, tags)
    this.waitTime = tagged(keys.waitTime, tags)
    this.seenAfterEnd = tagged(keys.seenAfterEnd, tags)
    this.cancels = tagged(keys.cancels, tags)
    this.failedCancels = tagged(keys.failedCancels, tags)
    this.workers = kept((state: string) => tagged(keys.workers, { ...tags, state }))
    this.queue = kept((state: string) => tagged(keys.queue, { ...tags, state }))
    this.batchItems = kept((outcome: string) => tagged(keys.batchItems, { ...tags, outcome }))
    this.batchEta = tagged(keys.batchEta, tags)
    this.cost = tagged(keys.cost, tags)
  }
}

export const ofEndpoint = kept((endpointId: string) => new EndpointMeters(endpointId))

/** Of the layer that was made, or used its own, last. */
export const retryBudget = Metric.fromMetricKey(keys.retryBudget)

export const deliveries = kept((status: number) => tagged(keys.webhookDeliveries, { status: String(status) }))
