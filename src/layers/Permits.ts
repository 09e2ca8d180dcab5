/**
 * A budget of requests that several processes share. Where the program provides `Permits`, each request of a `RunPod` layer takes a start
 * and a place from it, behind the limiter of the layer, which keeps its order, its gate and its windows. `effect-runpod-cluster` has such
 * budgets in Redis and SQL. Shared are the limits of operations; the window `overall` of `RateLimits` remains that of each layer.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { Limit } from "./RateLimits.js"

/**
 * Which requests share a budget, and how large it is.
 *
 * @since 0.1.0
 * @category models
 */
export interface PoolOptions {
  /** Whose budget it is. It must be shown to nobody: name it by a hash. */
  readonly apiKey: Redacted.Redacted
  /** Where the requests go. */
  readonly baseUrl: string
  /** The operation and the endpoint. */
  readonly name: string
  /** The limit of all processes together. */
  readonly limit: Limit
  /** Whether answers may be held, and so tell nothing of when RunPod has counted a request. */
  readonly isHeld: boolean
}

/**
 * The part that one layer has of a budget. Its methods are called by one limiter, and cost next to nothing but where it waits.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pool {
  /** Whether a request would get a start and a place now. Asking says that one is wanted. */
  readonly hasRoom: () => boolean
  /** Takes a start and a place if both are at hand. The request is sent soon; one that was held up takes another start. */
  readonly tryTake: () => boolean
  /** Waits for another start, for a request that has its place, and takes it. */
  readonly start: Effect.Effect<void>
  /** Waits until `tryTake` may succeed; so many requests stand in line. It does not fail: without its store it goes on, or waits. */
  readonly ready: (waiting: () => number) => Effect.Effect<void>
  /** Keeps a place for a request that has ended here, but not yet on the wire, whether or not there is one. */
  readonly keepPlace: () => void
  /**
   * Gives back the place of a request. `took`: how many milliseconds after its start it was answered, or given up. RunPod may have counted it as
   * late as that. Missing where answers may be held, and tell nothing.
   */
  readonly release: (took?: number) => void
}

/**
 * The budgets of a program.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The pool of these requests, which each layer asks for once. */
  readonly pool: (options: PoolOptions) => Pool
}

/**
 * The tag of the budgets. Without it the limits of a layer are those of its process.
 *
 * @since 0.1.0
 * @category tags
 */
export class Permits extends Context.Tag("effect-runpod/Permits")<Permits, Service>() {}
