import { isJsonObject, type JsonObject } from "../../../internal/text/json.js"

/** How deep a schema that refers to itself is followed. */
const deepest = 12

const numberOf = (schema: JsonObject, key: string): number | undefined => {
  const value = schema[key]
  return typeof value === "number" ? value : undefined
}

const find = (root: unknown, ref: string): unknown =>
  ref
    .replace(/^#\/?/, "")
    .split("/")
    .filter((part) => part !== "")
    .reduce<unknown>((at, part) => {
      const key = decodeURIComponent(part).replace(/~1/g, "/").replace(/~0/g, "~")
      if (Array.isArray(at)) return at[Number(key)]
      return isJsonObject(at) ? at[key] : undefined
    }, root)

const text = (schema: JsonObject): string => {
  const { format } = schema
  const known = typeof format === "string" ? texts[format] : undefined
  const value = known ?? "text"
  const min = numberOf(schema, "minLength") ?? 0
  const max = numberOf(schema, "maxLength") ?? Infinity
  return value.padEnd(min, "x").slice(0, max)
}

const texts: Readonly<Record<string, string | undefined>> = {
  date: "2026-01-01",
  time: "00:00:00Z",
  "date-time": "2026-01-01T00:00:00Z",
  email: "user@example.com",
  uri: "https://example.com/",
  uuid: "00000000-0000-4000-8000-000000000000"
}

/** The smallest number of 0 and up that the schema allows, or else its bound. */
const number = (schema: JsonObject, isInteger: boolean): number => {
  const step = numberOf(schema, "multipleOf") ?? (isInteger ? 1 : undefined)
  const above = numberOf(schema, "exclusiveMinimum")
  const least = numberOf(schema, "minimum") ?? (above === undefined ? undefined : above + (step ?? 0.5))
  const below = numberOf(schema, "exclusiveMaximum")
  const most = numberOf(schema, "maximum") ?? (below === undefined ? undefined : below - (step ?? 0.5))
  const value = Math.min(Math.max(0, least ?? 0), most ?? Infinity)
  if (step === undefined) return value
  const up = Math.ceil(value / step) * step
  return up <= (most ?? Infinity) ? up : Math.floor(value / step) * step
}

/** The same value for the same schema, always: first alternatives, shortest arrays, the properties that are required. */
export const instanceOf = (schema: unknown, root: unknown = schema, depth = 0): unknown => {
  if (!isJsonObject(schema) || depth > deepest) return schema === false || depth > deepest ? null : "text"
  const inner = (next: unknown) => instanceOf(next, root, depth + 1)
  if (typeof schema["$ref"] === "string") return inner(find(root, schema["$ref"]))
  if ("const" in schema) return schema["const"]
  if (Array.isArray(schema["enum"])) return schema["enum"][0]
  for (const key of ["anyOf", "oneOf"]) {
    const alternatives = schema[key]
    if (Array.isArray(alternatives)) return inner(alternatives[0])
  }
  if (Array.isArray(schema["allOf"])) {
    const parts: ReadonlyArray<unknown> = schema["allOf"].map(inner)
    return parts.every(isJsonObject) ? parts.reduce((all, part) => ({ ...all, ...part }), {}) : parts[0]
  }
  const { type: given } = schema
  const type: unknown = Array.isArray(given) ? given[0] : (given ?? guessType(schema))
  switch (type) {
    case "object":
      return object(schema, inner)
    case "array":
      return array(schema, inner)
    case "integer":
    case "number":
      return number(schema, type === "integer")
    case "boolean":
      return true
    case "null":
      return null
    default:
      return text(schema)
  }
}

const guessType = (schema: JsonObject): string => {
  if ("properties" in schema || "required" in schema) return "object"
  return "items" in schema || "prefixItems" in schema ? "array" : "string"
}

const object = (schema: JsonObject, inner: (schema: unknown) => unknown): JsonObject => {
  const properties = isJsonObject(schema["properties"]) ? schema["properties"] : {}
  const required = Array.isArray(schema["required"]) ? schema["required"].map(String) : Object.keys(properties)
  return Object.fromEntries(required.map((name) => [name, inner(properties[name])]))
}

const array = (schema: JsonObject, inner: (schema: unknown) => unknown): ReadonlyArray<unknown> => {
  const first = Array.isArray(schema["prefixItems"]) ? schema["prefixItems"].map(inner) : []
  const { items } = schema
  const least = numberOf(schema, "minItems") ?? (items === undefined || items === false || first.length > 0 ? 0 : 1)
  const most = numberOf(schema, "maxItems") ?? Infinity
  const count = Math.min(Math.max(first.length, least), most)
  return Array.from({ length: count }, (_, index) => (index < first.length ? first[index] : inner(items)))
}
