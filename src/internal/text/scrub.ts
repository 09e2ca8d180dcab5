import { backslashesBefore, isPlainObject } from "./json.js"

/** Replaces secrets in a text by `<redacted>`. */
export type Scrub = (text: string) => string

/**
 * Whether a text is long enough to be a secret. Keys of RunPod and S3 are; where the key of a local server is struck out of messages
 * ("test", "key"), nobody can read them any more.
 */
export const canBeSecret = (text: string): boolean => text.length >= 8

const encoder = new TextEncoder()

const htmlNames: Record<string, string> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos" }

const escapePattern = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")

/** Digits of either case. */
const hexPattern = (code: number, length: number): string =>
  code
    .toString(16)
    .padStart(length, "0")
    .replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`)

// Encodings nest: JSON in JSON, HTML in JSON, a URL in a URL. Each of these patterns matches a text in one way only. With two
// ways, a text of many backslashes would take exponential time.
const percent = "%(?:25)*"
const ampersand = `(?:&|u0026|${percent}26)(?:amp;)*`
const semicolon = `(?:;|\\\\*u003[bB]|${percent}3[bB])`
const hash = `(?:#|\\\\*u0023|${percent}23)`
const backslash = `(?:\\\\u005[cC]|\\\\|${percent}5[cC]|&(?:amp;)*#(?:0*92|[xX]0*5[cC]);)`

/** A pattern for a character that encodings escape: as it stands, and as JSON, HTML or a URL writes it. */
const characterPattern = (character: string): string => {
  const code = character.codePointAt(0) ?? 0
  const units = Array.from({ length: character.length }, (_, i) => `u${hexPattern(character.charCodeAt(i), 4)}`)
  const bytes = Array.from(encoder.encode(character), (byte) => `${percent}${hexPattern(byte, 2)}`)
  const references = [htmlNames[character] ?? [], `${hash}0*${code}`, `${hash}[xX]0*${hexPattern(code, 1)}`].flat()
  const [first, letter] = JSON.stringify(character).slice(1, -1)
  const forms = [
    units.join("\\\\*"),
    bytes.join(""),
    `${ampersand}(?:${references.join("|")})${semicolon}`,
    character === " " ? "\\+" : [],
    // A control character that JSON writes with a letter, such as \n.
    first === "\\" && letter !== undefined && letter !== character ? letter : [],
    // Last, since a longer form may begin with the character itself.
    escapePattern(character)
  ]
  return `(?:${forms.flat().join("|")})`
}

/**
 * A pattern for a secret in any encoding. Any number of backslashes may stand before a character that JSON may escape, and before the
 * code of a letter or digit, which JSON need not write so.
 */
const secretPattern = (secret: string): string => {
  let pattern = ""
  /** How many backslashes of the secret itself come before the next character. */
  let own = 0
  const backslashes = (escapable: boolean): string => {
    // Bounded at the beginning of the pattern, where each backslash of a long run is tried as the first one.
    const most = pattern === "" ? own * 16 + (escapable ? 4 : 0) : ""
    return own === 0 && !escapable ? "" : `${backslash}{${own},${most}}`
  }
  for (const character of secret) {
    if (character === "\\") {
      own++
      continue
    }
    const isPlain = /[A-Za-z0-9]/.test(character)
    if (isPlain) {
      const escape = own > 0 ? "" : `${backslash}{1,${pattern === "" ? 4 : ""}}`
      pattern += `${backslashes(false)}(?:${character}|${escape}u${hexPattern(character.charCodeAt(0), 4)})`
    } else pattern += backslashes(true) + characterPattern(character)
    own = 0
  }
  return pattern + backslashes(false)
}

/** A letter or digit that JSON has written as a code. */
const escapedPlain = /u00(?:3\d|[46][1-9a-f]|[57][\da])/i

/**
 * Compiling the pattern of a secret is expensive, and most texts do not need it: encodings leave letters and digits as they
 * are, so a text that lacks the secret's longest run of them cannot hold the secret, unless it has escaped some.
 */
const lazyPattern = (secret: string) => {
  const run = (secret.match(/[A-Za-z0-9]+/g) ?? []).reduce((a, b) => (b.length > a.length ? b : a), "")
  let pattern: RegExp | undefined
  return (text: string) =>
    text.includes(run) || escapedPlain.test(text) ? (pattern ??= new RegExp(secretPattern(secret), "g")) : undefined
}

/**
 * What base64 and base64url make of a secret that stands somewhere in a text: one of three, by how many bytes stand before it, each without
 * the characters at its ends in which it meets its neighbours.
 */
const base64Forms = (secret: string): ReadonlyArray<string> => {
  const bytes = Array.from(encoder.encode(secret), (byte) => String.fromCharCode(byte)).join("")
  return ["", "-", "--"].flatMap((before) => {
    const bits = 8 * (before.length + bytes.length)
    const form = btoa(before + bytes).slice(Math.ceil((8 * before.length) / 6), Math.floor(bits / 6))
    return [form, form.replaceAll("+", "-").replaceAll("/", "_")]
  })
}

interface Place {
  readonly start: number
  readonly end: number
}

/** Where a pattern matches. Matches that overlap are one place. */
const placesOf = (pattern: RegExp, text: string): ReadonlyArray<Place> => {
  const places: Array<{ readonly start: number; end: number }> = []
  pattern.lastIndex = 0
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const start = match.index
    const end = start + match[0].length
    const last = places.at(-1)
    if (last !== undefined && start < last.end) last.end = Math.max(last.end, end)
    else places.push({ start, end })
    pattern.lastIndex = start + 1
  }
  return places
}

