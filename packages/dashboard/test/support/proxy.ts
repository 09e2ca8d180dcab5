import { Effect } from "effect"
import * as Net from "node:net"

/** A way to a port of this machine whose connections can be held: they stay open, and nothing comes through any more. */
export const proxyTo = (target: number) =>
  Effect.acquireRelease(
    Effect.async<{ readonly port: number; readonly hold: () => void; readonly close: () => void }>((resume) => {
      const sockets = new Set<Net.Socket>()
      const held = new Set<Net.Socket>()
      const server = Net.createServer((client) => {
        const upstream = Net.connect(target, "127.0.0.1")
        for (const [from, to] of [
          [client, upstream],
          [upstream, client]
        ] as const) {
          sockets.add(from)
          from.on("data", (data) => {
            if (!held.has(from)) to.write(data)
          })
          from.on("error", () => undefined)
          from.on("close", () => {
            sockets.delete(from)
            if (!held.has(from)) to.destroy()
          })
        }
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as Net.AddressInfo
        const hold = () => sockets.forEach((socket) => held.add(socket))
        const close = () => {
          server.close()
          sockets.forEach((socket) => socket.destroy())
        }
        resume(Effect.succeed({ port, hold, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )
