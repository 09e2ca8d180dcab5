/**
 * The choices of a `RunPod` layer.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { keyAdvice } from "../internal/text/apiKey.js"
import { read, secretOf } from "../internal/text/config.js"
import { defined } from "../internal/text/json.js"
import * as RateLimits from "./RateLimits.js"
import * as RetryPolicy from "./RetryPolicy.js"

/**
 * The options of `RunPod.layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The API key, from the RunPod console. White space around it is dropped. It is struck out of errors, logs and spans, unless it is
   * shorter than 8 characters: that of a local server can be, RunPod's are longer.
   */
  readonly apiKey: string | Redacted.Redacted
  /** Default: `https://api.runpod.ai/v2`. */
  readonly baseUrl?: string | URL | undefined
  /** How long an attempt may take until the answer's headers. Held requests get their hold and 10 seconds instead. Default: 30 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** Default: `RetryPolicy.make()`. */
  readonly retry?: RetryPolicy.RetryPolicy | undefined
  /** Default: `RateLimits.documented`. */
  readonly limits?: RateLimits.RateLimits | undefined
  /** Wraps the transport. It sees every attempt as it is sent, the API key in its `authorization` header included. */
  readonly transformClient?: ((client: HttpClient.HttpClient) => HttpClient.HttpClient) | undefined
  /**
   * Reads an answer's JSON. One that throws for a text that is JSON refuses it: the request fails with `DecodeError` (`isUnread`), a
   * wait as soon as the job has ended. Default: `JSON.parse`, which rounds integers above 2^53 (seeds).
   */
  readonly parseJson?: ((text: string) => unknown) | undefined
}

/**
 * The defaults of `Options`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  baseUrl: "https://api.runpod.ai/v2",
  requestTimeout: "30 seconds",
  retry: RetryPolicy.make(),
  limits: RateLimits.documented,
  parseJson: (text: string): unknown => JSON.parse(text)
} as const satisfies Omit<Options, "apiKey">

/**
 * The options of `RunPod.layerLocal`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LocalOptions extends Pick<Options, "requestTimeout" | "retry" | "transformClient" | "parseJson"> {
  /** Where the worker listens. Default: `http://localhost:8000`. */
  readonly url?: string | URL | undefined
  /**
   * How many requests it may have at once. Default: 1, since a handler that is no coroutine blocks the whole server while it
   * runs. More for an `async` handler.
   */
  readonly concurrency?: number | undefined
}

/**
 * The defaults of `LocalOptions`.
 *
 * @since 0.1.0
 * @category constants
 */
export const localDefaults = {
  url: "http://localhost:8000",
  concurrency: 1
} as const satisfies LocalOptions

/**
 * The options with the defaults for what is not given, the timeout in milliseconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const withDefaults = ({ requestTimeout, ...options }: Options) => ({
  ...defaults,
  ...defined(options),
  requestTimeout: Duration.toMillis(requestTimeout ?? defaults.requestTimeout)
})

/**
 * The options of `RunPod.layerConfig`: each a value, or a `Config` of one. (`Config.Wrap` would take no plain values.)
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigOptions = {
  readonly [K in keyof Options]?: Options[K] | Config.Config<Exclude<Options[K], undefined>> | undefined
}

/**
 * Reads the options. A key that is not given comes from `RUNPOD_API_KEY`, a base URL from `RUNPOD_BASE_URL` when it is set.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromConfig = (options: ConfigOptions = {}): Effect.Effect<Options, ConfigError.ConfigError> =>
  Effect.map(
    Effect.all({
      apiKey: options.apiKey === undefined ? secretOf("RUNPOD_API_KEY", keyAdvice) : read(options.apiKey),
      baseUrl: read(options.baseUrl ?? Config.string("RUNPOD_BASE_URL").pipe(Config.withDefault(defaults.baseUrl))),
      requestTimeout: read(options.requestTimeout),
      retry: read(options.retry),
      limits: read(options.limits),
      transformClient: read(options.transformClient),
      parseJson: read(options.parseJson)
    }),
    ({ apiKey, ...rest }) => ({ apiKey, ...defined(rest) })
  )
