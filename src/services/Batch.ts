/**
 * Many inputs on one endpoint: submitted at the pace RunPod allows, waited for, each with an outcome of its own.
 *
 * @since 0.1.0
 */
import type * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Stream from "effect/Stream"
import type { Mutable } from "effect/Types"
import type { BatchStoppedError, FatalError, RunError } from "../errors/BatchError.js"
import type { JobError } from "../errors/JobError.js"
import type * as Errors from "../errors/RunPodError.js"
import type * as Cost from "../layers/Cost.js"
import * as inputsInternal from "../internal/batch/inputs.js"
import * as internal from "../internal/batch/run.js"
import * as progressInternal from "../internal/batch/progress.js"
import * as reportInternal from "../internal/batch/report.js"
import * as submitInternal from "../internal/batch/submit.js"
import * as waitInternal from "../internal/batch/wait.js"
import type { Health } from "../schemas/Health.js"
import type { JobId } from "../schemas/JobId.js"
import type { BatchJournal } from "./BatchJournal.js"
import type { Endpoint, RunOptions } from "./Endpoint.js"
import type { JobHandle } from "./JobHandle.js"
import type { PollPolicy, WaitOptions as JobWaitOptions } from "./WaitOptions.js"

/**
 * What ends a batch as a whole.
 *
 * @since 0.1.0
 * @category errors
 */
export type { FatalError, RunError } from "../errors/BatchError.js"

/**
 * The inputs of a batch: an iterable or a stream of any length, taken one by one as there is room.
 *
 * @since 0.1.0
 * @category models
 */
export type Inputs<I, E = never> = Iterable<I> | Stream.Stream<I, E>

/**
 * What became of one input.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome<out I, out O> {
  /** The input's place, counting from 0. */
  readonly index: number
  readonly key: string
  readonly input: I
  /** Missing when no job is known. */
  readonly jobId?: JobId | undefined
  /** How often a job was started, or may have been: submits and retries, those of earlier runs included. */
  readonly attempts: number
  /** Milliseconds in the queue. */
  readonly delayTime?: number | undefined
  /** Milliseconds on the worker. */
  readonly executionTime?: number | undefined
  /** Whether an earlier run had settled it, and the journal told how. */
  readonly replayed: boolean
  readonly result: Exit.Exit<O, Errors.RunPodError | JobError>
}

/**
 * What a submit of a batch may be told.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubmitOptions<in I> extends RunOptions {
  /**
   * How many items are in flight at once, from submit to outcome. Default: as many as may be held at once on the endpoint,
   * 400 by RunPod's table. More than the endpoint has workers, so that none is idle. Below 1 it is a defect (`RangeError`)
   * before anything is sent.
   */
  readonly concurrency?: number | undefined
  /** Names an item, for the outcome and the journal, which refuses what is no string or empty (`InvalidKey`). Default: its index. */
  readonly key?: ((input: I, index: number) => string) | undefined
}

