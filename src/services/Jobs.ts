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
import { keeperOf } from "../internal/jobs/keeper.js"
import * as waiting from "../internal/jobs/waiting.js"
import { Webhooks } from "../internal/webhooks/tag.js"
import { listen, wordOf } from "../internal/webhooks/jobEnd.js"
import type * as Job from "../schemas/Job.js"
import { RunPod } from "./RunPod.js"
import type { WaitOptions, WatchedJob } from "./WaitOptions.js"

const targetOf = (endpointId: string, jobId: string, options: WaitOptions) =>
  Effect.gen(function* () {
    const target: waiting.Target = { keeper: keeperOf(yield* RunPod), endpointId, jobId }
    if (options.webhook === undefined) return target
    const webhooks = Option.getOrUndefined(yield* Effect.serviceOption(Webhooks))
    const word = webhooks === undefined ? undefined : wordOf(webhooks, endpointId, jobId)
    return { ...target, ended: yield* listen(word, options) }
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
  Stream.unwrap(Effect.map(targetOf(endpointId, jobId, options), (target) => waiting.watch(target, options)))

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
  Effect.flatMap(targetOf(endpointId, jobId, options), (target) => waiting.settle(target, options))

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
  Effect.flatMap(targetOf(endpointId, jobId, options), (target) =>
    Effect.flatMap(waiting.settle(target, options), (job) => {
      const error = fromJob(endpointId, job, target.keeper.scrub)
      return error === undefined ? Effect.succeed(job.output) : Effect.fail(error)
    })
  )
