import { Agent, type Dispatcher as Undici, EnvHttpProxyAgent, Pool } from "@effect/platform-node/Undici"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as Scope from "effect/Scope"
import { proxyTunnel } from "../../internal/text/transportCode.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"
import type { Proxies } from "./proxies.js"

/** Nobody listens any more. */
const silent: Dispatcher.Handler = {
  onConnected: constVoid,
  onHead: constVoid,
  onData: constVoid,
  onEnd: constVoid,
  onError: constVoid
}

/** What a proxy has answered to CONNECT, which undici says in words only. */
const tunnelProblem = ({ message }: Error): Error | undefined => {
  const [, status] = /^Proxy response \((\d+)\)/.exec(message) ?? []
  if (status === undefined) return undefined
  return Object.assign(new Error(`the proxy answered CONNECT with HTTP ${status}`), { code: proxyTunnel })
}

/** A request on its way through undici. After its end it points neither to undici's side nor to ours. */
class Handler implements Undici.DispatchHandler, Dispatcher.Exchange {
  private controller: Undici.DispatchController | undefined
  private isAborted = false

  constructor(private handler: Dispatcher.Handler) {}

  readonly abort = (): void => {
    this.isAborted = true
    this.controller?.abort(new Error("aborted"))
  }

  readonly pause = (): void => this.controller?.pause()

  readonly resume = (): void => this.controller?.resume()

  onRequestStart(controller: Undici.DispatchController): void {
    this.controller = controller
    // It was given up before it got a connection.
    if (this.isAborted) controller.abort(new Error("aborted"))
    else this.handler.onConnected()
  }

  onResponseStart(
    _: Undici.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | Array<string> | undefined>>
  ): void {
    // The others are informational, and the answer is still to come.
    if (status >= 200) this.handler.onHead(status, headers)
  }

  onResponseData(_: Undici.DispatchController, chunk: Uint8Array): void {
    this.handler.onData(chunk)
  }

  onResponseEnd(): void {
    this.end().onEnd()
  }

  onResponseError(_: Undici.DispatchController, error: Error): void {
    this.end().onError(tunnelProblem(error) ?? error)
  }

  private end(): Dispatcher.Handler {
    const { handler } = this
    this.handler = silent
    this.controller = undefined
    return handler
  }
}

/** How long a connection may take, and a proxy's answer to CONNECT, in milliseconds. */
const connectTimeout = 10_000

const optionsOf = (allowH2: boolean) =>
  ({
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
    connect: { timeout: connectTimeout }
  }) as const

/**
 * Requests through a tunnel (CONNECT): undici begins with a request only when its tunnel is there, so one whose proxy refuses
 * has not been sent.
 */
const makeProxyAgent = (allowH2: boolean, { except, http, https }: Proxies): Undici =>
  new EnvHttpProxyAgent({
    ...optionsOf(allowH2),
    // What is `undefined` here undici would read from the environment itself.
    httpProxy: http,
    httpsProxy: https,
    noProxy: except,
    proxyTls: { timeout: connectTimeout },
    requestTls: { allowH2, timeout: connectTimeout },
    clientFactory: (origin, options) => new Pool(origin, { ...options, headersTimeout: connectTimeout })
  })

const makeAgent = ({ http2, proxies }: Options): Effect.Effect<Undici, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => (proxies === undefined ? new Agent(optionsOf(http2)) : makeProxyAgent(http2, proxies))),
    (agent) => Effect.promise(() => agent.destroy())
  )

/** Whether this undici can send. Bun has classes of these names in its place, which can do nothing. */
export const isWhole = "dispatch" in Agent.prototype

export interface Options {
  readonly http2: boolean
  readonly proxies: Proxies | undefined
}

/** Sends nothing, and says why. */
export const refusing = (problem: Error): Dispatcher.Service => ({
  dispatch: (_, handler) => {
    handler.onError(problem)
    return { abort: constVoid, pause: constVoid, resume: constVoid }
  }
})

/** Undici without promises and streams. Held requests have connections of their own. */
export const make = (options: Options): Effect.Effect<Dispatcher.Service, never, Scope.Scope> =>
  Effect.zipWith(makeAgent(options), makeAgent(options), (ordinary, held) => ({
    dispatch: ({ body, headers, isHeld, method, origin, path }, listener) => {
      const handler = new Handler(listener)
      const agent = isHeld ? held : ordinary
      agent.dispatch(
        {
          origin,
          path,
          method,
          headers: headers as Array<string>,
          body: body as Undici.DispatchOptions["body"] & {}
        },
        handler
      )
      return handler
    }
  }))
