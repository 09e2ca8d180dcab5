/**
 * The client for programs without Effect: promises, `AbortSignal`s and `for await`, over the same services. Errors are the
 * tagged errors of this library themselves: `error._tag === "JobFailedError"`, or `instanceof`.
 *
 * @since 0.1.0
 */
/// <reference lib="esnext.disposable" preserve="true" />
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Layer from "effect/Layer"
import type { JobError } from "../errors/JobError.js"
import type { RunPodError } from "../errors/RunPodError.js"
import type { Health } from "../schemas/Health.js"
import type * as Wire from "../schemas/Job.js"
import type * as Batch from "../services/Batch.js"
import type * as BatchJournal from "../services/BatchJournal.js"
import type * as Endpoints from "../services/Endpoint.js"
import type { ProgressJob, StreamOptions as HandleStreamOptions } from "../services/JobHandle.js"
import * as RunPod from "../services/RunPod.js"
import type { WaitOptions } from "../services/WaitOptions.js"
import * as internal from "./internal/client.js"

/**
 * Every method takes a signal. Once it is aborted and what had to be cancelled is, the promise is rejected with its reason.
 *
 * @since 0.1.0
 * @category models
 */
export interface Abortable {
  readonly signal?: AbortSignal | undefined
}

/**
 * Choices of a wait: those of `WaitOptions`. A callback that throws or rejects ends the wait with its error.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResultOptions<in P = unknown> extends Abortable, Omit<WaitOptions<never>, "onProgress"> {
  /** Gets the job when its status, its progress or its diagnosis has changed, and when it has ended. */
  readonly onProgress?: ((job: ProgressJob<P>) => void | PromiseLike<void>) | undefined
}

/**
 * Choices of a submit: those of `Endpoint.RunOptions`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends Abortable, Endpoints.RunOptions {}

/**
 * Choices of `call`. `timeout` counts from the call. Whoever wants the job before its output takes `run` and `result`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallOptions<in P = unknown> extends RunOptions, ResultOptions<P> {}

/**
 * Choices of a stream of chunks: those of `JobHandle.StreamOptions`.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends Abortable, Omit<HandleStreamOptions, "onGap" | "onEnd"> {
  /** Called when a lost answer may have taken chunks with it: RunPod sends each chunk once. Default: logs a warning. */
  readonly onGap?: ((error: RunPodError) => void | PromiseLike<void>) | undefined
}

/**
 * A job that was submitted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Job<O, C = unknown, P = unknown> {
  readonly id: string
  readonly endpointId: string
  /** Reads the job once. */
  readonly status: (options?: Abortable) => Promise<Wire.Job>
  /** Waits for the output; a job that ended otherwise rejects with its `JobError`. An abort leaves the job alone. */
  readonly result: (options?: ResultOptions<P>) => Promise<O>
  readonly cancel: (options?: Abortable) => Promise<Wire.Job>
  /** Puts a FAILED or TIMED_OUT job back in the queue, under the same id. */
  readonly retry: (options?: Abortable) => Promise<Wire.Job>
  /** The chunks as they come. Leaving it leaves the job alone. Two readers take each other's chunks. */
  readonly stream: (options?: StreamOptions) => AsyncIterable<C>
}

/**
 * What became of one input of a batch: `ok` says whether there is a `value` or an `error`.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome<I, O> = Omit<Batch.Outcome<I, O>, "result"> &
  ({ readonly ok: true; readonly value: O } | { readonly ok: false; readonly error: RunPodError | JobError })

/**
 * The options of a batch: those of `Batch.Options`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchOptions<in I> extends Abortable, Omit<Batch.Options<I>, "journal" | "tracker"> {
  /** The path of a `BatchJournal` file, or that with options. It needs a file system: that of `NodePromise.createClient`. */
  readonly journal?: string | ({ readonly path: string } & BatchJournal.FileOptions) | undefined
}

/**
 * An endpoint: `I` is its input, `O` its output, `C` the chunks it streams, `P` its progress updates. What it iterates starts
 * with the first `next`, and runs once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint<I, O, C = unknown, P = unknown> {
  readonly id: string
  /** Submits a job and waits for its output. However it ends, a job that is not known to have ended is cancelled. */
  readonly call: (input: I, options?: CallOptions<P>) => Promise<O>
  /** Submits a job. */
  readonly run: (input: I, options?: RunOptions) => Promise<Job<O, C, P>>
  /** A job that was submitted elsewhere, or earlier. Nothing is sent. */
  readonly attach: (jobId: string, known?: Endpoints.AttachOptions) => Job<O, C, P>
  /** Submits a job and gives its chunks. `break`, an error in the loop or an abort cancels the job, and waits for that. */
  readonly stream: (input: I, options?: RunOptions & StreamOptions) => AsyncIterable<C>
  /** Runs inputs as a batch, and gives the outcomes as they come. A job that fails is an outcome. */
  readonly batch: (inputs: Iterable<I> | AsyncIterable<I>, options?: BatchOptions<I>) => AsyncIterable<Outcome<I, O>>
  /** The endpoint's gauges: jobs and workers. */
  readonly health: (options?: Abortable) => Promise<Health>
}

/**
 * A client. It holds connections and timers from its first request until it is closed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client extends AsyncDisposable {
  /** An endpoint. Schemas check what goes in and comes out; without one, its type is what you say, and nothing is checked. */
  readonly endpoint: <
    I = Readonly<Record<string, unknown>>,
    O = unknown,
    C = unknown,
    P = unknown,
    IE = unknown,
    OE = unknown,
    CE = unknown,
    PE = unknown
  >(
    id: string,
    schemas?: Partial<Endpoints.Schemas<I, IE, O, OE, P, PE, C, CE>>
  ) => Endpoint<I, O, C, P>
  /** Aborts what is under way, which rejects with an `AbortError`, and waits until its jobs are cancelled. */
  readonly close: () => Promise<void>
}

/**
 * The options of `createClient`: those of `RunPod.layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientOptions extends Omit<RunPod.Options, "apiKey"> {
  /** Default: the environment variable `RUNPOD_API_KEY`, where there is one. */
  readonly apiKey?: RunPod.Options["apiKey"] | undefined
  /** The transport. Default: `fetch`. */
  readonly httpClient?: Layer.Layer<HttpClient.HttpClient> | undefined
}

/**
 * A client over a layer of `RunPod`: that of the emulator in a test, or one with `Webhooks`. It is built with the first request;
 * when that fails, every request rejects with its error.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromLayer = (layer: Layer.Layer<RunPod.RunPod, unknown>): Client => internal.make(layer)

/**
 * A client over `fetch`, or over another transport. Without an API key, here or in the environment, every request rejects.
 *
 * @example
 * ```ts
 * import { createClient } from "effect-runpod/Promise"
 *
 * const client = createClient({ apiKey: "…" })
 * const upscale = client.endpoint<{ image: string }, { url: string }>("abc123")
 *
 * export const run = async (image: string, signal: AbortSignal) => {
 *   const { url } = await upscale.call({ image }, { signal, timeout: "5 minutes" })
 *   return url
 * }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const createClient = ({ httpClient = FetchHttpClient.layer, ...options }: ClientOptions = {}): Client =>
  fromLayer(Layer.provide(RunPod.layerConfig(options), httpClient))
