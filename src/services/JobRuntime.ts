/**
 * What submits, waits and batches of one layer share beside the operations of `RunPod`: what earlier jobs took, how the
 * endpoints' workers are, and work that outlives its caller.
 *
 * `RunPod.layer` provides it. A program that provides a `RunPod` of its own alone, such as a test double, need not: each
 * endpoint then has one for itself.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Forecasts } from "../internal/jobs/forecasts.js"
import * as QueueHealth from "../internal/jobs/queueHealth.js"
import { RunPodHttpClient } from "../layers/RunPodHttpClient.js"
import type * as Health from "../schemas/Health.js"
import type * as Job from "../schemas/Job.js"
import { RunPod, type Service as RunPodService } from "./RunPod.js"

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
export interface Service {
  /** Remembers what a job that has ended took. */
  readonly learn: (endpointId: string, job: Job.SyncJob) => void
  /** How long jobs of the endpoint usually are in the queue, in milliseconds, once that is known. */
  readonly usualDelay: (endpointId: string) => number | undefined
  /** The ages between which a job is expected to end. */
  readonly expectedEnd: (endpointId: string, seen: Seen) => Span | undefined
  /** How many milliseconds a job probably has left. */
  readonly remaining: (endpointId: string, seen: Seen) => number | undefined
  /** The newest gauges of the endpoint that are known; asks anew in the background when they are old. Never waits. */
  readonly health: (endpointId: string) => Effect.Effect<Health.Health | "Paused" | undefined>
  /** What the last `health` of the endpoint has brought. */
  readonly lastHealth: (endpointId: string) => Health.Health | "Paused" | undefined
  /** Starts work that outlives its caller, such as a cancel; closing the layer waits for it. It must end by itself. */
  readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Fiber.RuntimeFiber<A, E>>
  /**
   * Runs what cleans up when it is interrupted; closing the layer interrupts it first, while there is a way to RunPod.
   */
  readonly supervise: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Strikes the API key out of a text. */
  readonly scrub: (text: string) => string
  /** Whether a held request for a job of the endpoint would be sent at once. */
  readonly hasRoomToHold: (endpointId: string) => Effect.Effect<boolean>
  /** How many requests the endpoint may hold at once. */
  readonly heldAtOnce: number
  /** Whether the operations keep the deadlines they are under; those of a service without our pipeline do not. */
  readonly keepsDeadlines: boolean
}

/**
 * The tag of the service.
 *
 * @since 0.1.0
 * @category tags
 */
export class JobRuntime extends Context.Tag("effect-runpod/JobRuntime")<JobRuntime, Service>() {}

const over = (runPod: RunPodService, client: RunPodHttpClient["Type"] | undefined): Service => {
  const forecasts = new Forecasts()
  const fork: Service["fork"] = client?.fork ?? ((effect) => Effect.forkDaemon(effect))
  const health = QueueHealth.make((endpointId) => runPod.health(endpointId), fork)
  return {
    learn: (endpointId, job) => forecasts.learn(endpointId, job),
    usualDelay: (endpointId) => forecasts.usualDelay(endpointId),
    expectedEnd: (endpointId, seen) => forecasts.end(endpointId, seen),
    remaining: (endpointId, seen) => forecasts.remaining(endpointId, seen),
    health: health.look,
    lastHealth: health.last,
    fork,
    supervise: client?.supervise ?? identity,
    scrub: client?.scrub ?? identity,
    hasRoomToHold: (endpointId) => client?.hasRoom("statusSync", endpointId) ?? Effect.succeed(true),
    heldAtOnce: client?.limits.operations.statusSync.concurrency ?? Infinity,
    keepsDeadlines: client !== undefined
  }
}

/**
 * The service for the `RunPod` it is provided with, over the pipeline of `RunPodHttpClient` where there is one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service, never, RunPod> = Effect.zipWith(
  RunPod,
  Effect.serviceOption(RunPodHttpClient),
  (runPod, client) => over(runPod, Option.getOrUndefined(client))
)

/**
 * The service that is provided, or a new one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const current: Effect.Effect<Service, never, RunPod> = Effect.flatMap(
  Effect.serviceOption(JobRuntime),
  Option.match({ onNone: () => make, onSome: Effect.succeed })
)

/**
 * `make` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<JobRuntime, never, RunPod> = Layer.effect(JobRuntime, make)
