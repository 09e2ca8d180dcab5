import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import { fromJob, fromUndecodable, type JobError } from "../../errors/JobError.js"
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
import * as WebhookEnd from "./webhookEnd.js"

/** Reads a value with a schema. */
export type Read<A> = (value: unknown) => Effect.Effect<A, ParseResult.ParseError>

/** What the jobs of one endpoint share. */
export interface EndpointContext<O, P, C> {
  readonly runPod: RunPod
  readonly runtime: JobRuntime
  readonly webhooks: Webhooks | undefined
  readonly endpointId: string
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

/** One job of an endpoint: how it is asked for, and how what it says is read. */
export interface TypedJob<O, P, C> {
  readonly ref: JobRef
  readonly context: EndpointContext<O, P, C>
  /** Strikes out the API key and the secrets of the submit. */
  readonly scrub: Scrub
  readonly webhookEnd: WebhookEnd.WebhookEnd | undefined
}

export const typedJob = <O, P, C>(
  context: EndpointContext<O, P, C>,
  jobId: string,
  { secrets = [], submittedAt, ttl }: SubmitFacts
): TypedJob<O, P, C> => {
  const { endpointId, runPod, runtime, webhooks } = context
  return {
    ref: { runPod: withSecrets(runPod, secrets), runtime, endpointId, jobId, submittedAt, ttl },
    context,
    scrub: scrubOf(runtime, secrets),
    webhookEnd: webhooks === undefined ? undefined : WebhookEnd.make(webhooks, endpointId, jobId)
  }
}

/** Strikes out the API key and these secrets. */
export const scrubOf = (runtime: JobRuntime, secrets: ReadonlyArray<string>): Scrub => {
  if (secrets.length === 0) return runtime.scrub
  const scrubSecrets = makeScrub(secrets)
  return (text) => runtime.scrub(scrubSecrets(text))
}

/** The output of a job that has ended, or the error it ended with. */
export const outputOf = <O>(
  { endpointId, output }: Pick<EndpointContext<O, never, never>, "endpointId" | "output">,
  job: Job.Ended,
  scrub: Scrub
): Effect.Effect<O, JobError> => {
  const error = fromJob(endpointId, job, scrub)
  return error === undefined
    ? Effect.mapError(output(job.output), (issue) => fromUndecodable(endpointId, job, issueOf(issue), scrub))
    : Effect.fail(error)
}

const withProgress = <P>(progress: Read<P>, job: WatchedJob): Effect.Effect<ProgressJob<P>> =>
  Job.isTerminal(job) || job.output === undefined
    ? Effect.succeed(job)
    : Effect.match(progress(job.output), {
        onFailure: () => job,
        onSuccess: (progress) => ({ ...job, progress })
      })

/** The options of an untyped wait, with progress read before `onProgress` gets it. */
export const untyped = <P>(progress: Read<P>, options: WaitOptions<ProgressJob<P>>): WaitOptions => {
  const { onProgress, ...rest } = options
  return onProgress === undefined
    ? rest
    : { ...rest, onProgress: (job) => Effect.flatMap(withProgress(progress, job), onProgress) }
}

/** A handle on a job. */
export const make = <O, P, C>(
  context: EndpointContext<O, P, C>,
  jobId: JobId,
  facts: SubmitFacts
): JobHandle<O, P, C> => {
  const job = typedJob(context, jobId, facts)
  const { ref, scrub, webhookEnd } = job
  const { endpointId, runPod } = ref
  const waitOf = (options: WaitOptions<ProgressJob<P>>) => {
    const { trustWebhook, webhook = facts.webhook } = options
    const wait: Wait = { job: ref, options: untyped(context.progress, options), rules: rulesOf(options) }
    return webhook === undefined
      ? Effect.succeed(wait)
      : Effect.map(WebhookEnd.listen(webhookEnd, { trustWebhook, webhook }), (ended): Wait => ({ ...wait, ended }))
  }
  const settled = (options: WaitOptions<ProgressJob<P>>) => Effect.flatMap(waitOf(options), settle)
  const read = (ended: Job.Ended) => outputOf(context, ended, scrub)
  return {
    id: jobId,
    endpointId,
    status: runPod.status(endpointId, jobId),
    watch: (options = {}) =>
      Stream.unwrap(Effect.map(waitOf(options), watch)).pipe(
        Stream.mapEffect((job) => withProgress(context.progress, job))
      ),
    settle: (options = {}) => settled(options),
    result: (options = {}) => Effect.flatMap(settled(options), read),
    cancel: runPod.cancel(endpointId, jobId),
    retry: Effect.zipRight(webhookEnd?.forget ?? Effect.void, runPod.retry(endpointId, jobId)),
    stream: (options = {}) => stream(ref, { chunk: context.chunk, scrub }, options),
    read
  }
}
