/**
 * The receiver of webhooks behind a server of its own, for programs that have none.
 *
 * @example
 * ```ts
 * import { NodeWebhooks } from "effect-runpod/Node"
 *
 * export const webhooks = NodeWebhooks.layer({
 *   secret: "…32 random bytes…",
 *   url: "https://app.example/hooks",
 *   port: 8080
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import { WebhookSetupError } from "../errors/WebhookError.js"
import { read } from "../internal/text/config.js"
import { atRoot } from "../internal/telemetry/tracing.js"
import * as Handler from "../internal/webhooks/handler.js"
import * as Settings from "../internal/webhooks/settings.js"
import * as WebhookStore from "../layers/WebhookStore.js"
import * as Webhooks from "../services/Webhooks.js"
import * as HttpServer from "./internal/httpServer.js"

/**
 * Where a server listens.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServeOptions {
  /** Default: 0, any free port. */
  readonly port?: number | undefined
  /** Default: `0.0.0.0`, every network of this machine, since deliveries come from outside. */
  readonly host?: string | undefined
  /** The only path that is served, as the server sees it. Default: that of `url`, or `/`. */
  readonly path?: string | undefined
}

/**
 * The options of `layer`: those of `Webhooks.layer`, and where to listen. Without `url`, RunPod is told the server's own
 * address: an emulator on this machine reaches it, the real one does not.
 *
 * @since 0.1.0
 * @category models
 */
export type Options = ServeOptions &
  Omit<Webhooks.BaseOptions, "url"> &
  Webhooks.Secrets & { readonly url?: Webhooks.BaseOptions["url"] | undefined }

/**
 * The options of `layerConfig`: each a value, or a `Config` of one, such as `port: Config.integer("PORT")`. Without `secret` and
 * `keys` the secret comes from `RUNPOD_WEBHOOK_SECRET`, without `url` the URL from `RUNPOD_WEBHOOK_URL` when it is set.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigOptions = Webhooks.ConfigOptions & {
  readonly [K in keyof ServeOptions]?: ServeOptions[K] | Config.Config<Exclude<ServeOptions[K], undefined>> | undefined
}

/** How long a connection may take to send a request's headers, in milliseconds. */
const headersTimeout = 10_000
/** A body that is not read costs its connection when it is longer, in bytes: a new one costs more than to read it. */
const smallRest = 64 * 1024
/** How long the requests that have begun may take at the end, besides the reading of their bodies. */
const closeGrace = "5 seconds"

interface State {
  readonly path: string
  /** Missing until the receiver is there, which may need the server's address first. */
  service: Webhooks.Service | undefined
  isClosing: boolean
}

