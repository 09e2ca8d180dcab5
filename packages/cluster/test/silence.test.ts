/** Sockets to PostgreSQL whose other end goes away without a word. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { once } from "node:events"
import { createServer, type Socket } from "node:net"
import { sockets } from "../src/internal/cluster/silence.js"

const longest = 200

/** PostgreSQL's end of an answer: it is ready for the next query. */
const ready = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])

/** A server that answers in one piece, or in one that has no end, until it is told to be silent. */
const serve = Effect.acquireRelease(
  Effect.promise(async () => {
    const open = new Set<Socket>()
    const state = { isSilent: false, answer: ready }
    const server = createServer((socket) => {
      open.add(socket)
      socket.on("data", () => state.isSilent || socket.write(state.answer))
      socket.on("error", () => undefined)
    })
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    return { server, open, state, port }
  }),
  ({ open, server }) =>
    Effect.sync(() => {
      for (const socket of open) socket.destroy()
      server.close()
    })
)

for (const [what, change] of [
  ["does not come", { isSilent: true }],
  ["stops in the middle", { answer: Buffer.from("T of some rows") }]
] as const) {
  it.scopedLive(`end when an answer ${what}, and not where none is due`, () =>
    Effect.gen(function* () {
      const { port, state } = yield* serve
      const make = sockets(longest)
      if (make === undefined) return yield* Effect.dieMessage("there are no sockets")
      const socket = make()
      const errors: Array<unknown> = []
      socket.on("error", (error) => errors.push(error))
      yield* Effect.promise(async () => {
        const connected = once(socket, "connect")
        socket.connect(port, "127.0.0.1")
        await connected
        const answer = once(socket, "data")
        socket.write("asked")
        assert.deepStrictEqual((await answer)[0], ready)
      })
      yield* Effect.sleep(3 * longest)
      assert.isFalse(socket.destroyed)
      Object.assign(state, change)
      yield* Effect.promise(async () => {
        const closed = new Promise((resolve) => socket.once("close", resolve))
        socket.write("asked")
        await closed
      })
      assert.deepInclude(errors[0], { code: "ETIMEDOUT" })
    })
  )
}

it.scopedLive("end with the other end", () =>
  Effect.gen(function* () {
    const { open, port } = yield* serve
    const socket = sockets(longest)?.()
    if (socket === undefined) return yield* Effect.dieMessage("there are no sockets")
    yield* Effect.promise(async () => {
      const connected = once(socket, "connect")
      socket.connect(port, "127.0.0.1")
      await connected
      const closed = once(socket, "close")
      socket.resume()
      for (const one of open) one.end()
      await closed
    })
  })
)
