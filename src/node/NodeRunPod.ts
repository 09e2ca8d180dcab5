/**
 * The `RunPod` service for Node, with a transport of its own inside: undici, without the promises and streams in between. In Bun,
 * whose undici cannot send, it is `fetch`.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import type { RunMain } from "@effect/platform/Runtime"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Dispatcher } from "../layers/Dispatcher.js"
import type * as RunPodHttpClient from "../layers/RunPodHttpClient.js"
import type * as JobRuntime from "../services/JobRuntime.js"
import * as RunPod from "../services/RunPod.js"
import * as DispatcherClient from "./internal/dispatcherClient.js"
import * as Proxies from "./internal/proxies.js"
import * as Main from "./internal/runMain.js"
import * as Undici from "./internal/undici.js"

/**
 * Choices of the transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransportOptions {
  /** Speak HTTP/2 with servers that offer it. Default: false; see docs/performance.md for what it costs. */
  readonly http2?: boolean | undefined
  /**
   * The proxy of all requests, `http://user:password@host:port`, or `false` for none. Default: those of `HTTP_PROXY` and
   * `HTTPS_PROXY`, but for the hosts of `NO_PROXY` (also in lower case, which goes first), read when the layer is built. A proxy
   * that cannot be used fails requests with `TransportError`, `sent: "No"`.
   */
  readonly proxy?: string | URL | Redacted.Redacted | false | undefined
}

/**
 * The options of `layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends RunPod.Options, TransportOptions {}

/** Bun's undici cannot send: there `fetch` does, which knows the proxies of the environment by itself. */
const overFetch = ({ proxy }: TransportOptions) => {
  const given = Redacted.isRedacted(proxy) ? Redacted.value(proxy) : proxy
  // As undici does here: no redirects, and no limit but those of attempts. `proxy` and `timeout` are Bun's own.
  const init: RequestInit = Object.assign(
    { redirect: "manual" as const, timeout: false },
    given === undefined ? {} : { proxy: given === false ? false : String(given) }
  )
  return Layer.provide(FetchHttpClient.layer, Layer.succeed(FetchHttpClient.RequestInit, init))
}

const overUndici = ({ http2 = false, proxy }: TransportOptions) =>
  Layer.scopedContext(
    Effect.map(
      Effect.matchEffect(Proxies.read(proxy), {
        onFailure: (problem) => Effect.succeed(Undici.refusing(problem)),
        onSuccess: (proxies) => Undici.make({ http2, proxies })
      }),
      (dispatcher) =>
        Context.make(Dispatcher, dispatcher).pipe(Context.add(HttpClient.HttpClient, DispatcherClient.make(dispatcher)))
    )
  )

const transport = (options: TransportOptions): Layer.Layer<HttpClient.HttpClient> =>
  Undici.isWhole ? overUndici(options) : overFetch(options)

/**
 * The transport alone, as an `HttpClient` that makes no spans. Held requests have connections of their own, so that no other
 * request waits behind them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerHttpClient = (options: TransportOptions = {}): Layer.Layer<HttpClient.HttpClient> =>
  transport(options)

/**
 * `RunPod.layer` over undici.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<RunPod.RunPod | RunPodHttpClient.RunPodHttpClient | JobRuntime.JobRuntime> =>
  Layer.provide(RunPod.layer(options), transport(options))

/**
 * `RunPod.layerConfig` over undici: what is not given comes from `RUNPOD_API_KEY` and `RUNPOD_BASE_URL`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: RunPod.ConfigOptions & TransportOptions = {}
): Layer.Layer<RunPod.RunPod | RunPodHttpClient.RunPodHttpClient | JobRuntime.JobRuntime, ConfigError.ConfigError> =>
  Layer.provide(RunPod.layerConfig(options), transport(options))

/**
 * `RunPod.layerLocal` over undici: a worker on this machine, `python handler.py --rp_serve_api`. No proxy unless one is given.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLocal = (
  options: RunPod.LocalOptions & TransportOptions = {}
): Layer.Layer<RunPod.RunPod | JobRuntime.JobRuntime> =>
  Layer.provide(RunPod.layerLocal(options), transport({ ...options, proxy: options.proxy ?? false }))

/**
 * `NodeRuntime.runMain` with an exit status that tells of a signal: a program that Ctrl-C (SIGINT) has interrupted ends with
 * 130, after SIGTERM with 143, where `NodeRuntime.runMain` ends with 0, as if all were done. Finalizers run as there, and a
 * second Ctrl-C does not wait for them. A `teardown` of your own decides alone.
 *
 * @example
 * ```ts
 * import { Endpoint } from "effect-runpod"
 * import { NodeRunPod } from "effect-runpod/Node"
 * import { Console, Effect, Schema } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const caption = yield* Endpoint.make("abc123", { input: Schema.Unknown, output: Schema.String })
 *   yield* Console.log(yield* caption.call({ image: "https://images.example.com/1.png" }))
 * })
 *
 * program.pipe(Effect.provide(NodeRunPod.layerConfig()), NodeRunPod.runMain)
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const runMain: RunMain = Main.runMain
