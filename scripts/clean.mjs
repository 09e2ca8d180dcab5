// @ts-check
/** Removes the built package, so that nothing stale is packed. */
import { rmSync } from "node:fs"
import { root } from "./layout.mjs"

rmSync(`${root}dist`, { recursive: true, force: true })