const answer = ({ path, service }: State, request: Http.IncomingMessage): Effect.Effect<number> => {
  const { headers, method = "", url = "" } = request
  // A proxy may ask with the whole URL.
  const target = url.replace(/^https?:\/\/[^/?#]*/i, "")
  if (target.split("?", 1)[0] !== path) return Effect.succeed(404)
  if (service === undefined) return Effect.succeed(503)
  return Handler.handle(service, { method, url, headers, readBody: (limit) => HttpServer.readBody(request, limit) })
}

/** Sends a status, and waits until it is sent or the sender has gone. */
const respond = ({ isClosing }: State, request: Http.IncomingMessage, response: Http.ServerResponse, status: number) =>
  Effect.async((resume) => {
    if (response.destroyed) return resume(Effect.void)
    response.once("close", () => resume(Effect.void))
    // The rest of a refused body is not waited for, unless it is small; Node reads that, within its own timeout.
    const rest = request.complete ? 0 : (Handler.lengthOf(request.headers) ?? Infinity)
    const isLast = isClosing || rest > smallRest
    response.writeHead(status, { "content-length": 0, ...(isLast ? { connection: "close" } : {}) })
    response.end(() => resume(Effect.void))
  })

/** At the end it takes no more connections and finishes what it has begun: what is not acknowledged is delivered again. */
const listen = Effect.fnUntraced(function* (
  { host = "0.0.0.0", path = "/", port = 0 }: ServeOptions,
  readTimeout: Duration.Duration
) {
  const state: State = { path, service: undefined, isClosing: false }
  const requests = yield* FiberSet.make<void>()
  const runFork = yield* FiberSet.runtime(requests)()
  const server = Http.createServer({ connectionsCheckingInterval: 2_000 }, (request, response) => {
    const answered = Effect.flatMap(answer(state, request), (status) => respond(state, request, response, status))
    // Not interrupted when the sender leaves: what has been read is stored. Disconnected, so that a store that hangs cannot
    // hold up the end of the scope.
    runFork(Effect.disconnect(atRoot(answered)))
  })
  server.headersTimeout = headersTimeout
  // A little later than our own, which can still answer.
  server.requestTimeout = headersTimeout + Duration.toMillis(readTimeout)
  const close = Effect.suspend(() => {
    state.isClosing = true
    server.close()
    return FiberSet.awaitEmpty(requests)
  }).pipe(
    Effect.interruptible,
    Effect.timeoutOption(Duration.sum(readTimeout, closeGrace)),
    Effect.zipRight(Effect.sync(() => server.closeAllConnections()))
  )
  const bind = Effect.mapError(HttpServer.bind(server, { host, port }), (cause) => {
    const why = HttpServer.codeOf(cause) ?? cause.message
    return new WebhookSetupError({ detail: `the server cannot listen on ${host}, port ${port} (${why})` })
  })
  const bound = yield* Effect.acquireRelease(bind, () => close)
  return { state, url: HttpServer.originOf({ host, port: bound }) + path }
})

/**
 * Serves the `Webhooks` of its context until the scope closes, and finishes what it has begun. This machine reaches it at `url`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serve = (
  options: ServeOptions = {}
): Effect.Effect<{ readonly url: string }, WebhookSetupError, Webhooks.Webhooks | Scope.Scope> =>
  Effect.gen(function* () {
    const service = yield* Webhooks.Webhooks
    const { state, url } = yield* listen(options, service.readTimeout)
    state.service = service
    return { url }
  })

/**
 * `Webhooks.layerStore` with a server.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = (
  options: Options
): Layer.Layer<Webhooks.Webhooks, WebhookSetupError, WebhookStore.WebhookStore> =>
  Layer.scoped(
    Webhooks.Webhooks,
    Effect.gen(function* () {
      const { url } = options
      const path = options.path ?? (url !== undefined && URL.canParse(String(url)) ? new URL(url).pathname : undefined)
      const readTimeout = Duration.decode(options.readTimeout ?? Webhooks.defaults.readTimeout)
      const server = yield* listen({ ...options, path }, readTimeout)
      const service = yield* Webhooks.make({ ...options, url: url ?? server.url })
      server.state.service = service
      return service
    })
  )

/**
 * `Webhooks.layer` with a server: the deliveries are kept in memory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Webhooks.Webhooks, WebhookSetupError> =>
  Layer.provide(layerStore(options), WebhookStore.layerMemory())

const fromConfig = (options: ConfigOptions): Effect.Effect<Options, ConfigError.ConfigError> =>
  Effect.gen(function* () {
    const url =
      options.url ?? Config.option(Config.string("RUNPOD_WEBHOOK_URL")).pipe(Config.map(Option.getOrUndefined))
    return {
      ...(yield* Settings.fromConfig(options)),
      url: yield* read(url),
      port: yield* read(options.port),
      host: yield* read(options.host),
      path: yield* read(options.path)
    }
  })

/**
 * `layer` with options from `Config`. What is not given comes from `RUNPOD_WEBHOOK_SECRET` and `RUNPOD_WEBHOOK_URL`; without that
 * one, RunPod is told the server's own address.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: ConfigOptions = {}
): Layer.Layer<Webhooks.Webhooks, WebhookSetupError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(fromConfig(options), layer))

/**
 * `layerStore` with options from `Config`, as `layerConfig` reads them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfigStore = (
  options: ConfigOptions = {}
): Layer.Layer<Webhooks.Webhooks, WebhookSetupError | ConfigError.ConfigError, WebhookStore.WebhookStore> =>
  Layer.unwrapEffect(Effect.map(fromConfig(options), layerStore))
