/**
 * What a `RunPod` layer, batches and the webhook receiver count and measure, for all consumers of Effect's `Metric`: exporters
 * read them from its registry. All have tags, named with each; what a metric is not given is not tagged. Durations are histograms
 * in seconds (tag `unit`: `s`) with buckets from 0.05 seconds, each twice the one before, to 1.8 hours. What belongs to an endpoint is
 * in the registry, at 0, from the first request or `Endpoint.make` on.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import { keys } from "../internal/telemetry/instruments.js"

/**
 * Requests sent, every attempt counted. Tags: `endpoint`, `operation`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const requests: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.requests)

/**
 * From the sending of an attempt to the end of its answer. Tags: `endpoint`, `operation`, `status` (of the answer, else the
 * error's tag, or `interrupted`).
 *
 * @since 0.1.0
 * @category metrics
 */
export const requestDuration: Metric.Metric.Histogram<number> = Metric.fromMetricKey(keys.requestDuration)

/**
 * What requests waited for the limits, and for a 429 to pass. Tags: `endpoint`, `operation`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const limiterWait: Metric.Metric.Histogram<number> = Metric.fromMetricKey(keys.limiterWait)

/**
 * Attempts after the first. Tags: `endpoint`, `operation`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retries: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.retries)

/**
 * Answers 429. Tags: `endpoint`, `operation`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const throttles: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.throttles)

/**
 * What is left of the budget that the retries of a layer share; of several layers, that which was made, or used its own, last.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retryBudget: Metric.Metric.Gauge<number> = Metric.fromMetricKey(keys.retryBudget)

/**
 * Jobs that RunPod has taken. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const jobsSubmitted: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.jobsSubmitted)

/**
 * Submits of which nobody knows whether they started a job. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const ambiguousSubmits: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.ambiguousSubmits)

/**
 * Jobs that are waited for, or whose chunks are read. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const jobsInFlight: Metric.Metric.Gauge<number> = Metric.fromMetricKey(keys.jobsInFlight)

/**
 * Jobs seen to end, by each wait. Tags: `endpoint`, `status`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const jobsEnded: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.jobsEnded)

/**
 * What ended jobs spent in the queue. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const delayTime: Metric.Metric.Histogram<number> = Metric.fromMetricKey(keys.delayTime)

/**
 * What ended jobs spent on a worker. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const executionTime: Metric.Metric.Histogram<number> = Metric.fromMetricKey(keys.executionTime)

/**
 * From the beginning of a wait until its job was seen to end. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const waitTime: Metric.Metric.Histogram<number> = Metric.fromMetricKey(keys.waitTime)

/**
 * From the end of a job, by RunPod's times, until it was seen; of jobs whose submit this process knows. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const seenAfterEnd: Metric.Metric.Histogram<number> = Metric.fromMetricKey(keys.seenAfterEnd)

/**
 * Jobs that were cancelled. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const cancels: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.cancels)

/**
 * Jobs that could not be cancelled and may go on running. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const failedCancels: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.failedCancels)

/**
 * Workers, as `/health` last told. Tags: `endpoint`, `state` (`idle`, `initializing`, `ready`, `running`, `throttled`,
 * `unhealthy`).
 *
 * @since 0.1.0
 * @category metrics
 */
export const workers: Metric.Metric.Gauge<number> = Metric.fromMetricKey(keys.workers)

/**
 * Jobs on the endpoint, as `/health` last told. Tags: `endpoint`, `state` (`inQueue`, `inProgress`).
 *
 * @since 0.1.0
 * @category metrics
 */
export const queue: Metric.Metric.Gauge<number> = Metric.fromMetricKey(keys.queue)

/**
 * Items of batches with an outcome. Tags: `endpoint`, `outcome` (`Completed`, or the tag of the error).
 *
 * @since 0.1.0
 * @category metrics
 */
export const batchItems: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.batchItems)

/**
 * How long until the end of a batch whose progress is followed, in seconds; 0 when it is not. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const batchEta: Metric.Metric.Gauge<number> = Metric.fromMetricKey(keys.batchEta)

/**
 * Deliveries to the webhook receiver. Tag: `status`, which they were answered with.
 *
 * @since 0.1.0
 * @category metrics
 */
export const webhookDeliveries: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.webhookDeliveries)

/**
 * What ended jobs cost, by their time on a worker, in USD; where rates are known. Tag: `endpoint`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const cost: Metric.Metric.Counter<number> = Metric.fromMetricKey(keys.cost)
