/**
 * The `RunPod` service for Node, with a tuned transport inside.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Agent } from "@effect/platform-node/Undici"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RunPod from "../services/RunPod.js"

/**
 * Held requests keep their connection for minutes, so connections are not bounded here: the layer's limits bound the
 * requests. Undici's timeouts of headers and bodies are put out of the way by `makeUndici`; every attempt has its own.
 */
const makeAgent = () =>
  new Agent({
    connections: null,
    // An idle connection is closed here before a server does it: a submit that meets a closing connection is ambiguous.
    // Common servers wait 5 seconds and more; one that says how long it waits is believed, less a second.
    keepAliveTimeout: 4_000,
    keepAliveMaxTimeout: 60_000,
    keepAliveTimeoutThreshold: 1_000,
    connect: { timeout: 10_000 }
  })

const client: Layer.Layer<HttpClient.HttpClient> = Layer.scoped(
  HttpClient.HttpClient,
  Effect.acquireRelease(Effect.sync(makeAgent), (agent) => Effect.promise(() => agent.destroy())).pipe(
    Effect.map(NodeHttpClient.makeUndici)
  )
)

/**
 * `RunPod.layer` over undici.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: RunPod.Options): Layer.Layer<RunPod.RunPod> =>
  Layer.provide(RunPod.layer(options), client)

/**
 * `RunPod.layerConfig` over undici: what is not given comes from `RUNPOD_API_KEY` and `RUNPOD_BASE_URL`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (options?: RunPod.ConfigOptions): Layer.Layer<RunPod.RunPod, ConfigError.ConfigError> =>
  Layer.provide(RunPod.layerConfig(options), client)
