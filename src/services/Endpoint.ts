/**
 * A serverless endpoint with schemas for what goes in and what comes out.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { Stream } from "effect/Stream"
import type { JobError } from "../errors/JobError.js"
import type { RunPodError } from "../errors/RunPodError.js"
import * as internal from "../internal/jobs/endpoint.js"
import { Webhooks } from "../internal/webhooks/tag.js"
import type * as Health from "../schemas/Health.js"
import type * as Job from "../schemas/Job.js"
import type { PurgeResult } from "../schemas/PurgeResult.js"
import type { RunRequest } from "../schemas/RunRequest.js"
import type { JobHandle, ProgressJob, StreamOptions } from "./JobHandle.js"
import type * as JobRuntime from "./JobRuntime.js"
import { jobRuntime, RunPod, type SubmitOptions } from "./RunPod.js"
import type { WaitOptions } from "./WaitOptions.js"

/**
 * Choices of a submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends SubmitOptions, Pick<RunRequest, "policy" | "s3Config"> {
  /**
   * Where RunPod posts the job when it ends. `true`: to a URL that the `Webhooks` service issues, and the job's waits listen
   * for the delivery; without the service it fails with `BadRequestError`. A URL: the base the service issues from, such as
   * a relay's; without the service it is posted to as it stands. Default: nowhere.
   */
  readonly webhook?: string | URL | true | undefined
  /**
   * How long a submit whose reply was lost waits for its webhook, which says which job it started. Then, or at the caller's
   * `timeout`, it fails with `SubmitAmbiguousError`. Needs the `Webhooks` service. Default: 15 minutes.
   */
  readonly adoptWithin?: Duration.DurationInput | undefined
}

/**
 * What is known of the submit of a job that is attached to.
 *
 * @since 0.1.0
 * @category models
 */
export interface AttachOptions extends Pick<RunOptions, "policy" | "s3Config" | "webhook"> {
  /** When it was, in milliseconds of the clock: its `ttl` counts from then, and a 404 of the first minute is "not yet". */
  readonly submittedAt?: number | undefined
  /** Where its span stands (`JobHandle.trace`): the spans of what is done with the job are linked to it. */
  readonly trace?: string | undefined
}

/**
 * Choices of `call` and `runSync`. `timeout` counts from the call.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallOptions<in P = unknown> extends RunOptions, WaitOptions<ProgressJob<P>> {
  /**
   * Gets the job once it is known, before it is waited for, so that its id can be noted. The wait begins when it has ended. When it fails,
   * with a defect, or is interrupted, so is the call, and its job is cancelled. Default: nobody is told.
   */
  readonly onJob?: ((job: JobHandle<unknown>) => Effect.Effect<void>) | undefined
}

/**
 * Choices of `callStream`. `timeout` counts from its submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallStreamOptions extends RunOptions, StreamOptions, Pick<CallOptions, "onJob"> {}

/**
 * The schemas of an endpoint. They must not need services.
 *
 * @since 0.1.0
 * @category models
 */
export interface Schemas<I, IE, O, OE, P, PE, C, CE> {
  /** The handler's input. What it encodes to must be a JSON object with at least one key. */
  readonly input: Schema.Schema<I, IE>
  /** What the handler returns. */
  readonly output: Schema.Schema<O, OE>
  /** What the handler reports as progress. Default: anything. */
  readonly progress?: Schema.Schema<P, PE> | undefined
  /** What a generator handler yields. Default: anything. */
  readonly chunk?: Schema.Schema<C, CE> | undefined
}

