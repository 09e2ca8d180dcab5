import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import { fromJob, fromUndecodable, type JobError, OutputDecodeError, WaitTimeoutError } from "../../errors/JobError.js"
import { type BadRequestError, provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import * as JobId from "../../schemas/JobId.js"
import type { JobStatus } from "../../schemas/JobStatus.js"
import type { StreamChunk } from "../../schemas/StreamChunk.js"
import type { JobHandle, ProgressJob, StreamOptions } from "../../services/JobHandle.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import type { Service as RunPod } from "../../services/RunPod.js"
import type { WaitOptions, WatchedJob } from "../../services/WaitOptions.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import type { Restore } from "../effect/fiber.js"
import { recurring } from "../effect/schedule.js"
import { withCaller } from "../http/requestOptions.js"
import { type Backoff, delayAfter } from "../pace/backoff.js"
import { monotonicMillis, sleepUntil } from "../pace/monotonic.js"
import { type JobSpan, inJobSpan, streamInJobSpan } from "../telemetry/jobSpan.js"
import { InFlight } from "../telemetry/record.js"
import { excerpt } from "../text/excerpt.js"
import { defined } from "../text/json.js"
import { issueOf } from "../text/parseIssue.js"
import { makeScrub, type Scrub, scrubValue } from "../text/scrub.js"
import { retryWithin } from "./budget.js"
import { cancel, isNotVisibleYet, type JobRef, noteEnd, withSecrets } from "./jobRef.js"
import * as Poll from "./poll.js"
import { isDefinite } from "./pollPace.js"
import { decode, policyOf, type Wait, type WaitSettings } from "./waitPolicy.js"
import * as WebhookEnd from "./webhookEnd.js"
import { visible } from "../text/visible.js"

export interface EndpointContext {
  readonly runPod: RunPod
  readonly runtime: JobRuntime
  readonly webhooks: Webhooks | undefined
  readonly endpointId: string
}

/** What is known of the submit of a job. */
export interface SubmitFacts extends Pick<JobRef, "submittedAt" | "ttl" | "webhook" | "trace"> {
  /** What it carried that must not be printed. */
  readonly secrets?: ReadonlyArray<string> | undefined
}

export type Read<A> = (value: unknown) => Effect.Effect<A, ParseResult.ParseError>

/** How the values of an endpoint's jobs are read. */
export interface Readers<O, P, C> {
  readonly output: Read<O>
  readonly progress: Read<P>
  readonly chunk: Read<C>
}

export const jobOf = (context: EndpointContext, jobId: string, facts: SubmitFacts = {}): JobRef => {
  const { endpointId, runPod, runtime, webhooks } = context
  const { secrets = [], ...known } = facts
  const webhookEnd = webhooks && WebhookEnd.make(webhooks, endpointId, jobId)
  const scrub = scrubOf(runtime, secrets)
  return { ...known, runPod: withSecrets(runPod, secrets), runtime, endpointId, jobId, scrub, webhookEnd }
}

export const waitOf = (
  job: JobRef,
  options: WaitOptions,
  { settings = decode(options), span }: Partial<Pick<Wait, "settings" | "span">>
): Effect.Effect<Wait, BadRequestError> => {
  const { onProgress, trustWebhook = false, webhook = job.webhook } = options
  if (webhook === true && job.webhookEnd === undefined) return Effect.fail(WebhookEnd.missing("status"))
  const ended = webhook === undefined ? undefined : job.webhookEnd?.ended(trustWebhook)
  return Effect.succeed({ job, settings, ended, onProgress, span })
}

/** Strikes out the API key and these secrets. */
export const scrubOf = (runtime: JobRuntime, secrets: ReadonlyArray<string> = []): Scrub => {
  if (secrets.length === 0) return runtime.scrub
  const scrubSecrets = makeScrub(secrets)
  return (text) => runtime.scrub(scrubSecrets(text))
}

export const outputOf = <O>(
  ended: Job.Ended,
  { endpointId, scrub }: Pick<JobRef, "endpointId" | "scrub">,
  output: Read<O>
): Effect.Effect<O, JobError> => {
  const error = fromJob(endpointId, ended, scrub)
  return error === undefined
    ? Effect.mapError(output(ended.output), (issue) => fromUndecodable(endpointId, ended, issueOf(issue), scrub))
    : Effect.fail(error)
}

/** The job with its progress, where its schema accepts that. */
const withProgress = <P>(progress: Read<P>, job: WatchedJob): Effect.Effect<ProgressJob<P>> =>
  Job.isTerminal(job) || job.output === undefined
    ? Effect.succeed(job)
    : Effect.match(progress(job.output), {
        onFailure: () => job,
        onSuccess: (progress) => ({ ...job, progress })
      })

export const withTypedProgress = <P>(
  progress: Read<P>,
  { onProgress, ...options }: WaitOptions<ProgressJob<P>>
): WaitOptions => ({
  ...options,
  onProgress: onProgress && ((job) => Effect.flatMap(withProgress(progress, job), onProgress))
})

export const warnOfGap = (endpointId: string, jobId: string, error: RunPodError) =>
  Effect.logWarning("An answer of the stream was lost, and chunks may be lost with it").pipe(
    Effect.annotateLogs({ endpointId, jobId: visible(jobId), error: error._tag })
  )

const betweenStreams: Backoff = { base: 250, cap: 5_000, jitter: "none" }

/** All that a stream tells of a job that is COMPLETED, its chunks apart. */
const completed: Job.Ended = { status: "COMPLETED", raw: {} }

/** A job whose chunks are read, and what its reader has found. */
class Reading {
  /** So the job was seen to run. */
  hasChunks = false
  /** RunPod said so, perhaps with chunks that nobody has taken yet. */
  hasEnded = false
  /** RunPod said that, too: there is no error to ask for. */
  isCompleted = false
  /** Why the stream ended by itself. */
  error: RunPodError | JobError | undefined
  private readonly inFlight: InFlight

  constructor(
    readonly job: JobRef,
    /** When its caller began, on the monotonic clock. */
    readonly since: number,
    readonly span: JobSpan | undefined
  ) {
    this.inFlight = new InFlight(job.endpointId)
  }

  /** Waits until the end of the job's life, or of the caller's patience, and cancels by the options what has not ended. */
  end(settings: WaitSettings, restore: Restore): Effect.Effect<never, WaitTimeoutError> {
    const { job, since } = this
    const { endpointId, jobId } = job
    const timedOut = withCaller((caller) => {
      const { deadline, startedAt } = policyOf({ job, settings, since }, caller)
      const elapsed = Duration.millis(Math.max(0, Math.round(deadline - startedAt)))
      const cancel = settings.cancelOnTimeout ? "Pending" : "No"
      const timedOut = Effect.suspend(() => {
        const seen = this.hasChunks ? { lastStatus: "IN_PROGRESS" } : {}
        return Effect.fail(new WaitTimeoutError({ endpointId, jobId, elapsed, cancel, ...seen }))
      })
      return Effect.zipRight(sleepUntil(deadline), timedOut)
    })
    const waited = Effect.zipRight(this.inFlight.begin(), restore(timedOut))
    return Effect.onExit(waited, (exit) => {
      const cancelled = this.hasEnded
        ? Effect.void
        : Poll.cancelAfter({ job, settings }, this.error === undefined ? exit : Exit.fail(this.error))
      return Effect.zipRight(this.inFlight.end(), cancelled)
    })
  }

  /** The chunks through every fault that passes: RunPod keeps what was not read, so a new stream reads on. */
  chunks({ onEnd, onGap, wait }: StreamOptions): Stream.Stream<StreamChunk, RunPodError> {
    const { endpointId, jobId, runPod } = this.job
    // The caller's `onGap` may not be interruptible; the end of the stream does not wait for it.
    const report = (error: RunPodError) =>
      Effect.disconnect((onGap ?? ((lost) => warnOfGap(endpointId, jobId, lost)))(error))
    const ended = (status: JobStatus) =>
      Effect.suspend(() => {
        this.hasEnded = true
        this.isCompleted = status === "COMPLETED"
        return onEnd === undefined ? Effect.void : onEnd(status)
      })
    const passes = (error: RunPodError) =>
      Effect.map(Effect.clock, (clock) => isNotVisibleYet(this.job, error, clock) || !isDefinite(error))
    return runPod.stream(endpointId, jobId, { onEnd: ended, onGap: report, wait }).pipe(
      Stream.tapError((error) => (provesNoEffect(error) ? Effect.void : report(error))),
      Stream.retry(recurring({ delay: (_, tries) => delayAfter(betweenStreams, tries), while: passes })),
      // The stream of a service that is not ours may end without a word.
      Stream.concat(Stream.execute(Effect.sync(() => void (this.hasEnded = true))))
    )
  }

  /** The stream does not say why a job ended that is not COMPLETED: one look at its status does. */
  readonly lastLook: Effect.Effect<void, RunPodError | JobError> = Effect.clockWith((clock) => {
    const { job, since } = this
    const { scrub } = job
    if (this.isCompleted) {
      const waited = monotonicMillis(clock) - since
      this.span?.onJob(completed, "stream", scrub)
      job.runtime.learn(job.endpointId, { ...completed, id: JobId.unsafeMake(job.jobId) })
      return noteEnd(job, completed, { waited, span: this.span })
    }
    const wait: Wait = { job, settings: decode({ poll: { initial: 0 } }), span: this.span }
    // From here on the look counts the job.
    return Effect.flatMap(Effect.zipRight(this.inFlight.end(), Poll.settle(wait)), (ended) => {
      const error = ended.status === "COMPLETED" ? undefined : fromJob(job.endpointId, ended, scrub)
      return error === undefined ? Effect.void : Effect.fail(error)
    })
  })
}

/** A job to be read, and when its caller began. */
export interface Begun extends Pick<Reading, "job"> {
  /** On the monotonic clock; missing when that is now. */
  readonly since?: number | undefined
}

/** How the chunks of a job are read. */
export interface StreamSettings<C> {
  readonly chunk: Read<C>
  readonly runtime: JobRuntime
  readonly options: StreamOptions
  /** Whether this stream has submitted the job. */
  readonly owns: boolean
  readonly span: JobSpan | undefined
}

/**
 * The chunks of a job, and then the error of one that is not COMPLETED. `begin` gives the job; what it began and did not give,
 * it has to end itself.
 *
 * The job belongs to a fiber beside the reader's: between two chunks the reader's may do anything, and closing the layer
 * still has to cancel the job. That fiber ends with the stream, and is the only one that cancels.
 */
export const streamOf = <C>(
  begin: (settings: WaitSettings, restore: Restore) => Effect.Effect<Begun, RunPodError | JobError>,
  { chunk: readChunk, options, owns, runtime, span }: StreamSettings<C>
): Stream.Stream<C, RunPodError | JobError> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const settings = decode(options, owns)
      const now = monotonicMillis(yield* Effect.clock)
      const begun = yield* Deferred.make<Reading, RunPodError | JobError>()
      const owned = Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(begin(settings, restore), ({ job, since = now }) => {
          const reading = new Reading(job, since, span)
          return Effect.zipRight(Deferred.succeed(begun, reading), reading.end(settings, restore))
        })
      ).pipe(Effect.onError((cause) => Deferred.failCause(begun, cause)))
      const owner = yield* Effect.acquireRelease(
        Effect.forkDaemon(Effect.interruptible(settings.cancelOnInterrupt ? runtime.supervise(owned) : owned)),
        Fiber.interrupt
      )
      const reading = yield* Deferred.await(begun)
      const { endpointId, jobId, scrub } = reading.job
      return reading.chunks(options).pipe(
        Stream.mapEffect(({ output }) => {
          reading.hasChunks = true
          return Effect.mapError(readChunk(output), (error) => {
            const issue = excerpt(scrub(issueOf(error)))
            return new OutputDecodeError({ endpointId, jobId, issue, output: scrubValue(output, scrub) })
          })
        }),
        Stream.concat(Stream.execute(reading.lastLook)),
        Stream.interruptWhen(Fiber.join(owner)),
        Stream.tapError((error) => Effect.sync(() => void (reading.error = error)))
      )
    })
  )

