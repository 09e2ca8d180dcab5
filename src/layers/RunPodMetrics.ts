/**
 * What a `RunPod` layer counts and measures, for Effect's `Metric` consumers.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import { type RuntimeFiber, withFiber } from "../internal/effect/fiber.js"
import { valueIn } from "../internal/effect/fiberRef.js"
import { currentTally, type Tally } from "../internal/http/tally.js"
import type * as Job from "../schemas/Job.js"

const milliseconds = MetricBoundaries.exponential({ start: 10, factor: 4, count: 10 })

/**
 * Requests sent, every attempt counted, tagged with `operation`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const requests = Metric.counter("runpod_requests", { description: "Requests sent", incremental: true })

/**
 * Attempts after the first, tagged with `operation`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retries = Metric.counter("runpod_retries", { description: "Requests sent again", incremental: true })

/**
 * Answers with status 429, tagged with `operation`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const throttles = Metric.counter("runpod_throttles", { description: "Answers 429", incremental: true })

/**
 * Jobs seen to end, tagged with `status`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const jobs = Metric.counter("runpod_jobs", { description: "Jobs seen to end", incremental: true })

/**
 * Milliseconds that ended jobs spent in the queue.
 *
 * @since 0.1.0
 * @category metrics
 */
export const delayTime = Metric.histogram("runpod_delay_time", milliseconds, "Milliseconds in the queue")

/**
 * Milliseconds that ended jobs spent on a worker.
 *
 * @since 0.1.0
 * @category metrics
 */
export const executionTime = Metric.histogram("runpod_execution_time", milliseconds, "Milliseconds on a worker")

/**
 * Milliseconds a wait took, from its beginning until its job was seen to end.
 *
 * @since 0.1.0
 * @category metrics
 */
export const waitTime = Metric.histogram("runpod_wait_time", milliseconds, "Milliseconds a wait took")

/** A tagged metric is looked up by its tags at each update unless it is kept. */
const kept = <A>(make: (key: string) => A): ((key: string) => A) => {
  const known = new Map<string, A>()
  return (key) => {
    let made = known.get(key)
    if (made === undefined) known.set(key, (made = make(key)))
    return made
  }
}

const byOperation = (counter: Metric.Metric.Counter<number>, count: keyof Tally) => {
  const tagged = kept((operation) => Metric.tagged(counter, "operation", operation))
  return (operation: string, fiber: RuntimeFiber<unknown, unknown>): void => {
    const tally = valueIn(fiber, currentTally)
    if (tally !== undefined) tally[count]++
    tagged(operation).unsafeUpdate(1, valueIn(fiber, FiberRef.currentMetricLabels))
  }
}

const addRequest = byOperation(requests, "requests")
const addRetry = byOperation(retries, "retries")
const addThrottle = byOperation(throttles, "throttles")

/**
 * Counts a request, and sends it in the same step.
 *
 * @since 0.1.0
 * @category recording
 */
export const countRequest = <A, E, R>(operation: string, send: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  withFiber((fiber) => {
    addRequest(operation, fiber)
    return send()
  })

/**
 * Counts a request that is sent again.
 *
 * @since 0.1.0
 * @category recording
 */
export const countRetry = (operation: string): Effect.Effect<void> =>
  withFiber((fiber) => Effect.succeed(addRetry(operation, fiber)))

/**
 * Counts an answer with status 429.
 *
 * @since 0.1.0
 * @category recording
 */
export const countThrottle = (operation: string): Effect.Effect<void> =>
  withFiber((fiber) => Effect.succeed(addThrottle(operation, fiber)))

const jobsByStatus = kept((status) => Metric.tagged(jobs, "status", status))

/**
 * Records a job that was seen to end.
 *
 * @since 0.1.0
 * @category recording
 */
export const recordEnd = (job: Job.Ended, waitedMillis: number): Effect.Effect<void> =>
  Effect.all(
    [
      Metric.increment(jobsByStatus(job.status)),
      Metric.update(waitTime, waitedMillis),
      job.delayTime === undefined ? Effect.void : Metric.update(delayTime, job.delayTime),
      job.executionTime === undefined ? Effect.void : Metric.update(executionTime, job.executionTime)
    ],
    { discard: true }
  )
