/**
 * Inputs and outputs that are larger than RunPod takes, through a bucket of any store that speaks S3: an input's bytes are uploaded
 * before the submit, and the job is sent where they are. Needs the optional peers `@aws-sdk/client-s3` and `@aws-sdk/s3-request-presigner`.
 *
 * @example
 * ```ts
 * import { Endpoint } from "effect-runpod"
 * import * as Blob from "effect-runpod/Blob"
 * import { Effect, Schema } from "effect"
 *
 * const upscale = (image: Uint8Array) =>
 *   Effect.gen(function* () {
 *     const endpoint = yield* Endpoint.make("abc123", {
 *       input: Schema.Struct({ image: Blob.Ref, scale: Schema.Number }),
 *       output: Schema.Struct({ image: Blob.Ref })
 *     })
 *     const large = yield* Blob.withUploads(endpoint)
 *     const output = yield* large.call({ image, scale: 4 }, { timeout: "10 minutes" })
 *     return yield* Blob.bytes(output.image)
 *   })
 * ```
 *
 * @since 0.1.0
 */
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { JobError } from "../errors/JobError.js"
import type { RunPodError } from "../errors/RunPodError.js"
import type { S3Config } from "../schemas/RunRequest.js"
import type * as Endpoint from "../services/Endpoint.js"
import type { JobHandle } from "../services/JobHandle.js"
import type {
  ConfigOptions,
  GivenClientOptions,
  Options,
  Service,
  StoreOptions,
  UploadOptions,
  VolumeOptions
} from "./contract.js"
import type { BlobError } from "./internal/error.js"
import * as layers from "./internal/layers.js"
import type { BlobRef } from "./internal/ref.js"
import * as uploads from "./internal/withUploads.js"
import type { Upload } from "./internal/withUploads.js"

/**
 * @since 0.1.0
 * @category models
 */
export type * from "./contract.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  BlobError,
  /**
   * @since 0.1.0
   * @category guards
   */
  isBlobError,
  /**
   * @since 0.1.0
   * @category guards
   */
  isRetryable,
  /**
   * @since 0.1.0
   * @category schemas
   */
  Reason,
  /**
   * @since 0.1.0
   * @category type ids
   */
  TypeId
} from "./internal/error.js"

export {
  /**
   * @since 0.1.0
   * @category models
   */
  BlobRef,
  /**
   * @since 0.1.0
   * @category constructors
   */
  ref,
  /**
   * @since 0.1.0
   * @category schemas
   */
  Ref
} from "./internal/ref.js"

export {
  /**
   * @since 0.1.0
   * @category models
   */
  Upload
} from "./internal/withUploads.js"

/**
 * The tag of the service.
 *
 * @since 0.1.0
 * @category tags
 */
export class Blob extends Context.Tag("effect-runpod/Blob")<Blob, Service>() {}

/**
 * A bucket of a store that speaks S3.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options: Options) => Effect.Effect<Service, BlobError, Scope.Scope> = layers.make

/**
 * A bucket of a store that speaks S3: Amazon's, Cloudflare R2, Backblaze B2, MinIO and the like.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Blob, BlobError> => Layer.scoped(Blob, layers.make(options))

/**
 * `layer` with options from the environment where they are not given, by the names that RunPod's SDK for workers uses:
 * `BUCKET_ENDPOINT_URL`, `BUCKET_NAME`, `BUCKET_ACCESS_KEY_ID`, `BUCKET_SECRET_ACCESS_KEY`, and, when it is set, `BUCKET_REGION`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: ConfigOptions<Options> = {}
): Layer.Layer<Blob, BlobError | ConfigError.ConfigError> =>
  Layer.scoped(Blob, Effect.flatMap(layers.fromConfig(options), layers.make))

/**
 * A network volume, through its S3 API. Workers of an endpoint that has the volume read an input as a file: what they are sent is
 * its path, such as `/runpod-volume/runpod/…`, since this API signs no URLs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNetworkVolume = (options: VolumeOptions): Layer.Layer<Blob, BlobError> =>
  Layer.scoped(Blob, layers.makeVolume(options))

/**
 * `layerNetworkVolume` with options from the environment where they are not given: `RUNPOD_VOLUME_ID`, `RUNPOD_VOLUME_DATACENTER`,
 * `RUNPOD_S3_ACCESS_KEY_ID` and `RUNPOD_S3_SECRET_ACCESS_KEY`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNetworkVolumeConfig = (
  options: ConfigOptions<VolumeOptions> = {}
): Layer.Layer<Blob, BlobError | ConfigError.ConfigError> =>
  Layer.scoped(Blob, Effect.flatMap(layers.volumeFromConfig(options), layers.makeVolume))

/**
 * A bucket over a client of your own, for credentials that the SDK finds by itself, or a transport of yours.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient = (options: GivenClientOptions): Layer.Layer<Blob, BlobError> =>
  Layer.effect(Blob, layers.makeOver(options))

/**
 * A bucket in memory, for tests: its URLs can be read by the same layer only.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (
  options: StoreOptions & { readonly bucket?: string | undefined } = {}
): Layer.Layer<Blob, BlobError> => Layer.effect(Blob, layers.makeMemory(options))

/**
 * `upload` of the service.
 *
 * @since 0.1.0
 * @category combinators
 */
