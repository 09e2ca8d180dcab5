import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import type { BodyError } from "../../internal/webhooks/handler.js"

export interface Address {
  readonly host: string
  /** 0 for any free port. */
  readonly port: number
}

/** Makes a server listen, and gives its port. */
export const bind = (server: Http.Server, { host, port }: Address): Effect.Effect<number, Error> =>
  Effect.async((resume) => {
    // It stays: a later error, of a connection that could not be accepted, would end the process if nothing listened to it.
    server.on("error", (cause) => resume(Effect.fail(cause)))
    server.listen({ host, port, backlog: 4096 }, () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : port))
    })
  })

/** Why a server cannot listen: the system's code, such as `EADDRINUSE`. */
export const codeOf = (cause: Error): string | undefined =>
  "code" in cause && typeof cause.code === "string" ? cause.code : undefined

/** Reads a body up to `limit` bytes; the rest of a longer one is thrown away. */
export const readBody = (request: Http.IncomingMessage, limit: number): Effect.Effect<Buffer, BodyError> =>
  Effect.async((resume) => {
    if (Number(request.headers["content-length"] ?? 0) > limit) return resume(Effect.fail("TooLarge"))
    const chunks: Array<Buffer> = []
    let size = 0
    const stop = () => request.off("data", onData).off("end", onEnd).off("close", onClose)
    const end = (body: Effect.Effect<Buffer, BodyError>) => {
      stop()
      resume(body)
    }
    const onData = (chunk: Buffer) => {
      size += chunk.byteLength
      if (size <= limit) chunks.push(chunk)
      else end(Effect.fail("TooLarge"))
    }
    const onEnd = () => end(Effect.sync(() => Buffer.concat(chunks)))
    const onClose = () => end(Effect.fail("Broken"))
    if (request.destroyed) return onClose()
    request.on("data", onData).on("end", onEnd).on("close", onClose)
    return Effect.sync(stop)
  })

/** An address that means every network is reached through this machine's own. */
const reachableHost = (host: string): string => {
  if (host === "0.0.0.0") return "127.0.0.1"
  if (host === "::") return "[::1]"
  return host.includes(":") ? `[${host}]` : host
}

export const originOf = ({ host, port }: Address): string => `http://${reachableHost(host)}:${port}`