/**
 * The options of a batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in I>
  extends SubmitOptions<I>, Pick<JobWaitOptions<never>, "cancelGrace" | "hold" | "trustWebhook"> {
  /**
   * Makes the batch outlive its process: a second run with the same journal and inputs goes on where the first ended, and each
   * input is settled once. Keys must be unique. An array is checked against the journal as a whole before anything is sent.
   * A run that goes on logs what it goes on with, an interrupted one how many jobs go on at RunPod.
   */
  readonly journal?: BatchJournal | undefined
  /** How long each item may take, from its submit; then its outcome is a `WaitTimeoutError`. Default: its `ttl` or 24 hours. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long the batch may take; then it stops, and what is in flight ends with `WaitTimeoutError`. Default: no bound. */
  readonly deadline?: Duration.DurationInput | undefined
  /** Stops the batch at so many failed items, replayed ones not counted; what is in flight settles. Default: no bound. */
  readonly maxFailures?: number | undefined
  /**
   * Stops the batch, in USD, before a submit for which there is no room: what its jobs have cost, what those in flight may add (the
   * 90th percentile of those before, each) and one more may not exceed it. What is in flight settles first, and may leave room. With a
   * journal, what earlier runs spent counts. Needs `Cost`, without which the batch fails with `BadRequestError`; below 0 it is a
   * defect (`RangeError`), both before anything is sent. It bounds time on workers: not their starts and idle times. Default: no bound.
   */
  readonly maxCost?: number | undefined
  /** How long a job is expected to run, for `maxCost` until one has ended. Default: as `Cost` says, see `Cost.Workers`. */
  readonly expectedExecution?: Duration.DurationInput | undefined
  /** How often a job that ended FAILED or TIMED_OUT is put back in the queue (`/retry`). Default: 0. */
  readonly retries?: number | undefined
  /**
   * What to do with an item whose submit was intended and of which no job is known: report a `SubmitAmbiguousError`, or submit
   * it, perhaps again. A webhook is looked for first; `report` waits for it, `adoptWithin` at most. Default: report.
   */
  readonly onAmbiguous?: "report" | "resubmit" | undefined
  /** What to do with a submitted item whose result RunPod no longer has. Default: report, a `JobNotFoundError`. */
  readonly onExpired?: "report" | "resubmit" | undefined
  /**
   * What to do with an item that an earlier run with the journal has settled as failed: the job FAILED, was CANCELLED or
   * TIMED_OUT, had no output or one that the schema does not accept. `resubmit` submits it once more, a function those for
   * whose error it gives true; one that throws is a defect, before its item is sent. A failure of this run is an outcome,
   * which the next run may submit again. Default: report, the outcome as it was.
   */
  readonly onFailed?: "report" | "resubmit" | ((error: JobError) => boolean) | undefined
  /**
   * Whether an interruption cancels the jobs in flight, at the pace of the cancel limit; it waits for that. With a journal
   * it also notes that they are to be submitted again. Default: true without a journal, false with one.
   */
  readonly cancelOnInterrupt?: boolean | undefined
  /** Whether a job is cancelled when its time is over. Default: true without a journal, false with one. */
  readonly cancelOnTimeout?: boolean | undefined
  /** How jobs are polled. Each is read at least every 10 minutes, whatever the policy says. Default: see `WaitOptions`. */
  readonly poll?: PollPolicy | undefined
  /** How many inputs wait for their turn to be submitted, together with those of other batches. Default: 32 of this one. */
  readonly ahead?: Ahead | undefined
  /**
   * Asked about an input when its turn has come, before anything is noted or sent for it: `false` leaves it out, and it has no outcome. For what is
   * known only then, such as that its batch was cancelled; what is known before belongs into the inputs. Default: none is left out.
   */
  readonly accept?: ((input: I, key: string) => Effect.Effect<boolean>) | undefined
  /** Follows the batch; see `progress`. */
  readonly tracker?: Tracker | undefined
}

/**
 * Options of `ahead`.
 *
 * @since 0.1.0
 * @category models
 */
export interface AheadOptions {
  /**
   * Until when an input counts: its submit is sent, or what it came to is noted in the journal, so that no more than these are in doubt when the process
   * is killed. Default: `sent`.
   */
  readonly until?: "sent" | "noted" | undefined
}

/**
 * Counts the inputs of batches that share it which wait for their turn to be submitted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ahead extends Required<AheadOptions> {
  /** How many there may be. */
  readonly most: number
  /** Waits until there are fewer. */
  readonly room: Effect.Effect<void>
  /** One more; the function, called once or more often, takes it off again. */
  readonly add: () => () => void
}

/**
 * Counts inputs that wait for their turn: give it to all batches of one endpoint that run at once, and they take few inputs before the limits let them
 * through, also together. Default: 32. RangeError for less than 1.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ahead: (most?: number, options?: AheadOptions) => Ahead = inputsInternal.ahead

/**
 * Runs a batch and gives the outcomes as they come. A job that fails is an outcome.
 *
 * Inputs are taken as the limits let submits through: at most 32 wait for their turn (`ahead`). A `FatalError`, an error of the inputs or of the journal stops
 * submission; what is in flight settles, then the stream fails
 * with it. At `deadline`, `maxFailures` or `maxCost` it fails with `BatchStoppedError`. Rate limits are waited out. While
 * submits only end in doubt, ten in a row, one at a time is sent, with growing pauses, until one is answered. Ending the stream early is
 * an interruption.
 *
 * @example
 * ```ts
 * import { Batch, type Endpoint } from "effect-runpod"
 * import { Console, Stream } from "effect"
 *
 * const captions = (caption: Endpoint.Endpoint<string, string>, images: Stream.Stream<string>) =>
 *   Batch.run(caption, images, { concurrency: 50, timeout: "10 minutes" }).pipe(
 *     Stream.runForEach(({ input, result }) => Console.log(input, result))
 *   )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run: <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options?: Options<I>
) => Stream.Stream<Outcome<I, O>, RunError<E> | BatchStoppedError> = internal.run

/**
 * How a quantity is spread over the jobs that report it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Spread extends Readonly<Record<"min" | "mean" | "p50" | "p90" | "p99" | "max", number>> {
  /** How many jobs report it. With none, the rest is 0. */
  readonly count: number
}

