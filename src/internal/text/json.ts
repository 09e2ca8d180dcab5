export type JsonObject = Readonly<Record<string, unknown>>

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** An object that is an instance of no class. What a parser of the user gives can be one. */
export const isPlainObject = (value: unknown): value is JsonObject => {
  if (!isJsonObject(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

/** How many backslashes stand before this place of a text: whether, and how often, a quote is escaped. */
export const backslashesBefore = (text: string, at: number): number => {
  let from = at
  while (from > 0 && text[from - 1] === "\\") from--
  return at - from
}

/** The value when it is a string that is not blank. */
export const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value.trim() !== "" ? value : undefined

export const textIn = (value: JsonObject, ...keys: ReadonlyArray<string>): string | undefined =>
  keys.map((key) => textOf(value[key])).find((text) => text !== undefined)

export const numberOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined

/** Copies only the fields that have a value, so that a missing one stays missing. */
export const defined = <A extends object>(fields: A): { [K in keyof A]?: Exclude<A[K], undefined> } => {
  const out: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) out[key] = value
  }
  return out as { [K in keyof A]?: Exclude<A[K], undefined> }
}

export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const numbersIn = <K extends string>(value: unknown, keys: ReadonlyArray<K>): { readonly [_ in K]?: number } => {
  const out: { [_ in K]?: number } = {}
  if (!isJsonObject(value)) return out
  for (const key of keys) {
    const number = numberOf(value[key])
    if (number !== undefined) out[key] = number
  }
  return out
}

/** For `JSON.stringify`, which takes twice as long with it. */
const bigintsAsText = (_: string, entry: unknown): unknown => (typeof entry === "bigint" ? String(entry) : entry)

/** A value as JSON, for a message. One that JSON cannot write, such as a circle or one nested too deeply, is described instead. */
export const jsonOf = (value: unknown): string => {
  for (const replacer of [undefined, bigintsAsText]) {
    try {
      const text: string | undefined = JSON.stringify(value, replacer)
      return text ?? describeJson(value)
    } catch (error) {
      if (error instanceof RangeError) break
    }
  }
  return describeJson(value)
}

/** What kind of JSON value this is, for a message: "an array", "a string", "nothing". */
export const describeJson = (value: unknown): string => {
  if (value === undefined) return "nothing"
  if (value === null) return "null"
  if (Array.isArray(value)) return "an array"
  return typeof value === "object" ? "an object" : `a ${typeof value}`
}

export type Mutable<A> = { -readonly [K in keyof A]: A[K] }
