/**
 * A transport that tells of a request by callbacks, as undici's `dispatch` does. `RunPodHttpClient` sends over it where there is
 * one (`NodeRunPod` brings it) and no `transformClient`: an `HttpClient` costs a fiber and a stream for each request.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * A request as it goes out.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly method: string
  readonly origin: string
  /** With its query. */
  readonly path: string
  /** Names and values by turns. */
  readonly headers: ReadonlyArray<string>
  readonly body: string | Uint8Array | AsyncIterable<Uint8Array> | null
  /** Whether the server may hold the answer back for long: such requests have connections of their own. */
  readonly isHeld: boolean
}

/**
 * Its methods are called in this order; `onEnd` or `onError` is the last call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler {
  /** The request has got a connection: from now on it may have been sent. */
  readonly onConnected: () => void
  readonly onHead: (
    status: number,
    headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  ) => void
  readonly onData: (bytes: Uint8Array) => void
  readonly onEnd: () => void
  readonly onError: (cause: unknown) => void
}

/**
 * A request on its way. After its end nothing of it does anything.
 *
 * @since 0.1.0
 * @category models
 */
export interface Exchange {
  /** Closes the connection. What the handler is told afterwards is ignored. */
  readonly abort: () => void
  readonly pause: () => void
  readonly resume: () => void
}

/**
 * The service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly dispatch: (request: Request, handler: Handler) => Exchange
}

/**
 * The tag of the service.
 *
 * @since 0.1.0
 * @category tags
 */
export class Dispatcher extends Context.Tag("effect-runpod/Dispatcher")<Dispatcher, Service>() {}
