/**
 * The emulator behind a real HTTP server, for clients of any kind and language.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TerminalText from "../schemas/TerminalText.js"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import * as Fibers from "../internal/effect/fiber.js"
import type { Options, Service } from "../emulator/contract.js"
import { Emulator } from "../emulator/Emulator.js"
import * as Core from "../emulator/internal/core.js"
import * as Deliveries from "../emulator/internal/deliveries.js"
import { headersOf, isStreamed, type StreamedBody, type Transmission } from "../emulator/internal/http/messages.js"
import { withoutFrames } from "../errors/taggedError.js"
import { defined } from "../internal/text/json.js"
import * as HttpServer from "./internal/httpServer.js"

/**
 * The options of a server.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServeOptions extends Options {
  /** Default: 0, any free port. */
  readonly port?: number | undefined
  /** Default: `127.0.0.1`, which only this machine reaches. */
  readonly host?: string | undefined
  /**
   * Whether web pages of any origin may ask: their browsers' preflights are answered, and every answer, errors included, lets them
   * read it and its `Retry-After`. Default: true where only this machine reaches the server.
   */
  readonly cors?: boolean | undefined
}

/**
 * Options of `workerEnvironment`.
 *
 * @since 0.1.0
 * @category models
 */
export interface WorkerOptions {
  /** Default: a new one of the emulator's. */
  readonly workerId?: string | undefined
  /** The server's base URL as the worker reaches it, ending in `/v2`: from a container, not the same as the client's. Default: `url`. */
  readonly url?: string | undefined
}

/**
 * A running server and its control.
 *
 * @since 0.1.0
 * @category models
 */
export interface Server extends Service {
  /** The base URL for clients, ending in `/v2`. */
  readonly url: string
  /**
   * The `RUNPOD_*` variables with which a worker of an endpoint with `externalWorkers` takes its jobs from this server, whatever
   * program it is: RunPod's SDK reads them. Each process needs a record of its own. An endpoint without such workers is a defect.
   */
  readonly workerEnvironment: (
    endpointId: string,
    options?: WorkerOptions
  ) => Effect.Effect<Readonly<Record<string, string>>>
  /** The base URL of a load-balancing endpoint, without a slash at its end. */
  readonly loadBalancerUrl: (id: string) => string
}

/**
 * The server of `layer`.
 *
 * @since 0.1.0
 * @category tags
 */
export class NodeEmulator extends Context.Tag("effect-runpod/NodeEmulator")<NodeEmulator, Server>() {}

/**
 * The server could not listen, most often because the port is taken.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServeError extends withoutFrames(
  Schema.TaggedError<ServeError>("effect-runpod/ServeError")("ServeError", {
    host: Schema.String,
    port: Schema.Number,
    /** The system's code, such as `EADDRINUSE`. */
    code: Schema.optional(Schema.String),
    cause: Schema.Defect
  })
) {
  override get message(): string {
    const why = this.code === undefined ? "" : ` (${this.code})`
    return TerminalText.make(
      `The emulator cannot listen on ${this.host}, port ${this.port}${why}. Choose another port, or 0 for any free one.`
    )
  }
}

/** A body, unless it is too long. When the client leaves, the fiber that reads is interrupted. */
const readBytes = (request: Http.IncomingMessage, limit: number): Effect.Effect<Buffer | undefined> =>
  Effect.matchEffect(HttpServer.readBody(request, limit), {
    onFailure: (error) => (error === "TooLarge" ? Effect.succeed(undefined) : Effect.never),
    onSuccess: Effect.succeed
  })

const isLoopback = (host: string): boolean => /^(?:localhost|127(?:\.\d+){3}|::1)$/.test(host)

/** What lets pages of other origins read an answer. */
const readable = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "retry-after, x-runpod-worker-id"
}

/** Answers what a browser asks before a page's request: whether it may be sent. RunPod itself never sees it. */
const answerPreflight = ({ headers }: Http.IncomingMessage, response: Http.ServerResponse): void => {
  const wantsPrivateNetwork = headers["access-control-request-private-network"] !== undefined
  response.writeHead(204, {
    ...readable,
    "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
    // `*` would not cover `authorization`.
    "access-control-allow-headers": headers["access-control-request-headers"] ?? "authorization, content-type",
    ...(wantsPrivateNetwork ? { "access-control-allow-private-network": "true" } : {}),
    "access-control-max-age": "600"
  })
  response.end()
}

/** Writes a piece, and waits while the client does not read what it was sent. */
const write = (response: Http.ServerResponse, piece: Uint8Array): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (response.write(piece)) return resume(Effect.void)
    const onDrain = () => resume(Effect.void)
    response.once("drain", onDrain)
    return Effect.sync(() => response.off("drain", onDrain))
  })

