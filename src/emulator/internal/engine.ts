import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { Heap, type Timed } from "../../internal/pace/heap.js"
import { defined, type JsonObject } from "../../internal/text/json.js"
import type { Alarm, Timer } from "../../internal/pace/timer.js"
import { isTerminal, type Terminal } from "../../schemas/JobStatus.js"
import type { End, EndpointOptions, Handler, JobSnapshot, Options, Spread, Workers } from "../contract.js"
import type { LateProgress } from "../Fault.js"
import * as Dice from "./dice.js"
import { largestBody } from "./submission.js"
import type { Tally } from "./tally.js"
import { type Outcome, perform, toText } from "./work.js"

/** A job's entry in a heap: the queue, or the line of those to be forgotten. */
interface Entry extends Timed {
  at: number
  readonly job: Job
}

/** One start of a job on a worker. */
interface Run {
  readonly worker: Worker
  alarm: Alarm | undefined
  fiber: Fiber.RuntimeFiber<Outcome> | undefined
}

/** What a client asks for with a submit, checked and with its defaults. Times are milliseconds. */
export interface Submission {
  readonly operation: "run" | "runSync"
  readonly input: JsonObject
  readonly webhook: Redacted.Redacted | undefined
  readonly s3Config: Redacted.Redacted<JsonObject> | undefined
  readonly executionTimeout: number
  readonly ttl: number
  readonly lowPriority: boolean
  /** The job is to lose its output. */
  readonly outputMissing: boolean
  /** The job's completion is to be overwritten. */
  readonly lateProgress: LateProgress | undefined
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
  run: Run | undefined
  ttlAlarm: Alarm | undefined
  /** Its place in the queue: a heap of three levels, those of low priority after others, those of batches after all. */
  readonly place: Entry
  readonly expiry: Entry = { at: 0, order: 0, index: -1, job: this }
  /** Held requests that wait for the end. */
  readonly waiting = new Set<() => void>()
  /** Held requests that wait for the end or a chunk. */
  readonly reading = new Set<() => void>()

  constructor(
    readonly id: string,
    readonly endpoint: Endpoint,
    readonly submission: Submission,
    readonly createdAt: number
  ) {
    this.queuedAt = createdAt
    this.place = { at: submission.lowPriority ? 1 : 0, order: 0, index: -1, job: this }
  }
}

interface Worker {
  readonly id: string
  active: number
  isReady: boolean
  /** Since when it has had no job. */
  idleSince: number
  start: Alarm | undefined
}

/** An endpoint with its jobs, its queue and its workers. */
export interface Endpoint {
  readonly id: string
  readonly jobs: Map<string, Job>
  readonly queue: Heap<Entry>
  readonly workers: Set<Worker>
  readonly settings: Settings
  maxWorkers: number
  minWorkers: number
  /** Workers that take no jobs. */
  throttled: number
  unhealthy: number
  isDispatching: boolean
  inProgress: number
  completed: number
  failed: number
  retried: number
}

interface Settings {
  readonly coldStart: Range
  readonly execution: Range
  readonly idleTimeout: number
  readonly concurrency: number
  readonly handler: Handler | undefined
  readonly aggregate: boolean
  readonly retention: { readonly run: number; readonly runSync: number }
}

interface Range {
  readonly min: number
  readonly max: number
}

/** The level of batches in the queue. */
const batchedPlace = 2

/**
 * A worker that was given an empty input never reports: after this time the job goes to another one, and after the same
 * time there it fails, without ever reaching the handler.
 */
const emptyInputIsLostAfter = 45_000

/** How long after its executionTimeout a job is found to have exceeded it, in milliseconds. */
const lateness = { min: 1_000, max: 4_000 }

const wholeMillis = (duration: Duration.DurationInput): number => Math.round(Duration.toMillis(duration))

const readSpread = (spread: Spread): Range => {
  if (typeof spread === "object" && "min" in spread)
    return { min: wholeMillis(spread.min), max: wholeMillis(spread.max) }
  const millis = wholeMillis(spread)
  return { min: millis, max: millis }
}

/** How many workers can take jobs. */
const usable = ({ maxWorkers, throttled, unhealthy }: Endpoint): number =>
  Math.max(0, maxWorkers - throttled - unhealthy)

const readSettings = (options: EndpointOptions): Settings => ({
  coldStart: readSpread(options.coldStart ?? 0),
  execution: readSpread(options.execution ?? 0),
  idleTimeout: wholeMillis(options.idleTimeout ?? "5 seconds"),
  concurrency: options.concurrency ?? 1,
  handler: options.handler,
  aggregate: options.aggregateStream ?? true,
  retention: {
    run: wholeMillis(options.retention?.run ?? "30 minutes"),
    runSync: wholeMillis(options.retention?.runSync ?? "1 minute")
  }
})

