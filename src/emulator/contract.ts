/**
 * What the emulator is given and what can be asked of it.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as RateLimits from "../layers/RateLimits.js"
import type * as Health from "../schemas/Health.js"
import type { Terminal } from "../schemas/JobStatus.js"
import type { EmulatedOperation, Fault } from "./Fault.js"
import type { End, SubmitPlan } from "./plans.js"

/**
 * @since 0.1.0
 * @category models
 */
export type { EmulatedOperation } from "./Fault.js"

/**
 * A length of time, or a range from which each length is drawn (whole milliseconds, from the seed).
 *
 * @since 0.1.0
 * @category models
 */
export type Spread =
  Duration.DurationInput | { readonly min: Duration.DurationInput; readonly max: Duration.DurationInput }

/**
 * How many workers an endpoint has: `max` at most, 0 for a paused endpoint; `min` of them always warm (default 0). Those
 * that are `throttled` (no machine is free for them) or `unhealthy` take no jobs, and `/health` tells of them (default 0).
 *
 * @since 0.1.0
 * @category models
 */
export type Workers =
  | number
  | {
      readonly max: number
      readonly min?: number | undefined
      readonly throttled?: number | undefined
      readonly unhealthy?: number | undefined
    }

/**
 * What a handler knows of its job.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlerContext {
  readonly id: string
  readonly workerId: string
  /** Publishes a progress update: the job's `output` as long as it is IN_PROGRESS. */
  readonly progress: (value: unknown) => Effect.Effect<void>
}

/**
 * The code on a worker. An Effect's value is the job's output; a Stream's values are its chunks, and all of them in an
 * array its output. A failure or a defect is a FAILED job, and so is an output that is an object with an `error` in it.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = (
  input: Readonly<Record<string, unknown>>,
  job: HandlerContext
) => Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>

/**
 * How workers that are processes of their own are dealt with.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExternalWorkers {
  /** How long a worker's request for jobs is held when none is queued. Default: 10 seconds. */
  readonly hold?: Duration.DurationInput | undefined
  /** How often the workers are told to ping, rounded up to whole seconds, of which there is one at least. Default: 10 seconds. */
  readonly pingInterval?: Duration.DurationInput | undefined
  /**
   * After how long a job is lost that its worker names in no ping and reports nothing about: it is queued again, and FAILED when
   * it is lost once more. Default: 45 seconds.
   */
  readonly lostAfter?: Duration.DurationInput | undefined
}

/**
 * One endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface EndpointOptions {
  /** Default: 3, none of them always warm. */
  readonly workers?: Workers | undefined
  /** How long a worker takes to start. Default: 0. */
  readonly coldStart?: Spread | undefined
  /** How long a worker without a job stays warm. Default: 5 seconds. */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /** How many jobs a worker runs at once. Default: 1. */
  readonly concurrency?: number | undefined
  /** What a worker does with a job. Default: it waits for `execution` and returns the input. */
  readonly handler?: Handler | undefined
  /** How long a job takes when there is no `handler`. Default: 0. */
  readonly execution?: Spread | undefined
  /** Whether the output of a Stream handler is the array of its chunks; without it such a job has no output. Default: true. */
  readonly aggregateStream?: boolean | undefined
  /**
   * What becomes of the submits, by their inputs: each submit that no fault of the emulator hits takes the first plan for its input
   * that is left, and when none is left the last one's job again. A submit whose input has no plan is an ordinary one. Default: none.
   */
  readonly submits?: ReadonlyArray<SubmitPlan> | undefined
  /**
   * Whether the workers are processes of their own, such as handlers over RunPod's Python SDK, that ask a server for their jobs: see
   * `NodeEmulator.Server.workerEnvironment`. At most `workers` of them have jobs at once; `coldStart`, `idleTimeout`, `concurrency`,
   * `handler`, `execution` and `aggregateStream` are theirs to decide, and not used. Default: false.
   */
  readonly externalWorkers?: boolean | ExternalWorkers | undefined
  /** How long a job can be read after it has ended. */
  readonly retention?:
    | {
        /** Default: 30 minutes. */
        readonly run?: Duration.DurationInput | undefined
        /** Also for jobs of the OpenAI route. Default: 1 minute. */
        readonly runSync?: Duration.DurationInput | undefined
      }
    | undefined
}

