import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import { fromJob, fromUndecodable, type JobError, OutputDecodeError, WaitTimeoutError } from "../../errors/JobError.js"
import { type BadRequestError, provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import type { JobId } from "../../schemas/JobId.js"
import type { StreamChunk } from "../../schemas/StreamChunk.js"
import type { JobHandle, ProgressJob, StreamOptions } from "../../services/JobHandle.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import type { Service as RunPod } from "../../services/RunPod.js"
import type { WaitOptions, WatchedJob } from "../../services/WaitOptions.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import { recurring } from "../effect/schedule.js"
import { withCaller } from "../http/requestOptions.js"
import { type Backoff, delayAfter } from "../pace/backoff.js"
import { sleepUntil } from "../pace/monotonic.js"
import { excerpt } from "../text/excerpt.js"
import { issueOf } from "../text/parseIssue.js"
import { makeScrub, type Scrub, scrubValue } from "../text/scrub.js"
import { cancel, isNotVisibleYet, type JobRef, withSecrets } from "./jobRef.js"
import * as Poll from "./poll.js"
import { isDefinite } from "./pollPace.js"
import { decode, policyOf, type Wait } from "./waitPolicy.js"
import * as WebhookEnd from "./webhookEnd.js"

export interface EndpointContext {
  readonly runPod: RunPod
  readonly runtime: JobRuntime
  readonly webhooks: Webhooks | undefined
  readonly endpointId: string
}

/** What is known of the submit of a job. */
export interface SubmitFacts extends Pick<JobRef, "submittedAt" | "ttl" | "webhook"> {
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
  return { ...known, runPod: withSecrets(runPod, secrets), runtime, endpointId, jobId, webhookEnd }
}

export const waitOf = (
  job: JobRef,
  options: WaitOptions,
  settings = decode(options)
): Effect.Effect<Wait, BadRequestError> => {
  const { onProgress, trustWebhook = false, webhook = job.webhook } = options
  if (webhook === true && job.webhookEnd === undefined) return Effect.fail(WebhookEnd.missing("status"))
  const ended = webhook === undefined ? undefined : job.webhookEnd?.ended(trustWebhook)
  return Effect.succeed({ job, settings, ended, onProgress })
}

/** Strikes out the API key and these secrets. */
export const scrubOf = (runtime: JobRuntime, secrets: ReadonlyArray<string> = []): Scrub => {
  if (secrets.length === 0) return runtime.scrub
  const scrubSecrets = makeScrub(secrets)
  return (text) => runtime.scrub(scrubSecrets(text))
}

export const outputOf = <O>(
  ended: Job.Ended,
  { endpointId, output, scrub }: { readonly endpointId: string; readonly output: Read<O>; readonly scrub: Scrub }
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
    Effect.annotateLogs({ endpointId, jobId, error: error._tag })
  )

const betweenStreams: Backoff = { base: 250, cap: 5_000, jitter: "none" }

/** The chunks through every fault that passes: RunPod keeps what was not read, so a new stream reads on. */
const chunksOf = (job: JobRef, { onGap, wait }: StreamOptions): Stream.Stream<StreamChunk, RunPodError> => {
  const { endpointId, jobId, runPod } = job
  const report = onGap ?? ((error: RunPodError) => warnOfGap(endpointId, jobId, error))
  const passes = (error: RunPodError) =>
    Effect.map(Effect.clock, (clock) => isNotVisibleYet(job, error, clock) || !isDefinite(error))
  return runPod.stream(endpointId, jobId, { onGap: report, wait }).pipe(
    Stream.tapError((error) => (provesNoEffect(error) ? Effect.void : report(error))),
    Stream.retry(recurring({ delay: (_, tries) => delayAfter(betweenStreams, tries), while: passes }))
  )
}

/** Fails at the end of the job's life, or of the caller's patience. */
const failLate = (job: JobRef, { timeout }: StreamOptions) =>
  withCaller((caller) => {
    const { endpointId, jobId } = job
    const { deadline, startedAt } = policyOf({ job, settings: decode({ timeout }) }, caller)
    const elapsed = Duration.millis(Math.max(0, Math.round(deadline - startedAt)))
    const error = new WaitTimeoutError({ endpointId, jobId, elapsed, cancel: "No" })
    return Effect.zipRight(sleepUntil(deadline), Effect.fail(error))
  })

/** The chunks of a job, and then the error of one that is not COMPLETED. */
const stream = <C>(
  job: JobRef,
  readers: { readonly chunk: Read<C>; readonly scrub: Scrub },
  options: StreamOptions
): Stream.Stream<C, RunPodError | JobError> => {
  const { endpointId, jobId } = job
  const { chunk: readChunk, scrub } = readers
  const chunks = Stream.mapEffect(chunksOf(job, options), ({ output }) =>
    Effect.mapError(readChunk(output), (error) => {
      const issue = excerpt(scrub(issueOf(error)))
      return new OutputDecodeError({ endpointId, jobId, issue, output: scrubValue(output, scrub) })
    })
  )
  // The stream does not say why a job ended: one look at its status does.
  const end = Effect.flatMap(Poll.settle({ job, settings: decode({ poll: { initial: 0 } }) }), (ended) => {
    const error = ended.status === "COMPLETED" ? undefined : fromJob(endpointId, ended, scrub)
    return error === undefined ? Effect.void : Effect.fail(error)
  })
  return Stream.interruptWhen(Stream.concat(chunks, Stream.drain(Stream.fromEffect(end))), failLate(job, options))
}

export const make = <O, P, C>(
  context: EndpointContext,
  readers: Readers<O, P, C>,
  jobId: JobId,
  facts: SubmitFacts
): JobHandle<O, P, C> => {
  const job = jobOf(context, jobId, facts)
  const { endpointId, runPod, webhookEnd } = job
  const scrub = scrubOf(context.runtime, facts.secrets)
  const waitFor = (options: WaitOptions<ProgressJob<P>>) =>
    Effect.suspend(() => waitOf(job, withTypedProgress(readers.progress, options)))
  const settle = (options: WaitOptions<ProgressJob<P>> = {}) => Effect.flatMap(waitFor(options), Poll.settle)
  const read = (ended: Job.Ended) => outputOf(ended, { endpointId, output: readers.output, scrub })
  return {
    id: jobId,
    endpointId,
    ...(facts.ttl === undefined ? {} : { ttl: Duration.millis(facts.ttl) }),
    status: runPod.status(endpointId, jobId),
    watch: (options = {}) =>
      Stream.unwrap(Effect.map(waitFor(options), Poll.watch)).pipe(
        Stream.mapEffect((job) => withProgress(readers.progress, job))
      ),
    settle,
    result: (options) => Effect.flatMap(settle(options), read),
    cancel: cancel(job),
    retry: Effect.zipRight(webhookEnd?.forget ?? Effect.void, runPod.retry(endpointId, jobId)),
    stream: (options = {}) => stream(job, { chunk: readers.chunk, scrub }, options),
    read
  }
}
