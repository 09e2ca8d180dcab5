/**
 * Where processes with one API key agree on what each may send: a store of the requests that were started and are in flight, by
 * everybody. `permits` makes of one the `Permits` that layers of `RunPod` take.
 *
 * Starts are leased in blocks, so that a request costs the store little: a process asks for as many as it has requests in line. Places in
 * flight are shared out by demand, and renewed every second.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Permits from "effect-runpod/Permits"
import * as TerminalText from "effect-runpod/TerminalText"
import { leaseIn, noState } from "./internal/permits/lease.js"
import { monotonicMillis } from "./internal/monotonic.js"
import * as pool from "./internal/permits/pool.js"

/**
 * The store is not reached, or has not done what it was asked for.
 *
 * @since 0.1.0
 * @category errors
 */
export class PermitStoreError extends Data.TaggedError("PermitStoreError")<{
  /** What went wrong, without any secret. */
  readonly detail: string
}> {
  override get message(): string {
    return TerminalText.make(`The store of permits does not answer: ${this.detail}`)
  }
}

/**
 * Starts that were leased together.
 *
 * @since 0.1.0
 * @category models
 */
export interface Block {
  /** Names it among those of its holder. */
  readonly id: number
  /** How many starts. */
  readonly count: number
  /** How many milliseconds ago. */
  readonly age: number
}

/**
 * What a process asks of a store for one pool.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  /** Names the pool: a hash, which tells nothing of the key in it. */
  readonly pool: string
  /** Names who asks: one layer of a process. */
  readonly holder: string
  /** At most `limit` starts in any `span` milliseconds, of all holders together; `undefined`: any number. */
  readonly window: { readonly limit: number; readonly span: number } | undefined
  /** How many requests may be in flight, of all holders together; `undefined`: any number. */
  readonly places: number | undefined
  /** The block that is asked for, if any: its `count` is the most that is wanted, its `age` is 0. */
  readonly wanted: Block | undefined
  /** How many places this holder could use. One that could use none, and uses none, is forgotten. */
  readonly demand: number
  /** How many it uses, or may use until it has the answer: what it was told it has is its own until it is told otherwise. */
  readonly inFlight: number
  /** How many milliseconds its places are its own when it says nothing more. */
  readonly ttl: number
  /**
   * Blocks of this holder that the store does not know as they are. One it has not is added. Of one it has, the smaller count and the later time
   * stay, whatever was told before: starts that will not be used are given back so, up to all of a block, those whose requests are answered late
   * count from then on, and those that were answered together become a block of their own.
   */
  readonly unsaved: ReadonlyArray<Block>
  /** All blocks of this holder that still count, or may for a store that was not told of their end: for one that has lost what it knew. */
  readonly known: () => ReadonlyArray<Block>
}

/**
 * What a store gives.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease {
  /** How many starts of the block that was wanted. */
  readonly granted: number
  /** In how many milliseconds more may be had, as things stand; 0 when nothing is missing. */
  readonly retryAfter: number
  /** How many requests this holder may have in flight. */
  readonly places: number
  /** How many starts were left after this one. */
  readonly free: number
  /** How many holders there are, with this one. */
  readonly holders: number
}

/**
 * A store. Each request is one step, whatever others ask meanwhile, and by the store's own clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly lease: (request: Request) => Effect.Effect<Lease, PermitStoreError>
}

/**
 * The tag of the store.
 *
 * @since 0.1.0
 * @category tags
 */
export class PermitStore extends Context.Tag("effect-runpod-cluster/PermitStore")<PermitStore, Service>() {}

/**
 * A store in the memory of a process: for tests, and for several layers of one process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const memory: Effect.Effect<Service> = Effect.sync(() => {
  const states = new Map<string, typeof noState>()
  return {
    lease: (request) =>
      Effect.clockWith((clock) =>
        Effect.sync(() => {
          const { lease, state } = leaseIn(states.get(request.pool) ?? noState, request, monotonicMillis(clock))
          states.set(request.pool, state)
          return lease
        })
      )
  }
})

/**
 * `memory` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<PermitStore> = Layer.effect(PermitStore, memory)

/**
 * How a process uses a store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * What a process does that does not reach the store. `share`: it goes on with the part it had, which is no more than the limit as long
   * as nobody else joins; one that never had a part waits. `wait`: no request is sent until the store is back. Default: `share`.
   */
  readonly onStoreDown?: "share" | "wait" | undefined
  /**
   * How long starts may be used after they were asked for where answers may be held (`/runsync`, `/status-sync`, `/stream`), and so how long the store
   * may take to answer. Windows are that much longer there. All other requests tell by their answers when they were counted at the latest, and their starts
   * may be used for at least a second. Default: 200 milliseconds.
   */
  readonly hold?: Duration.DurationInput | undefined
  /** How long the places in flight of a process that has died remain its own. Default: 10 seconds. */
  readonly ttl?: Duration.DurationInput | undefined
}

/**
 * The permits of a process, over the store. They end with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const permits = (options: Options = {}): Effect.Effect<Permits.Service, never, PermitStore | Scope.Scope> =>
  Effect.flatMap(PermitStore, (store) => pool.make(store, options))

/**
 * `permits` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPermits = (options?: Options): Layer.Layer<Permits.Permits, never, PermitStore> =>
  Layer.scoped(Permits.Permits, permits(options))