/**
 * What answers the requests of a load-balancing endpoint, on one of its workers. A failure is an answer as `HttpServer` makes it, a 500
 * mostly.
 *
 * @since 0.1.0
 * @category models
 */
export type App = HttpApp.Default<unknown, Scope.Scope>

/**
 * What a load balancer knows of a worker when it asks for its health.
 *
 * @since 0.1.0
 * @category models
 */
export interface WorkerContext {
  readonly id: string
  /** Milliseconds since the end of its cold start. */
  readonly age: number
}

/**
 * One load-balancing endpoint: its requests go to a worker as they are, without a queue and without jobs.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadBalancerOptions {
  /** The server on each worker, or what makes one when a worker starts, for a state of its own. It sees the path below the endpoint. */
  readonly app: App | ((workerId: string) => App)
  /** Default: 3, none of them always warm. */
  readonly workers?: Workers | undefined
  /** How long a worker takes to start: until then its health check answers 204, initializing. Default: 0. */
  readonly coldStart?: Spread | undefined
  /** How long a worker without a request stays, once it is no longer initializing. Default: 5 seconds. */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /** How many requests a worker answers at once. Default: 30. */
  readonly concurrency?: number | undefined
  /**
   * The status of a started worker's health check: 200 healthy, 204 initializing, anything else unhealthy, as when it throws; only
   * healthy workers get requests. It is asked when a request looks for a worker, and each second while one waits or the worker is initializing. Default: 200.
   */
  readonly ping?: ((worker: WorkerContext) => number) | undefined
}

/**
 * One try to deliver a webhook, as RunPod posts it: the job as `/status` gives it, with its `input` and `webhook`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delivery {
  readonly endpointId: string
  readonly jobId: string
  /** 1, 2 or 3: RunPod tries again 5 and 15 seconds after the first try, until a 2xx acknowledges it. */
  readonly attempt: number
  /** With whatever token it carries. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON. */
  readonly body: string
}

/**
 * Brings a delivery to its receiver: the HTTP status of the answer, or a failure when there is none.
 *
 * @since 0.1.0
 * @category models
 */
export type Deliver = (delivery: Delivery) => Effect.Effect<number, unknown>

/**
 * The options of an emulator.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** By id. */
  readonly endpoints: Readonly<Record<string, EndpointOptions>>
  /**
   * Load-balancing endpoints, by id. In memory their host is `{id}.api.runpod.ai`; a server has them below `/lb/{id}`, and by that
   * host likewise. Default: none.
   */
  readonly loadBalancers?: Readonly<Record<string, LoadBalancerOptions>> | undefined
  /** The only API key that is accepted. Default: any key that is not empty. */
  readonly apiKey?: string | Redacted.Redacted | undefined
  /** The limits that are enforced with 429s. Default: RunPod's documented table, `RateLimits.table`. */
  readonly limits?: RateLimits.RateLimits | undefined
  /** What goes wrong. Default: nothing. */
  readonly faults?: ReadonlyArray<Fault> | undefined
  /**
   * How webhooks are delivered. Default: a server posts them with fetch; in memory, the `Webhooks` service of the layer's
   * context receives them, or else its `HttpClient` posts them, or else every try fails.
   */
  readonly deliver?: Deliver | undefined
  /** The seed of all that is random: ids, spreads of time, rates of faults. Default: always the same. */
  readonly seed?: number | string | undefined
}

