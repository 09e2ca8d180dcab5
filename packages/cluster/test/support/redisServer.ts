/** A Redis of a test's own, which may be killed and started again. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { connected } from "./permitStores.js"
import { freePort } from "./processes.js"

export const password = "a-password-of-tests"

/** A server that can be killed and started again on its port. */
export class Server {
  private child: ChildProcess | undefined
  readonly url: string
  private readonly folder = mkdtempSync(`${tmpdir()}/redis-`)

  constructor(private readonly port: number) {
    this.url = `redis://:${password}@127.0.0.1:${port}`
  }

  readonly start = Effect.promise(async () => {
    const options = { port: this.port, bind: "127.0.0.1", dir: this.folder, save: "", requirepass: password }
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
    const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] })
    this.child = child
    for await (const text of child.stdout) if (String(text).includes("Ready to accept")) break
    child.stdout.resume()
  })

  readonly kill = Effect.promise(async () => {
    const { child } = this
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill("SIGKILL")
    await once(child, "exit")
  })

  readonly remove = Effect.sync(() => rmSync(this.folder, { recursive: true, force: true }))

  readonly command = (name: string, ...args: ReadonlyArray<string>) =>
    Effect.scoped(Effect.flatMap(connected(this.url), (client) => Effect.promise(() => client.call(name, ...args))))
}

export const ownRedis: Effect.Effect<Server, never, Scope.Scope> = Effect.acquireRelease(
  Effect.tap(
    Effect.map(freePort, (port) => new Server(port)),
    ({ start }) => start
  ),
  ({ kill, remove }) => Effect.zipRight(kill, remove)
)
