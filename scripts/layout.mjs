// @ts-check
/** What the checks know about the layout of the sources. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** The folder of the package, with a slash at its end. */
export const root = fileURLToPath(new URL("../", import.meta.url))

/** What all may import. */
const lowest = ["internal/effect", "internal/text"]
/** What lies below the layers. */
const belowLayers = [
  ...lowest,
  "internal/pace",
  "internal/files",
  "internal/telemetry",
  "internal/http",
  "internal/webhooks",
  "internal/cost",
  "schemas",
  "errors"
]
/** What lies below what is done with jobs. */
const belowJobs = [
  ...lowest,
  "internal/pace",
  "internal/telemetry",
  "internal/http",
  "internal/webhooks",
  "schemas",
  "errors",
  "layers"
]
/** What lies below the batches, and so below the services. */
const belowBatch = [...belowLayers, "layers", "internal/jobs"]

/**
 * The rooms of `src` in their order: what each may import values from, and from where only types (a public contract and its
 * body know each other). `internal` lies below what uses it, subject by subject. What is Node's is in `node`, and only there.
 *
 * @type {Readonly<Record<string, { readonly may: ReadonlyArray<string>, readonly types?: ReadonlyArray<string> }>>}
 */
export const rooms = {
  "internal/effect": { may: [] },
  "internal/text": { may: [] },
  schemas: { may: [...lowest] },
  errors: { may: [...lowest, "schemas"] },
  "internal/pace": { may: [...lowest], types: ["layers", "schemas"] },
  "internal/files": { may: [...lowest, "errors"] },
  "internal/telemetry": { may: [...lowest, "internal/pace", "schemas"] },
  "internal/http": { may: [...lowest, "internal/pace", "internal/telemetry", "schemas", "errors"], types: ["layers"] },
  "internal/webhooks": {
    may: [...lowest, "internal/pace", "internal/files", "internal/telemetry", "schemas", "errors"],
    types: ["layers", "services", "internal/jobs"]
  },
  "internal/flight": {
    may: [...lowest, "internal/pace", "internal/files", "internal/http", "internal/webhooks", "schemas", "errors"],
    types: ["layers", "services"]
  },
  "internal/cost": { may: [...lowest], types: ["layers"] },
  layers: { may: belowLayers },
  "internal/jobs": { may: belowJobs, types: ["services"] },
  "internal/batch": { may: belowBatch, types: ["services"] },
  services: { may: [...belowBatch, "internal/batch", "internal/flight"] },
  emulator: { may: [...lowest, "internal/pace", "internal/flight", "schemas", "errors", "layers", "services"] },
  promise: { may: [...lowest, "schemas", "errors", "layers", "services"] },
  blob: { may: [...lowest, "internal/pace", "schemas", "errors", "services"] },
  node: { may: [...belowJobs, "services", "emulator", "promise"] }
}

/** The barrels, files of `src` itself, which export the public modules of all rooms but those that are entries of their own: Node's, the emulator's, those of promises and blobs. */
export const barrelMay = ["schemas", "errors", "layers", "services"]

/**
 * The room a file lies in; "" for the barrel.
 *
 * @param {string} path In `src`.
 */
export const roomOf = (path) => {
  const [first = "", second, third] = path.split("/")
  if (second === undefined) return ""
  return first === "internal" && third !== undefined ? `internal/${second}` : first
}

/** Optional peers of a platform-free entry and its room, which nothing else may import. They have no modules to import one by one. */
export const blobPeers = /^@aws-sdk\//

/** Optional peers that a module loads when it is used, by `import()`: whatever else is in its entry loads without them. */
export const lazyPeers = /^ioredis$/

/** Folders whose modules are public when their name starts with an upper-case letter. */
export const publicFolders = ["schemas", "errors", "layers", "services", "emulator", "promise", "blob", "node"]

/** The public modules that exist, as paths in `src` without an extension. */
export const publicModules = () =>
  publicFolders.flatMap((folder) => {
    /** @type {Array<string>} */
    let names = []
    try {
      names = readdirSync(`${root}src/${folder}`)
    } catch {
      // Not written yet.
    }
    return names
      .filter((name) => /^[A-Z]\w*\.ts$/.test(name))
      .sort()
      .map((name) => `${folder}/${name.slice(0, -3)}`)
  })

/** The packages of the workspace, as folders in the root with a slash at the end. */
export const packages = () =>
  readdirSync(`${root}packages`)
    .map((name) => `packages/${name}/`)
    .filter((folder) => existsSync(`${root}${folder}package.json`))

/**
 * The public modules of a package of the workspace, by name: files in its `src` whose names start with an upper-case letter.
 *
 * @param {string} folder
 */
export const packageModules = (folder) =>
  readdirSync(`${root}${folder}src`)
    .filter((name) => /^[A-Z]\w*\.ts$/.test(name))
    .sort()
    .map((name) => name.slice(0, -3))

/**
 * Whether a package is a program: commands, bundled with all that they need, and no modules for others.
 *
 * @param {string} folder
 */
export const isProgram = (folder) => manifest(folder).bin !== undefined

/** All public modules of the repository, as paths without an extension. */
export const allModules = () => [
  ...publicModules().map((module) => `src/${module}`),
  ...packages().flatMap((folder) => packageModules(folder).map((name) => `${folder}src/${name}`))
]

/**
 * @typedef {{ readonly types: string, readonly default: string }} Target
 * @typedef {{
 *   readonly name: string
 *   readonly version: string
 *   readonly repository: { readonly url: string }
 *   readonly files: ReadonlyArray<string>
 *   readonly bin?: Readonly<Record<string, string>>
 *   readonly exports: Readonly<Record<string, Target | string | null>>
 *   readonly dependencies?: Readonly<Record<string, string>>
 *   readonly peerDependencies: Readonly<Record<string, string>>
 *   readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional?: boolean }>>
 *   readonly devDependencies: Readonly<Record<string, string>>
 * }} Manifest
 * @param {string} [folder] Of a package of the workspace. Default: the root.
 * @returns {Manifest}
 */
export const manifest = (folder = "") => JSON.parse(readFileSync(`${root}${folder}package.json`, "utf8"))

/**
 * Prints what was found and ends the process.
 *
 * @param {string} name
 * @param {ReadonlyArray<string>} problems
 * @param {string} summary
 * @returns {never}
 */
export const report = (name, problems, summary) => {
  for (const problem of problems) console.error(`${name}: ${problem}`)
  if (problems.length === 0) console.log(`${name}: ${summary}`)
  process.exit(problems.length === 0 ? 0 : 1)
}
