import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import { fromJob, fromUndecodable, type JobError } from "../../errors/JobError.js"
import type { BadRequestError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import type { JobId } from "../../schemas/JobId.js"
import type { JobHandle, ProgressJob } from "../../services/JobHandle.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import type { Service as RunPod } from "../../services/RunPod.js"
import type { WaitOptions, WatchedJob } from "../../services/WaitOptions.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import { issueOf } from "../text/parseIssue.js"
import { makeScrub, type Scrub } from "../text/scrub.js"
import { rulesOf } from "./cancel.js"
import { type JobRef, withSecrets } from "./jobRef.js"
import type { Wait } from "./poll.js"
import { settle } from "./settle.js"
import { stream } from "./stream.js"
import { watch } from "./watch.js"
import { decode } from "./waitPolicy.js"
import * as WebhookEnd from "./webhookEnd.js"

/** Reads a value with a schema. */
export type Read<A> = (value: unknown) => Effect.Effect<A, ParseResult.ParseError>

/** What the jobs of one endpoint share. */
export interface EndpointContext {
  readonly runPod: RunPod
  readonly runtime: JobRuntime
  readonly webhooks: Webhooks | undefined
  readonly endpointId: string
}

/** How the values of an endpoint's jobs are read. */
export interface Readers<O, P, C> {
  readonly output: Read<O>
  readonly progress: Read<P>
  readonly chunk: Read<C>
}

/** What is known of the submit of a job. */
export interface SubmitFacts {
  /** On the monotonic clock; missing where that is not known. */
  readonly submittedAt?: ((clock: Clock.Clock) => number) | undefined
  readonly ttl?: number | undefined
  /** What it carried that must not be printed. */
  readonly secrets?: ReadonlyArray<string> | undefined
  readonly webhook?: string | URL | true | undefined
}

/** One job of an endpoint. */
export interface EndpointJob {
  readonly ref: JobRef
  readonly webhookEnd: WebhookEnd.WebhookEnd | undefined
}

/** Strikes out the API key and these secrets. */
export const scrubOf = (runtime: JobRuntime, secrets: ReadonlyArray<string> = []): Scrub => {
  if (secrets.length === 0) return runtime.scrub
  const scrubSecrets = makeScrub(secrets)
  return (text) => runtime.scrub(scrubSecrets(text))
}

export const jobOf = (context: EndpointContext, jobId: string, facts: SubmitFacts): EndpointJob => {
  const { endpointId, runPod, runtime, webhooks } = context
  const { secrets = [], submittedAt, ttl } = facts
  return {
    ref: { runPod: withSecrets(runPod, secrets), runtime, endpointId, jobId, submittedAt, ttl },
    webhookEnd: webhooks === undefined ? undefined : WebhookEnd.make(webhooks, endpointId, jobId)
  }
}

/** The output of a job that has ended, or the error it ended with. */
export const outputOf = <O>(
  ended: Job.Ended,
  { endpointId, output, scrub }: { readonly endpointId: string; readonly output: Read<O>; readonly scrub: Scrub }
): Effect.Effect<O, JobError> => {
  const error = fromJob(endpointId, ended, scrub)
  return error === undefined
    ? Effect.mapError(output(ended.output), (issue) => fromUndecodable(endpointId, ended, issueOf(issue), scrub))
    : Effect.fail(error)
}

const withProgress = <P>(progress: Read<P>, job: WatchedJob): Effect.Effect<ProgressJob<P>> =>
  Job.isTerminal(job) || job.output === undefined
    ? Effect.succeed(job)
    : Effect.match(progress(job.output), {
        onFailure: () => job,
        onSuccess: (progress) => ({ ...job, progress })
      })

/** Reads progress before `onProgress` gets it. */
export const typed = <P>(
  progress: Read<P>,
  onProgress: WaitOptions<ProgressJob<P>>["onProgress"]
): WaitOptions["onProgress"] =>
  onProgress === undefined ? undefined : (job) => Effect.flatMap(withProgress(progress, job), onProgress)

/** A handle on a job. */
export const make = <O, P, C>(
  context: EndpointContext,
  readers: Readers<O, P, C>,
  jobId: JobId,
  facts: SubmitFacts
): JobHandle<O, P, C> => {
  const { ref, webhookEnd } = jobOf(context, jobId, facts)
  const scrub = scrubOf(context.runtime, facts.secrets)
  const { endpointId, runPod } = ref
  const waitOf = (options: WaitOptions<ProgressJob<P>>): Effect.Effect<Wait, BadRequestError> =>
    Effect.suspend(() => {
      const { trustWebhook, webhook = facts.webhook } = options
      const wait: Wait = {
        job: ref,
        settings: decode(options),
        rules: rulesOf(options),
        onProgress: typed(readers.progress, options.onProgress)
      }
      return webhook === undefined
        ? Effect.succeed(wait)
        : Effect.map(WebhookEnd.listen(webhookEnd, { trustWebhook, webhook }), (ended) => ({ ...wait, ended }))
    })
  const settled = (options: WaitOptions<ProgressJob<P>>) => Effect.flatMap(waitOf(options), settle)
  const read = (ended: Job.Ended) => outputOf(ended, { endpointId, output: readers.output, scrub })
  return {
    id: jobId,
    endpointId,
    status: runPod.status(endpointId, jobId),
    watch: (options = {}) =>
      Stream.unwrap(Effect.map(waitOf(options), watch)).pipe(
        Stream.mapEffect((job) => withProgress(readers.progress, job))
      ),
    settle: (options = {}) => settled(options),
    result: (options = {}) => Effect.flatMap(settled(options), read),
    cancel: runPod.cancel(endpointId, jobId),
    retry: Effect.zipRight(webhookEnd?.forget ?? Effect.void, runPod.retry(endpointId, jobId)),
    stream: (options = {}) => stream(ref, { chunk: readers.chunk, scrub }, options),
    read
  }
}