/** A worker cannot upload a result that is larger than a submit may be; the job is COMPLETED without it. */
const isTooLarge = (output: string | undefined, operation: Submission["operation"]): boolean => {
  const { bytes } = largestBody[operation]
  // A character is at most 3 bytes.
  if (output === undefined || output.length * 3 <= bytes) return false
  return output.length > bytes || new TextEncoder().encode(output).byteLength > bytes
}

const completed: Outcome = { status: "COMPLETED", output: undefined, error: undefined }

const failedWith = (message: string): Outcome => ({
  status: "FAILED",
  output: undefined,
  error: JSON.stringify(message)
})

/**
 * The state of all endpoints, and what moves it. Plain mutable objects, touched only synchronously by the requests, alarms
 * and handlers of one emulator.
 */
export interface Engine {
  readonly endpoint: (id: string) => Endpoint | undefined
  /** `batchedId` is the id of a job that belongs to a batch: such jobs run when no others wait, and no purge removes them. */
  readonly submit: (endpoint: Endpoint, submission: Submission, batchedId?: string) => Job
  /** The job, unless it has been forgotten. */
  readonly find: (endpoint: Endpoint, jobId: string) => Job | undefined
  readonly ageOf: (job: Job) => number
  readonly jobs: (endpoint: Endpoint) => ReadonlyArray<Job>
  readonly cancel: (job: Job) => void
  /** Whether the job was in a state to be retried. */
  readonly retry: (job: Job) => boolean
  /** Removes what is queued and says how much it was. */
  readonly purge: (endpoint: Endpoint) => number
  readonly end: (job: Job, end: End) => boolean
  readonly setWorkers: (endpoint: Endpoint, workers: Workers) => void
  /** Workers by state, once those idle for too long have gone. */
  readonly census: (endpoint: Endpoint) => {
    readonly idle: number
    readonly starting: number
    readonly running: number
  }
  /** Waits until the job has ended or is gone, `millis` at most. */
  readonly awaitEnd: (job: Job, millis: number) => Effect.Effect<void>
  /** Waits until there is a chunk to read, the job has ended or is gone, `millis` at most. */
  readonly awaitChunk: (job: Job, millis: number) => Effect.Effect<void>
  readonly snapshot: (job: Job) => JobSnapshot
  /** From the milliseconds of jobs to those of the clock. */
  readonly onClock: (millis: number) => number
}

