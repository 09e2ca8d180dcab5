import { Effect, type Scope } from "effect"
import { once } from "node:events"
import * as Http from "node:http"
import * as Https from "node:https"
import type * as Net from "node:net"

/** Lets a server listen on loopback until the scope closes, and gives its port. */
export const listening = (server: Net.Server): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      const address = server.address()
      return typeof address === "object" && address !== null ? address.port : 0
    }),
    () =>
      Effect.sync(() => {
        server.close()
        if (server instanceof Http.Server || server instanceof Https.Server) server.closeAllConnections()
      })
  )

/** The same, and its origin. */
export const originOf = (server: Net.Server): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(listening(server), (port) => `http://127.0.0.1:${port}`)

/**
 * A port for a server of another process. It lies below those that the system hands out by itself, to clients and to servers that
 * leave the choice to it: none of the many others takes it before that server does.
 */
export const freePort: Effect.Effect<number> = Effect.promise(async () => {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const server = Http.createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false))
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)))
    })
    if (isFree) return port
  }
})
