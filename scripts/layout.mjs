// @ts-check
/** What the checks know about the layout of the sources. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** The folder of the package, with a slash at its end. */
export const root = fileURLToPath(new URL("../", import.meta.url))

/** Modules that may use Node's own modules, as paths in `src` without an extension. */
export const nodeOnly = [
  "Node",
  "internal/undiciWire",
  "layers/NodeRunPod",
  "layers/NodeWebhooks",
  "services/NodeProgress",
  "emulator/NodeEmulator"
]

/** Folders whose modules are public when their name starts with an upper-case letter. */
export const publicFolders = ["schemas", "errors", "layers", "services", "emulator"]

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

/**
 * @typedef {{ readonly types: string, readonly default: string }} Target
 * @typedef {{
 *   readonly name: string
 *   readonly version: string
 *   readonly exports: Readonly<Record<string, Target | string | null>>
 *   readonly peerDependencies: Readonly<Record<string, string>>
 *   readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional?: boolean }>>
 *   readonly devDependencies: Readonly<Record<string, string>>
 * }} Manifest
 * @returns {Manifest}
 */
export const manifest = () => JSON.parse(readFileSync(`${root}package.json`, "utf8"))

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
