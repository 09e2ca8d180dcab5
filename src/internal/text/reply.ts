import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

/** A reader of a parsed body: the value, or a sentence that says what was found instead. */
export type Reader<A> = (body: unknown) => Either.Either<A, string>

/** The `Schema` over a reader, for users; the pipeline calls the reader itself. */
export const replySchema = <A>(options: {
  readonly identifier: string
  readonly is: (value: unknown) => value is A
  readonly read: Reader<A>
  readonly body: (value: A) => unknown
}): Schema.Schema<A, unknown> =>
  Schema.transformOrFail(Schema.Unknown, Schema.declare(options.is, { identifier: options.identifier }), {
    strict: true,
    decode: (body, _, ast) => Either.mapLeft(options.read(body), (message) => new ParseResult.Type(ast, body, message)),
    encode: (value) => ParseResult.succeed(options.body(value))
  })
