import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Redacted from "effect/Redacted"
import { Heap, type Timed } from "../../../internal/pace/heap.js"
import type { Alarm, Timer } from "../../../internal/pace/timer.js"
import type { JsonObject } from "../../../internal/text/json.js"
import { isTerminal, type Terminal } from "../../../schemas/JobStatus.js"
import type { EndpointOptions, Spread } from "../../contract.js"
import type { SubmitPlan } from "../../plans.js"
import type { Counters } from "../counters.js"
import type { ActiveFault, Faults, JobFaults } from "../faults.js"
import type { RandomSource } from "../random.js"
import { Plans } from "./plans.js"
import type { JobResult } from "./handler.js"

export type SubmitOperation = "run" | "runSync"

/** The largest bodies of submits: what RunPod says of them is part of its answer. */
export const largestBody = {
  run: { bytes: 10 * 1024 * 1024, says: "10MiB" },
  runSync: { bytes: 20_000_000, says: "20MB" }
}

/** What a client asks for with a submit or a request of a batch, checked and with its defaults. Times are milliseconds. */
export interface JobRequest {
  readonly input: JsonObject
  readonly webhook: Redacted.Redacted | undefined
  readonly s3Config: Redacted.Redacted<JsonObject> | undefined
  readonly executionTimeout: number
  readonly ttl: number
  readonly lowPriority: boolean
}

export interface Submission extends JobRequest, JobFaults {
  readonly operation: SubmitOperation
  /** What becomes of it, where that is planned. */
  readonly plan: SubmitPlan | undefined
}

/** A job's entry in a heap: the queue, or the ended jobs by the time they are forgotten. */
export interface JobEntry extends Timed {
  at: number
  readonly job: Job
}

/** The levels of the queue: jobs of batches run when no others wait. */
export const priority = { normal: 0, low: 1, batch: 2 }

export interface Execution {
  readonly job: Job
  readonly worker: Worker
  readonly startedAt: number
  /** Ends the job: at its executionTimeout, or where no handler runs. */
  alarm: Alarm | undefined
  fiber: Fiber.RuntimeFiber<JobResult> | undefined
}

/** Wake held requests; each looks for itself whether it goes on waiting. */
export type Waiters = Set<() => void>

export const wake = (...all: ReadonlyArray<Waiters>): void => {
  for (const waiters of all) for (const resume of [...waiters]) resume()
}

/** A job. Times are milliseconds of the timer; `output`, `error` and `chunks` are JSON texts. */
export class Job {
  status: "IN_QUEUE" | "IN_PROGRESS" | Terminal = "IN_QUEUE"
  queuedAt: number
  startedAt: number | undefined
  finishedAt: number | undefined
  delayTime: number | undefined
  executionTime: number | undefined
  workerId: string | undefined
  output: string | undefined
  error: string | undefined
  retries = 0
  retried = 0
  cancels = 0
  starts = 0
  chunks: Array<string> = []
  execution: Execution | undefined
  ttlAlarm: Alarm | undefined
  /** Of its plan: what requests about it meet. */
  faults: ReadonlyArray<ActiveFault> = []
  /** Of its plan: what is still to come of this run. */
  planAlarms: ReadonlyArray<Alarm> = []
  /** `at` is the priority. */
  readonly queueEntry: JobEntry
  /** In the model's `endedJobs`; `at` is when it is forgotten. */
  readonly endedEntry: JobEntry = { at: 0, order: 0, index: -1, job: this }
  /** Wake the held requests that wait for the end. */
  readonly endWaiters: Waiters = new Set()
  /** Wake the held requests that wait for a chunk or the end. */
  readonly chunkWaiters: Waiters = new Set()

  constructor(
    readonly id: string,
    readonly endpoint: Endpoint,
    readonly submission: Submission,
    readonly createdAt: number
  ) {
    this.queuedAt = createdAt
    const at = submission.lowPriority ? priority.low : priority.normal
    this.queueEntry = { at, order: 0, index: -1, job: this }
  }

