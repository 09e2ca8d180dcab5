/**
 * The programs that tests run in processes of their own, as bundles, made once for a run: one starts in a seventh of the CPU
 * time that a TypeScript file takes through tsx, nearly all of which goes into loading modules.
 */
import * as Esbuild from "esbuild"
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { TestProject } from "vitest/node"
import { build as buildCli } from "../../packages/cli/build.mjs"

export const root = fileURLToPath(new URL("../../", import.meta.url))

/** The files of `examples` that run by themselves. */
export const examples = readdirSync(`${root}examples`).filter((file) => file.endsWith(".ts"))

/** The file that says that all programs are there, or why not. */
export const ended = "ended.txt"

/** A new folder, in the project so that imports are found. */
export const makeFolder = (name: string): string => {
  mkdirSync(`${root}.blocks`, { recursive: true })
  return mkdtempSync(`${root}.blocks/${name}-`)
}

/** Bundles TypeScript files into a folder, each under its own name. */
export const bundle = (files: ReadonlyArray<string>, folder: string) =>
  Esbuild.build({
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
    // It finds a binary beside itself.
    external: ["@libsql/client"],
    // What is not ESM in it asks for `require`.
    banner: {
      js: `import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);`
    }
  })

const support = (...names: ReadonlyArray<string>) => names.map((name) => `test/support/${name}.ts`)
const clusterSupport = (...names: ReadonlyArray<string>) =>
  names.map((name) => `packages/cluster/test/support/${name}.ts`)

/** What the tests of a project run. */
const filesOf: Readonly<Record<string, ReadonlyArray<string>>> = {
  live: [
    ...support("batchChild", "fullDisk", "http2Client", "lockTaker", "proxyClient", "webhookServer", "workerProcess"),
    ...clusterSupport("journalChild", "webhookChild", "fileTaker")
  ],
  services: [...support("webhookServer"), ...clusterSupport("journalChild", "webhookChild", "clusterChild")],
  examples: examples.map((file) => `examples/${file}`),
  measured: support("webhookServer")
}

/** For `globalSetup`, which does not wait for it: `program.ts` does, and finds what this made. */
export const setup = (project: TestProject) => {
  const folder = makeFolder("programs")
  const { [project.name]: files = [] } = filesOf
  const end = (problem: string) => {
    writeFileSync(`${folder}/${ended}.part`, problem)
    renameSync(`${folder}/${ended}.part`, `${folder}/${ended}`)
  }
  const programs = [
    bundle(files, folder),
    ...(["live", "services"].includes(project.name) ? [buildCli(`${folder}/cli`)] : [])
  ]
  const bundling = Promise.all(programs).then(
    () => end(""),
    (error: unknown) => end(String(error))
  )
  project.provide("programs", folder)
  return async () => {
    await bundling
    rmSync(folder, { recursive: true, force: true })
  }
}
