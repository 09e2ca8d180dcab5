/**
 * RunPod's batch API (beta): requests are collected in a draft, which is finalized and then run at RunPod's leisure, apart
 * from the endpoint's ordinary jobs. RunPod documents at most 5,000 requests in a batch and 10 active batches on an endpoint.
 *
 * For jobs that are submitted one by one from here, paced and followed, see `Batch`.
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { BatchApi } from "effect-runpod"
 *
 * export const program = Effect.gen(function* () {
 *   const batches = yield* BatchApi.BatchApi
 *   const { id } = yield* batches.create("my-endpoint")
 *   yield* batches.append("my-endpoint", id, [{ input: { key: 1, text: "fox" } }, { input: { key: 2, text: "dog" } }])
 *   yield* batches.finalize("my-endpoint", id)
 *   yield* batches.settle("my-endpoint", id)
 *   return yield* Stream.runCollect(batches.results("my-endpoint", id))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Stream from "effect/Stream"
import { AppendError, Part } from "../errors/AppendError.js"
import type { RunPodError } from "../errors/RunPodError.js"
import * as internal from "../internal/batch/remote.js"
import { RunPodHttpClient } from "../layers/RunPodHttpClient.js"
import type * as RemoteBatch from "../schemas/RemoteBatch.js"
import type * as RunRequest from "../schemas/RunRequest.js"
import type { SubmitOptions } from "./RunPod.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  AppendError,
  /**
   * @since 0.1.0
   * @category models
   */
  Part
}

/**
 * An append whose every part was added.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended {
  /** How many requests were added. */
  readonly count: number
  /** The calls it took, in order. */
  readonly parts: ReadonlyArray<Part>
}

/**
 * What can be changed in a batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attributes {
  /** The name it is shown under in the console. */
  readonly name: string
}

/**
 * Choices of `results`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResultsOptions {
  /** How many requests a page has. Default: 50, RunPod's own. */
  readonly pageSize?: number | undefined
  /** How many requests to leave out at the beginning. Default: 0. */
  readonly offset?: number | undefined
}

/**
 * Choices of `settle`.
 *
 * @since 0.1.0
 * @category models
 */
export interface SettleOptions {
  /** How long to wait between two reads. Default: 30 seconds. */
  readonly interval?: Duration.DurationInput | undefined
  /** Called with each batch that was read, the last included. */
  readonly onProgress?: ((batch: RemoteBatch.RemoteBatch) => Effect.Effect<void>) | undefined
}

/**
 * The operations of the batch API, over a `RunPodHttpClient`: its limits, retries, errors, spans and metrics. A wrong
 * argument fails with `BadRequestError` before anything is sent; what RunPod does not know, with `EndpointNotFoundError` or
 * `BatchNotFoundError`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Creates a draft, with these requests in it; for more than 10 MiB of them, create it without and use `append`. A lost
   * answer is a `SubmitAmbiguousError`, unless `resubmit` says to send it again. Once sent it is not aborted: an interruption
   * waits for its end, and logs how it ended.
   */
  readonly create: (
    endpointId: string,
    requests?: Iterable<RunRequest.RunRequest>,
    options?: SubmitOptions
  ) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /**
   * Adds requests to a draft, in calls of at most 10 MiB, one after the other; more than 5,000 in all are refused before any
   * is sent. Each call is a submit as `create` is: sent again it would add its requests twice; after an interruption no more
   * are sent. RunPod keeps no order and no inputs: put a key of your own into each input and let the handler return it.
   */
  readonly append: (
    endpointId: string,
    batchId: string,
    requests: Iterable<RunRequest.RunRequest>,
    options?: SubmitOptions
  ) => Effect.Effect<Appended, RunPodError | AppendError>
  /** Locks a draft and starts its requests, which costs money. */
  readonly finalize: (endpointId: string, batchId: string) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /** Reads a batch. */
  readonly status: (endpointId: string, batchId: string) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /**
   * Reads a batch until it has finished, as `RemoteBatch.isFinished` tells, through outages however long. That can take hours
   * and, for a draft that nobody finalizes, for ever: bound it with `Effect.timeout`.
   */
  readonly settle: (
    endpointId: string,
    batchId: string,
    options?: SettleOptions
  ) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /**
   * The requests of a batch and their results, page by page, each of them once. Read it when the batch has finished: while
   * it runs, requests move between pages, and some can be missed. A page that promises more but brings nothing new fails with
   * `DecodeError`: the server ignores `offset`. So does one that promises more than the 5,000 requests that RunPod documents, or
   * the `total` of the first page where that is larger.
   */
  readonly results: (
    endpointId: string,
    batchId: string,
    options?: ResultsOptions
  ) => Stream.Stream<RemoteBatch.BatchRequest, RunPodError>
  /** The endpoint's batches, the newest first. */
  readonly list: (endpointId: string) => Effect.Effect<ReadonlyArray<RemoteBatch.RemoteBatch>, RunPodError>
  /** Changes what the batch is called. */
  readonly update: (
    endpointId: string,
    batchId: string,
    attributes: Attributes
  ) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /** Cancels a batch: what is queued never runs; what runs goes on to its end, and only then is the batch CANCELLED. */
  readonly cancel: (endpointId: string, batchId: string) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /** Removes a request from a draft. */
  readonly deleteRequest: (endpointId: string, batchId: string, requestId: string) => Effect.Effect<void, RunPodError>
}

/**
 * The tag of the batch API.
 *
 * @since 0.1.0
 * @category tags
 */
export class BatchApi extends Context.Tag("effect-runpod/BatchApi")<BatchApi, Service>() {}

/**
 * RunPod's limits of the batch API. Source: RunPod's page on batch jobs (beta).
 *
 * @since 0.1.0
 * @category constants
 */
export const limits: {
  /** Requests in one batch. */
  readonly requests: 5_000
  /** Bytes in the body of one call. */
  readonly bytes: number
} = internal.limits

/**
 * The service over the client it is provided with.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service, never, RunPodHttpClient> = Effect.map(RunPodHttpClient, internal.make)

/**
 * The service as a layer, over the client that `RunPod.layer` and `NodeRunPod.layer` provide.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<BatchApi, never, RunPodHttpClient> = Layer.effect(BatchApi, make)