/**
 * How so many quantities are spread; those that are missing do not count.
 *
 * @since 0.1.0
 * @category constructors
 */
export const spreadOf: (values: ReadonlyArray<number | undefined>) => Spread = reportInternal.spreadOf

/**
 * All outcomes of a batch, and what they come to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report<out I, out O> {
  readonly endpointId: string
  /** In the order of the inputs. */
  readonly results: ReadonlyArray<Outcome<I, O>>
  /** How many outcomes there are of each kind: `Completed`, or the `_tag` of the error. */
  readonly counts: Readonly<Record<string, number>>
  readonly completed: number
  readonly failed: number
  /** How many came from the journal. */
  readonly replayed: number
  /** Why it ended before all inputs had an outcome, if it did. */
  readonly stopped?: BatchStoppedError["reason"] | undefined
  /** Time in the queue, in milliseconds. */
  readonly queueTime: Spread
  /** Time on a worker, in milliseconds. */
  readonly executionTime: Spread
  /** What its jobs cost; missing without `Cost`, or where that does not know the endpoint's workers. */
  readonly cost?: Cost.Report | undefined
  readonly wallTime: Duration.Duration
  /** Requests sent, every attempt counted. */
  readonly requests: number
  /** Requests sent again. */
  readonly retries: number
  /** Answers 429. */
  readonly throttles: number
}

/**
 * Runs a batch and collects its outcomes. It fails as `run` does, but a batch that its `deadline`, `maxFailures` or `maxCost` stopped
 * is a report.
 *
 * @since 0.1.0
 * @category running
 */
export const collect: <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options?: Options<I>
) => Effect.Effect<Report<I, O>, RunError<E>> = reportInternal.collect

/**
 * A report as a table for people, with the first message of each kind of error.
 *
 * @since 0.1.0
 * @category rendering
 */
export const toText: (report: Report<unknown, unknown>) => string = reportInternal.toText

/**
 * A report as plain JSON. Inputs and outputs are in it as `JSON.stringify` writes them.
 *
 * @since 0.1.0
 * @category rendering
 */
export const toJson: (report: Report<unknown, unknown>) => Readonly<Record<string, unknown>> = reportInternal.toJson

/**
 * One input that was submitted, or was not.
 *
 * @since 0.1.0
 * @category models
 */
export interface Submission<out I, O, P = unknown, C = unknown> extends Pick<Outcome<I, O>, "index" | "key" | "input"> {
  readonly result: Exit.Exit<JobHandle<O, P, C>, Errors.RunPodError>
}

/**
 * Submits inputs without waiting for their jobs; the submissions are in the order of the inputs. It does not fail as a
 * whole: after a `FatalError` the inputs that were not sent have that error. An interruption cancels what was submitted.
 *
 * @since 0.1.0
 * @category running
 */
export const submit: <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options?: SubmitOptions<I>
) => Effect.Effect<ReadonlyArray<Submission<I, O, P, C>>, E> = submitInternal.submit

/**
 * What became of one job.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitOutcome<out O> extends Pick<Outcome<never, O>, "delayTime" | "executionTime" | "result"> {
  readonly jobId: JobId
}

/**
 * The options of `wait`.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitOptions
  extends
    Pick<Options<never>, "poll">,
    Pick<JobWaitOptions<never>, "cancelOnInterrupt" | "cancelOnTimeout" | "hold" | "trustWebhook" | "webhook"> {
  /**
   * How many jobs are waited for at once. Where there are more, they take turns of at most 90 seconds, and each is read at
   * least every 10 minutes, before RunPod deletes its result: up to 100,000 jobs under the documented limits. Default: 1,000.
   */
  readonly concurrency?: number | undefined
  /** How long to wait in all; jobs that have not ended then have a `WaitTimeoutError`. Default: each job's own life, 24 hours. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Waits for jobs; the outcomes are in their order. A `FatalError` ends the wait, and the jobs go on.
 *
 * @since 0.1.0
 * @category running
 */