export const make = <O, P, C>(
  context: EndpointContext,
  readers: Readers<O, P, C>,
  jobId: JobId.JobId,
  facts: SubmitFacts
): JobHandle<O, P, C> => {
  const job = jobOf(context, jobId, facts)
  const { endpointId, runPod, runtime, trace, webhookEnd } = job
  const spanFacts = { endpointId, jobId: job.scrub(jobId), trace }
  const inSpan = <A, E>(name: string, use: (span: JobSpan | undefined) => Effect.Effect<A, E>) =>
    inJobSpan(`JobHandle.${name}`, spanFacts, use)
  const waitFor = (options: WaitOptions<ProgressJob<P>>, span: JobSpan | undefined) =>
    Effect.suspend(() => waitOf(job, withTypedProgress(readers.progress, options), { span }))
  const settle =
    (options: WaitOptions<ProgressJob<P>> = {}) =>
    (span: JobSpan | undefined) =>
      Effect.flatMap(waitFor(options, span), Poll.settle)
  const read = (ended: Job.Ended) => outputOf(ended, job, readers.output)
  return {
    id: jobId,
    endpointId,
    ...defined({ trace, ttl: facts.ttl === undefined ? undefined : Duration.millis(facts.ttl) }),
    status: inSpan("status", (span) =>
      Effect.tap(runPod.status(endpointId, jobId), (found) => span?.onJob(found, "poll", job.scrub))
    ),
    watch: (options = {}) =>
      streamInJobSpan("JobHandle.watch", spanFacts, (span) =>
        Stream.unwrap(Effect.map(waitFor(options, span), Poll.watch)).pipe(
          Stream.mapEffect((job) => withProgress(readers.progress, job))
        )
      ),
    settle: (options) => inSpan("settle", settle(options)),
    result: (options) => inSpan("result", (span) => Effect.flatMap(settle(options)(span), read)),
    cancel: inSpan("cancel", () => cancel(job)),
    retry: inSpan("retry", () =>
      retryWithin(
        { cost: runtime.cost, operation: "retry", endpointId, jobId },
        Effect.zipRight(webhookEnd?.forget ?? Effect.void, runPod.retry(endpointId, jobId))
      )
    ),
    stream: (options = {}) =>
      streamInJobSpan("JobHandle.stream", spanFacts, (span) =>
        streamOf(() => Effect.succeed({ job }), { chunk: readers.chunk, runtime, options, owns: false, span })
      ),
    read,
    scrub: job.scrub
  }
}
