/**
 * A job that was submitted, or attached to, with the types of its endpoint.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { JobError, WaitTimeoutError } from "../errors/JobError.js"
import type { RunPodError } from "../errors/RunPodError.js"
import type * as Job from "../schemas/Job.js"
import type { JobId } from "../schemas/JobId.js"
import type * as RunPod from "./RunPod.js"
import type { WaitOptions, WatchedJob } from "./WaitOptions.js"

/**
 * A job whose progress has been read with the endpoint's schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProgressJob<P> extends WatchedJob {
  /** The newest progress update; missing before the first one, after the end, and when the schema does not accept it. */
  readonly progress?: P | undefined
}

/**
 * Choices of a stream of chunks.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends RunPod.StreamOptions, Pick<WaitOptions<never>, "cancelGrace"> {
  /** How long to read in all; then `WaitTimeoutError`. Default: as long as the job lives, its `ttl` or 24 hours. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * Whether the job is cancelled when the stream ends before it: its reader takes no more, fails or is interrupted, or the
   * layer closes. The end of the stream waits for that. Default: true for `callStream`, else false.
   */
  readonly cancelOnInterrupt?: boolean | undefined
  /** Whether the end of `timeout` cancels the job, in the background. Default: true for `callStream`, else false. */
  readonly cancelOnTimeout?: boolean | undefined
}

/**
 * A job: `O` is its output, `P` its progress updates, `C` the chunks it streams.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobHandle<O, P = unknown, C = unknown> {
  readonly id: JobId
  readonly endpointId: string
  /** How long RunPod keeps the job from its submit on, where that is known and not RunPod's default of 24 hours. */
  readonly ttl?: Duration.Duration | undefined
  /** Where the span of its submit stands, as the W3C's `traceparent`; missing where that is not known, or was not traced. */
  readonly trace?: string | undefined
  /** Reads the job once. */
  readonly status: Effect.Effect<Job.Job, RunPodError>
  /** The job as it changes, last when it has ended. */
  readonly watch: (
    options?: WaitOptions<ProgressJob<P>>
  ) => Stream.Stream<ProgressJob<P>, RunPodError | WaitTimeoutError>
  /** Waits until the job has ended, however that is. */
  readonly settle: (
    options?: WaitOptions<ProgressJob<P>>
  ) => Effect.Effect<Job.TerminalJob, RunPodError | WaitTimeoutError>
  /** Waits for the output; a job that ended otherwise fails with its `JobError`. */
  readonly result: (options?: WaitOptions<ProgressJob<P>>) => Effect.Effect<O, RunPodError | JobError>
  /** Cancels the job, queued or running. One that was submitted moments ago need not be visible yet: it is waited for, 10 seconds at most. */
  readonly cancel: Effect.Effect<Job.Job, RunPodError>
  /** Puts a FAILED or TIMED_OUT job back in the queue, under the same id. */
  readonly retry: Effect.Effect<Job.Job, RunPodError>
  /**
   * The chunks as they come, through any fault that passes. It ends with the job; one that is not COMPLETED fails with
   * its `JobError` after the last chunk. Two readers take each other's chunks.
   */
  readonly stream: (options?: StreamOptions) => Stream.Stream<C, RunPodError | JobError>
  /** The output of a job that has ended, or the `JobError` it ended with: what `result` does after `settle`. */
  readonly read?: ((job: Job.Ended) => Effect.Effect<O, JobError>) | undefined
  /** Strikes the layer's API key and the secrets of its submit out of a text, such as what an error quotes of its output. */
  readonly scrub?: ((text: string) => string) | undefined
}
