/**
 * Permits in Redis: the requests of all processes with one API key, counted by one script. Redis 5 or later, or what speaks as it
 * does, with the policy `noeviction`.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Permits from "effect-runpod/Permits"
import * as internal from "./internal/permits/redis.js"
import * as PermitStore from "./PermitStore.js"

/**
 * What a client of Redis must have, as that of `ioredis` does. For one that queues commands while it is not connected, turn that off:
 * a request that is answered late is of no use.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client {
  readonly call: (command: string, ...args: ReadonlyArray<string>) => Promise<unknown>
}

/**
 * Options of a store in Redis.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What the names of its keys begin with; the braces keep them together in a cluster. Default: `{runpod:permits}:`. */
  readonly prefix?: string | undefined
  /**
   * How long nobody gets a start, or more places than it has, from a Redis that is new: the first time, after it was started again, and after
   * `FLUSHALL`. Until then every process has told it what it knows, which takes up to two seconds. Default: 3 seconds.
   */
  readonly settle?: Duration.DurationInput | undefined
}

/**
 * Where Redis is.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions extends Options {
  /** `redis://…` or `rediss://…`, with its user and password. */
  readonly url: string | Redacted.Redacted
}

/**
 * A store over a client that the program has.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (client: Client, options: Options = {}): Effect.Effect<PermitStore.Service> =>
  internal.make(client, options)

/**
 * A store with a connection of its own, by `ioredis`, until the scope closes. It does not fail where Redis is not reached: the permits
 * wait for it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connect = (options: ConnectOptions): Effect.Effect<PermitStore.Service, never, Scope.Scope> =>
  internal.connect(options)

/**
 * `connect` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = (options: ConnectOptions): Layer.Layer<PermitStore.PermitStore> =>
  Layer.scoped(PermitStore.PermitStore, connect(options))

/**
 * Permits in Redis, for the layer of `RunPod`.
 *
 * @example
 * ```ts
 * import { NodeRunPod } from "effect-runpod/Node"
 * import { Redis } from "effect-runpod-cluster"
 * import { Layer, Redacted } from "effect"
 *
 * // All processes that have this keep the account's limits together.
 * const RunPodLive = NodeRunPod.layerConfig().pipe(
 *   Layer.provide(Redis.layer({ url: Redacted.make(process.env["REDIS_URL"] ?? "redis://127.0.0.1") }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = ({
  hold,
  onStoreDown,
  ttl,
  ...options
}: ConnectOptions & PermitStore.Options): Layer.Layer<Permits.Permits> =>
  Layer.provide(PermitStore.layerPermits({ hold, onStoreDown, ttl }), layerStore(options))
