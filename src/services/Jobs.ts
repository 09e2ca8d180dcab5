/**
 * Waiting for jobs by their ids, without types for their outputs. For those, see `Endpoint`.
 *
 * Waits outlive whatever passes until their deadline. They end at once on what is definite: a terminal status, HTTP 400, 401
 * or 403, an unknown endpoint, or a job that is gone.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { JobError, WaitTimeoutError } from "../errors/JobError.js"
import type { RunPodError } from "../errors/RunPodError.js"
import * as Handle from "../internal/jobs/handle.js"
import * as Poll from "../internal/jobs/poll.js"
import { inJobSpan, type JobSpan, streamInJobSpan } from "../internal/telemetry/jobSpan.js"
import { Webhooks } from "../internal/webhooks/tag.js"
import type * as Job from "../schemas/Job.js"
import { jobRuntime, RunPod } from "./RunPod.js"
import type { WaitOptions, WatchedJob } from "./WaitOptions.js"

const waitOf = Effect.fnUntraced(function* (
  { endpointId, jobId }: { readonly endpointId: string; readonly jobId: string },
  options: WaitOptions,
  span: JobSpan | undefined
) {
  const [runPod, runtime, webhooks] = yield* Effect.all([RunPod, jobRuntime, Effect.serviceOption(Webhooks)])
  const context = { runPod, runtime, webhooks: Option.getOrUndefined(webhooks), endpointId }
  const job = Handle.jobOf(context, jobId)
  span?.set({ "runpod.job_id": job.scrub(jobId) })
  return yield* Handle.waitOf(job, options, { span })
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
  streamInJobSpan("Jobs.watch", { endpointId }, (span) =>
    Stream.unwrap(Effect.map(waitOf({ endpointId, jobId }, options, span), Poll.watch))
  )

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
  inJobSpan("Jobs.settle", { endpointId }, (span) =>
    Effect.flatMap(waitOf({ endpointId, jobId }, options, span), Poll.settle)
  )

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
  inJobSpan("Jobs.result", { endpointId }, (span) =>
    Effect.flatMap(waitOf({ endpointId, jobId }, options, span), (wait) =>
      Effect.flatMap(Poll.settle(wait), (job) => Handle.outputOf(job, wait.job, Effect.succeed))
    )
  )
