import { excerpt } from "./text.js"

/** The members of a JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

export const stringOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/** A text that says something: vLLM writes many fields as `null` or "". */
export const wordOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined

export const numberOf = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined)

export const arrayOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [])

/** The value of a JSON text, or `undefined` for another text. JSON itself has no `undefined`. A byte order mark is no part of it. */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text.startsWith("\uFEFF") ? text.slice(1) : text) as unknown
  } catch {
    return undefined
  }
}

/** What a value is, for messages. */
export const describe = (value: unknown): string => {
  if (value === undefined) return "nothing"
  return excerpt(JSON.stringify(value) ?? String(value), 200)
}