export const upload = <E = never, R = never>(
  source: Uint8Array | Stream.Stream<Uint8Array, E, R>,
  options?: UploadOptions
): Effect.Effect<BlobRef, BlobError | E, R | Blob> => Effect.flatMap(Blob, (blob) => blob.upload(source, options))

/**
 * `download` of the service.
 *
 * @since 0.1.0
 * @category combinators
 */
export const download = (blob: BlobRef | string | URL): Stream.Stream<Uint8Array, BlobError, Blob> =>
  Stream.unwrap(Effect.map(Blob, (service) => service.download(blob)))

/**
 * `bytes` of the service.
 *
 * @since 0.1.0
 * @category combinators
 */
export const bytes = (
  blob: BlobRef | string | URL,
  options?: { readonly maxSize?: number | undefined }
): Effect.Effect<Uint8Array, BlobError, Blob> => Effect.flatMap(Blob, (service) => service.bytes(blob, options))

/**
 * `remove` of the service.
 *
 * @since 0.1.0
 * @category combinators
 */
export const remove = (blob: BlobRef | string | URL): Effect.Effect<void, BlobError, Blob> =>
  Effect.flatMap(Blob, (service) => service.remove(blob))

/**
 * `presign` of the service.
 *
 * @since 0.1.0
 * @category combinators
 */
export const presign = (
  blob: BlobRef | string | URL,
  options?: Parameters<Service["presign"]>[1]
): Effect.Effect<Redacted.Redacted, BlobError, Blob> =>
  Effect.flatMap(Blob, (service) => service.presign(blob, options))

/**
 * The `s3Config` of a submit with which the worker's SDK stores its outputs in the layer's bucket. RunPod and the worker get the
 * credentials.
 *
 * @since 0.1.0
 * @category combinators
 */
export const s3Config: Effect.Effect<S3Config, BlobError, Blob> = Effect.flatMap(Blob, uploads.s3ConfigOf)

/**
 * An endpoint's input in which each `BlobRef` may also be bytes that are still to be uploaded, or an `Upload` of them.
 *
 * @since 0.1.0
 * @category models
 */
export type Uploadable<I> = I extends BlobRef
  ? BlobRef | Uint8Array | Upload
  : I extends object
    ? I extends (...args: never) => unknown
      ? I
      : { readonly [K in keyof I]: Uploadable<I[K]> }
    : I

/**
 * The options of `withUploads`.
 *
 * @since 0.1.0
 * @category models
 */
export interface WithUploadsOptions {
  /** Bytes of at most this many are sent in the input itself, as a `data:` URL, if the worker takes those. Default: 0, none. */
  readonly inlineUpTo?: number | undefined
  /** How many blobs of one input are uploaded at once. Default: 4. */
  readonly concurrency?: number | undefined
  /**
   * Whether each submit carries the layer's `s3Config`, unless its options have one. RunPod and the worker get the credentials. Where the layer
   * has none to hand on (`layerClient`, a `sessionToken`), nothing is uploaded, and the call fails with `Unsupported`. Default: false.
   */
  readonly s3Config?: boolean | undefined
  /**
   * Whether `call` and `runSync` remove what they uploaded as soon as the job is known to have ended, or not to have started.
   * Default: false, the bucket's rules do.
   */
  readonly removeAfter?: boolean | undefined
}

/**
 * An endpoint that uploads what is large in its inputs before it submits them. In all else it is the endpoint it was made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface UploadingEndpoint<I, O, P = unknown, C = unknown> extends Omit<
  Endpoint.MadeEndpoint<I, O, P, C>,
  "run" | "call" | "runSync" | "callStream"
> {
  /** Uploads what is large in an input, and gives the input as the endpoint takes it: for a `Batch` over that. */
  readonly prepare: (input: Uploadable<I>) => Effect.Effect<I, BlobError>
  readonly run: (
    input: Uploadable<I>,
    options?: Endpoint.RunOptions
  ) => Effect.Effect<JobHandle<O, P, C>, RunPodError | BlobError>
  readonly call: (
    input: Uploadable<I>,
    options?: Endpoint.CallOptions<P>
  ) => Effect.Effect<O, RunPodError | JobError | BlobError>
  readonly runSync: (
    input: Uploadable<I>,
    options?: Endpoint.CallOptions<P>
  ) => Effect.Effect<O, RunPodError | JobError | BlobError>
  readonly callStream: (
    input: Uploadable<I>,
    options?: Endpoint.CallStreamOptions
  ) => Stream.Stream<C, RunPodError | JobError | BlobError>
}

/**
 * Lets an endpoint take bytes where its input has a `Ref`. They are uploaded before the submit, and their URL, which is valid as long as
 * the job's `ttl`, takes their place. Objects and arrays are searched; instances of classes are left as they are.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withUploads = <I, O, P, C>(
  endpoint: Endpoint.MadeEndpoint<I, O, P, C>,
  options: WithUploadsOptions = {}
): Effect.Effect<UploadingEndpoint<I, O, P, C>, never, Blob> =>
  Effect.map(Blob, (blob) => uploads.make(blob, endpoint, options))
