import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { BadRequestError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import type { JobId } from "../../schemas/JobId.js"
import type { JobHandle, ProgressJob } from "../../services/JobHandle.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import type { Service as RunPod } from "../../services/RunPod.js"
import type { WaitOptions } from "../../services/WaitOptions.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import { type JobRef, withSecrets } from "./jobRef.js"
import type { Wait } from "./poll.js"
import { outputOf, type Readers, scrubOf, typed, withProgress } from "./readers.js"
import { settle } from "./settle.js"
import { stream } from "./stream.js"
import { watch } from "./watch.js"
import { decode, rulesOf } from "./waitPolicy.js"
import * as WebhookEnd from "./webhookEnd.js"

/** What the jobs of one endpoint share. */
export interface EndpointContext {
  readonly runPod: RunPod
  readonly runtime: JobRuntime
  readonly webhooks: Webhooks | undefined
  readonly endpointId: string
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

export const jobOf = (context: EndpointContext, jobId: string, facts: SubmitFacts): EndpointJob => {
  const { endpointId, runPod, runtime, webhooks } = context
  const { secrets = [], submittedAt, ttl } = facts
  return {
    ref: { runPod: withSecrets(runPod, secrets), runtime, endpointId, jobId, submittedAt, ttl },
    webhookEnd: webhooks === undefined ? undefined : WebhookEnd.make(webhooks, endpointId, jobId)
  }
}

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
