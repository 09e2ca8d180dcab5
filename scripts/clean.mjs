// @ts-check
/** Removes the built packages, so that nothing stale is packed. */
import { rmSync } from "node:fs"
import { packages, root } from "./layout.mjs"

for (const folder of ["", ...packages()]) rmSync(`${root}${folder}dist`, { recursive: true, force: true })
