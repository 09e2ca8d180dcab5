import * as Schema from "effect/Schema"
import { describeJson } from "./json.js"

/** Why an id cannot stand in a URL path, or `undefined` when it can. */
export const idProblem = (id: unknown): string | undefined => {
  if (typeof id !== "string") return `it is not a string but ${describeJson(id)}`
  if (id.trim() === "") return "it is empty"
  if (id === "." || id === "..") return `"${id}" would change the request's path`
  if (id.length > 512) return `it is ${id.length} characters long (at most 512)`
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(id)) return "it contains a control character"
  if (!id.isWellFormed()) return "it is not well-formed Unicode"
  return undefined
}

export const idSchema = <Name extends string>(name: Name, problem: (id: string) => string | undefined) =>
  Schema.String.pipe(
    Schema.filter((id) => problem(id) ?? true, { jsonSchema: { minLength: 1, maxLength: 512 } }),
    Schema.annotations({ identifier: name }),
    Schema.brand(`effect-runpod/${name}` as const)
  )