export const wait: <I, O, P, C>(
  endpoint: Endpoint<I, O, P, C>,
  jobs: Iterable<string | JobHandle<O, P, C>>,
  options?: WaitOptions
) => Effect.Effect<ReadonlyArray<WaitOutcome<O>>, FatalError> = waitInternal.wait

/**
 * How far a batch is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** How many inputs there are, by the inputs or the tracker; missing where neither tells. */
  readonly total?: number | undefined
  /** Items with an outcome, failed ones included. */
  readonly done: number
  /** Items whose outcome is a failure. */
  readonly failed: number
  /** Items that were submitted and have no outcome. */
  readonly inFlight: number
  /** Jobs that run on the endpoint, of this batch or another; missing when `/health` does not tell, 0 at the end. */
  readonly running?: number | undefined
  /** Jobs in the endpoint's queue, of this batch or another; missing when `/health` does not tell, 0 at the end. */
  readonly queued?: number | undefined
  /** Outcomes a second, of late; replayed ones do not count. */
  readonly rate: number
  /** How long until the end at this rate; before the first outcome, by the endpoint's earlier jobs. Missing if unknown. */
  readonly eta?: Duration.Duration | undefined
  readonly elapsed: Duration.Duration
  /** Whether the batch has ended. */
  readonly ended: boolean
}

/**
 * What a batch tells of itself while it runs. One tracker follows one batch, which writes what is in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tracker {
  readonly counts: Mutable<Pick<Progress, "done" | "failed" | "inFlight">> & {
    total: number | undefined
    /** Items that an earlier run had settled. */
    replayed: number
  }
  /** Completes when the batch has begun, with what its progress is estimated from; with `undefined` when it ends before. */
  readonly begun: Deferred.Deferred<
    | {
        readonly endpointId: string
        /** In milliseconds of the monotonic clock. */
        readonly startedAt: number
        readonly health: Effect.Effect<Health, Errors.RunPodError>
        /** How many milliseconds a job of the endpoint usually runs, where earlier ones tell. */
        readonly usualExecution: () => number | undefined
      }
    | undefined
  >
  readonly ended: Deferred.Deferred<void>
}

/**
 * What is known of a batch before it begins.
 *
 * @since 0.1.0
 * @category models
 */
export interface TrackerOptions {
  /**
   * How many inputs there will be, for those that do not say: a stream, a generator. More than that are counted, too. What is no whole
   * number from 0 on is a defect (`RangeError`). Default: not known.
   */
  readonly total?: number | undefined
}

/**
 * A tracker, to be given to a batch as `tracker` and to `progress`: `yield* Batch.tracker`, or `yield* Batch.tracker({ total })`
 * for a stream of known length.
 *
 * @since 0.1.0
 * @category progress
 */
export const tracker: Effect.Effect<Tracker> & ((options: TrackerOptions) => Effect.Effect<Tracker>) =
  progressInternal.tracker

/**
 * The progress of a batch: once it has begun, then every `interval` (default: 1 second) and at its end, which ends the
 * stream. While somebody reads it, `/health` is asked every 5 seconds.
 *
 * @example
 * ```ts
 * import { Batch, type Endpoint } from "effect-runpod"
 * import { Console, Effect, Stream } from "effect"
 *
 * const withProgress = (endpoint: Endpoint.Endpoint<string, string>, inputs: ReadonlyArray<string>) =>
 *   Effect.gen(function* () {
 *     const tracker = yield* Batch.tracker
 *     const show = Stream.runForEach(Batch.progress(tracker), ({ done, total }) => Console.log(`${done} of ${total}`))
 *     const [report] = yield* Effect.all([Batch.collect(endpoint, inputs, { tracker }), show], { concurrency: 2 })
 *     return report
 *   })
 * ```
 *
 * @since 0.1.0
 * @category progress
 */
export const progress: (
  tracker: Tracker,
  options?: { readonly interval?: Duration.DurationInput | undefined }
) => Stream.Stream<Progress> = progressInternal.progress
