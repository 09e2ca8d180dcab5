import * as RateLimits from "effect-runpod/RateLimits"
import { NodeEmulator } from "effect-runpod/Node"
import type { EndpointOptions, Fault } from "effect-runpod/Emulator"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { program } from "../../../../test/support/program.js"

/** The built command. */
export const bin = program("cli/bin")

/** How a command ended, and what it wrote. */
export interface Ended {
  /** With a signal that has killed it, 128 and its number. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A command that runs. */
export interface Running {
  readonly child: ChildProcess
  readonly ended: Effect.Effect<Ended>
  /** Waits until it has written something to stdout or stderr. */
  readonly wrote: (pattern: RegExp) => Effect.Effect<RegExpExecArray>
}

export interface Options {
  /** Over those of this process, without RunPod's. */
  readonly env?: Readonly<Record<string, string>>
  readonly stdin?: string
  /** Whether stdin stays open, for what is typed later. */
  readonly typed?: boolean
  readonly cwd?: string
}

const environmentOf = (env: Readonly<Record<string, string>>) => {
  const { RUNPOD_API_KEY: _key, RUNPOD_BASE_URL: _url, NO_COLOR: _color, ...others } = process.env
  return { ...others, XDG_STATE_HOME: `${tmpdir()}/effect-runpod-cli-state`, ...env }
}

/** Starts a program; it is killed with the scope. */
export const start = (
  file: string,
  args: ReadonlyArray<string>,
  { cwd, env = {}, stdin = "", typed = false }: Options = {}
) =>
  Effect.acquireRelease(
    Effect.sync((): Running => {
      const child = spawn(file, args, { cwd, env: environmentOf(env), stdio: "pipe" })
      const written = { stdout: "", stderr: "" }
      const listeners = new Set<() => void>()
      for (const name of ["stdout", "stderr"] as const) {
        child[name].setEncoding("utf8").on("data", (text: string) => {
          written[name] += text
          for (const listener of listeners) listener()
        })
      }
      child.stdin.on("error", () => undefined)
      if (typed) child.stdin.write(stdin)
      else child.stdin.end(stdin)
      const ended = new Promise<Ended>((resolve) => {
        child.on("close", (code, signal) => resolve({ code: code ?? (signal === "SIGKILL" ? 137 : 128), ...written }))
      })
      return {
        child,
        ended: Effect.promise(() => ended),
        wrote: (pattern) =>
          Effect.async((resume) => {
            const look = () => {
              const found = pattern.exec(written.stdout) ?? pattern.exec(written.stderr)
              if (found === null) return
              listeners.delete(look)
              resume(Effect.succeed(found))
            }
            listeners.add(look)
            look()
          })
      }
    }),
    ({ child, ended }) =>
      Effect.suspend(() => {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL")
        return ended
      })
  )

/** Starts the command. */
export const command = (args: ReadonlyArray<string>, options?: Options) =>
  start(process.execPath, [bin, ...args], options)

/** Runs the command to its end. */
export const run = (args: ReadonlyArray<string>, options?: Options): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(command(args, options), ({ ended }) => ended))

/** An emulator, and the variables that lead the command to it. */
export interface Served {
  readonly server: NodeEmulator.Server
  readonly env: Readonly<Record<string, string>>
}

/** Serves an emulator. Its endpoints: `ep` answers at once, `slow` takes an hour, `bad` fails, `words` streams. */
export const served = (options: { readonly ep?: EndpointOptions; readonly faults?: ReadonlyArray<Fault.Fault> } = {}) =>
  Effect.map(
    NodeEmulator.serve({
      endpoints: {
        ep: options.ep ?? {},
        slow: { execution: "1 hour", workers: 1 },
        bad: { handler: () => Effect.fail(new Error("no such model")) },
        words: { handler: () => Stream.make("a ", "cat", { tokens: 2 }) }
      },
      limits: RateLimits.unlimited,
      faults: options.faults ?? [],
      apiKey: "test-key-0123456789"
    }),
    (server): Served => ({ server, env: { RUNPOD_BASE_URL: server.url, RUNPOD_API_KEY: "test-key-0123456789" } })
  )

/** A folder that goes with the scope. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(`${tmpdir()}/effect-runpod-cli-`)),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)
