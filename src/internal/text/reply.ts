import * as Arbitrary from "effect/Arbitrary"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { structuralRegion } from "effect/Utils"
import { isJsonObject, type JsonObject } from "./json.js"

/** A reader of a parsed body: the value, or a sentence that says what was found instead. */
export type Reader<A> = (body: unknown) => Either.Either<A, string>

/** Whether two values are the same JSON. */
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

/** A number that JSON can write. */
export const Finite = /* @__PURE__ */ (() => Schema.Number.pipe(Schema.finite()))()

/** A field for a number, perhaps missing. */
export const Count = /* @__PURE__ */ Schema.optional(Finite)

/** A field for a time in milliseconds, perhaps missing. */
export const Millis = /* @__PURE__ */ (() => Schema.optional(Finite.annotations({ description: "in milliseconds" })))()

/** A JSON object that has these fields, and perhaps others. */
export const openStruct = <Fields extends Schema.Struct.Fields>(fields: Fields) =>
  Schema.Struct(fields, Schema.Record({ key: Schema.String, value: Json }))

/**
 * The `Schema` over a reader, for users; the pipeline calls the reader itself. The reader gets a body of any kind and
 * forgives what a `Schema.Struct` would refuse, so `wire` does not decode: it shows the compilers of schemas what RunPod sends.
 */
export const replySchema = <A, I>(
  make: () => {
    readonly identifier: string
    readonly description: string
    /** What RunPod sends. */
    readonly wire: Schema.Schema.AnyNoContext
    /** What the reader makes of it. */
    readonly type: Schema.Schema<A, I>
    readonly read: Reader<A>
    readonly body: (value: A) => unknown
  }
): Schema.Schema<A, unknown> => {
  const { body, description, identifier, read, type, wire } = make()
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
