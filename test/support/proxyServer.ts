import { Effect, type Scope } from "effect"
import { once } from "node:events"
import * as Http from "node:http"
import * as Net from "node:net"

/** What a proxy does with CONNECT: opens the tunnel, answers with a status, or says nothing. */
export type Behaviour = "Open" | "Silent" | number

export interface ProxyServer {
  readonly port: number
  /** The targets it was asked for, with the credentials. */
  readonly asked: Array<string>
}

/** A proxy that connects to this machine whatever host it is asked for. */
export const proxyServer = (
  behaviour: Behaviour = "Open",
  credentials?: string
): Effect.Effect<ProxyServer, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const asked: Array<string> = []
        const sockets = new Set<Net.Socket>()
        const server = Http.createServer((_, response) => response.writeHead(405).end())
        server.on("connection", (socket) => sockets.add(socket))
        server.on("connect", (request, socket) => {
          const [scheme = "", token = ""] = (request.headers["proxy-authorization"] ?? "").split(" ")
          const given = scheme === "Basic" ? Buffer.from(token, "base64").toString() : undefined
          asked.push(`${request.url}${given === undefined ? "" : ` ${given}`}`)
          socket.on("error", () => socket.destroy())
          if (behaviour === "Silent") return
          const status = credentials === undefined || credentials === given ? behaviour : 407
          if (status !== "Open") {
            socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`)
            return
          }
          const target = Net.connect(Number(request.url?.split(":").at(-1)), "127.0.0.1", () => {
            socket.write("HTTP/1.1 200 Connection established\r\n\r\n")
            socket.pipe(target).pipe(socket)
          })
          sockets.add(target)
          target.on("error", () => socket.destroy())
        })
        server.listen(0, "127.0.0.1")
        await once(server, "listening")
        const address = server.address()
        const port = address !== null && typeof address === "object" ? address.port : 0
        return { server, sockets, asked, port }
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    ),
    ({ asked, port }) => ({ asked, port })
  )
