import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { fromJob, fromUndecodable, type JobError, OutputDecodeError, WaitTimeoutError } from "../../errors/JobError.js"
import { provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import type { JobId } from "../../schemas/JobId.js"
import type { StreamChunk } from "../../schemas/StreamChunk.js"
import type { JobHandle, ProgressJob, StreamOptions } from "../../services/JobHandle.js"
import type { Service } from "../../services/RunPod.js"
import type { WaitOptions, WatchedJob } from "../../services/WaitOptions.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import { excerpt } from "../text/excerpt.js"
import { issueOf } from "../text/parseIssue.js"
import { defined } from "../text/json.js"
import type { Keeper } from "./keeper.js"
import { monotonicMillis, sleepUntil } from "../pace/monotonic.js"
import { type Scrub, scrubValue } from "../text/scrub.js"
import { listen, type Word, wordOf } from "../webhooks/jobEnd.js"
import { waitDefaults } from "./waitDefaults.js"
import { warnOfGap } from "./warnOfGap.js"
import * as waiting from "./waiting.js"

/** How the values of a job are read. */
export interface Readers<O, P, C> {
  readonly output: (value: unknown) => Effect.Effect<O, ParseResult.ParseError>
  readonly progress: (value: unknown) => Effect.Effect<P, ParseResult.ParseError>
  readonly chunk: (value: unknown) => Effect.Effect<C, ParseResult.ParseError>
}

/** What a handle is made of. */
export interface Parts<O, P, C> {
  readonly service: Service
  readonly keeper: Keeper
  readonly endpointId: string
  readonly readers: Readers<O, P, C>
  readonly scrub: Scrub
  readonly webhooks?: Webhooks | undefined
}

/** A job, and what is known of it. */
export interface Known {
  readonly jobId: JobId
  readonly submittedAt?: number | undefined
  readonly ttl?: number | undefined
  /** Of its end, when it was submitted with a webhook. */
  readonly word?: Word | undefined
}

/** The output of a job that has ended, or the error it ended with. */
export const outputOf = <O, P, C>(parts: Parts<O, P, C>, job: Job.Ended): Effect.Effect<O, JobError> => {
  const error = fromJob(parts.endpointId, job, parts.scrub)
  return error === undefined
    ? Effect.mapError(parts.readers.output(job.output), (issue) =>
        fromUndecodable(parts.endpointId, job, issueOf(issue), parts.scrub)
      )
    : Effect.fail(error)
}

const withProgress = <O, P, C>(parts: Parts<O, P, C>, job: WatchedJob): Effect.Effect<ProgressJob<P>> =>
  Job.isTerminal(job) || job.output === undefined
    ? Effect.succeed(job)
    : Effect.match(parts.readers.progress(job.output), {
        onFailure: () => job,
        onSuccess: (progress) => ({ ...job, progress })
      })

/** The options of an untyped wait, with progress read before `onProgress` gets it. */
export const plainOptions = <O, P, C>(parts: Parts<O, P, C>, options: WaitOptions<ProgressJob<P>>): WaitOptions => {
  const { onProgress, ...rest } = options
  return onProgress === undefined
    ? rest
    : { ...rest, onProgress: (job) => Effect.flatMap(withProgress(parts, job), onProgress) }
}

/** What is waited for. */
export const targetOf = <O, P, C>(
  { endpointId, keeper }: Parts<O, P, C>,
  { word, ...known }: Known,
  options: Pick<WaitOptions, "trustWebhook"> = {}
): waiting.Target => ({ keeper, endpointId, ...known, ended: word?.ended(options) })

const betweenStreams = Schedule.exponential("250 millis").pipe(Schedule.union(Schedule.spaced("5 seconds")))

/** The chunks through every fault that passes: reading on is all a new stream does, RunPod keeps what was not read. */
const chunksOf = <O, P, C>(
  { endpointId, service }: Parts<O, P, C>,
  target: waiting.Target,
  { onGap, wait }: StreamOptions
): Stream.Stream<StreamChunk, RunPodError> => {
  const report = onGap ?? ((error: RunPodError) => warnOfGap(endpointId, target.jobId, error))
  const passes = (error: RunPodError) =>
    Effect.clockWith((clock) =>
      Effect.succeed(waiting.isNotVisibleYet(target, error, monotonicMillis(clock)) || !waiting.isDefinite(error))
    )
  return service.stream(endpointId, target.jobId, { onGap: report, ...defined({ wait }) }).pipe(
    Stream.tapError((error) => (provesNoEffect(error) ? Effect.void : report(error))),
    Stream.retry(Schedule.whileInputEffect(betweenStreams, passes))
  )
}

const streamOf = <O, P, C>(
  parts: Parts<O, P, C>,
  target: waiting.Target,
  options: StreamOptions
): Stream.Stream<C, RunPodError | JobError> => {
  const { endpointId, readers, scrub } = parts
  const { jobId } = target
  const chunks = Stream.mapEffect(chunksOf(parts, target, options), (chunk) =>
    Effect.mapError(
      readers.chunk(chunk.output),
      (issue) =>
        new OutputDecodeError({
          endpointId,
          jobId,
          issue: excerpt(scrub(issueOf(issue))),
          output: scrubValue(chunk.output, scrub)
        })
    )
  )
  // The stream says nothing of why a job ended: one look at its status does.
  const end = Effect.flatMap(waiting.settle(target, { poll: { initial: 0 } }), (job) => {
    const error = job.status === "COMPLETED" ? undefined : fromJob(endpointId, job, scrub)
    return error === undefined ? Effect.void : Effect.fail(error)
  })
  const whole = Stream.concat(chunks, Stream.drain(Stream.fromEffect(end)))
  const late = Effect.clockWith((clock) => {
    const now = monotonicMillis(clock)
    const deadline =
      options.timeout === undefined
        ? (target.submittedAt ?? now) + (target.ttl ?? Duration.toMillis(waitDefaults.timeout))
        : now + Duration.toMillis(options.timeout)
    const elapsed = Duration.millis(Math.max(0, Math.round(deadline - now)))
    return Effect.zipRight(
      sleepUntil(deadline),
      Effect.fail(new WaitTimeoutError({ endpointId, jobId, elapsed, cancel: "No" }))
    )
  })
  return Stream.interruptWhen(whole, late)
}

/** A handle on a job. */
export const make = <O, P, C>(parts: Parts<O, P, C>, known: Known): JobHandle<O, P, C> => {
  const { endpointId, service, webhooks } = parts
  const { jobId } = known
  const target = targetOf(parts, { jobId, ...defined({ submittedAt: known.submittedAt, ttl: known.ttl }) })
  const word = known.word ?? (webhooks === undefined ? undefined : wordOf(webhooks, endpointId, jobId))
  const listening = (options: WaitOptions<never>) =>
    known.word === undefined && options.webhook === undefined
      ? Effect.succeed(target)
      : Effect.map(listen(word, options), (ended) => ({ ...target, ended }))
  return {
    id: jobId,
    endpointId,
    status: service.status(endpointId, jobId),
    watch: (options = {}) =>
      Stream.unwrap(
        Effect.map(listening(options), (target) => waiting.watch(target, plainOptions(parts, options)))
      ).pipe(Stream.mapEffect((job) => withProgress(parts, job))),
    settle: (options = {}) =>
      Effect.flatMap(listening(options), (target) => waiting.settle(target, plainOptions(parts, options))),
    result: (options = {}) =>
      Effect.flatMap(listening(options), (target) => waiting.settle(target, plainOptions(parts, options))).pipe(
        Effect.flatMap((job) => outputOf(parts, job))
      ),
    cancel: service.cancel(endpointId, jobId),
    retry:
      word === undefined
        ? service.retry(endpointId, jobId)
        : Effect.zipRight(word.forget, service.retry(endpointId, jobId)),
    stream: (options = {}) => streamOf(parts, target, options)
  }
}
