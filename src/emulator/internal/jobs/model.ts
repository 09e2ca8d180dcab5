import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Redacted from "effect/Redacted"
import { Heap, type Timed } from "../../../internal/pace/heap.js"
import type { Alarm, Timer } from "../../../internal/pace/timer.js"
import type { JsonObject } from "../../../internal/text/json.js"
import { isTerminal, type Terminal } from "../../../schemas/JobStatus.js"
import type { EndpointOptions } from "../../contract.js"
import { type Fleet, readFleetSettings, readSpread, wholeMillis, type Worker } from "./fleet.js"
import type { SubmitPlan } from "../../plans.js"
import type { Counters } from "../counters.js"
import type { ActiveFault, Faults, JobFaults } from "../faults.js"
import type { LoadBalancer } from "../loadBalancer/model.js"
import type { RandomSource } from "../random.js"
import { readExternal } from "../worker/settings.js"
import { Changes } from "./changes.js"
import { Plans } from "./plans.js"
import type { JobResult } from "./handler.js"

export type SubmitOperation = "run" | "runSync" | "openai"

const syncBody = { bytes: 20_000_000, says: "20MB" }

/** The largest bodies of submits: what RunPod says of them is part of its answer. */
export const largestBody = {
  run: { bytes: 10 * 1024 * 1024, says: "10MiB" },
  runSync: syncBody,
  openai: syncBody
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
  /** Takes the job from a worker that is a process, when that has not been heard of the job for too long. */
  lossAlarm: Alarm | undefined
  fiber: Fiber.RuntimeFiber<JobResult> | undefined
}

/** Wake held requests; each looks for itself whether it goes on waiting. */
export type Waiters = Set<() => void>

export const wake = (...all: ReadonlyArray<Waiters>): void => {
  for (const waiters of all) for (const resume of [...waiters]) resume()
}

/** A worker that is a process of its own. Times are milliseconds of the timer. */
export interface WorkerProcess extends Worker {
  /** When its last request came, or a held one ended. */
  heardAt: number
  /** How many of its requests are held. */
  held: number
  /** Whether it has said that it cannot work. */
  isUnhealthy: boolean
  /** Whether it has asked to be replaced: it is given no further job, and forgotten when it has none. */
  isStopping: boolean
  /** The jobs that it was given, until it has reported their end or they were taken from it. */
  readonly jobs: Set<Job>
  /** The ids of jobs that were taken from it, until it is told to stop them. */
  readonly stops: Set<string>
  readonly stopWaiters: Waiters
}

/** A request of a worker for jobs, at most `max`. */
export interface Take {
  readonly worker: WorkerProcess
  readonly max: number
  /** What it was given. */
  jobs: ReadonlyArray<Job>
  readonly waiters: Waiters
}

/** A job. Times are milliseconds of the timer; `output`, `error` and `chunks` are JSON texts. */
export class Job {
  status: "IN_QUEUE" | "IN_PROGRESS" | Terminal = "IN_QUEUE"
  queuedAt: number
  startedAt: number | undefined
  finishedAt: number | undefined
  delayTime: number | undefined
  /** How much of that its worker took to start. */
  coldStart: number | undefined
  executionTime: number | undefined
  workerId: string | undefined
  output: string | undefined
  error: string | undefined
  retries = 0
  retried = 0
  cancels = 0
  starts = 0
  /** Of its newest change. */
  version = 0
  /** How often it was queued again, by RunPod or by a client. */
  requeued = 0
  chunks: Array<string> = []
  /** How many chunks its worker has given, those that were read included. */
  yielded = 0
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

  /** Forgets what came of it so far, since it is to run again. */
  reset(): void {
    this.requeued++
    this.startedAt = this.finishedAt = this.delayTime = this.coldStart = this.executionTime = undefined
    this.workerId = this.output = this.error = undefined
    this.chunks = []
    this.yielded = 0
  }

  get hasEnded(): boolean {
    return isTerminal(this.status)
  }

  /** RunPod drops an empty input, and a worker does nothing with a job that has none. */
  get hasInput(): boolean {
    return Object.keys(this.submission.input).length > 0
  }

  get isKept(): boolean {
    return this.endpoint.jobs.get(this.id) === this
  }

  /** Tells the readers of changes. */
  noteChange(): void {
    this.endpoint.changes.note(this, this.endpoint.jobs.size)
  }
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

export class Endpoint implements Fleet {
  readonly jobs = new Map<string, Job>()
  readonly changes = new Changes<Job>()
  /** In the order of their creates. */
  readonly batches = new Map<string, Batch>()
  readonly queue = new Heap<JobEntry>()
  /** What becomes of its submits. */
  readonly plans: Plans | undefined
  /** The jobs that are queued until their plan says otherwise. */
  readonly planned = new Set<Job>()
  readonly workers = new Set<Worker>()
  /** Those workers that are processes, by their ids; `workers` has the emulated ones. */
  readonly processes = new Map<string, WorkerProcess>()
  /** The requests of processes that wait for jobs, in the order they came. */
  readonly takes = new Set<Take>()
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
  readonly loadBalancers: ReadonlyMap<string, LoadBalancer>
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

/** An endpoint's options with their defaults. Times are milliseconds. */
const readSettings = (options: EndpointOptions) => ({
  ...readFleetSettings(options, 1),
  execution: readSpread(options.execution ?? 0),
  handler: options.handler,
  aggregateStream: options.aggregateStream ?? true,
  external: readExternal(options.externalWorkers),
  retention: {
    run: wholeMillis(options.retention?.run ?? "30 minutes"),
    runSync: wholeMillis(options.retention?.runSync ?? "1 minute"),
    openai: wholeMillis(options.retention?.runSync ?? "1 minute")
  }
})
