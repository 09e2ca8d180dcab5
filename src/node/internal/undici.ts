import { Agent, type Dispatcher } from "@effect/platform-node/Undici"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Wire, WireCall, WireListener } from "../../internal/http/dispatcher.js"

class Handler implements Dispatcher.DispatchHandler, WireCall {
  private controller: Dispatcher.DispatchController | undefined
  private isAborted = false

  constructor(private readonly listener: WireListener) {}

  readonly abort = (): void => {
    this.isAborted = true
    this.controller?.abort(new Error("aborted"))
  }

  readonly pause = (): void => this.controller?.pause()

  readonly resume = (): void => this.controller?.resume()

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    // It was given up before it got a connection.
    if (this.isAborted) controller.abort(new Error("aborted"))
    else this.listener.onConnected()
  }

  onResponseStart(
    _: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | Array<string> | undefined>>
  ): void {
    // The others are informational, and the answer is still to come.
    if (status >= 200) this.listener.onHead(status, headers)
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Uint8Array): void {
    this.listener.onData(chunk)
  }

  onResponseEnd(): void {
    this.listener.onEnd()
  }

  onResponseError(_: Dispatcher.DispatchController, error: unknown): void {
    this.listener.onError(error)
  }
}

const makeAgent = (allowH2: boolean): Effect.Effect<Agent, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(
      () =>
        new Agent({
          allowH2,
          // The layer's limits bound the requests.
          connections: null,
          // An idle connection is closed here before a server does it: a submit that meets a closing connection is
          // ambiguous. Common servers wait 5 seconds and more; one that says how long it waits is believed, less a second.
          keepAliveTimeout: 4_000,
          keepAliveMaxTimeout: 60_000,
          keepAliveTimeoutThreshold: 1_000,
          // Every attempt has its own deadlines.
          headersTimeout: 0,
          bodyTimeout: 0,
          connect: { timeout: 10_000 }
        })
    ),
    (agent) => Effect.promise(() => agent.destroy())
  )

/** Undici, spoken to without promises and streams. Held requests have connections of their own. */
export const make = (options: { readonly http2: boolean }): Effect.Effect<Wire, never, Scope.Scope> =>
  Effect.zipWith(makeAgent(options.http2), makeAgent(options.http2), (ordinary, held) => ({
    send: ({ body, headers, isHeld, method, origin, path }, listener) => {
      const handler = new Handler(listener)
      const agent = isHeld ? held : ordinary
      agent.dispatch(
        {
          origin,
          path,
          method: method,
          headers: headers as Array<string>,
          body: body as Dispatcher.DispatchOptions["body"] & {}
        },
        handler
      )
      return handler
    }
  }))
