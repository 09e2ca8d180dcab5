/**
 * The emulator behind a real HTTP server, for clients of any kind and language.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import { defined } from "../internal/text/json.js"
import type { Options, Service } from "../emulator/contract.js"
import { Emulator } from "../emulator/Emulator.js"
import type { Answer } from "../emulator/internal/answers.js"
import * as Box from "../emulator/internal/box.js"
import * as Post from "../emulator/internal/post.js"

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
export class ServeError extends Schema.TaggedError<ServeError>("effect-runpod/ServeError")("ServeError", {
  host: Schema.String,
  port: Schema.Number,
  /** The system's code, such as `EADDRINUSE`. */
  code: Schema.optional(Schema.String),
  cause: Schema.Defect
}) {
  override get message(): string {
    const why = this.code === undefined ? "" : ` (${this.code})`
    return `The emulator cannot listen on ${this.host}, port ${this.port}${why}. Choose another port, or 0 for any free one.`
  }
}

const codeOf = (cause: unknown): string | undefined =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined

/** Reads a body up to `limit` bytes; the rest of a longer one is thrown away. */
const readBody = (request: Http.IncomingMessage, limit: number): Effect.Effect<string | undefined> =>
  Effect.async((resume) => {
    if (Number(request.headers["content-length"] ?? 0) > limit) {
      request.resume()
      resume(Effect.succeed(undefined))
      return
    }
    const chunks: Array<Buffer> = []
    let size = 0
    request.on("data", (chunk: Buffer) => {
      size += chunk.byteLength
      if (size <= limit) chunks.push(chunk)
      else resume(Effect.succeed(undefined))
    })
    request.on("end", () => resume(Effect.sync(() => Buffer.concat(chunks).toString("utf8"))))
  })

const headersOf = (answer: Answer, length: number): Http.OutgoingHttpHeaders => {
  const headers: Http.OutgoingHttpHeaders = { "content-length": length }
  if (answer.contentType !== undefined) headers["content-type"] = answer.contentType
  if (answer.retryAfter !== undefined) headers["retry-after"] = answer.retryAfter
  return headers
}

const deliver = (outcome: Box.Outcome, request: Http.IncomingMessage, response: Http.ServerResponse): void => {
  const { socket } = request
  // The client left at the last moment: writing would be an error.
  if (response.destroyed) return
  if (outcome._tag === "Reset") {
    socket.resetAndDestroy()
    return
  }
  const { answer } = outcome
  const body = Buffer.from(answer.body, "utf8")
  // What is cut or stands still is never complete, not even an empty body.
  const length = outcome._tag === "Whole" ? body.byteLength : Math.max(body.byteLength, outcome.bytes + 1)
  response.writeHead(answer.status, headersOf(answer, length))
  if (outcome._tag === "Whole") {
    response.end(body)
    return
  }
  response.flushHeaders()
  if (outcome.bytes > 0) response.write(body.subarray(0, outcome.bytes))
  if (outcome._tag === "Cut") socket.destroySoon()
}

const makeServer = (box: Box.Box): Effect.Effect<Http.Server> =>
  Effect.map(Effect.runtime(), (runtime) => {
    const runFork = Runtime.runFork(runtime)
    const server = Http.createServer((request, response) => {
      const handled = box.handle({
        method: request.method ?? "GET",
        target: request.url ?? "/",
        authorization: request.headers.authorization,
        readBody: (limit) => readBody(request, limit)
      })
      const fiber = runFork(Effect.interruptible(Effect.map(handled, (outcome) => deliver(outcome, request, response))))
      // The client left, or the response is complete.
      response.on("close", () => {
        if (fiber.unsafePoll() === null) fiber.unsafeInterruptAsFork(FiberId.none)
      })
    })
    // Clients close idle connections, not the server: a request must not meet a connection that is just being closed.
    server.keepAliveTimeout = 75_000
    return server
  })

const listen = (server: Http.Server, host: string, port: number): Effect.Effect<number, ServeError> =>
  Effect.async((resume) => {
    const fail = (cause: Error) => {
      const code = codeOf(cause)
      resume(Effect.fail(new ServeError({ host, port, cause, ...defined({ code }) })))
    }
    server.on("error", fail)
    server.listen({ host, port, backlog: 4096 }, () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : port))
    })
  })

const close = (server: Http.Server): Effect.Effect<void> =>
  Effect.async((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

/** An address that listens everywhere is reached through this machine's own. */
const reachable = (host: string): string => {
  if (host === "0.0.0.0") return "127.0.0.1"
  if (host === "::") return "[::1]"
  return host.includes(":") ? `[${host}]` : host
}

/**
 * Serves an emulator over HTTP until the scope closes, which closes all connections at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serve = (options: ServeOptions): Effect.Effect<Server, ServeError, Scope.Scope> =>
  Effect.gen(function* () {
    const { host = "127.0.0.1", port = 0 } = options
    const client = yield* Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer)
    const box = yield* Box.make(options, Post.deliverWith(client))
    const server = yield* Effect.acquireRelease(makeServer(box), close)
    const bound = yield* listen(server, host, port)
    return { ...box.service, url: `http://${reachable(host)}:${bound}/v2` }
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
