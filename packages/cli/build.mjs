// @ts-check
/**
 * Builds the commands: one ESM file for each that is loaded by itself, with all that they need inside, the page of the dashboard, the
 * help of every command as text, and the licenses of what is inside.
 */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { argv, execPath } from "node:process"
import { fileURLToPath } from "node:url"
import * as Esbuild from "esbuild"
import { build as buildPage } from "../dashboard/build.mjs"

const root = fileURLToPath(new URL("../../", import.meta.url))
const here = fileURLToPath(new URL("./", import.meta.url))

/** The folders of the packages that files lie in. @param {ReadonlyArray<string>} files */
const packagesOf = (files) => [
  ...new Set(
    files.flatMap((file) => {
      const [folder] = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []
      return folder === undefined ? [] : [folder]
    })
  )
]

/** The licenses of packages, as text. @param {ReadonlyArray<string>} folders */
const licensesOf = (folders) =>
  folders
    .map((folder) => {
      const { license, name, version } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"))
      const file = ["LICENSE", "LICENSE.md", "license", "LICENCE", "LICENSE.txt"].find((name) =>
        existsSync(join(root, folder, name))
      )
      const text = file === undefined ? "" : `\n\n${readFileSync(join(root, folder, file), "utf8").trim()}`
      return `${name} ${version} (${license})${text}\n`
    })
    .sort()
    .join("\n----\n\n")

/** @param {string} folder Where the files go. */
export const build = async (folder) => {
  const { version } = JSON.parse(readFileSync(`${here}package.json`, "utf8"))
  const { metafile } = await Esbuild.build({
    absWorkingDir: root,
    entryPoints: { bin: "packages/cli/src/bin.ts", help: "packages/cli/src/help.ts" },
    outdir: folder,
    chunkNames: "chunks/[name]-[hash]",
    bundle: true,
    splitting: true,
    minifySyntax: true,
    format: "esm",
    platform: "node",
    target: "node20",
    tsconfig: "tsconfig.json",
    logLevel: "warning",
    metafile: true,
    define: { PACKAGE_VERSION: JSON.stringify(version) },
    // For a bar that this program does not draw, and for what is another driver of PostgreSQL where it is installed.
    external: ["cli-progress", "pg-native"],
    // What is not ESM in it asks for `require`.
    banner: {
      js: `import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);`
    }
  })
  const page = await buildPage(join(folder, "page"))
  const help = execFileSync(execPath, [join(folder, "help.js")], { encoding: "utf8" })
  rmSync(join(folder, "help.js"))
  writeFileSync(join(folder, "help.json"), help)
  writeFileSync(join(folder, "licenses.txt"), licensesOf(packagesOf([...Object.keys(metafile.inputs), ...page])))
}

if (argv[1] !== undefined && resolve(argv[1]) === fileURLToPath(import.meta.url)) {
  const folder = join(dirname(fileURLToPath(import.meta.url)), "dist")
  rmSync(folder, { recursive: true, force: true })
  await build(folder)
}
