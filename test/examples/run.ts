import { Effect } from "effect"
import { execFile } from "node:child_process"
import { rmSync } from "node:fs"
import { afterAll } from "vitest"
import * as Bundle from "../support/bundle.js"

/** How a process ended, and what it printed. */
export interface Ended {
  readonly code: number | string | null
  readonly output: string
}

const { RUNPOD_API_KEY: _key, RUNPOD_BASE_URL: _url, RUNPOD_ENDPOINT_ID: _id, ...environment } = process.env

/** Programs mostly wait; starting them is what takes time, so not all start at once. */
const atOnce = Effect.unsafeMakeSemaphore(6)

/**
 * Runs Node, in the project's folder if no other is given, without the variables that would send it to RunPod. With `interruptAt` it gets
 * Ctrl-C (SIGINT) once it has printed that.
 */
export const node = (
  args: ReadonlyArray<string>,
  variables: Record<string, string> = {},
  cwd = Bundle.root,
  interruptAt?: string
): Effect.Effect<Ended> =>
  Effect.async<Ended>((resume) => {
    const child = execFile(
      process.execPath,
      args,
      { cwd, env: { ...environment, NO_COLOR: "1", ...variables } },
      (error, stdout, stderr) =>
        resume(Effect.succeed({ code: error?.code ?? child.exitCode, output: stdout + stderr }))
    )
    if (interruptAt !== undefined) {
      let printed = ""
      child.stdout?.on("data", (data) => {
        const isThere = printed.includes(interruptAt)
        printed += String(data)
        if (!isThere && printed.includes(interruptAt)) child.kill("SIGINT")
      })
    }
    return Effect.sync(() => child.kill())
  }).pipe(atOnce.withPermits(1))

/** A folder of its own for a file of tests. It is gone after the tests. */
export const makeFolder = (name: string): string => {
  const folder = Bundle.makeFolder(name)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
