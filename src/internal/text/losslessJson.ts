/**
 * JSON for what a parser of JSON can give, one of the user's included, so that it comes back as it was, but for one thing: an object
 * without a prototype comes back as an ordinary one. To mark it would change each line of a journal whose parser makes such objects.
 */
import * as Either from "effect/Either"
import { hasProperty } from "effect/Predicate"
import { describeJson, isJsonObject, isPlainObject, type JsonObject } from "./json.js"

/** How long a string can be in V8, in characters. */
const longest = 2 ** 29 - 24
const tooLong = "it is too long for a string"
/** Nesting up to here fits on any stack: `JSON.stringify` recurses, and so do few other things. */
const shallow = 500

const classOf = ({ constructor }: object): string =>
  hasProperty(constructor, "name") ? `an instance of ${String(constructor.name)}` : "an object with a prototype"

/** What is written as an object with one key that begins with `$`. Objects of that form get one more `$`. */
const markOf = (value: JsonObject): string | undefined => {
  const keys = Object.keys(value)
  return keys.length === 1 && keys[0]?.startsWith("$") === true ? keys[0] : undefined
}

/**
 * How long the text is at least that `JSON.stringify` writes of a value; NaN when it would not write all of it, or might overflow
 * the stack. Most values are plain, and this recursion is cheaper than what goes on with those that are not.
 */
const plainLength = (value: unknown, depth: number): number => {
  if (typeof value === "string") return value.length + 2
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0) ? 1 : NaN
  if (typeof value === "boolean" || value === null) return 4
  if (typeof value !== "object" || depth > shallow) return NaN
  let length = 2
  if (Array.isArray(value)) {
    for (const entry of value) {
      length += plainLength(entry, depth + 1)
      if (!(length <= longest)) return NaN
    }
    return length
  }
  if (!isPlainObject(value) || markOf(value) !== undefined) return NaN
  for (const key of Object.keys(value)) {
    length += key.length + plainLength(value[key], depth + 1)
    if (!(length <= longest)) return NaN
  }
  return length
}

/** Ends a container in a list of what is still to be gone through. */
class End {
  constructor(readonly container: object) {}
}

/** Why a value cannot be written, without recursion. */
const problemOf = (value: unknown): string | undefined => {
  const pending = [value]
  /** The containers around what is looked at. */
  const around = new Set<object>()
  let length = 0
  while (pending.length > 0) {
    const next = pending.pop()
    if (next instanceof End) {
      around.delete(next.container)
      continue
    }
    length++
    if (typeof next === "string") length += next.length
    else if (typeof next === "function" || typeof next === "symbol") return `a ${typeof next} is in it`
    else if (typeof next === "object" && next !== null && !(next instanceof Date)) {
      if (around.has(next)) return "it contains itself"
      around.add(next)
      pending.push(new End(next))
      if (Array.isArray(next)) for (const entry of next) pending.push(entry)
      else if (!isPlainObject(next)) return `${classOf(next)} is in it`
      else {
        for (const [key, entry] of Object.entries(next)) {
          length += key.length
          pending.push(entry)
        }
      }
    }
    if (length > longest) return tooLong
  }
  return undefined
}

/** A part of the text that is ready. */
class Text {
  constructor(readonly text: string) {}
}

const leaf = (value: unknown): string => {
  if (typeof value === "bigint") return `{"$bigint":"${value}"}`
  if (value === undefined) return `{"$undefined":0}`
  if (value instanceof Date) return `{"$date":${JSON.stringify(value.getTime())}}`
  if (typeof value !== "number" || Number.isFinite(value)) return Object.is(value, -0) ? "-0" : JSON.stringify(value)
  // JSON has no name for it, but its parsers read it.
  return Number.isNaN(value) ? `{"$nan":0}` : value > 0 ? "1e999" : "-1e999"
}

const write = (value: unknown): string => {
  const written: Array<string> = []
  const pending = [value]
  /** The parts of a container go onto the stack, last first. */
  const open = (parts: ReadonlyArray<unknown>) => {
    for (let i = parts.length - 1; i >= 0; i--) pending.push(parts[i])
  }
  while (pending.length > 0) {
    const next = pending.pop()
    if (next instanceof Text) written.push(next.text)
    else if (Array.isArray(next)) {
      const entries = Array.from<unknown, ReadonlyArray<unknown>>(next, (entry, i) => [
        new Text(i > 0 ? "," : ""),
        entry
      ])
      open([new Text("["), ...entries.flat(), new Text("]")])
    } else if (isJsonObject(next) && !(next instanceof Date)) {
      const escape = markOf(next) === undefined ? "" : "$"
      const entries = Object.entries(next).map(([key, entry], i) => [
        new Text(`${i > 0 ? "," : ""}${JSON.stringify(escape + key)}:`),
        entry
      ])
      open([new Text("{"), ...entries.flat(), new Text("}")])
    } else written.push(leaf(next))
  }
  return written.join("")
}

/**
 * The text of a value, on one line; `Left` says why there is none. For what `JSON.parse` gives it is JSON as usual. BigInts,
 * dates, NaN and `undefined` become objects such as `{"$bigint":"1"}`. Nesting may be of any depth.
 */
export const encode = (value: unknown): Either.Either<string, string> => {
  try {
    const isPlain = !Number.isNaN(plainLength(value, 0))
    const problem = isPlain ? undefined : problemOf(value)
    if (problem !== undefined) return Either.left(problem)
    return Either.right(isPlain ? JSON.stringify(value) : write(value))
  } catch (error) {
    // A string as long as no engine allows; else a getter of the value's own has thrown.
    return Either.left(error instanceof RangeError ? tooLong : "a property of it cannot be read")
  }
}

/** What a mark stands for; `undefined` when the object is just that. */
const unmark = (value: JsonObject): { readonly value: unknown } | undefined => {
  const mark = markOf(value)
  if (mark === undefined) return undefined
  const marked = value[mark]
  if (mark.startsWith("$$")) return { value: { [mark.slice(1)]: marked } }
  if (mark === "$bigint") return { value: BigInt(String(marked)) }
  if (mark === "$date") return { value: new Date(typeof marked === "number" ? marked : NaN) }
  if (mark === "$nan") return { value: NaN }
  return mark === "$undefined" ? { value: undefined } : undefined
}

/** The value of a text from `encode`. Throws when it is none. */
export const decode = (text: string): unknown => {
  const root = { value: JSON.parse(text) as unknown }
  if (!text.includes(`{"$`)) return root.value
  const pending: Array<Record<string, unknown>> = [root]
  for (let container = pending.pop(); container !== undefined; container = pending.pop()) {
    for (const key of Object.keys(container)) {
      const entry = container[key]
      const unmarked = isJsonObject(entry) ? unmark(entry) : undefined
      const plain = unmarked === undefined ? entry : unmarked.value
      // It has this key already, so that `__proto__` is one like any other.
      if (unmarked !== undefined) container[key] = plain
      if (typeof plain === "object" && plain !== null) pending.push(plain as Record<string, unknown>)
    }
  }
  return root.value
}

/** A text by which a value is compared or hashed: what `JSON.stringify` gives, where it can. */
export const identityOf = (value: unknown): string => {
  try {
    const text: string | undefined = JSON.stringify(value)
    if (text !== undefined) return text
  } catch {
    // Nested too deeply, or with a BigInt.
  }
  return Either.getOrElse(encode(value), () => describeJson(value))
}
