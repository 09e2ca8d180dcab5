/**
 * The receiver of webhooks behind a server of its own, for programs that have none.
 *
 * @example
 * ```ts
 * import { Webhooks } from "effect-runpod"
 * import { NodeWebhooks } from "effect-runpod/Node"
 * import { Effect, Stream } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const webhooks = yield* Webhooks.Webhooks
 *   yield* Stream.runForEach(webhooks.events, ({ job }) => Effect.log(`${job.id} is ${job.status}`))
 * })
 *
 * export const main = program.pipe(
 *   Effect.provide(
 *     NodeWebhooks.layer({ secret: "…32 random bytes…", url: "https://app.example/hooks", port: 8080 })
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import { WebhookSetupError } from "../errors/WebhookError.js"
import * as http from "../internal/webhooks/answer.js"
import * as Webhooks from "../services/Webhooks.js"
import * as WebhookStore from "../layers/WebhookStore.js"

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

/** How long a connection may take to send a request's headers, in milliseconds. */
const headersTimeout = 10_000
/** A body that is not read costs its connection when it is longer, in bytes: a new one costs more than to read it. */
const smallRest = 64 * 1024
/** How often Node looks for connections that are too slow, in milliseconds. */
const checkInterval = 2_000

const readBody =
  (request: Http.IncomingMessage) =>
  (limit: number): Effect.Effect<Uint8Array, http.Unreadable> =>
    Effect.async((resume) => {
      if (request.destroyed) return resume(Effect.fail("Broken"))
      const chunks: Array<Buffer> = []
      let size = 0
      const onData = (chunk: Buffer) => {
        size += chunk.byteLength
        if (size <= limit) chunks.push(chunk)
        else leave("TooLarge")
      }
      const onEnd = () => {
        leave()
        resume(Effect.sync(() => Buffer.concat(chunks)))
      }
      const onClose = () => leave("Broken")
      const leave = (problem?: http.Unreadable) => {
        request.off("data", onData).off("end", onEnd).off("close", onClose)
        if (problem !== undefined) resume(Effect.fail(problem))
      }
      request.on("data", onData).on("end", onEnd).on("close", onClose)
      return Effect.sync(() => leave())
    })

interface Listening {
  /** Where this machine reaches the server. */
  readonly url: string
  /** Begins to answer. */
  readonly start: (service: Webhooks.Service) => void
}

const setupError = (host: string, port: number, cause: Error) => {
  const why = "code" in cause && typeof cause.code === "string" ? cause.code : cause.message
  return new WebhookSetupError({ detail: `the server cannot listen on ${host}, port ${port} (${why})` })
}

/**
 * Listens until the scope closes. Then it takes no more connections, finishes what it has begun, and closes the rest: what
 * was not acknowledged is delivered again.
 */
const listen = (
  { host = "0.0.0.0", port = 0 }: ServeOptions,
  path: string,
  readTimeout: Duration.Duration
): Effect.Effect<Listening, WebhookSetupError, Scope.Scope> =>
  Effect.gen(function* () {
    const runFork = Runtime.runFork(yield* Effect.runtime())
    const running = new Set<Fiber.RuntimeFiber<void>>()
    let service: Webhooks.Service | undefined
    let isClosing = false

    const answer = (request: Http.IncomingMessage): Effect.Effect<number> => {
      const { headers, method = "", url = "" } = request
      // A proxy may ask with the whole URL.
      const target = url.replace(/^https?:\/\/[^/?#]*/i, "")
      if (target.split("?", 1)[0] !== path) return Effect.succeed(404)
      if (service === undefined) return Effect.succeed(503)
      const length = http.readLength(headers["content-length"])
      return http.answer(service, { method, url, headers, length, readBody: readBody(request) })
    }

    const respond = (request: Http.IncomingMessage, response: Http.ServerResponse) => (status: number) =>
      Effect.async<void>((resume) => {
        if (response.destroyed) return resume(Effect.void)
        response.once("close", () => resume(Effect.void))
        // Nobody waits for the rest of what was refused, unless it is small; Node reads that, within its own timeout.
        const rest = request.complete ? 0 : (http.readLength(request.headers["content-length"]) ?? Infinity)
        const isOver = isClosing || rest > smallRest
        response.writeHead(status, { "content-length": 0, ...(isOver ? { connection: "close" } : {}) })
        response.end(() => resume(Effect.void))
      })

    const server = Http.createServer({ connectionsCheckingInterval: checkInterval }, (request, response) => {
      // Not interrupted when the sender leaves: what has been read is stored.
      const fiber = runFork(Effect.flatMap(answer(request), respond(request, response)))
      running.add(fiber)
      fiber.addObserver(() => running.delete(fiber))
    })
    server.headersTimeout = headersTimeout
    // A little later than our own, which can still answer.
    server.requestTimeout = headersTimeout + Duration.toMillis(readTimeout)

    const close = Effect.suspend(() => {
      isClosing = true
      server.close()
      return Effect.whileLoop({ while: () => running.size > 0, body: () => Fiber.awaitAll(running), step: () => {} })
    }).pipe(
      Effect.interruptible,
      Effect.timeoutOption(Duration.sum(readTimeout, "5 seconds")),
      Effect.zipRight(Effect.sync(() => server.closeAllConnections()))
    )

    const bind = Effect.async<number, WebhookSetupError>((resume) => {
      server.once("error", (cause) => resume(Effect.fail(setupError(host, port, cause))))
      server.listen({ host, port, backlog: 4096 }, () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : port))
      })
    })
    const bound = yield* Effect.acquireRelease(bind, () => close)
    const local = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host
    return {
      url: `http://${local}:${bound}${path}`,
      start: (ready) => {
        service = ready
      }
    }
  })

/**
 * Serves webhooks that are provided already, until the scope closes; then it finishes what it has begun. `url` is where this
 * machine reaches it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serve = (
  options: ServeOptions = {}
): Effect.Effect<{ readonly url: string }, WebhookSetupError, Webhooks.Webhooks | Scope.Scope> =>
  Effect.gen(function* () {
    const service = yield* Webhooks.Webhooks
    const { start, url } = yield* listen(options, options.path ?? "/", service.readTimeout)
    start(service)
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
      const path = options.path ?? (url !== undefined && URL.canParse(String(url)) ? new URL(url).pathname : "/")
      const readTimeout = Duration.decode(options.readTimeout ?? Webhooks.defaults.readTimeout)
      const server = yield* listen(options, path, readTimeout)
      const service = yield* Webhooks.make({ ...options, url: url ?? server.url })
      server.start(service)
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
