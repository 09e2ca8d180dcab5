/**
 * What blobs are stored with: the service, and the options of its layers.
 *
 * @since 0.1.0
 */
import type { S3Client } from "@aws-sdk/client-s3"
import type * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Stream from "effect/Stream"
import type { S3Config } from "../schemas/RunRequest.js"
import type { BlobError } from "./internal/error.js"
import type { BlobRef } from "./internal/ref.js"

/**
 * What an upload may say of what it stores.
 *
 * @since 0.1.0
 * @category models
 */
export interface UploadOptions {
  /**
   * The key in the bucket, as it stands. One with a part between slashes that is empty, `.` or `..` is `BadRequest`, since it could name
   * another object; with `name`, too. Default: the layer's `prefix`, 32 random digits, and `name`.
   */
  readonly key?: string | undefined
  /** The last part of a key that is made: workers look at its ending. Default: none. */
  readonly name?: string | undefined
  /** Default: `application/octet-stream`. */
  readonly contentType?: string | undefined
  /** How long the URL that a job gets is valid: 1 second to 7 days. Default: the layer's `expires`. */
  readonly expires?: Duration.DurationInput | undefined
}

/**
 * What the store knows of an object.
 *
 * @since 0.1.0
 * @category models
 */
export interface Facts {
  /** In bytes. */
  readonly size: number | undefined
  /** Missing where it is weak. */
  readonly etag: string | undefined
  readonly contentType: string | undefined
}

/**
 * The service. A blob is named by what `upload` or an output gave, or by a text: a key in the bucket, a URL, `s3://bucket/key`, or a path
 * on the network volume. One of the bucket is read with the layer's credentials, whether or not its URL is signed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly bucket: string
  /** What `s3Config` of a submit needs so that the worker stores its outputs in this bucket; missing where a client was given. */
  readonly s3Config: S3Config | undefined
  /**
   * Stores bytes: in one request up to `partSize`, else in parts. Of a stream, `concurrency` and three parts are in memory at most. It succeeds
   * only if the store itself says so, with the ETag of what was sent; a page of a proxy or a login is `Intercepted`, whatever its status.
   * When it fails or is interrupted, its parts are removed. The whole object may be there all the same, where the request that stores it
   * was already under way.
   */
  readonly upload: <E = never, R = never>(
    source: Uint8Array | Stream.Stream<Uint8Array, E, R>,
    options?: UploadOptions
  ) => Effect.Effect<BlobRef, BlobError | E, R>
  /**
   * The bytes as they come. A read that is cut or stalls is resumed from the first missing byte on, while the object has the same
   * strong ETag; after 5 resumes in a row that bring less than 64 KiB each it fails. When all have come, they are as many as the store said,
   * and have the checksum that it told, or the stream ends with `Corrupt`.
   */
  readonly download: (blob: BlobRef | string | URL) => Stream.Stream<Uint8Array, BlobError>
  /** All bytes at once. `maxSize` in bytes; default: 512 MiB. */
  readonly bytes: (
    blob: BlobRef | string | URL,
    options?: { readonly maxSize?: number | undefined }
  ) => Effect.Effect<Uint8Array, BlobError>
  /** What is known of an object of the bucket, without its bytes. */
  readonly head: (blob: BlobRef | string | URL) => Effect.Effect<Facts, BlobError>
  /** A URL with which anybody can read an object of the bucket (`GET`, the default) or store it (`PUT`), for a time. Nothing is sent. */
  readonly presign: (
    blob: BlobRef | string | URL,
    options?: {
      readonly method?: "GET" | "PUT" | undefined
      /** 1 second to 7 days. Default: the layer's `expires`. */
      readonly expires?: Duration.DurationInput | undefined
    }
  ) => Effect.Effect<Redacted.Redacted, BlobError>
  /** Removes an object of the bucket. One that is not there is no error, as S3 has it. */
  readonly remove: (blob: BlobRef | string | URL) => Effect.Effect<void, BlobError>
}