/**
 * A field of JSON, or of JSON within JSON, in which RunPod echoes the webhook or the S3 credentials of a submit, which a program
 * that did not submit the job does not know.
 */
const echoedField = /"(?:webhook(?:V2)?|s3Config|accessId|accessSecret)(\\*)"\s*:\s*(?=(\\*)(["{]))/g

/**
 * Where the values of echoed fields stand: a string up to the next quote that is escaped as often as the one that opens it, an object
 * up to its brace; one that is cut off ends with the text. All of them are looked for in one pass backwards over the text, since a
 * search forwards from each field could read it to its end every time.
 */
const echoedIn = (text: string): ReadonlyArray<Place> => {
  const fields = [...text.matchAll(echoedField)]
  const places: Array<Place> = []
  let quote = text.lastIndexOf('"')
  let brace = text.lastIndexOf("}")
  /** The nearest quotes behind a field, by how many backslashes stand before them. */
  const closing: Array<number> = []
  let closingBrace = text.length
  for (let match = fields.pop(); match !== undefined; match = fields.pop()) {
    const [{ length }, escape = "", valueEscape = "", opening] = match
    if (backslashesBefore(text, match.index) !== escape.length) continue
    if (valueEscape !== (opening === "{" ? "" : escape)) continue
    const start = match.index + length + valueEscape.length + 1
    for (; quote >= start; quote = text.lastIndexOf('"', quote - 1)) {
      const escapes = backslashesBefore(text, quote)
      closing[escapes] = quote - escapes
    }
    for (; brace >= start; brace = text.lastIndexOf("}", brace - 1)) closingBrace = brace
    const end = opening === "{" ? closingBrace : (closing[escape.length] ?? text.length)
    if (end > start) places.push({ start, end })
  }
  return places
}

/**
 * What signs a request of S3: in its URL, or one that another holds, or in its header `Authorization` (SigV4) or the URL of an older kind, where
 * a shorter text may be no signature. With it, anybody can send that request.
 */
const signature =
  /(?<=X-Amz-(?:Signature|Security-Token)(?:=|%(?:25)*3[dD]|\\*u003[dD]))[^&\s"'<>\\]+|(?<=\bSignature(?:=|%(?:25)*3[dD]|\\*u003[dD]))[^&\s"'<>\\,]{16,}/g

const signaturesIn = (text: string): ReadonlyArray<Place> =>
  text.includes("Signature") || text.includes("X-Amz-S") ? placesOf(signature, text) : []

/**
 * Replaces these secrets, where they are not too short, as they stand, in base64, and as JSON, HTML or a URL writes either, the values of echoed fields, and the signatures of S3. A server can
 * echo what it was sent, so every text from outside goes through it before it enters an error, a log or a span.
 */
export const makeScrub = (secrets: ReadonlyArray<string>): Scrub => {
  // Made at the first text: most requests succeed, and have none to scrub.
  let patterns: ReadonlyArray<ReturnType<typeof lazyPattern>> | undefined
  return (text) => {
    patterns ??= [...new Set(secrets.filter(canBeSecret).flatMap((secret) => [secret, ...base64Forms(secret)]))].map(
      lazyPattern
    )
    // Every pattern searches the original text, so that of two secrets that overlap no part is left.
    const matching = patterns.flatMap((patternFor) => patternFor(text) ?? [])
    const found = [...matching.map((pattern) => placesOf(pattern, text)), echoedIn(text), signaturesIn(text)].flat()
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

/** Texts in a list can be pieces of one, such as a stream's, and a secret can be cut between them: then they are given as one. */
const withoutCutSecret = (list: ReadonlyArray<unknown>, scrub: Scrub): ReadonlyArray<unknown> => {
  if (!list.every((entry) => typeof entry === "string")) return list
  const whole = list.join("")
  return scrub(whole) === list.map(scrub).join("") ? list : [whole]
}

/**
 * A copy of a value with every string and key in it scrubbed. What is not plain JSON, such as a number class of the user's
 * parser, is kept. A loop rather than recursion: JSON from outside can be nested more deeply than the stack allows.
 */
export const scrubValue = (value: unknown, scrub: Scrub): unknown => {
  const pending: Array<() => void> = []
  /** What comes again is the same copy again, so that a circle comes to an end. */
  const copies = new Map<object, object>()
  const copyOf = (from: unknown): unknown => {
    if (typeof from === "string") return scrub(from)
    const known = typeof from === "object" && from !== null ? copies.get(from) : undefined
    if (known !== undefined) return known
    if (Array.isArray(from)) {
      const to: Array<unknown> = []
      copies.set(from, to)
      pending.push(() => {
        for (const entry of withoutCutSecret(from, scrub)) to.push(copyOf(entry))
      })
      return to
    }
    if (!isPlainObject(from)) return from
    const to = {}
    copies.set(from, to)
    pending.push(() => {
      for (const [key, entry] of Object.entries(from)) {
        // An assignment to the key `__proto__` would set the prototype.
        const property = { value: copyOf(entry), enumerable: true, configurable: true, writable: true }
        Object.defineProperty(to, scrub(key), property)
      }
    })
    return to
  }
  const copy = copyOf(value)
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) next()
  return copy
}