  get hasEnded(): boolean {
    return isTerminal(this.status)
  }

  get isKept(): boolean {
    return this.endpoint.jobs.get(this.id) === this
  }
}

export interface Worker {
  readonly id: string
  active: number
  isReady: boolean
  idleSince: number
  startAlarm: Alarm | undefined
}

export interface BatchRequest {
  readonly id: string
  readonly jobRequest: JobRequest
  /** Missing until the batch is finalized. */
  job: Job | undefined
}

export interface Batch {
  readonly id: string
  readonly endpoint: Endpoint
  /** Milliseconds of the clock. */
  readonly createdAt: number
  /** In the order they came. */
  readonly requests: Map<string, BatchRequest>
  name: string | undefined
  /** Clients are told CANCELLED once nothing of it runs any more: see `Batches.statusOf`. */
  state: "DRAFT" | "FINALIZED" | "FAILED" | "CANCELLED"
}

export class Endpoint {
  readonly jobs = new Map<string, Job>()
  /** In the order of their creates. */
  readonly batches = new Map<string, Batch>()
  readonly queue = new Heap<JobEntry>()
  /** What becomes of its submits. */
  readonly plans: Plans | undefined
  /** The jobs that are queued until their plan says otherwise. */
  readonly planned = new Set<Job>()
  readonly workers = new Set<Worker>()
  readonly settings: ReturnType<typeof readSettings>
  maxWorkers = 0
  minWorkers = 0
  /** Workers that take no jobs. */
  throttled = 0
  unhealthy = 0
  isDispatching = false
  /** Since the dispatch that is under way began to look, there is a job or a worker more. */
  isDispatchDue = false
  inProgress = 0
  completed = 0
  failed = 0
  retried = 0

  constructor(
    readonly id: string,
    options: EndpointOptions
  ) {
    this.settings = readSettings(options)
    this.plans = options.submits === undefined ? undefined : new Plans(options.submits)
  }
}

/** Plain mutable objects, touched only synchronously by the requests, alarms and handlers of one emulator. */
export interface Model {
  readonly endpoints: ReadonlyMap<string, Endpoint>
  /** The jobs that have ended, by the time they are forgotten. */
  readonly endedJobs: Heap<JobEntry>
  readonly clock: Clock.Clock
  readonly timer: Timer
  readonly counters: Counters
  readonly faults: Faults
  readonly random: Readonly<Record<"ids" | "batchIds" | "times" | "workerIds" | "timeouts", RandomSource>>
  readonly forkHandler: (effect: Effect.Effect<JobResult>) => Fiber.RuntimeFiber<JobResult>
  /** Called when a job has ended, to deliver its webhook. */
  readonly onEnd: (job: Job) => void
  /** From the timer's milliseconds to the clock's. */
  readonly toClockTime: (millis: number) => number
  /** No job starts or ends any more. */
  isClosed: boolean
}

const wholeMillis = (duration: Duration.DurationInput): number => Math.round(Duration.toMillis(duration))

const readSpread = (spread: Spread) => {
  const { max, min } = typeof spread === "object" && "min" in spread ? spread : { max: spread, min: spread }
  return { min: wholeMillis(min), max: wholeMillis(max) }
}

/** An endpoint's options with their defaults. Times are milliseconds. */
const readSettings = (options: EndpointOptions) => ({
  coldStart: readSpread(options.coldStart ?? 0),
  execution: readSpread(options.execution ?? 0),
  idleTimeout: wholeMillis(options.idleTimeout ?? "5 seconds"),
  concurrency: options.concurrency ?? 1,
  handler: options.handler,
  aggregateStream: options.aggregateStream ?? true,
  retention: {
    run: wholeMillis(options.retention?.run ?? "30 minutes"),
    runSync: wholeMillis(options.retention?.runSync ?? "1 minute")
  }
})
