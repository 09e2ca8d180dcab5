/**
 * Where deliveries are kept before they are acknowledged: in memory, or in a file that outlives the process.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { WebhookStoreError } from "../errors/WebhookError.js"
import { DeliveryTable } from "../internal/webhooks/deliveryTable.js"
import * as fileStore from "../internal/webhooks/fileStore.js"

/**
 * A delivery that has passed all checks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delivery {
  /** Identifies the token it came with, and cannot be used as one. */
  readonly token: string
  /** When the token expires, in milliseconds of the clock; until then a store remembers what it was used for. */
  readonly expiresAt: number
  /** The endpoint its URL was issued for; missing when a relay vouched for the delivery and no token came with it. */
  readonly endpointId?: string | undefined
  /** What its URL was issued for; missing as `endpointId` is. */
  readonly key?: string | undefined
  readonly jobId: string
  /** Tells one end of the job from another: it differs after a retry. */
  readonly outcome: string
  /** When it came, in milliseconds of the clock. */
  readonly receivedAt: number
  /** The JSON as it came; outside of the job's output, the token and echoed S3 credentials are redacted. */
  readonly body: string
}

/**
 * A delivery that is kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stored extends Delivery {
  /** Rises with every delivery, from 1; over restarts, too, when the store outlives the process. */
  readonly sequence: number
}

/**
 * What is looked for; all that is given must fit. One of `jobId` and `key` is needed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Match {
  readonly endpointId?: string | undefined
  readonly jobId?: string | undefined
  readonly key?: string | undefined
  /** Only deliveries with a higher sequence number. Default: 0. */
  readonly after?: number | undefined
}

/**
 * What became of a delivery: `Stored`, new and safe; a `Duplicate`, which is the same end of the same job with the same token;
 * or `Replayed`, with a token that was used for another job.
 *
 * @since 0.1.0
 * @category models
 */
export type Added =
  | { readonly _tag: "Stored"; readonly sequence: number }
  | { readonly _tag: "Duplicate" }
  | { readonly _tag: "Replayed" }

/**
 * Where the span of a submit stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface TokenTrace extends Pick<Delivery, "token" | "expiresAt"> {
  /** As the W3C's `traceparent`. */
  readonly trace: string
}

/**
 * A store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Decides and stores in one step, whatever else is being added. When it has succeeded, the delivery is safe. */
  readonly add: (delivery: Delivery) => Effect.Effect<Added, WebhookStoreError>
  /** At most `limit` deliveries with a higher sequence number, in its order. None may become visible before an earlier one. */
  readonly after: (sequence: number, limit: number) => Effect.Effect<ReadonlyArray<Stored>, WebhookStoreError>
  /** The newest delivery that fits. */
  readonly find: (match: Match) => Effect.Effect<Option.Option<Stored>, WebhookStoreError>
  /** The highest sequence number given out so far, or 0. */
  readonly latest: Effect.Effect<number, WebhookStoreError>
  /**
   * For a store that other processes add to, too: the highest sequence number that `after` can see, at once and again whenever one of them
   * may have added a delivery. It is subscribed to once, while somebody waits, and again when it has failed or ended. A store without it tells of
   * what its own process has added.
   */
  readonly changes?: Stream.Stream<number, WebhookStoreError> | undefined
  /** Remembers where the span of a submit stands that a token was issued for. A store without it links no receipts to submits. */
  readonly noteTrace?: ((trace: TokenTrace) => Effect.Effect<void, WebhookStoreError>) | undefined
  /** What `noteTrace` was told of a token. */
  readonly traceOf?: ((token: string) => Effect.Effect<Option.Option<string>, WebhookStoreError>) | undefined
}

/**
 * The tag of the store.
 *
 * @since 0.1.0
 * @category tags
 */
export class WebhookStore extends Context.Tag("effect-runpod/WebhookStore")<WebhookStore, Service>() {}

/**
 * How much a store keeps. The oldest goes first. What a token was used for is remembered until it expires, for ten times
 * `maxCount` tokens at most.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Default: 7 days. */
  readonly maxAge?: Duration.DurationInput | undefined
  /** How many deliveries. Default: 10,000. */
  readonly maxCount?: number | undefined
  /** How many characters of bodies in all. They are kept in memory by the file store, too. Default: 128 Mi. */
  readonly maxBytes?: number | undefined
}

/**
 * When deliveries are forced to the disk: `always` before each is acknowledged, `{ every }` now and then, `never` but when
 * the system does so by itself. A power failure takes what was not forced yet, the end of the process takes nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Sync = "always" | "never" | { readonly every: Duration.DurationInput }

/**
 * Options of the file store.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileOptions extends Options {
  /** Default: `always`. */
  readonly sync?: Sync | undefined
  /**
   * Opens the file although another process seems to have it open, or it has hard links. If that process lives, both write to it.
   * Default: false.
   */
  readonly force?: boolean | undefined
}

/**
 * A store that is gone with its process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const memory = (options: Options = {}): Effect.Effect<Service> =>
  Effect.sync(() => {
    const table = new DeliveryTable(options)
    return {
      add: (delivery) =>
        Effect.sync(() => {
          const verdict = table.check(delivery)
          if (verdict !== "New") return { _tag: verdict }
          const sequence = table.latest + 1
          table.insert({ ...delivery, sequence })
          return { _tag: "Stored", sequence }
        }),
      after: (sequence, limit) => Effect.sync(() => table.range(sequence, Infinity, limit)),
      find: (match) => Effect.sync(() => Option.fromNullable(table.find(match))),
      latest: Effect.sync(() => table.latest),
      noteTrace: (trace) => Effect.map(Clock.currentTimeMillis, (now) => table.setTrace(trace, now)),
      traceOf: (token) => Effect.sync(() => Option.fromNullable(table.traceOf(token)))
    }
  })

/**
 * A store in an append-only file of JSON lines, each with a checksum, compacted now and then. One process at a time has it
 * open, by a lock file (the real path with `.lock` behind it), as with `BatchJournal.file`. It fails with `WebhookStoreError`
 * of the operation `open`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const file = (
  path: string,
  options: FileOptions = {}
): Effect.Effect<Service, WebhookStoreError, FileSystem.FileSystem | Scope.Scope> => fileStore.open(path, options)

/**
 * `memory` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (options?: Options): Layer.Layer<WebhookStore> => Layer.effect(WebhookStore, memory(options))

/**
 * `file` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFile = (
  path: string,
  options?: FileOptions
): Layer.Layer<WebhookStore, WebhookStoreError, FileSystem.FileSystem> =>
  Layer.scoped(WebhookStore, file(path, options))
