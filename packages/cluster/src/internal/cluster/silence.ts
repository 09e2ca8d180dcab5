/** Sockets to PostgreSQL that end when an answer does not come: its client would use a connection that is dead without a word for ever. */
import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import * as Duration from "effect/Duration"

/** A stream of Node. */
type Duplex = ReturnType<NonNullable<PgClientConfig["stream"]>>

/** What is used of a socket of Node. */
interface Socket {
  on(event: "connect" | "end" | "close" | "timeout", listener: () => void): unknown
  on(event: "data", listener: (bytes: Uint8Array) => void): unknown
  on(event: "error", listener: (error: Error) => void): unknown
  connect(port: number, host: string): unknown
  write(bytes: Uint8Array, done: Done): unknown
  end(done: Done): unknown
  destroy(): unknown
  pause(): unknown
  resume(): unknown
  setTimeout(millis: number): unknown
  setNoDelay(on: boolean): unknown
  setKeepAlive(on: boolean, after: number): unknown
  ref(): unknown
  unref(): unknown
}

type Done = (error?: Error | null) => void

interface DuplexOptions {
  readonly allowHalfOpen: boolean
  readonly read: () => void
  readonly write: (bytes: Uint8Array, encoding: string, done: Done) => void
  readonly final: (done: Done) => void
  readonly destroy: (error: Error | null, done: Done) => void
}

interface Modules {
  (name: "node:net"): { readonly Socket: new () => Socket }
  (name: "node:stream"): { readonly Duplex: new (options: DuplexOptions) => Duplex }
}

declare const process: { readonly getBuiltinModule?: Modules | undefined } | undefined

/** How long an answer may take. The statements of batches and of the cluster are given up, or late, before that. */
const longestSilence = Duration.toMillis("30 seconds")

/** The server is ready for the next query. */
const ready = [0x5a, 0, 0, 0, 5]
/** What the first byte of records of TLS is, and of the answer to whether there is TLS. */
const isEncrypted = (first: number, length: number) => (first >= 0x14 && first <= 0x17) || length === 1

/** Whether an answer ends with these bytes; of what is encrypted nobody knows. */
const isEnd = (bytes: Uint8Array): boolean =>
  isEncrypted(bytes[0] ?? 0, bytes.length) || ready.every((byte, i) => bytes[bytes.length - 6 + i] === byte)

/** Makes sockets, where Node has what that needs. With a stream in front, since what is encrypted would go past a socket's own events. */
export const sockets = (longest = longestSilence): (() => Duplex & Pick<Socket, "connect">) | undefined => {
  const load = typeof process === "undefined" ? undefined : process.getBuiltinModule
  if (load === undefined) return undefined
  const { Socket } = load("node:net")
  const { Duplex } = load("node:stream")
  return () => {
    const socket = new Socket()
    let isAsked = true
    const stream = new Duplex({
      allowHalfOpen: false,
      read: () => void socket.resume(),
      write: (bytes, _, done) => {
        isAsked = true
        socket.write(bytes, done)
      },
      final: (done) => void socket.end(done),
      destroy: (error, done) => {
        socket.destroy()
        done(error)
      }
    })
    socket.on("connect", () => {
      isAsked = false
      stream.emit("connect")
    })
    socket.on("data", (bytes) => {
      if (isEnd(bytes)) isAsked = false
      if (!stream.push(bytes)) socket.pause()
    })
    // Nothing was sent, and nothing came, for so long.
    socket.setTimeout(longest)
    socket.on("timeout", () => {
      if (isAsked) stream.destroy(Object.assign(new Error("the database does not answer"), { code: "ETIMEDOUT" }))
    })
    socket.on("end", () => stream.push(null))
    socket.on("error", (error) => stream.destroy(error))
    socket.on("close", () => stream.destroy())
    return Object.assign(stream, {
      connect: (port: number, host: string) => socket.connect(port, host),
      setNoDelay: (on: boolean) => void socket.setNoDelay(on),
      setKeepAlive: (on: boolean, after: number) => void socket.setKeepAlive(on, after),
      ref: () => void socket.ref(),
      unref: () => void socket.unref()
    })
  }
}
