import * as Redacted from "effect/Redacted"
import { isJsonObject } from "./json.js"

/** Strikes secrets out of a text. */
export type Scrub = (text: string) => string

const encoder = new TextEncoder()

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" }

/** Escapes a text for use in a pattern. */
const literally = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")

/** Hexadecimal digits in either case. */
const hex = (code: number, length: number): string =>
  code
    .toString(16)
    .padStart(length, "0")
    .replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`)

/** A pattern for a run of backslashes: taken one by one, each would double the ways to read a text full of them. */
const patternOfBackslashes = (count: number): string => {
  const forms = ["\\\\{4}", "\\\\{2}", "\\\\{1,4}u005[cC]", "%(?:25){0,2}5[cC]", "&#(?:0*92|[xX]0*5[cC]);", "\\\\"]
  return `(?:${forms.map((form) => `(?:${form}){${count}}`).join("|")})`
}

/** A pattern for a character as it stands, and as JSON (also within JSON), HTML or a URL would write it. */
const patternOf = (character: string): string => {
  // No encoder touches these.
  if (/^[A-Za-z0-9]$/.test(character)) return character
  if (character.startsWith("\\")) return patternOfBackslashes(character.length)
  const code = character.codePointAt(0) ?? 0
  const units = Array.from({ length: character.length }, (_, i) => `\\\\{1,4}u${hex(character.charCodeAt(i), 4)}`)
  const bytes = Array.from(encoder.encode(character), (byte) => `%(?:25){0,2}${hex(byte, 2)}`)
  const entity = entities[character]
  const json = JSON.stringify(character).slice(1, -1)
  const forms = [
    json === character ? "" : `\\\\{0,3}${literally(json)}`,
    character === "/" ? "\\\\{1,3}/" : "",
    units.join(""),
    bytes.join(""),
    character === " " ? "\\+" : "",
    entity ?? "",
    `&#(?:0*${code}|[xX]0*${hex(code, 1)});`,
    // The shortest last: the others may begin with it.
    literally(character)
  ]
  return `(?:${forms.filter((form) => form !== "").join("|")})`
}

/**
 * A scrubber for these secrets as they stand, and as JSON, HTML or a URL would write them. A server can echo what it
 * was sent, so whatever comes from outside passes here before it enters an error, a log or a span.
 */
export const makeScrub = (secrets: ReadonlyArray<string>): Scrub => {
  // Most requests go well and need no scrubber.
  let patterns: ReadonlyArray<RegExp> | undefined
  return (text) => {
    patterns ??= [...new Set(secrets)]
      .filter((secret) => secret !== "")
      .map((secret) => new RegExp(Array.from(secret.match(/\\+|[^\\]/gu) ?? [], patternOf).join(""), "g"))
    // All of them are looked for in the text as it came: where two overlap, nothing may be left of either.
    const found: Array<{ readonly start: number; readonly end: number }> = []
    for (const pattern of patterns) {
      pattern.lastIndex = 0
      for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
        found.push({ start: match.index, end: match.index + match[0].length })
        pattern.lastIndex = match.index + 1
      }
    }
    if (found.length === 0) return text
    found.sort((a, b) => a.start - b.start || b.end - a.end)
    let out = ""
    let done = 0
    for (const { end, start } of found) {
      if (start >= done) out += `${text.slice(done, start)}<redacted>`
      done = Math.max(done, end)
    }
    return out + text.slice(done)
  }
}

/**
 * The scrubber applied to every string and key inside a value; what is no plain JSON, such as the numbers of a parser of
 * one's own, stays as it is. A loop, since JSON from outside can be nested more deeply than calls can.
 */
export const scrubValue = (value: unknown, scrub: Scrub): unknown => {
  const todo: Array<() => void> = []
  const copyOf = (from: unknown): unknown => {
    if (typeof from === "string") return scrub(from)
    if (Array.isArray(from)) {
      const to: Array<unknown> = []
      todo.push(() => {
        for (const entry of from) to.push(copyOf(entry))
      })
      return to
    }
    if (!isPlainObject(from)) return from
    const to = {}
    todo.push(() => {
      for (const [key, entry] of Object.entries(from)) {
        // Not an assignment: a key may be `__proto__`.
        const property = { value: copyOf(entry), enumerable: true, configurable: true, writable: true }
        Object.defineProperty(to, scrub(key), property)
      }
    })
    return to
  }
  const copy = copyOf(value)
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) next()
  return copy
}

const isPlainObject = (value: unknown): value is object => {
  if (!isJsonObject(value) || Redacted.isRedacted(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}
