import { existsSync, readFileSync } from "node:fs"
import { setTimeout } from "node:timers/promises"
import { inject } from "vitest"
import { ended } from "./bundle.js"

declare module "vitest" {
  interface ProvidedContext {
    readonly programs: string
  }
}

const folder = inject("programs")
while (!existsSync(`${folder}/${ended}`)) await setTimeout(20)
const problem = readFileSync(`${folder}/${ended}`, "utf8")
if (problem !== "") throw new Error(problem)

/** The bundle of a file of `test/support` or `examples`, by its name without an extension; see `bundle.ts`. */
export const program = (name: string): string => `${folder}/${name}.js`
