/**
 * What a client tells of the attempts of its requests, and a receiver of its deliveries, where the program provides a recorder:
 * `Flight.layer` is one. Without it nothing is told, and nothing is spent on it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type { RunPodError } from "../errors/RunPodError.js"
import type { WebhookEvent } from "../schemas/WebhookEvent.js"

/**
 * What is told of a request: part of a `RunPodHttpClient.Request`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly operation: {
    readonly name: string
    readonly method: string
    /** With the names of parameters in braces. */
    readonly path: string
    /** How long the server holds the answer unless `hold` of the request says otherwise, in milliseconds. */
    readonly hold?: number | undefined
  }
  readonly params: Readonly<Record<string, string | undefined>>
  /** In milliseconds. */
  readonly hold?: number | undefined
  /** JSON, as UTF-8. */
  readonly body?: Uint8Array | undefined
}

/**
 * An attempt that is being handed to the transport. Times are milliseconds of the monotonic clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  readonly request: Request
  /** Counting from 1. */
  readonly attempt: number
  /** When it began to wait for its permit. */
  readonly queuedAt: number
  readonly sentAt: number
  /** Strikes the API key and what else is secret in this request out of a text. */
  readonly scrub: (text: string) => string
}

/**
 * How an attempt ended, before anything is made of it. `GivenUp`: its caller was interrupted, or its caller's deadline came.
 *
 * @since 0.1.0
 * @category models
 */
export type End =
  | {
      readonly _tag: "Answer"
      readonly status: number
      readonly text: string
      /** The `Retry-After` header. */
      readonly retryAfter: string | undefined
    }
  | { readonly _tag: "NoAnswer"; readonly error: RunPodError }
  | { readonly _tag: "GivenUp" }

/**
 * A delivery to a webhook: what it says, or the tag of the error with which it was refused.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delivery {
  /** Where it came in, with its token. */
  readonly url: string
  readonly received:
    | (WebhookEvent & { readonly endpointId?: string | undefined; readonly duplicate: boolean })
    | { readonly error: string }
}

/**
 * The service. Its functions are called in the fiber of the request and do not throw.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Called when an attempt is sent. What it returns is called once, at its end, with the time of that. */
  readonly onAttempt: (attempt: Attempt) => (end: End, endedAt: number) => void
  readonly onDelivery: (delivery: Delivery) => void
}

/**
 * The tag of the service.
 *
 * @since 0.1.0
 * @category tags
 */
export class FlightRecorder extends Context.Tag("effect-runpod/FlightRecorder")<FlightRecorder, Service>() {}
