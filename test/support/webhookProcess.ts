import { Effect } from "effect"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { program } from "./program.js"

/** A delivery as the receiver printed it. */
export interface Printed {
  readonly sequence: number
  readonly jobId: string
  readonly key: string
}

/**
 * How large V8's young generation may grow, in MiB: Node 20's default. That of Node 24 is so large that it hides what a test
 * measures.
 */
const semiSpace = 16

/**
 * A receiver in a process of its own; see `receiverProcess.ts`. It waits for `begin`, and is killed with the scope. `server` is its program,
 * by default that whose store is in a file.
 */
export const spawnReceiver = (options: {
  readonly file: string
  readonly port?: number
  readonly killAt?: number
  readonly server?: string
}) =>
  Effect.gen(function* () {
    const { file, killAt = 0, port = 0, server = "webhookServer" } = options
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(
          process.execPath,
          [`--max-semi-space-size=${semiSpace}`, program(server), file, String(port), String(killAt)],
          {
            stdio: ["pipe", "pipe", "inherit"]
          }
        )
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const events: Array<Printed> = []
    const memory: Array<number> = []
    const ended = new Promise<string | number | null>((resolve) => {
      child.on("exit", (code, signal) => resolve(code ?? signal))
    })
    const lines = createInterface(child.stdout)
    /** Begins, with the deliveries after this one, and gives its URL. */
    const begin = (after: number) =>
      Effect.async<string>((resume) => {
        lines.on("line", (line) => {
          const said = JSON.parse(line) as Partial<Printed> & { readonly url?: string; readonly rss?: number }
          if (said.url !== undefined) resume(Effect.succeed(said.url))
          else if (said.rss !== undefined) memory.push(said.rss)
          else events.push(said as Printed)
        })
        child.stdin.write(`${after}\n`)
      })
    return {
      begin,
      events,
      memory,
      ended: Effect.promise(() => ended),
      isRunning: () => child.exitCode === null && child.signalCode === null
    }
  })