/**
 * What all layers take.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoreOptions {
  /** What keys that are made begin with: give the bucket a rule that removes what is old there. Default: `runpod/`. */
  readonly prefix?: string | undefined
  /** The size of a part, and the most that goes in one request, in bytes: at least 5 MiB. S3 takes 10,000 parts. Default: 8 MiB. */
  readonly partSize?: number | undefined
  /** How many parts of an upload are sent at once. Default: 4. */
  readonly concurrency?: number | undefined
  /** How long a job can read its input: 1 second to 7 days. Default: 24 hours, as long as RunPod keeps a job. */
  readonly expires?: Duration.DurationInput | undefined
  /**
   * The longest pause between two pieces of a download; then it is resumed. The wait for an answer is bounded otherwise: each attempt by
   * 60 seconds, on a network volume by 5 minutes, and all of one request by 10 minutes. Default: 30 seconds.
   */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /**
   * Origins other than the bucket's, such as `https://cdn.example.com`, from which `download` may fetch what a URL in an output names.
   * Anything else is refused with `ForeignUrl`, as it could lead into the network of this program. Default: none.
   */
  readonly origins?: ReadonlyArray<string | URL> | undefined
  /**
   * Whether bytes that were sent or have come are compared with their ETag where S3 documents it as their MD5: 32 hex digits, of an object that
   * was stored in one request and is not encrypted with a key of yours. Another MD5 is `Corrupt`. Set it to false for a store whose ETags look
   * so but are none. Default: true.
   */
  readonly verifyETag?: boolean | undefined
}

/**
 * The credentials of a bucket.
 *
 * @since 0.1.0
 * @category models
 */
export interface Credentials {
  readonly accessKeyId: string | Redacted.Redacted
  readonly secretAccessKey: string | Redacted.Redacted
  /** Of temporary credentials; `s3Config` of a job has no place for it. Default: none. */
  readonly sessionToken?: string | Redacted.Redacted | undefined
}

/**
 * What the client of a layer does.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientOptions {
  /** How often a request is sent at most; its pauses are the SDK's, by the system's clock. Default: 5. */
  readonly maxAttempts?: number | undefined
}

/**
 * The options of `layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends StoreOptions, Credentials, ClientOptions {
  /** Where the store is, without the bucket: `https://s3.eu-west-1.amazonaws.com`, `https://<account>.r2.cloudflarestorage.com`. */
  readonly endpoint: string | URL
  readonly bucket: string
  /** Default: what an endpoint of Amazon names, else `us-east-1`, which most other stores take. */
  readonly region?: string | undefined
  /** Whether the bucket stands in the path, rather than in the host, of URLs. Default: true. */
  readonly pathStyle?: boolean | undefined
}

/**
 * The options of `layerNetworkVolume`.
 *
 * @since 0.1.0
 * @category models
 */
export interface VolumeOptions extends Omit<StoreOptions, "expires">, Credentials, ClientOptions {
  /** The id of the network volume: it is the bucket. */
  readonly volumeId: string
  /** Where the volume is, such as `EU-RO-1`: one whose volumes have an S3 API. */
  readonly datacenter: string
  /** Where the workers of the endpoint see the volume. Default: `/runpod-volume`. */
  readonly mountPath?: string | undefined
  /** Default: `https://s3api-<datacenter>.runpod.io`. */
  readonly endpoint?: string | URL | undefined
}

/**
 * The options of `layerClient`.
 *
 * @since 0.1.0
 * @category models
 */
export interface GivenClientOptions extends StoreOptions {
  /** It is not closed with the layer. */
  readonly client: S3Client
  readonly bucket: string
  /** Where the client sends: it is how a URL of the bucket is known. */
  readonly endpoint: string | URL
}

/**
 * Each option a value, or a `Config` of one.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigOptions<O> = {
  readonly [K in keyof O]?: O[K] | Config.Config<Exclude<O[K], undefined>> | undefined
}
