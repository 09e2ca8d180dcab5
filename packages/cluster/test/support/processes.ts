/** Processes that tests start, and kill. */
import { Deferred, Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:net"
import { warning } from "./queries.js"

export interface Running {
  readonly child: ChildProcess
  /** What it has written, errors among it. */
  readonly output: () => string
  /** Its exit status, when it has ended. */
  readonly ended: Effect.Effect<number | null>
}

/** Starts a program with its options as JSON; its process does not outlive the test, which fails where `pg` has warned of something in it. */
export const startProcess = (file: string, options: object): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function* () {
    const ended = yield* Deferred.make<number | null>()
    const args = [file, JSON.stringify(options)]
    let output = ""
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--trace-deprecation", ...args], { stdio: ["ignore", "pipe", "pipe"] })
      ),
      (child) =>
        Effect.suspend(() => {
          child.kill("SIGKILL")
          return warning.test(output) ? Effect.dieMessage(output) : Effect.void
        })
    )
    child.stdout.on("data", (data: Buffer) => (output += data.toString()))
    child.stderr.on("data", (data: Buffer) => (output += data.toString()))
    child.on("close", (code) => Deferred.unsafeDone(ended, Effect.succeed(code)))
    return { child, output: () => output, ended: Deferred.await(ended) }
  })

export const until = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.asVoid(Effect.repeat(Effect.delay(condition, "5 millis"), { until: (holds) => holds }))

export const freePort = Effect.promise(async () => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  return address !== null && typeof address === "object" ? address.port : 0
})