/**
 * A job as it is at one moment, without its input and output. Times are milliseconds: of the clock for those that end in `At`, else lengths.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobState {
  readonly id: string
  readonly endpointId: string
  /** `openai` for a job that a request to the OpenAI route made. */
  readonly operation: "run" | "runSync" | "openai"
  /** The status that clients are told. */
  readonly status: string
  readonly error?: unknown
  readonly createdAt: number
  /** When a worker took it. */
  readonly startedAt?: number | undefined
  readonly finishedAt?: number | undefined
  readonly workerId?: string | undefined
  /** How long it was queued. */
  readonly delayTime?: number | undefined
  /** How much of that its worker took to start. */
  readonly coldStart?: number | undefined
  /** How long it ran. */
  readonly executionTime?: number | undefined
  /** How often the platform started it again by itself. */
  readonly retries: number
  /** How often it was retried through the API. */
  readonly retried: number
  /** How often it was cancelled through the API, cancels of the ended job included. */
  readonly cancels: number
  /** How often a worker started its handler. */
  readonly starts: number
  /** How many chunks wait for a reader. */
  readonly chunks: number
}

/**
 * A job as it is at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobSnapshot extends JobState {
  readonly input: Readonly<Record<string, unknown>>
  /** The result, the newest progress update, or what a failed handler left. */
  readonly output?: unknown
}

/**
 * Which changes are read.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChangeOptions {
  /** The cursor of what was read last. Default: 0, all jobs that are kept. */
  readonly after?: number | undefined
  /** Of how many jobs at most. Default: 10,000. */
  readonly limit?: number | undefined
}

/**
 * What has changed of an endpoint's jobs: each job once, as it is now, in the order of their newest changes. A change of status, of the
 * counts of retries and cancels, and being forgotten are changes; progress updates and chunks are none.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobChanges {
  /** Where the next reading goes on. */
  readonly cursor: number
  /** Whether what was read before is out of date: the jobs that follow are all there are. */
  readonly isReset: boolean
  /** Whether there is more to read now. */
  readonly hasMore: boolean
  readonly jobs: ReadonlyArray<JobState>
  /** The ids of jobs that are no longer kept. */
  readonly removed: ReadonlyArray<string>
}

/**
 * A load-balancing endpoint as it is at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadBalancerSnapshot {
  readonly workers: ReadonlyArray<{
    readonly id: string
    readonly status: "initializing" | "healthy" | "unhealthy"
    /** Requests that it is answering. */
    readonly requests: number
  }>
  /** Requests that wait for a worker. */
  readonly waiting: number
}

/**
 * A batch of the batch API as it is at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchSnapshot {
  readonly id: string
  readonly endpointId: string
  readonly name?: string | undefined
  /** The status that clients are told. */
  readonly status: string
  /** The ids of its requests, in the order they came; a finalized batch has a job with each of them. */
  readonly requestIds: ReadonlyArray<string>
  readonly requestInProgress: number
  readonly requestCompleted: number
  readonly requestFailed: number
  /** Milliseconds of the clock. */
  readonly createdAt: number
}

/**
 * One request as the emulator saw it.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestRecord {
  /** Milliseconds of the clock at its arrival. */
  readonly at: number
  /** Milliseconds until it was answered, reset or given up; missing while it is open. */
  readonly took?: number | undefined
  readonly method: string
  /** The path, without the query. */
  readonly path: string
  /** Missing when the path names no operation. */
  readonly operation?: EmulatedOperation | undefined
  readonly endpointId?: string | undefined
  /** The job it asked for, or the one it submitted. */
  readonly jobId?: string | undefined
  /** The worker of a load balancer that got it. */
  readonly workerId?: string | undefined
  /** The batch of the batch API it asked for. */
  readonly batchId?: string | undefined
  /** The hold it asked for in milliseconds, as it came. */
  readonly wait?: string | undefined
  /** The status of the answer; missing when none was sent (yet). */
  readonly status?: number | undefined
  /** The fault that was applied to it. */
  readonly fault?: Fault["_tag"] | undefined
  /** Whether the client left before it was answered. */
  readonly abandoned: boolean
}

/**
 * One try to deliver a webhook, and what came of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeliveryRecord {
  /** Milliseconds of the clock when it was sent, or when it was lost. */
  readonly at: number
  readonly endpointId: string
  readonly jobId: string
  readonly attempt: number
  /** Of the answer; missing when there was none (yet). */
  readonly status?: number | undefined
  /** The faults that were applied to it. */
  readonly faults: ReadonlyArray<Fault["_tag"]>
}

