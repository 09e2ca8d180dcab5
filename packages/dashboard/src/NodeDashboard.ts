/**
 * A dashboard with a server of its own, on Node.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import * as HttpServer from "@effect/platform/HttpServer"
import type { ServeError } from "@effect/platform/HttpServerError"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as TerminalText from "effect-runpod/TerminalText"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { constants } from "node:fs"
import * as Fs from "node:fs/promises"
import { createServer } from "node:http"
import { dirname } from "node:path"
import process from "node:process"
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
  /** It counts before `tokenFile`. Default: that of `tokenFile`, or a random one. */
  readonly token?: Redacted.Redacted | undefined
  /**
   * The file that has the token, so that open pages go on after a restart of the server. It is made with a random token, for this user only, where
   * there is none, with the folders that are missing. One that others could have written or can read is refused. Default: none.
   */
  readonly tokenFile?: string | undefined
}

/**
 * The file of the token cannot be used. It was left as it is.
 *
 * @since 0.1.0
 * @category errors
 */
export class TokenFileError extends Data.TaggedError("TokenFileError")<{
  readonly path: string
  /** What is wrong, without what the file has in it. */
  readonly detail: string
}> {
  override get message(): string {
    return TerminalText.make(`The token of the dashboard cannot be in ${this.path}: ${this.detail}`)
  }
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

/** A step failed: a code of the system, or `EMPTY`. */
class FileProblem extends Data.TaggedError("FileProblem")<{ readonly code: string }> {}

const problems: Readonly<Record<string, string>> = {
  ELOOP: "it is a symbolic link. Remove it, or name the file that it leads to.",
  EMPTY: "it is empty. Remove it: it is made again."
}

const randomToken = () => randomBytes(24).toString("base64url")

const attempt = <A>(step: () => Promise<A>): Effect.Effect<A, FileProblem> =>
  Effect.tryPromise({
    try: step,
    catch: (error) => new FileProblem({ code: (error as NodeJS.ErrnoException).code ?? String(error) })
  })

/** Opens no file that a symbolic link leads to: another user may have made the link. */
const openFile = (path: string, flags: number) =>
  Effect.acquireRelease(
    attempt(() => Fs.open(path, flags | (constants.O_NOFOLLOW ?? 0), 0o600)),
    (file) => Effect.promise(() => file.close())
  )

/** What the page takes from an address, in so many bytes at most. */
const tokenShape = /^[\w-]{16,}$/
const largestFile = 4096

const readToken = (path: string): Effect.Effect<string, FileProblem | TokenFileError> =>
  Effect.scoped(
    Effect.gen(function* () {
      // A pipe is not waited for.
      const file = yield* openFile(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
      const stat = yield* attempt(() => file.stat())
      const refuse = (detail: string) => new TokenFileError({ path, detail })
      if (!stat.isFile()) return yield* refuse("it is not a file.")
      // Windows has neither owners nor modes.
      const user = process.getuid?.()
      if (user !== undefined && stat.uid !== user)
        return yield* refuse("it belongs to another user. Name another file.")
      if (user !== undefined && (stat.mode & 0o077) !== 0) {
        return yield* refuse("other users have access to it. Remove it: it is made again, for this user only.")
      }
      if (stat.size === 0) return yield* new FileProblem({ code: "EMPTY" })
      const text = stat.size > largestFile ? "" : yield* attempt(() => file.readFile("utf8"))
      const token = text.replace(/\r?\n$/, "")
      if (tokenShape.test(token)) return token
      return yield* refuse(
        "it has no token, which is at least 16 letters, digits, - and _ in one line. If nothing else needs it, remove it: it is made again."
      )
    })
  )

/** Makes a folder, and those above it that are missing. Node's own way of that never ends where the system refuses, as in `/proc`. */
const makeFolders = (folder: string): Effect.Effect<void, FileProblem> => {
  const make = Effect.catchIf(
    Effect.asVoid(attempt(() => Fs.mkdir(folder, { mode: 0o700 }))),
    ({ code }) => code === "EEXIST",
    () => Effect.void
  )
  const above = dirname(folder)
  return Effect.catchIf(
    make,
    ({ code }) => code === "ENOENT" && above !== folder,
    () => Effect.zipRight(makeFolders(above), make)
  )
}

/** Makes the file, if it still is not there: that is `EEXIST`. */
const makeToken = (path: string): Effect.Effect<string, FileProblem> =>
  Effect.gen(function* () {
    const token = randomToken()
    yield* makeFolders(dirname(path))
    const file = yield* openFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL)
    yield* Effect.tapError(
      attempt(() => file.writeFile(`${token}\n`)),
      () => Effect.promise(() => Fs.rm(path, { force: true }))
    )
    return token
  }).pipe(Effect.scoped, Effect.uninterruptible)

/** The token in a file, which is made where there is none. Another server may do the same meanwhile. */
const tokenIn = (path: string): Effect.Effect<string, TokenFileError> => {
  const isMissing = (error: FileProblem | TokenFileError) => error._tag === "FileProblem" && error.code === "ENOENT"
  // The other server has made the file, or is about to write it.
  const isBeingMade = (error: FileProblem | TokenFileError) =>
    error._tag === "FileProblem" && (error.code === "EEXIST" || error.code === "EMPTY")
  return Effect.catchIf(readToken(path), isMissing, () => makeToken(path)).pipe(
    Effect.retry({ while: isBeingMade, schedule: Schedule.spaced("20 millis"), times: 50 }),
    Effect.catchTag("FileProblem", ({ code }) =>
      Effect.fail(new TokenFileError({ path, detail: problems[code] ?? `the system says ${code}. Name another file.` }))
    )
  )
}

const tokenOf = ({ token, tokenFile }: Options): Effect.Effect<Redacted.Redacted, TokenFileError> => {
  if (token !== undefined) return Effect.succeed(token)
  if (tokenFile !== undefined) return Effect.map(tokenIn(tokenFile), Redacted.make)
  return Effect.sync(() => Redacted.make(randomToken()))
}

/**
 * Serves a dashboard until the scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serve = (
  options: Options
): Effect.Effect<Server, PlatformError | ServeError | TokenFileError, Scope.Scope> =>
  Effect.gen(function* () {
    const { host = "127.0.0.1", port = 0 } = options
    const token = yield* tokenOf(options)
    const server = createServer()
    // Each request has a connection of its own: no browser tries one that has ended with the server before, or while the machine slept.
    server.maxRequestsPerSocket = 1
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
