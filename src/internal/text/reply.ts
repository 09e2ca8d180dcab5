import * as Arbitrary from "effect/Arbitrary"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as ParseResult from "effect/ParseResult"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { structuralRegion } from "effect/Utils"
import { idProblem } from "./identifier.js"
import { describeJson, isJsonObject, type JsonObject, textOf } from "./json.js"

/** The id a body carries, when it is one that can be followed. */
export const idIn = (body: unknown): string | undefined => {
  const id = isJsonObject(body) ? body["id"] : undefined
  return typeof id === "string" && idProblem(id) === undefined ? id : undefined
}

export const statusIn = (body: unknown, what: string, object = what) => {
  if (!isJsonObject(body)) return Either.left(`expected ${object}, got ${describeJson(body)}`)
  const { status } = body
  return typeof status === "string"
    ? Either.right({ body, status })
    : Either.left(`expected ${what} with a string "status", got ${describeJson(status)} there`)
}

/** The answer to a submit or a create, with its id, and its status when it has one. */
export const createdIn = (body: unknown, what: string) => {
  const id = idIn(body)
  if (id === undefined || !isJsonObject(body)) {
    return Either.left(`expected ${what} with a string "id", got ${describeJson(body)}`)
  }
  const status = textOf(body["status"])
  return status === undefined && body["error"] !== undefined && body["error"] !== null
    ? Either.left(`expected ${what}, got an "error" beside the id "${id}" and no status`)
    : Either.right({ body, id, status })
}

/** A body with the list that it has under a key, where `null` stands for an empty one. */
export const listIn = (body: unknown, key: string) => {
  if (!isJsonObject(body)) return Either.left(`expected an object with "${key}", got ${describeJson(body)}`)
  const list: unknown = body[key] === null ? [] : body[key]
  return Array.isArray(list)
    ? Either.right({ body, list })
    : Either.left(`expected an array or null in "${key}", got ${describeJson(list)} there`)
}

export const sameJson = (a: unknown, b: unknown): boolean => structuralRegion(() => Equal.equals(a, b))

/** Any JSON value, kept as it came. */
export const Json = /* @__PURE__ */ Schema.Unknown.annotations({
  title: "JSON",
  description: "any JSON value",
  arbitrary: () => (fc) => fc.jsonValue(),
  equivalence: () => sameJson
})

/** A JSON object, kept as it came: a `Schema.Record` would copy it, and lose a key called `__proto__`. */
export const RawObject: Schema.Schema<JsonObject> = /* @__PURE__ */ (() =>
  Schema.typeSchema(
    Schema.Unknown.pipe(
      Schema.filter(isJsonObject, {
        title: "JSON object",
        description: "a JSON object as it came",
        jsonSchema: { type: "object" },
        arbitrary: () => (fc) => fc.dictionary(fc.string(), fc.jsonValue()),
        equivalence: () => sameJson
      })
    )
  ))()

/** A body that is an object, or a bare list, kept as it came. */
export const RawBody = /* @__PURE__ */ (() => Schema.Union(RawObject, Schema.Array(Json)))()

export const Finite = /* @__PURE__ */ (() => Schema.Number.pipe(Schema.finite()))()

export const Count = /* @__PURE__ */ Schema.optional(Finite)

export const Millis = /* @__PURE__ */ (() => Schema.optional(Finite.annotations({ description: "in milliseconds" })))()

/** A JSON object that has these fields, and perhaps others. */
export const openStruct = <Fields extends Schema.Struct.Fields>(fields: Fields) =>
  Schema.Struct(fields, Schema.Record({ key: Schema.String, value: Json }))

const rawOf = (value: unknown): unknown => (hasProperty(value, "raw") ? value.raw : value)

/**
 * The `Schema` over a reader, for users; the pipeline calls the reader itself. The reader gets a body of any kind and
 * forgives what a `Schema.Struct` would refuse, so `wire` does not decode: it shows the compilers of schemas what RunPod sends.
 */
export const replySchema = <A, I>(
  make: () => {
    readonly identifier: string
    readonly description: string
    readonly wire: Schema.Schema.AnyNoContext
    readonly type: Schema.Schema<A, I>
    readonly read: (body: unknown) => Either.Either<A, string>
    /** Back to a body. Default: its `raw`, or the value itself when it has none. */
    readonly body?: (value: A) => unknown
  }
): Schema.Schema<A, unknown> => {
  const { body = rawOf, description, identifier, read, type, wire } = make()
  const bodies: Arbitrary.LazyArbitrary<unknown> = (fc) =>
    Arbitrary.makeLazy(wire)(fc).map((value): unknown => JSON.parse(JSON.stringify(value)))
  const from = Schema.Unknown.annotations({
    [SchemaAST.SurrogateAnnotationId]: wire.annotations({ identifier, description }).ast,
    arbitrary: () => bodies
  })
  const to = Schema.typeSchema(type).annotations({
    identifier,
    description,
    // Read from a body, so that the fields agree with `raw`.
    arbitrary: () => (fc) =>
      bodies(fc)
        .map(read)
        .filter(Either.isRight)
        .map(({ right }) => right)
  })
  return Schema.transformOrFail(from, to, {
    strict: true,
    decode: (body, _, ast) => Either.mapLeft(read(body), (message) => new ParseResult.Type(ast, body, message)),
    encode: (value) => ParseResult.succeed(body(value))
  })
}
