// @ts-check
/** Builds the page: one script and one sheet of styles, with all that they need, into a folder that the server reads. */
import { copyFileSync, mkdirSync } from "node:fs"
import { join, resolve } from "node:path"
import { argv } from "node:process"
import { fileURLToPath } from "node:url"
import * as Esbuild from "esbuild"

const here = fileURLToPath(new URL("./", import.meta.url))

/**
 * Gives the files that it is made of, from the root of the repository.
 *
 * @param {string} [folder] Where the files go.
 */
export const build = async (folder = join(here, "dist/page")) => {
  mkdirSync(folder, { recursive: true })
  const { metafile } = await Esbuild.build({
    absWorkingDir: fileURLToPath(new URL("../../", import.meta.url)),
    entryPoints: { page: "packages/dashboard/src/page/main.ts" },
    outdir: folder,
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    logLevel: "warning",
    metafile: true,
    legalComments: "eof"
  })
  for (const file of ["index.html", "icon.svg"]) copyFileSync(join(here, "src/page", file), join(folder, file))
  return Object.keys(metafile.inputs)
}

if (argv[1] !== undefined && resolve(argv[1]) === fileURLToPath(import.meta.url)) await build()
