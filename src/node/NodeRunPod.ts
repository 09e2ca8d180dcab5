/**
 * The `RunPod` service for Node, with a transport of its own inside: undici, without the promises and streams in between.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import type { RunMain } from "@effect/platform/Runtime"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Dispatcher } from "../layers/Dispatcher.js"
import type * as RunPodHttpClient from "../layers/RunPodHttpClient.js"
import type * as JobRuntime from "../services/JobRuntime.js"
import * as RunPod from "../services/RunPod.js"
import * as DispatcherClient from "./internal/dispatcherClient.js"
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
}

/**
 * The options of `layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends RunPod.Options, TransportOptions {}

const transport = ({ http2 = false }: TransportOptions) =>
  Layer.scopedContext(
    Effect.map(Undici.make({ http2 }), (dispatcher) =>
      Context.make(Dispatcher, dispatcher).pipe(Context.add(HttpClient.HttpClient, DispatcherClient.make(dispatcher)))
    )
  )

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
