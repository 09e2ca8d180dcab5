/**
 * What submits, waits and batches of one layer share beside `RunPod`: how long earlier jobs took, the gauges of endpoints,
 * and work that outlives its caller. `RunPod.layer` provides it. Over a `RunPod` that is provided alone, such as a test
 * double, each endpoint makes one for itself.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual, identity } from "effect/Function"
import type { RunPodError } from "../errors/RunPodError.js"
import * as EndpointMemory from "../internal/jobs/endpointMemory.js"
import type * as Cost from "../layers/Cost.js"
import type { RunPodHttpClient } from "../layers/RunPodHttpClient.js"
import type * as Health from "../schemas/Health.js"
import type * as Job from "../schemas/Job.js"
import { rows } from "../schemas/Operation.js"

/**
 * A span of a job's age in which something is expected, in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Span {
  readonly from: number
  readonly to: number
}

/**
 * What is known of a job that has not ended, in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Seen {
  /** Since its submit. */
  readonly age: number
  /** The age at which it was last seen in the queue; 0 when it never was. */
  readonly queuedAt: number
  /** Its time in the queue, once it has left it. */
  readonly delayTime: number | undefined
}

/**
 * The service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends Pick<RunPodHttpClient["Type"], "fork" | "supervise" | "scrub"> {
  /** Remembers what a job that has ended took, and tells the budget. */
  readonly learn: (endpointId: string, job: Job.SyncJob) => void
  /** How long jobs of the endpoint usually are in the queue, in milliseconds, once that is known. */
  readonly usualDelay: (endpointId: string) => number | undefined
  /** The ages between which a job is expected to end. */
  readonly expectedEnd: (endpointId: string, seen: Seen) => Span | undefined
  /** How many milliseconds a job probably has left. */
  readonly remaining: (endpointId: string, seen: Seen) => number | undefined
  /** The newest gauges of the endpoint that are known; asks anew in the background when they are old. Never waits. */
  readonly health: (endpointId: string) => Effect.Effect<Health.Health | "Paused" | undefined>
  /** The gauges that the last `health` of the endpoint found. */
  readonly lastHealth: (endpointId: string) => Health.Health | "Paused" | undefined
  /** Whether a held request for a job of the endpoint would be sent at once. */
  readonly hasRoomToHold: (endpointId: string) => Effect.Effect<boolean>
  /** How many requests the endpoint may hold at once. */
  readonly heldAtOnce: number
  /** Whether a `RunPodHttpClient` keeps deadlines and tells of attempts; else waits and cancels have own timeouts. */
  readonly keepsDeadlines: boolean
  /** What work costs, where the program says it. */
  readonly cost?: Cost.Service | undefined
}

/**
 * The tag of the service.
 *
 * @since 0.1.0
 * @category tags
 */
export class JobRuntime extends Context.Tag("effect-runpod/JobRuntime")<JobRuntime, Service>() {}

/**
 * The service over a client, or over a `RunPod` that has none. `health` asks for the gauges of an endpoint.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  health: (endpointId: string) => Effect.Effect<Health.Health, RunPodError>,
  client?: RunPodHttpClient["Type"]
): Effect.Effect<Service> =>
  Effect.sync(() => {
    const fork: Service["fork"] = client?.fork ?? ((effect) => Effect.forkDaemon(Effect.interruptible(effect)))
    return {
      ...EndpointMemory.make(health, fork),
      fork,
      supervise: client?.supervise ?? identity,
      scrub: client?.scrub ?? identity,
      hasRoomToHold: (endpointId) => client?.hasRoom(rows.statusSync, endpointId) ?? Effect.succeed(true),
      heldAtOnce: client?.limits.operations.statusSync.concurrency ?? Infinity,
      keepsDeadlines: client !== undefined
    }
  })

/**
 * The service where work costs so much: the ends of jobs that it learns of are told to the budget.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withCost: {
  (cost: Cost.Service): (runtime: Service) => Service
  (runtime: Service, cost: Cost.Service): Service
} = dual(2, (runtime: Service, cost: Cost.Service): Service => ({
  ...runtime,
  cost,
  learn: (endpointId, job) => {
    if (job.id !== undefined) cost.budget?.ended(endpointId, job.id, cost.costOf(endpointId, job))
    runtime.learn(endpointId, job)
  }
}))