/**
 * The counts of one operation.
 *
 * @since 0.1.0
 * @category models
 */
export interface OperationCounts {
  readonly total: number
  /** Answers by HTTP status. */
  readonly byStatus: Readonly<Record<number, number>>
  /** Requests within the limits that are being worked on or held. */
  readonly inFlight: number
  /** The most there were at once. */
  readonly maxInFlight: number
}

/**
 * What happened since the start or the last `resetCounts`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly total: number
  readonly byOperation: Readonly<Record<EmulatedOperation, OperationCounts>>
  /** Requests refused by the limits; a `RateLimited` fault is not one of them. */
  readonly rateLimited: number
  /** Requests refused for their key. */
  readonly unauthorized: number
  /** Requests whose client left before they were answered. */
  readonly abandoned: number
  /** How often each fault was applied. */
  readonly faults: Readonly<Partial<Record<Fault["_tag"], number>>>
  readonly submitted: number
  /** Jobs ended, by status. */
  readonly ended: Readonly<Record<Terminal, number>>
  readonly coldStarts: number
}

/**
 * What a test can look at and change. An id that the emulator does not have is a defect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** All jobs of the endpoint that are still kept, in the order of their submits. */
  readonly jobs: (endpointId: string) => Effect.Effect<ReadonlyArray<JobSnapshot>>
  readonly job: (endpointId: string, jobId: string) => Effect.Effect<Option.Option<JobSnapshot>>
  /** What has changed of the endpoint's jobs since a reading before, for those who follow many of them. */
  readonly changes: (endpointId: string, options?: ChangeOptions) => Effect.Effect<JobChanges>
  /** What `/health` answers, without a request. */
  readonly health: (endpointId: string) => Effect.Effect<Health.Health>
  /** The newest 10,000 requests since the start or the last `resetCounts`, in the order of their arrival. */
  readonly requests: Effect.Effect<ReadonlyArray<RequestRecord>>
  /** The newest 10,000 tries to deliver webhooks, likewise. */
  readonly deliveries: Effect.Effect<ReadonlyArray<DeliveryRecord>>
  readonly counts: Effect.Effect<Counts>
  /** Counts from zero again and forgets `requests` and `deliveries`. */
  readonly resetCounts: Effect.Effect<void>
  readonly faults: Effect.Effect<ReadonlyArray<Fault>>
  /** Replaces all faults; their `times` and `after` count from zero. */
  readonly setFaults: (faults: ReadonlyArray<Fault>) => Effect.Effect<void>
  /**
   * Changes the workers of an endpoint or a load balancer. Those too many finish their jobs or requests first; 0 pauses the endpoint.
   */
  readonly setWorkers: (endpointId: string, workers: Workers) => Effect.Effect<void>
  /** Ends a job by hand, whatever its handler does, for example as TIMED_OUT. False when it had ended or is not there. */
  readonly end: (endpointId: string, jobId: string, end: End) => Effect.Effect<boolean>
  /** Queues a FAILED or TIMED_OUT job again, as a client does it. False for any other. */
  readonly retry: (endpointId: string, jobId: string) => Effect.Effect<boolean>
  /** The workers of a load balancer. */
  readonly loadBalancer: (id: string) => Effect.Effect<LoadBalancerSnapshot>
  /**
   * Ends a worker of a load balancer at once, for good: the requests it is answering break off, and its id is gone. False when there is
   * no such worker.
   */
  readonly killWorker: (id: string, workerId: string) => Effect.Effect<boolean>
  /** All batches of the endpoint, in the order of their creates. */
  readonly batches: (endpointId: string) => Effect.Effect<ReadonlyArray<BatchSnapshot>>
  /** Makes a batch FAILED, as the platform does it: what is queued never runs. False when it is not there. */
  readonly failBatch: (endpointId: string, batchId: string) => Effect.Effect<boolean>
}
