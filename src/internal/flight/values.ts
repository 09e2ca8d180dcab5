import type { Shape, Value } from "../../schemas/FlightRecord.js"
import { isJsonObject, type Mutable, parseJson } from "../text/json.js"
import { sha256 } from "../text/sha256.js"

export type Mode = "shape" | "hash" | "keep"

/** How many entries of an array or an object a shape tells, and how deep it goes. */
const most = { entries: 32, depth: 8 }

const rest = (count: number, told: number) => (count > told ? { more: count - told } : {})

const shapeOf = (value: unknown, keys: ReadonlySet<string>, depth: number): Shape => {
  if (typeof value === "string") return { string: value.length }
  if (typeof value === "number") return "number"
  if (typeof value === "boolean") return "boolean"
  const told = depth < most.depth ? most.entries : 0
  if (Array.isArray(value)) {
    const array = value.slice(0, told).map((entry) => shapeOf(entry, keys, depth + 1))
    return { array, ...rest(value.length, told) }
  }
  if (!isJsonObject(value)) return "null"
  const entries = Object.entries(value)
  const named = entries.filter(([key]) => depth < most.depth && keys.has(key))
  const others = entries.filter(([key]) => !keys.has(key))
  const shape: Mutable<Extract<Shape, { readonly object: unknown }>> = {
    object: others.slice(0, told).map(([, entry]) => shapeOf(entry, keys, depth + 1)),
    ...rest(others.length, told)
  }
  if (named.length > 0) {
    shape.named = Object.fromEntries(named.map(([key, entry]) => [key, shapeOf(entry, keys, depth + 1)]))
  }
  return shape
}

/** What the recording tells of values. */
export class Values {
  private readonly keys: ReadonlySet<string>

  constructor(
    readonly mode: Mode,
    keys: ReadonlyArray<string>
  ) {
    this.keys = new Set(keys)
  }

  /** `scrub` strikes out of a value that is kept what is secret in its request. */
  read(value: unknown, scrub: (text: string) => string): Value {
    if (this.mode === "keep") {
      const kept = parseJson(scrub(JSON.stringify(value)))
      // A secret of digits alone may have stood outside of a string: what is left is no JSON.
      if (kept !== undefined) return { value: kept }
    }
    const shape = shapeOf(value, this.keys, 0)
    return this.mode === "hash" ? { shape, hash: hashOf(value) } : { shape }
  }
}

export const hashOf = (value: unknown): string => sha256(JSON.stringify(value))
