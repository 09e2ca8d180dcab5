/**
 * Waiting for jobs by their ids, without types for their outputs. For those, see `Endpoint`.
 *
 * Waits outlive 429s, server errors, junk, stalls and broken connections until their deadline. They end at once on what
 * is definite: a terminal status, HTTP 400, 401 or 403, an unknown endpoint, or a job that is gone.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { JobError, WaitTimeoutError } from "../errors/JobError.js"
import { fromJob } from "../errors/JobError.js"
import type { RunPodError } from "../errors/RunPodError.js"
import type { Wait } from "../internal/jobs/poll.js"
import * as internalSettle from "../internal/jobs/settle.js"
import { decode, rulesOf } from "../internal/jobs/waitPolicy.js"
import * as internalWatch from "../internal/jobs/watch.js"
import * as WebhookEnd from "../internal/jobs/webhookEnd.js"
import { Webhooks } from "../internal/webhooks/tag.js"
import type * as Job from "../schemas/Job.js"
import { jobRuntime, RunPod } from "./RunPod.js"
import type { WaitOptions, WatchedJob } from "./WaitOptions.js"

const waitOf = Effect.fnUntraced(function* (endpointId: string, jobId: string, options: WaitOptions) {
  const wait: Wait = {
    job: { runPod: yield* RunPod, runtime: yield* jobRuntime, endpointId, jobId },
    settings: decode(options),
    rules: rulesOf(options),
    onProgress: options.onProgress
  }
  if (options.webhook === undefined) return wait
  const webhooks = Option.getOrUndefined(yield* Effect.serviceOption(Webhooks))
  const webhookEnd = webhooks === undefined ? undefined : WebhookEnd.make(webhooks, endpointId, jobId)
  return { ...wait, ended: yield* WebhookEnd.listen(webhookEnd, options) }
})

/**
 * The job as it changes: emitted when its status or its progress output is new, last when it has ended.
 *
 * @since 0.1.0
 * @category waiting
 */
export const watch = (
  endpointId: string,
  jobId: string,
  options: WaitOptions = {}
): Stream.Stream<WatchedJob, RunPodError | WaitTimeoutError, RunPod> =>
  Stream.unwrap(Effect.map(waitOf(endpointId, jobId, options), internalWatch.watch))

/**
 * Waits until the job has ended, and returns it however it ended.
 *
 * @since 0.1.0
 * @category waiting
 */
export const settle = (
  endpointId: string,
  jobId: string,
  options: WaitOptions = {}
): Effect.Effect<Job.TerminalJob, RunPodError | WaitTimeoutError, RunPod> =>
  Effect.flatMap(waitOf(endpointId, jobId, options), internalSettle.settle)

/**
 * Waits until the job has ended, and returns its output; anything but COMPLETED with an output is a `JobError`.
 *
 * @since 0.1.0
 * @category waiting
 */
export const result = (
  endpointId: string,
  jobId: string,
  options: WaitOptions = {}
): Effect.Effect<unknown, RunPodError | JobError, RunPod> =>
  Effect.flatMap(waitOf(endpointId, jobId, options), (wait) =>
    Effect.flatMap(internalSettle.settle(wait), (job) => {
      const error = fromJob(endpointId, job, wait.job.runtime.scrub)
      return error === undefined ? Effect.succeed(job.output) : Effect.fail(error)
    })
  )
