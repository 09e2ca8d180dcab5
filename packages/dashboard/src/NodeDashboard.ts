/**
 * A dashboard with a server of its own, on Node.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import * as HttpServer from "@effect/platform/HttpServer"
import type { ServeError } from "@effect/platform/HttpServerError"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { createServer } from "node:http"
import * as Dashboard from "./Dashboard.js"

/**
 * The options of `serve`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Omit<Dashboard.Options, "token"> {
  /** Default: 0, any free port. */
  readonly port?: number | undefined
  /** Default: `127.0.0.1`, which only this machine reaches. */
  readonly host?: string | undefined
  /** Default: a random one. */
  readonly token?: Redacted.Redacted | undefined
}

/**
 * A dashboard that is served.
 *
 * @since 0.1.0
 * @category models
 */
export interface Server {
  /** Without the token. */
  readonly origin: string
  /** The address for a person, with the token in its fragment, which browsers do not send. */
  readonly url: Redacted.Redacted
}

/**
 * Serves a dashboard until the scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serve = (options: Options): Effect.Effect<Server, PlatformError | ServeError, Scope.Scope> =>
  Effect.gen(function* () {
    const { host = "127.0.0.1", port = 0, token = Redacted.make(randomBytes(24).toString("base64url")) } = options
    const server = createServer()
    const context = yield* Layer.build(
      Layer.merge(
        NodeHttpServer.layerServer(() => server, { host, port }),
        NodeHttpServer.layerContext
      )
    )
    // Before the server waits for its connections, once the events have ended.
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    yield* Layer.build(Layer.provide(Dashboard.layer({ ...options, token }), Layer.succeedContext(context)))
    const { address } = Context.get(context, HttpServer.HttpServer)
    const bound = address._tag === "TcpAddress" ? address.port : port
    const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host
    const origin = `http://${name}:${bound}`
    return { origin, url: Redacted.make(`${origin}/#token=${Redacted.value(token)}`) }
  })
