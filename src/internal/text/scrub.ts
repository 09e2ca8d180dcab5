import * as Redacted from "effect/Redacted"
import { isJsonObject } from "./json.js"

/** Strikes secrets out of a text. */
export type Scrub = (text: string) => string

const encoder = new TextEncoder()

const entities: Record<string, string> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos" }

/** Escapes a text for use in a pattern. */
const literally = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")

/** Hexadecimal digits in either case. */
const hex = (code: number, length: number): string =>
  code
    .toString(16)
    .padStart(length, "0")
    .replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`)

// Any of these can have been written inside another: JSON in JSON, HTML in JSON, a URL in a URL. Each text has one way to
// be read as a run of `backslash`, or a text full of them would take for ever.
const percent = "%(?:25)*"
const ampersand = `(?:&|u0026|${percent}26)(?:amp;)*`
const semicolon = `(?:;|\\\\*u003[bB]|${percent}3[bB])`
const hash = `(?:#|\\\\*u0023|${percent}23)`
const backslash = `(?:\\\\u005[cC]|\\\\|${percent}5[cC]|&(?:amp;)*#(?:0*92|[xX]0*5[cC]);)`

/** A pattern for a character that encoders touch, as it stands, and as JSON, HTML or a URL would write it. */
const patternOf = (character: string): string => {
  const code = character.codePointAt(0) ?? 0
  const units = Array.from({ length: character.length }, (_, i) => `u${hex(character.charCodeAt(i), 4)}`)
  const bytes = Array.from(encoder.encode(character), (byte) => `${percent}${hex(byte, 2)}`)
  const names = [entities[character] ?? [], `${hash}0*${code}`, `${hash}[xX]0*${hex(code, 1)}`].flat()
  const [first, letter] = JSON.stringify(character).slice(1, -1)
  const forms = [
    units.join("\\\\*"),
    bytes.join(""),
    `${ampersand}(?:${names.join("|")})${semicolon}`,
    character === " " ? "\\+" : [],
    // A control character, such as \n.
    first === "\\" && letter !== undefined && letter !== character ? letter : [],
    // The shortest last: the others may begin with it.
    literally(character)
  ]
  return `(?:${forms.flat().join("|")})`
}

/** A pattern for a secret in any of these ways, with any number of backslashes before what they may escape. */
const patternOfSecret = (secret: string): string => {
  let pattern = ""
  // Backslashes of the secret's own that come next.
  let own = 0
  const backslashes = (mayBeMore: boolean): string => {
    // At the beginning there may be more of them than belong to it, and each would be tried as the first.
    const most = pattern === "" ? own * 16 + (mayBeMore ? 4 : 0) : ""
    return own === 0 && !mayBeMore ? "" : `${backslash}{${own},${most}}`
  }
  for (const character of secret) {
    if (character === "\\") {
      own++
      continue
    }
    const isPlain = /[A-Za-z0-9]/.test(character)
    pattern += backslashes(!isPlain) + (isPlain ? character : patternOf(character))
    own = 0
  }
  return pattern + backslashes(false)
}

/** A pattern for what may be in a text. */
type Search = (text: string) => RegExp | undefined

/** A pattern is dear to make. Letters and digits stand in it as they are: a text without the longest run of them needs none. */
const searchFor = (secret: string): Search => {
  const run = (secret.match(/[A-Za-z0-9]+/g) ?? []).reduce((a, b) => (b.length > a.length ? b : a), "")
  let pattern: RegExp | undefined
  return (text) => (text.includes(run) ? (pattern ??= new RegExp(patternOfSecret(secret), "g")) : undefined)
}

/**
 * A field of JSON, or of JSON within JSON, in which RunPod echoes what the submit of a job carried: who reads a job may not
 * know its secrets. A value that is cut off ends with the text.
 */
const echo =
  /(?<!\\)(?<quote>(?<escape>\\*)")(?:webhook(?:V2)?|s3Config|accessId|accessSecret)\k<quote>\s*:\s*(?:\k<quote>(?<text>(?:(?!(?<!\\)\k<escape>")[^])*)|\{(?<object>[^}]*))/g

/**
 * A scrubber for these secrets as they stand, and as JSON, HTML or a URL would write them, and for fields that hold such.
 * A server can echo what it was sent, so whatever comes from outside passes here before it enters an error, a log or a
 * span.
 */
export const makeScrub = (secrets: ReadonlyArray<string>): Scrub => {
  // Most requests go well and need no scrubber, most texts no pattern.
  let searches: ReadonlyArray<Search> | undefined
  return (text) => {
    searches ??= [...new Set(secrets)].filter((secret) => secret !== "").map(searchFor)
    const patterns = [...searches.flatMap((search) => search(text) ?? []), echo]
    // All of them are looked for in the text as it came: where two overlap, nothing may be left of either.
    const found: Array<{ readonly start: number; readonly end: number }> = []
    for (const pattern of patterns) {
      pattern.lastIndex = 0
      for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
        const end = match.index + match[0].length
        const value = match.groups?.["text"] ?? match.groups?.["object"] ?? match[0]
        if (value !== "") found.push({ start: end - value.length, end })
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
