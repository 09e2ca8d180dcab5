import * as Effect from "effect/Effect"
import type * as Http from "node:http"

/** Where a server listens. */
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

/** An address that means every network is reached through this machine's own. */
const reachableHost = (host: string): string => {
  if (host === "0.0.0.0") return "127.0.0.1"
  if (host === "::") return "[::1]"
  return host.includes(":") ? `[${host}]` : host
}

/** Where this machine reaches a server. */
export const originOf = ({ host, port }: Address): string => `http://${reachableHost(host)}:${port}`