/** Sends a body as it comes; where it fails, the connection closes. When the client leaves, its fiber is interrupted. */
const sendStream = ({ stream }: StreamedBody, response: Http.ServerResponse): Effect.Effect<void> =>
  Effect.matchCauseEffect(
    Stream.runForEach(stream, (piece) => write(response, piece)),
    {
      onFailure: () => Effect.sync(() => response.socket?.destroySoon()),
      onSuccess: () => Effect.sync(() => response.end())
    }
  )

const streamOf = (transmission: Transmission): StreamedBody | undefined =>
  "response" in transmission && isStreamed(transmission.response.body) ? transmission.response.body : undefined

/** Sends an answer; an effect only where its body streams. */
const respond = (
  transmission: Transmission,
  request: Http.IncomingMessage,
  httpResponse: Http.ServerResponse,
  headers: Readonly<Record<string, string>>
): Effect.Effect<void> | undefined => {
  const { socket } = request
  const streamed = streamOf(transmission)
  // The client left at the last moment: writing would be an error.
  if (httpResponse.destroyed) return streamed?.close
  if (transmission._tag === "Reset" || transmission._tag === "Refused") {
    socket.resetAndDestroy()
    return undefined
  }
  const { response } = transmission
  if (isStreamed(response.body)) {
    httpResponse.writeHead(response.status, { ...headersOf(response, undefined), ...headers })
    httpResponse.flushHeaders()
    return sendStream(response.body, httpResponse)
  }
  const body = typeof response.body === "string" ? Buffer.from(response.body, "utf8") : Buffer.from(response.body)
  const isWhole = transmission._tag === "Whole"
  // A body that stalls or is cut lacks a byte at least, even when it is empty.
  const length = isWhole ? body.byteLength : Math.max(body.byteLength, transmission.bytes + 1)
  httpResponse.writeHead(response.status, { ...headersOf(response, length), ...headers })
  if (isWhole) {
    httpResponse.end(body)
    return undefined
  }
  httpResponse.flushHeaders()
  if (transmission.bytes > 0) httpResponse.write(body.subarray(0, transmission.bytes))
  if (transmission._tag === "Cut") socket.destroySoon()
  return undefined
}

const makeServer = (core: Core.Core, cors: boolean): Effect.Effect<Http.Server, never, Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime(), (fork) => {
    const headers = cors ? readable : {}
    const server = Http.createServer((request, response) => {
      const isPreflight = request.method === "OPTIONS" && "access-control-request-method" in request.headers
      if (cors && isPreflight) return answerPreflight(request, response)
      const handled = core.handle({
        method: request.method ?? "GET",
        target: request.url ?? "/",
        host: request.headers.host,
        headers: request.headers,
        authorization: request.headers.authorization,
        readBody: (limit) => Effect.map(readBytes(request, limit), (body) => body?.toString("utf8")),
        readBytes: (limit) => readBytes(request, limit)
      })
      const sent = Effect.flatMap(
        handled,
        (transmission) => respond(transmission, request, response, headers) ?? Effect.void
      )
      const fiber = fork(Effect.interruptible(sent))
      // The client left, or the response is complete.
      response.on("close", () => Fibers.interruptLater(fiber))
    })
    // Clients close idle connections, not the server: a request must not meet a connection that is just being closed.
    server.keepAliveTimeout = 75_000
    return server
  })

const close = (server: Http.Server): Effect.Effect<void> =>
  Effect.async((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

/**
 * Serves an emulator over HTTP until the scope closes, which closes all connections at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serve = (options: ServeOptions): Effect.Effect<Server, ServeError, Scope.Scope> =>
  Effect.gen(function* () {
    const { host = "127.0.0.1", port = 0 } = options
    const { cors = isLoopback(host) } = options
    const client = yield* Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer)
    const core = yield* Core.make(options, Deliveries.overHttp(client))
    const server = yield* Effect.acquireRelease(makeServer(core, cors), close)
    const bound = yield* Effect.mapError(
      HttpServer.bind(server, { host, port }),
      (cause) => new ServeError({ host, port, cause, ...defined({ code: HttpServer.codeOf(cause) }) })
    )
    const origin = HttpServer.originOf({ host, port: bound })
    const url = `${origin}/v2`
    return {
      ...core.control,
      url,
      loadBalancerUrl: (id: string) => `${origin}/lb/${encodeURIComponent(id)}`,
      workerEnvironment: (endpointId, options) => core.workerEnvironment(endpointId, { url, ...defined(options ?? {}) })
    }
  })

/**
 * The same as a layer: the server with its URL, and its control under the tag that tests in memory use, too.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: ServeOptions): Layer.Layer<NodeEmulator | Emulator, ServeError> =>
  Layer.scopedContext(
    Effect.map(serve(options), (server) => Context.make(NodeEmulator, server).pipe(Context.add(Emulator, server)))
  )