export const make = (
  options: Options,
  timer: Timer,
  tally: Tally,
  seed: number | string,
  onEnd: (job: Job) => void
): Effect.Effect<Engine, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const scope = yield* Effect.scope
    const runFork = Runtime.runFork(yield* Effect.runtime())
    const ids = Dice.make(seed, "ids")
    const times = Dice.make(seed, "times")
    const workerIds = Dice.make(seed, "workers")
    const delays = Dice.make(seed, "delays")
    /** From the timer's milliseconds to the clock's. */
    const epoch = clock.unsafeCurrentTimeMillis() - timer.now()
    const at = (millis: number) => Math.round(epoch + millis)
    const toBeForgotten = new Heap<Entry>()
    const endpoints = new Map<string, Endpoint>()

    // --- forgetting -----------------------------------------------------------------------------------------------

    const wake = (waiting: Set<() => void>) => {
      for (const go of [...waiting]) go()
    }

    const forget = (job: Job) => {
      job.endpoint.jobs.delete(job.id)
      toBeForgotten.remove(job.expiry)
      if (job.ttlAlarm !== undefined) timer.clear(job.ttlAlarm)
      wake(job.waiting)
      wake(job.reading)
    }

    const isKept = (job: Job) => job.endpoint.jobs.get(job.id) === job

    const sweep = () => {
      const now = timer.now()
      for (let next = toBeForgotten.peek(); next !== undefined && next.at <= now; next = toBeForgotten.peek()) {
        forget(next.job)
      }
    }

    const watchTtl = (job: Job) => {
      job.ttlAlarm = timer.set(job.createdAt + job.submission.ttl, () => {
        leaveQueue(job)
        forget(job)
        stop(job)
      })
    }

    // --- the queue ------------------------------------------------------------------------------------------------

    const enqueue = (job: Job) => {
      job.status = "IN_QUEUE"
      job.queuedAt = timer.now()
      job.endpoint.queue.add(job.place)
      watchTtl(job)
      dispatch(job.endpoint)
    }

    const leaveQueue = (job: Job) => job.endpoint.queue.remove(job.place)

    const dispatch = (endpoint: Endpoint) => {
      // A job that ends at once comes back here: the outer loop takes the next.
      if (endpoint.isDispatching) return
      endpoint.isDispatching = true
      for (let next = endpoint.queue.peek(); next !== undefined; next = endpoint.queue.peek()) {
        const worker = freeWorker(endpoint)
        if (worker === undefined) break
        endpoint.queue.remove(next)
        start(next.job, worker)
      }
      endpoint.isDispatching = false
    }

    // --- workers --------------------------------------------------------------------------------------------------

    const addWorker = (endpoint: Endpoint, isReady: boolean): Worker => {
      const worker: Worker = {
        id: Dice.workerId(workerIds),
        active: 0,
        isReady,
        idleSince: timer.now(),
        start: undefined
      }
      endpoint.workers.add(worker)
      return worker
    }

    const dismissIdle = (endpoint: Endpoint) => {
      const now = timer.now()
      for (const worker of endpoint.workers) {
        if (endpoint.workers.size <= endpoint.minWorkers) return
        const isIdle = worker.isReady && worker.active === 0
        if (isIdle && worker.idleSince + endpoint.settings.idleTimeout <= now) endpoint.workers.delete(worker)
      }
    }

    const freeWorker = (endpoint: Endpoint): Worker | undefined => {
      dismissIdle(endpoint)
      if (endpoint.workers.size > usable(endpoint)) return undefined
      const { coldStart, concurrency } = endpoint.settings
      let starting = 0
      for (const worker of endpoint.workers) {
        if (worker.isReady && worker.active < concurrency) return worker
        if (!worker.isReady) starting++
      }
      const missing = Math.ceil(endpoint.queue.size / concurrency) - starting
      for (let i = 0; i < missing && endpoint.workers.size < usable(endpoint); i++) {
        tally.workerStarted()
        const millis = times.between(coldStart.min, coldStart.max)
        const worker = addWorker(endpoint, millis <= 0)
        if (worker.isReady) return worker
        worker.start = timer.set(timer.now() + millis, () => {
          worker.start = undefined
          worker.isReady = true
          worker.idleSince = timer.now()
          dispatch(endpoint)
        })
      }
      return undefined
    }

    const release = (endpoint: Endpoint, worker: Worker) => {
      worker.active--
      endpoint.inProgress--
      worker.idleSince = timer.now()
      if (worker.active === 0 && endpoint.workers.size > usable(endpoint)) endpoint.workers.delete(worker)
      dispatch(endpoint)
    }

    const setWorkers = (endpoint: Endpoint, workers: Workers) => {
      const { max, min = 0, throttled = 0, unhealthy = 0 } = typeof workers === "number" ? { max: workers } : workers
      endpoint.maxWorkers = max
      endpoint.throttled = throttled
      endpoint.unhealthy = unhealthy
      endpoint.minWorkers = Math.min(usable(endpoint), min)
      for (const worker of endpoint.workers) {
        if (endpoint.workers.size <= usable(endpoint)) break
        if (worker.active > 0) continue
        if (worker.start !== undefined) timer.clear(worker.start)
        endpoint.workers.delete(worker)
      }
      while (endpoint.workers.size < endpoint.minWorkers) addWorker(endpoint, true)
      dispatch(endpoint)
    }

    // --- running --------------------------------------------------------------------------------------------------

    const start = (job: Job, worker: Worker) => {
      const { endpoint, submission } = job
      const { handler } = endpoint.settings
      const now = timer.now()
      const run: Run = { worker, alarm: undefined, fiber: undefined }
      worker.active++
      endpoint.inProgress++
      job.status = "IN_PROGRESS"
      job.startedAt = now
      job.delayTime = Math.round(now - job.queuedAt)
      job.workerId = worker.id
      job.run = run
      const after = (millis: number, outcome: () => Outcome) => {
        run.alarm = timer.set(now + millis, () => {
          conclude(job, outcome())
          stop(job)
        })
      }
      const { executionTimeout } = submission
      const failWhenTimeIsUp = () =>
        after(executionTimeout + delays.between(lateness.min, lateness.max), () =>
          failedWith("executionTimeout exceeded")
        )

      if (Object.keys(submission.input).length === 0) {
        if (executionTimeout < emptyInputIsLostAfter) failWhenTimeIsUp()
        else if (job.retries > 0) after(emptyInputIsLostAfter, () => failedWith("job timed out after 1 retries"))
        else run.alarm = timer.set(now + emptyInputIsLostAfter, () => redispatch(job))
      } else if (handler === undefined) {
        const millis = times.between(endpoint.settings.execution.min, endpoint.settings.execution.max)
        const echo = () => ({ ...completed, output: toText(submission.input) })
        if (millis > executionTimeout) failWhenTimeIsUp()
        else if (millis > 0) after(millis, echo)
        else {
          conclude(job, echo())
          stop(job)
        }
      } else {
        job.starts++
        failWhenTimeIsUp()
        const work = perform({
          handler,
          input: submission.input,
          context: {
            id: job.id,
            workerId: worker.id,
            progress: (value) =>
              Effect.sync(() => {
                if (job.run === run) job.output = toText(value)
              })
          },
          aggregate: endpoint.settings.aggregate,
          onChunk: (text) => {
            if (job.run !== run) return
            job.chunks.push(text)
            wake(job.reading)
          }
        })
        const fiber = runFork(Effect.interruptible(work), { scope })
        run.fiber = fiber
        fiber.addObserver((exit) => {
          run.fiber = undefined
          // A run that was stopped has already been reported; its worker is free only now.
          if (job.run !== run) return release(endpoint, worker)
          // Too late, and soon found out.
          if (timer.now() - now > executionTimeout) return
          conclude(job, Exit.isSuccess(exit) ? exit.value : failedWith("the worker exited"))
          stop(job)
        })
      }
    }

    /** Takes the job from a worker that does not report, and queues it again: it has waited since its submit. */
    const redispatch = (job: Job) => {
      stop(job)
      job.retries++
      job.endpoint.retried++
      job.status = "IN_QUEUE"
      job.startedAt = job.delayTime = job.workerId = undefined
      job.endpoint.queue.add(job.place)
      dispatch(job.endpoint)
    }

    /** Takes the job off its worker. A handler is interrupted, and its worker is free when it has ended. */
    const stop = (job: Job) => {
      const { run } = job
      if (run === undefined) return
      job.run = undefined
      if (run.alarm !== undefined) timer.clear(run.alarm)
      if (run.fiber === undefined) release(job.endpoint, run.worker)
      else run.fiber.unsafeInterruptAsFork(FiberId.none)
    }

    // --- ending ---------------------------------------------------------------------------------------------------

    const conclude = (job: Job, outcome: Outcome) => {
      const { lateProgress, outputMissing } = job.submission
      const progress = job.output
      const isCompleted = outcome.status === "COMPLETED"
      const isLost = isCompleted && (outputMissing || isTooLarge(outcome.output, job.submission.operation))
      settle(job, outcome.status, isLost ? undefined : outcome.output, outcome.error)
      if (isCompleted && lateProgress !== undefined) {
        job.status = "IN_PROGRESS"
        job.output = lateProgress.value === undefined ? (progress ?? `"100%"`) : toText(lateProgress.value)
        return
      }
      announce(job)
    }

    /** Writes a job's end down. */
    const settle = (job: Job, status: Terminal, output: string | undefined, error: string | undefined) => {
      const { endpoint, submission } = job
      const now = timer.now()
      job.status = status
      job.finishedAt = now
      if (job.startedAt !== undefined) job.executionTime = Math.round(now - job.startedAt)
      job.output = output
      job.error = error
      if (status !== "COMPLETED") job.chunks = []
      if (status === "COMPLETED") endpoint.completed++
      if (status === "FAILED") endpoint.failed++
      tally.jobEnded(status)
      if (job.ttlAlarm !== undefined) timer.clear(job.ttlAlarm)
      toBeForgotten.remove(job.expiry)
      const retention = endpoint.settings.retention[submission.operation]
      job.expiry.at = Math.min(now + retention, job.createdAt + submission.ttl)
      toBeForgotten.add(job.expiry)
      sweep()
    }

    /** Tells of a job's end. */
    const announce = (job: Job) => {
      wake(job.waiting)
      wake(job.reading)
      onEnd(job)
    }

    const hasEnded = (job: Job) => isTerminal(job.status)

    const endNow = (job: Job, status: Terminal, output?: string, error?: string) => {
      leaveQueue(job)
      settle(job, status, output, error)
      announce(job)
      stop(job)
    }

    // --- holding --------------------------------------------------------------------------------------------------

    const hold = (waiting: Set<() => void>, millis: number): Effect.Effect<void> =>
      Effect.async((resume) => {
        const leave = () => {
          timer.clear(alarm)
          waiting.delete(go)
        }
        const go = () => {
          leave()
          resume(Effect.void)
        }
        const alarm = timer.set(timer.now() + millis, go)
        waiting.add(go)
        return Effect.sync(leave)
      })

    /** Another reader may have taken the chunk that ended a hold: then it goes on. */
    const untilChunk = (job: Job, deadline: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        const left = deadline - timer.now()
        const isOver = hasEnded(job) || job.chunks.length > 0 || !isKept(job) || left <= 0
        return isOver ? Effect.void : Effect.zipRight(hold(job.reading, left), untilChunk(job, deadline))
      })

    // --- the endpoints --------------------------------------------------------------------------------------------

    for (const [id, endpointOptions] of Object.entries(options.endpoints)) {
      const endpoint: Endpoint = {
        id,
        jobs: new Map(),
        queue: new Heap(),
        workers: new Set(),
        settings: readSettings(endpointOptions),
        maxWorkers: 0,
        minWorkers: 0,
        throttled: 0,
        unhealthy: 0,
        isDispatching: false,
        inProgress: 0,
        completed: 0,
        failed: 0,
        retried: 0
      }
      setWorkers(endpoint, endpointOptions.workers ?? 3)
      endpoints.set(id, endpoint)
    }

    const parse = (text: string | undefined): unknown => (text === undefined ? undefined : JSON.parse(text))

    return {
      endpoint: (id) => endpoints.get(id),
      submit: (endpoint, submission, batchedId) => {
        sweep()
        const prefix = submission.operation === "run" ? "" : "sync-"
        const id = batchedId ?? `${prefix}${Dice.uuid(ids)}-u1`
        const job = new Job(id, endpoint, submission, timer.now())
        if (batchedId !== undefined) job.place.at = batchedPlace
        endpoint.jobs.set(job.id, job)
        tally.jobSubmitted()
        enqueue(job)
        return job
      },
      find: (endpoint, jobId) => {
        const job = endpoint.jobs.get(jobId)
        if (job === undefined || job.finishedAt === undefined || timer.now() < job.expiry.at) return job
        forget(job)
        return undefined
      },
      ageOf: (job) => timer.now() - job.createdAt,
      jobs: (endpoint) => {
        sweep()
        return [...endpoint.jobs.values()]
      },
      cancel: (job) => {
        job.cancels++
        if (!hasEnded(job)) endNow(job, "CANCELLED")
      },
      retry: (job) => {
        if (job.status !== "FAILED" && job.status !== "TIMED_OUT") return false
        toBeForgotten.remove(job.expiry)
        job.retried++
        job.endpoint.retried++
        job.retries = 0
        job.startedAt = job.finishedAt = job.delayTime = job.executionTime = undefined
        job.workerId = job.output = job.error = undefined
        job.chunks = []
        enqueue(job)
        return true
      },
      purge: (endpoint) => {
        let removed = 0
        for (let next = endpoint.queue.peek(); next !== undefined; next = endpoint.queue.peek()) {
          if (next.at === batchedPlace) break
          removed++
          endpoint.queue.remove(next)
          forget(next.job)
        }
        return removed
      },
      end: (job, end) => {
        if (hasEnded(job)) return false
        endNow(job, end.status, toText(end.output), toText(end.error))
        return true
      },
      setWorkers,
      census: (endpoint) => {
        dismissIdle(endpoint)
        let [idle, starting, running] = [0, 0, 0]
        for (const worker of endpoint.workers) {
          if (!worker.isReady) starting++
          else if (worker.active > 0) running++
          else idle++
        }
        return { idle, starting, running }
      },
      awaitEnd: (job, millis) => (hasEnded(job) ? Effect.void : hold(job.waiting, millis)),
      awaitChunk: (job, millis) => untilChunk(job, timer.now() + millis),
      onClock: at,
      snapshot: (job) => {
        return {
          id: job.id,
          endpointId: job.endpoint.id,
          operation: job.submission.operation,
          status: job.status,
          input: job.submission.input,
          createdAt: at(job.createdAt),
          ...defined({
            output: parse(job.output),
            error: parse(job.error),
            startedAt: job.startedAt === undefined ? undefined : at(job.startedAt),
            finishedAt: job.finishedAt === undefined ? undefined : at(job.finishedAt),
            workerId: job.workerId,
            delayTime: job.delayTime,
            executionTime: job.executionTime
          }),
          retries: job.retries,
          retried: job.retried,
          cancels: job.cancels,
          starts: job.starts,
          chunks: job.chunks.length
        }
      }
    }
  })
