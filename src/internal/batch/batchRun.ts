import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { BatchJournalError, BatchStoppedError, FatalError, RunError } from "../../errors/BatchError.js"
import type { JobError } from "../../errors/JobError.js"
import { AmbiguityCause, type RunPodError, type SubmitAmbiguousError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import type * as JobId from "../../schemas/JobId.js"
import type * as JournalEntry from "../../schemas/JournalEntry.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import type { Options } from "../../services/Batch.js"
import type { AttachOptions, Endpoint, RunOptions } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { catchFailure } from "../effect/cause.js"
import { waitDefaults } from "../jobs/waitPolicy.js"
import { monotonicMillis, wallMillis } from "../pace/monotonic.js"
import type { Timer } from "../pace/timer.js"
import { defined } from "../text/json.js"
import { makeScrub, type Scrub, scrubValue } from "../text/scrub.js"
import { CircuitBreaker } from "./breaker.js"
import type { Spend } from "./spend.js"
import { Submits } from "./submits.js"
import { visible } from "../text/visible.js"

/**
 * An item of a batch: its name; where there is a journal, the SHA-256 of its input, what is known of earlier jobs, and where the span
 * of its submit stands.
 */
export type Item = Pick<JournalEntry.Intent, "key" | "hash" | "earlier" | "earlierExecutionTime" | "trace">

/** The item as it is once an attempt that was on a worker for so many milliseconds is to be followed by another. */
export const withEarlierTime = (item: Item, executionTime: number | undefined): Item =>
  executionTime === undefined
    ? item
    : { ...item, earlierExecutionTime: (item.earlierExecutionTime ?? 0) + executionTime }

/** The item as it is once its job, which was started so often, is to be followed by another. */
export const withEarlier = (item: Item, attempts: number, executionTime: number | undefined): Item => ({
  ...withEarlierTime(item, executionTime),
  earlier: (item.earlier ?? 0) + attempts
})

/** The item's job has ended, in this run or in an earlier one that settled it. */
export interface Ended<O, P, C> {
  readonly _tag: "Ended"
  readonly handle: JobHandle<O, P, C>
  readonly job: Job.TerminalJob
  readonly attempts: number
  readonly replayed: boolean
  /** When it began on its worker, in milliseconds: on the monotonic clock, of a replayed one on the wall clock. */
  readonly startedAt?: number | undefined
  /** What was read of the job, if it was read already. */
  readonly result?: Exit.Exit<O, RunPodError | JobError> | undefined
}

export interface Failed {
  readonly _tag: "Failed"
  readonly error: RunPodError | JobError
  readonly jobId?: JobId.JobId | undefined
  readonly attempts: number
}

/** The item has no outcome in this run. */
export const open = { _tag: "Open" } as const
export type Open = typeof open

export type ItemEnd<O, P, C> = Ended<O, P, C> | Failed | Open

/** Why a batch ends before its inputs do. */
export type Stop =
  | { readonly _tag: "Error"; readonly error: RunError }
  | {
      readonly _tag: "Option"
      readonly reason: BatchStoppedError["reason"]
      readonly budget?: BatchStoppedError["budget"]
    }

/** Strikes out the API key, and what the submits of a batch carry that must not be printed. */
const scrubOf = ({ runtime }: Pick<Endpoint<never, unknown>, "runtime">, { s3Config, webhook }: RunOptions): Scrub => {
  const url = webhook === true ? undefined : webhook
  const scrubSecrets = makeScrub(RunRequest.secretsOf({ input: {}, s3Config, webhook: url }))
  return (text) => scrubSecrets(runtime === undefined ? text : runtime.scrub(text))
}

/** One run of a batch: its options, decoded, and where it stands. Plain state, touched only synchronously. */
export class BatchRun<I, O, P, C> {
  readonly notes: Notes
  /** For what is printed or noted of errors. */
  readonly scrub: Scrub
  readonly startedAt: number
  /** On the monotonic clock. */
  readonly deadline: number
  /** How long a job may take, in milliseconds. */
  readonly timeout: number
  /** What the endpoint is told with each submit. */
  readonly runOptions: RunOptions
  readonly cancelOnInterrupt: boolean
  readonly cancelOnTimeout: boolean
  readonly cancelGrace: number
  /** How long after it was begun to be noted an intent may be acted on, in milliseconds. */
  readonly intentTtl: number
  /** Whether the next input is taken only when what this one came to is noted. */
  readonly waitsForNote: boolean

  /** Completes when nothing more is to be submitted. */
  readonly stopped = Deferred.unsafeMake<void>(FiberId.none)
  stop: Stop | undefined
  readonly submits: Submits
  /** For submits that all end in doubt. */
  readonly breaker: CircuitBreaker
  /** When a submit or a job was last answered. */
  answeredAt = -Infinity
  /** How many submits something else than RunPod has answered. */
  strange = 0
  settled = 0
  failures = 0
  /** How many items have been taken and have no end yet. */
  inFlight = 0
  /** All inputs are through: jobs of an earlier run that none of them has asked for go on. */
  isOver = false

  constructor(
    readonly endpoint: Endpoint<I, O, P, C>,
    readonly options: Options<I>,
    readonly clock: Clock.Clock,
    readonly spend: Spend,
    timer: Timer
  ) {
    const { adoptWithin, ahead, deadline, journal, policy, resubmit, s3Config, timeout, webhook } = options
    this.startedAt = this.now()
    this.submits = new Submits(timer)
    this.breaker = new CircuitBreaker(endpoint.id, this.stopped)
    this.deadline = deadline === undefined ? Infinity : this.startedAt + Duration.toMillis(deadline)
    this.timeout = Duration.toMillis(timeout ?? policy?.ttl ?? waitDefaults.timeout)
    // An endpoint that adopts for the batch does not do so inside `run`, where nobody knows how much time is left.
    const adopts = endpoint.adopt !== undefined
    this.runOptions = { adoptWithin: adopts ? 0 : adoptWithin, policy, resubmit, s3Config, webhook }
    this.cancelOnInterrupt = options.cancelOnInterrupt ?? journal === undefined
    this.cancelOnTimeout = options.cancelOnTimeout ?? journal === undefined
    this.cancelGrace = Duration.toMillis(options.cancelGrace ?? waitDefaults.cancelGrace)
    this.waitsForNote = ahead?.until === "noted"
    this.intentTtl = Duration.toMillis(journal?.intentTtl ?? Infinity)
    this.scrub = scrubOf(endpoint, options)
    this.notes = new Notes(this)
  }

  now(): number {
    return monotonicMillis(this.clock)
  }

  /** Ends the taking of inputs, and withdraws the submits that have not been sent. The first reason counts. */
  halt(why: Stop): void {
    if (this.stop !== undefined) return
    this.stop = why
    this.submits.withdrawAll()
    this.spend.stop()
    Deferred.unsafeDone(this.stopped, Effect.void)
  }

  /** Ends an item without an outcome, and the batch with it. */
  openBy(why: Stop): Effect.Effect<Open> {
    return Effect.sync(() => {
      this.halt(why)
      return open
    })
  }

  openWith(error: FatalError | BatchJournalError): Effect.Effect<Open> {
    return this.openBy({ _tag: "Error", error })
  }

  /**
   * Whether nothing more is to be submitted. At the deadline, jobs that end by it would make room for further items before the fiber that halts has
   * its turn.
   */
  isHalted(): boolean {
    if (this.now() >= this.deadline) this.halt({ _tag: "Option", reason: "Deadline" })
    return this.stop !== undefined
  }

  /** A handle on a job of this batch; `submittedAt` is when it was by the wall clock. */
  attach(jobId: string, { submittedAt, trace }: Pick<AttachOptions, "submittedAt" | "trace">): JobHandle<O, P, C> {
    const { policy, s3Config, webhook } = this.options
    return this.endpoint.attach(jobId, { submittedAt, trace, policy, s3Config, webhook })
  }

  /** A handle on a job of an item that was submitted just now. */
  attachNew(jobId: string, { trace }: Item): JobHandle<O, P, C> {
    return this.attach(jobId, { submittedAt: wallMillis(this.clock), trace })
  }
}

/**
 * What a batch writes into its journal; without one there is nothing to do. Each entry is written uninterruptibly, and is
 * `false` when it could not be, which stops the batch: nothing may be sent that cannot be noted.
 */
class Notes {
  constructor(private readonly run: BatchRun<never, unknown, unknown, unknown>) {}

  private append(entry: (at: number) => JournalEntry.Entry): Effect.Effect<boolean> {
    return catchFailure(this.tryAppend(entry), (error) => Effect.as(this.run.openWith(error), false))
  }

  private tryAppend(entry: (at: number) => JournalEntry.Entry): Effect.Effect<boolean, BatchJournalError> {
    const { clock, options } = this.run
    const { journal } = options
    if (journal === undefined) return Effect.succeed(true)
    const append = Effect.suspend(() => journal.append(entry(wallMillis(clock))))
    return Effect.uninterruptible(Effect.as(append, true))
  }

  /** The item is about to be submitted, with a webhook whose URL was issued under this name. */
  intent(item: Item, webhook: string | undefined): Effect.Effect<boolean> {
    return this.append((at) => ({ _tag: "Intent", ...item, at, ...defined({ webhook }) }))
  }

  /** The submit of an item, which was noted as its intent, may have started a job. */
  doubtful(item: Item, webhook: string | undefined, { cause }: SubmitAmbiguousError): Effect.Effect<boolean> {
    if (cause === undefined) return Effect.succeed(true)
    const encoded = Effect.option(Schema.encode(AmbiguityCause)(cause))
    return Effect.flatMap(encoded, (encoded) =>
      this.append((at) => {
        const known = { webhook, cause: scrubValue(Option.getOrUndefined(encoded), this.run.scrub) }
        return { _tag: "Intent", ...item, at, ...defined(known) }
      })
    )
  }

  /** No job runs for the item. */
  released(item: Item): Effect.Effect<boolean> {
    return this.append((at) => ({ _tag: "Released", ...item, at }))
  }

  /** `submittedAt` is on the monotonic clock. */
  submitted(
    item: Item,
    facts: { readonly jobId: string; readonly submittedAt: number; readonly attempts: number }
  ): Effect.Effect<boolean> {
    const { attempts, jobId, submittedAt } = facts
    const { endpoint } = this.run
    const entry = this.append((now) => {
      const at = Math.round(now - (this.run.now() - submittedAt))
      return { _tag: "Submitted", ...item, at, jobId, attempts }
    })
    return Effect.flatMap(entry, (isNoted) => {
      if (isNoted) return Effect.succeed(true)
      const text = `Job ${jobId} on endpoint ${endpoint.id} goes on, but could not be noted in the journal`
      return Effect.as(Effect.logWarning(visible(text)), false)
    })
  }

  /** Fails only when the job's result is of a kind that the journal cannot hold: the job stays noted as submitted then. */
  settled(item: Item, job: Job.TerminalJob, attempts: number): Effect.Effect<boolean, BatchJournalError> {
    const { delayTime, executionTime, id: jobId, output, status, workerId } = job
    const error = scrubValue(job.error, this.run.scrub)
    const facts = { delayTime, executionTime, workerId, output, error }
    const entry = this.tryAppend((at) => {
      return { _tag: "Settled", ...item, at, jobId, attempts, status, ...defined(facts) }
    })
    return Effect.catchIf(
      entry,
      ({ reason }) => reason !== "Unstorable",
      (error) => Effect.as(this.run.openWith(error), false)
    )
  }
}
