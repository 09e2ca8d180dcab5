import { inject } from "vitest"

declare module "vitest" {
  interface ProvidedContext {
    readonly programs: string
  }
}

/** The bundle of a file of `test/support` or `examples`, by its name without an extension; see `bundle.ts`. */
export const program = (name: string): string => `${inject("programs")}/${name}.js`
