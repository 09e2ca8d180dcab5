import { Effect } from "effect"
import * as Esbuild from "esbuild"
import { execFile } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"

export const root = fileURLToPath(new URL("../../", import.meta.url))

/** How a process ended, and what it printed. */
export interface Ended {
  readonly code: number | string | null
  readonly output: string
}

const { RUNPOD_API_KEY: _key, RUNPOD_BASE_URL: _url, RUNPOD_ENDPOINT_ID: _id, ...environment } = process.env

/** Runs Node, in the project's folder if no other is given, without the variables that would send it to RunPod. */
export const node = (
  args: ReadonlyArray<string>,
  variables: Record<string, string> = {},
  cwd = root
): Effect.Effect<Ended> =>
  Effect.async((resume) => {
    const child = execFile(
      process.execPath,
      args,
      { cwd, env: { ...environment, NO_COLOR: "1", ...variables } },
      (error, stdout, stderr) =>
        resume(Effect.succeed({ code: error?.code ?? child.exitCode, output: stdout + stderr }))
    )
    return Effect.sync(() => child.kill())
  })

/** Runs a TypeScript file as the README says. */
export const run = (file: string, variables?: Record<string, string>): Effect.Effect<Ended> =>
  node(["--import", "tsx", file], variables)

/** A folder of its own for a file of tests, in the project so that imports are found. It is gone after the tests. */
export const makeFolder = (name: string): string => {
  mkdirSync(`${root}.blocks`, { recursive: true })
  const folder = mkdtempSync(`${root}.blocks/${name}-`)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/**
 * Makes programs of TypeScript files, and gives a function that runs one of them by its path. Such a program starts in a
 * tenth of the time that `run` takes, nearly all of which goes into loading modules.
 */
export const build = async (files: ReadonlyArray<string>) => {
  const folder = makeFolder("programs")
  await Esbuild.build({
    absWorkingDir: root,
    entryPoints: [...files],
    outdir: folder,
    entryNames: "[name]",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    tsconfig: "tsconfig.json",
    logLevel: "warning",
    // What is not ESM in it asks for `require`.
    banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` }
  })
  return (file: string, variables?: Record<string, string>, cwd?: string): Effect.Effect<Ended> =>
    node([`${folder}/${basename(file, ".ts")}.js`], variables, cwd)
}
