import { backslashesBefore } from "./json.js"

/** A part of a text, `end` excluded. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** Behind the closing quote of the string that begins at `start`. */
const stringEnd = (text: string, start: number): number => {
  for (let end = text.indexOf(`"`, start + 1); end >= 0; end = text.indexOf(`"`, end + 1)) {
    if (backslashesBefore(text, end) % 2 === 0) return end + 1
  }
  return text.length
}

const isNamed = (name: string, key: string): boolean =>
  key === `"${name}"` || (key.includes("\\") && JSON.parse(key) === name)

/** Where the values of a field stand in the text of a JSON object, its whitespace included; a key can come twice. */
export const fieldSpans = (text: string, name: string): ReadonlyArray<Span> => {
  const spans: Array<Span> = []
  let depth = 0
  let key: string | undefined
  /** Where the value of `key` starts, behind its colon. */
  let start: number | undefined
  const endField = (end: number) => {
    if (key !== undefined && start !== undefined && isNamed(name, key)) spans.push({ start, end })
    key = start = undefined
  }
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === `"`) {
      const end = stringEnd(text, at)
      if (depth === 1) key ??= text.slice(at, end)
      at = end - 1
    } else if (character === "{" || character === "[") depth++
    else if (character === "}" || character === "]") {
      if (depth === 1) endField(at)
      depth--
    } else if (depth === 1 && character === ":") start ??= at + 1
    else if (depth === 1 && character === ",") endField(at)
  }
  return spans
}