/**
 * An endpoint: `I` is its input, `O` its output, `P` its progress updates, `C` the chunks it streams.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint<I, O, P = unknown, C = unknown> {
  readonly id: string
  /**
   * Submits a job and returns a handle on it. A submit that was sent is not aborted: when it is interrupted, the job it
   * started is cancelled, since nobody else knows of it.
   */
  readonly run: (input: I, options?: RunOptions) => Effect.Effect<JobHandle<O, P, C>, RunPodError>
  /**
   * Submits a job and waits for its output. However it ends (interruption, `timeout`, an error), a job that is not known
   * to have ended is cancelled: on interruption the fiber waits for that, otherwise it happens in the background.
   */
  readonly call: (input: I, options?: CallOptions<P>) => Effect.Effect<O, RunPodError | JobError>
  /**
   * The same through `/runsync`, which answers short jobs with a single request; it is held at most 10 seconds, so that
   * the id is known early. RunPod documents that it keeps these results for one minute only: prefer `call`.
   */
  readonly runSync: (input: I, options?: CallOptions<P>) => Effect.Effect<O, RunPodError | JobError>
  /** A handle on a job that was submitted elsewhere, or earlier. Nothing is sent. */
  readonly attach: (jobId: string, known?: AttachOptions) => JobHandle<O, P, C>
  /** The endpoint's gauges: jobs and workers. */
  readonly health: Effect.Effect<Health.Health, RunPodError>
  /** Removes all queued jobs of the endpoint; running ones go on. */
  readonly purgeQueue: Effect.Effect<PurgeResult, RunPodError>
  /** The endpoint's recent jobs, without their outputs. */
  readonly requests: Effect.Effect<ReadonlyArray<Job.Job>, RunPodError>
  /** What an input is sent as. Without it a `Batch` knows an input by its JSON, and notes its intent before it calls `run`. */
  readonly encode?: ((input: I) => Effect.Effect<object, RunPodError>) | undefined
  /** The job of a submit whose reply was lost, by the webhook with this key; `undefined` when none arrives in time. */
  readonly adopt?:
    ((webhookKey: string, within: Duration.DurationInput) => Effect.Effect<JobHandle<O, P, C> | undefined>) | undefined
  /** What it shares with the other endpoints of its layer. */
  readonly runtime?: JobRuntime.Service | undefined
  /** See `MadeEndpoint`, where it is not optional: an endpoint of your own may do without. */
  readonly callStream?: ((input: I, options?: CallStreamOptions) => Stream<C, RunPodError | JobError>) | undefined
}

/**
 * An endpoint as `make` gives it.
 *
 * @since 0.1.0
 * @category models
 */
export interface MadeEndpoint<I, O, P = unknown, C = unknown> extends Endpoint<I, O, P, C> {
  /**
   * Submits a job when it is run, and gives its chunks as they come; a job that is not COMPLETED fails it with its `JobError`
   * after the last chunk. However it ends (its reader takes no more, fails or is interrupted, `timeout`, an error, the layer
   * closes), a job that is not known to have ended is cancelled once: after a `timeout` or an error in the background, else
   * the end of the stream waits for that.
   */
  readonly callStream: (input: I, options?: CallStreamOptions) => Stream<C, RunPodError | JobError>
}

/**
 * An endpoint over the `RunPod` service, and over `Webhooks` where that is provided. An id that cannot be one fails the first
 * operation with `BadRequestError`.
 *
 * @example
 * ```ts
 * import { Endpoint } from "effect-runpod"
 * import { Effect, Schema } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const upscale = yield* Endpoint.make("abc123", {
 *     input: Schema.Struct({ image: Schema.String }),
 *     output: Schema.Struct({ url: Schema.String })
 *   })
 *   return yield* upscale.call({ image: "https://example.com/cat.png" }, { timeout: "5 minutes" })
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <I, IE, O, OE, P = unknown, PE = unknown, C = unknown, CE = unknown>(
  id: string,
  schemas: Schemas<I, IE, O, OE, P, PE, C, CE>
): Effect.Effect<MadeEndpoint<I, O, P, C>, never, RunPod> =>
  Effect.map(Effect.all([RunPod, jobRuntime, Effect.serviceOption(Webhooks)]), ([runPod, runtime, webhooks]) =>
    internal.make({ runPod, runtime, webhooks: Option.getOrUndefined(webhooks), endpointId: id }, schemas)
  )
