import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { BatchJournalError, BatchStoppedError } from "../../errors/BatchError.js"
import type { JobError } from "../../errors/JobError.js"
import type { RunPodError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import type * as JobId from "../../schemas/JobId.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import type { FatalError, Options } from "../../services/Batch.js"
import type { AttachOptions, Endpoint, RunOptions } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { waitDefaults } from "../jobs/waitPolicy.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { makeScrub } from "../text/scrub.js"
import { Notes } from "./notes.js"

/** The item's job has ended, in this run or in an earlier one that settled it. */
export interface Ended<O, P, C> {
  readonly _tag: "Ended"
  readonly handle: JobHandle<O, P, C>
  readonly job: Job.TerminalJob
  readonly attempts: number
  readonly replayed: boolean
}

export interface Failed {
  readonly _tag: "Failed"
  readonly error: RunPodError | JobError
  readonly jobId?: JobId.JobId | undefined
  readonly attempts: number
}

/** The item has no outcome in this run. */
export interface Open {
  readonly _tag: "Open"
}

/** How an item ended. */
export type ItemEnd<O, P, C> = Ended<O, P, C> | Failed | Open

export const open: Open = { _tag: "Open" }

/** Why a batch ends before its inputs do. */
export type Stop =
  | { readonly _tag: "Error"; readonly error: FatalError | BatchJournalError }
  | { readonly _tag: "Option"; readonly reason: BatchStoppedError["reason"] }

/** What strikes the API key out of a text, and what the submits of a batch carry that must not be printed. */
const scrubOf = (
  { runtime }: Pick<Endpoint<never, unknown>, "runtime">,
  { s3Config, webhook }: RunOptions
): ((text: string) => string) => {
  const scrubSecrets = makeScrub(
    RunRequest.secretsOf({ input: {}, s3Config, webhook: webhook === true ? undefined : webhook })
  )
  return (text) => scrubSecrets(runtime === undefined ? text : runtime.scrub(text))
}

/** One run of a batch: its options, decoded, and where it stands. Plain state, touched only synchronously. */
export class BatchRun<I, O, P, C> {
  readonly notes: Notes
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

  /** Completes when nothing more is to be submitted. */
  readonly stopped = Deferred.unsafeMake<void>(FiberId.none)
  stop: Stop | undefined
  readonly submitting = new Set<{ readonly withdraw: () => void }>()
  /** When a submit or a job was last answered. */
  answeredAt = -Infinity
  settled = 0
  failures = 0
  /** All inputs are through: jobs of an earlier run that none of them has asked for go on. */
  isOver = false

  constructor(
    readonly endpoint: Endpoint<I, O, P, C>,
    readonly options: Options<I>,
    private readonly clock: Clock.Clock
  ) {
    const { deadline, journal, policy, timeout } = options
    const { adoptWithin, resubmit, s3Config, webhook } = options
    this.startedAt = this.now()
    this.deadline = deadline === undefined ? Infinity : this.startedAt + Duration.toMillis(deadline)
    this.timeout = Duration.toMillis(timeout ?? policy?.ttl ?? waitDefaults.timeout)
    // An endpoint that adopts for the batch does not do so inside `run`, where nobody knows how much time is left.
    const adopts = endpoint.adopt !== undefined
    this.runOptions = { adoptWithin: adopts ? 0 : adoptWithin, policy, resubmit, s3Config, webhook }
    this.cancelOnInterrupt = options.cancelOnInterrupt ?? journal === undefined
    this.cancelOnTimeout = options.cancelOnTimeout ?? journal === undefined
    this.cancelGrace = Duration.toMillis(options.cancelGrace ?? waitDefaults.cancelGrace)
    this.notes = new Notes({
      endpointId: endpoint.id,
      journal,
      clock,
      scrub: scrubOf(endpoint, options),
      onFailure: (error) => this.haltWith(error)
    })
  }

  now(): number {
    return monotonicMillis(this.clock)
  }

  /** When something was that happened at a time of the wall clock, on the monotonic clock. */
  monotonicOf(at: number): number {
    return this.now() - Math.max(0, this.clock.unsafeCurrentTimeMillis() - at)
  }

  /** Ends the taking of inputs, and withdraws the submits that have not been sent. The first reason counts. */
  halt(why: Stop): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.stop !== undefined) return Effect.void
      this.stop = why
      for (const submit of this.submitting) submit.withdraw()
      return Effect.asVoid(Deferred.succeed(this.stopped, undefined))
    })
  }

  haltWith(error: FatalError | BatchJournalError): Effect.Effect<void> {
    return this.halt({ _tag: "Error", error })
  }

  /** Ends an item without an outcome, and the batch with it. */
  openWith(error: FatalError | BatchJournalError): Effect.Effect<Open> {
    return Effect.as(this.haltWith(error), open)
  }

  /** At the deadline, jobs that end by it would make room for further items before the fiber that halts has its turn. */
  readonly checkDeadline = Effect.suspend(() =>
    this.now() < this.deadline ? Effect.void : this.halt({ _tag: "Option", reason: "Deadline" })
  )

  /** What is known of the submit of a job of this batch, and when it was by the wall clock. */
  attachOptions(submittedAt?: number): AttachOptions {
    const { policy, s3Config, webhook } = this.options
    return { submittedAt, policy, s3Config, webhook }
  }

  /** A handle on a job that was submitted just now. */
  attach(jobId: string): JobHandle<O, P, C> {
    return this.endpoint.attach(jobId, this.attachOptions(this.clock.unsafeCurrentTimeMillis()))
  }
}
