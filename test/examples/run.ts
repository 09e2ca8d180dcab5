import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"

export const root = fileURLToPath(new URL("../../", import.meta.url))

/** How a process ended, and what it printed. */
export interface Ended {
  readonly code: number | string | null
  readonly output: string
}

const { RUNPOD_API_KEY: _key, RUNPOD_BASE_URL: _url, RUNPOD_ENDPOINT_ID: _id, ...environment } = process.env

/** Runs Node in the project's folder, without the variables that would send it to RunPod. */
export const node = (args: ReadonlyArray<string>, variables: Record<string, string> = {}): Effect.Effect<Ended> =>
  Effect.async((resume) => {
    const child = execFile(
      process.execPath,
      args,
      { cwd: root, env: { ...environment, NO_COLOR: "1", ...variables } },
      (error, stdout, stderr) =>
        resume(Effect.succeed({ code: error?.code ?? child.exitCode, output: stdout + stderr }))
    )
    return Effect.sync(() => child.kill())
  })

/** Runs a TypeScript file. */
export const run = (file: string, variables?: Record<string, string>): Effect.Effect<Ended> =>
  node(["--import", "tsx", file], variables)
