/**
 * Why a job is still in the queue, as far as `/health` tells.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import { defined } from "../internal/text/json.js"
import { Count, Finite } from "../internal/text/reply.js"
import * as Health from "./Health.js"

/**
 * The reasons: the endpoint has no workers, or is paused; RunPod has no hardware free for them (`Throttled`); they fail their
 * checks (`Unhealthy`), are starting (`Initializing`), or have other jobs (`Busy`).
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * @since 0.1.0
 * @category schemas
 */
export const Reason = Schema.Literal("NoWorkers", "Throttled", "Unhealthy", "Initializing", "Paused", "Busy")

/**
 * @since 0.1.0
 * @category schemas
 */
export const QueueDiagnosis = Schema.Struct({
  reason: Reason,
  /** What is the matter and what to do, in a sentence or two. */
  message: Schema.String,
  /** How long the job has been in the queue, in milliseconds. */
  queuedFor: Finite,
  /** How long jobs of this endpoint usually are in the queue, in milliseconds; missing while that is not known. */
  usualDelay: Count,
  jobsInQueue: Count,
  /** The numbers of workers that `/health` gave; none for a paused endpoint. */
  workers: Health.Workers
}).annotations({ identifier: "QueueDiagnosis" })

/**
 * Why a job is still in the queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueDiagnosis extends Schema.Schema.Type<typeof QueueDiagnosis> {}

const reasonOf = ({ jobs, workers }: Health.Health): Reason | undefined => {
  const { idle = 0, initializing = 0, ready = 0, running = 0, throttled = 0, unhealthy = 0 } = workers
  if (running > 0 || (jobs.inProgress ?? 0) > 0) return "Busy"
  // A worker that is ready or idle can still need minutes for a cold start.
  if (initializing > 0 || ready > 0 || idle > 0) return "Initializing"
  if (unhealthy > 0 && unhealthy >= throttled) return "Unhealthy"
  if (throttled > 0) return "Throttled"
  const isKnown = workers.ready !== undefined || workers.idle !== undefined || workers.running !== undefined
  return isKnown ? "NoWorkers" : undefined
}

const plural = (count: number, one: string): string => `${count} ${one}${count === 1 ? "" : "s"}`

type Gauges = Pick<Health.Health, "jobs" | "workers">

const messages: Readonly<Record<Reason, (gauges: Gauges) => string>> = {
  NoWorkers: () => "The endpoint has no workers: raise its maximum of workers, or choose GPUs that RunPod has.",
  Throttled: ({ workers: { throttled = 0 } }) =>
    `${plural(throttled, "worker")} cannot start because RunPod has no such GPU free: allow more GPU types or regions.`,
  Unhealthy: ({ workers: { unhealthy = 0 } }) =>
    `${plural(unhealthy, "worker")} failed to start: read the worker's log.`,
  Initializing: () => "A worker is starting: a cold start can take minutes for a large image or model.",
  Paused: () => "The endpoint is paused: raise its maximum of workers above 0.",
  Busy: ({ jobs, workers }) => {
    const queue = jobs.inQueue === undefined ? "The queue is long" : `${plural(jobs.inQueue, "job")} in the queue`
    const busy = workers.running ?? jobs.inProgress ?? 0
    return `${queue}, and ${plural(busy, "worker")} at work: wait, or raise the maximum of workers.`
  }
}

/**
 * How long a job has been in the queue, and how long that usually takes, in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queued extends Pick<QueueDiagnosis, "queuedFor" | "usualDelay"> {}

/**
 * What an endpoint's gauges, or its being paused, say of a job in its queue; `undefined` when they do not say.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromHealth: {
  (queued: Queued): (health: Health.Health | "Paused") => QueueDiagnosis | undefined
  (health: Health.Health | "Paused", queued: Queued): QueueDiagnosis | undefined
} = /* @__PURE__ */ dual(2, (health: Health.Health | "Paused", queued: Queued): QueueDiagnosis | undefined => {
  const gauges: Gauges = health === "Paused" ? { jobs: {}, workers: {} } : health
  const reason = health === "Paused" ? health : reasonOf(health)
  if (reason === undefined) return undefined
  return {
    reason,
    message: messages[reason](gauges),
    queuedFor: Math.round(queued.queuedFor),
    workers: gauges.workers,
    ...defined({ usualDelay: queued.usualDelay, jobsInQueue: gauges.jobs.inQueue })
  }
})
