import type * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"
import { visible } from "../internal/text/visible.js"

export interface TaggedErrorClass<
  Self,
  Tag extends string,
  Fields extends Schema.Struct.Fields,
  Id extends symbol,
  Mark
> extends Schema.Class<
  Self,
  Fields & { readonly _tag: Schema.tag<Tag> },
  Schema.Struct.Encoded<Fields & { readonly _tag: Schema.tag<Tag> }>,
  Schema.Struct.Context<Fields>,
  Schema.Struct.Constructor<Fields>,
  { readonly [K in Id]: Mark },
  Cause.YieldableError
> {
  readonly _tag: Tag
}

/**
 * A class whose instances have no frames in their stack. Requests run on fibers of their own, so none of the frames would be the
 * program's; where its effects failed, `Cause.pretty` tells by their spans.
 */
export const withoutFrames = <C>(Class: C): C => {
  if (typeof Class !== "function") return Class
  return new Proxy(Class, {
    construct: (target, args, newTarget): object => {
      const limit: unknown = Reflect.get(Error, "stackTraceLimit")
      Reflect.set(Error, "stackTraceLimit", 0)
      try {
        return Reflect.construct(target, args, newTarget) as object
      } finally {
        Reflect.set(Error, "stackTraceLimit", limit)
      }
    }
  })
}

/**
 * A `Schema.TaggedError` of which the message, and what its family says of it, is computed from its fields. A message is printed: what others
 * have put into a field cannot drive a terminal by it. The fields themselves stay as they are.
 */
export const taggedError =
  <Self>() =>
  <Tag extends string, Fields extends Schema.Struct.Fields, Id extends symbol, Mark, Read = Schema.Struct.Type<Fields>>(
    tag: Tag,
    fields: Fields,
    computed: {
      readonly typeId: Id
      readonly mark: (error: Read) => Mark
      readonly message: (error: Read) => string
    }
  ): TaggedErrorClass<Self, Tag, Fields, Id, Mark> => {
    // What `TaggedError` returns cannot be worked with while `Self` and the fields are not known.
    const made: unknown = Schema.TaggedError<Self>(`effect-runpod/${tag}`)(tag, fields)
    const base = made as TaggedErrorClass<Self, Tag, Fields, Id, Mark> & { readonly prototype: Read }
    const define = (name: PropertyKey, getter: (error: Read) => unknown) =>
      Object.defineProperty(base.prototype, name, {
        get(this: Read) {
          return getter(this)
        },
        configurable: true
      })
    define(computed.typeId, computed.mark)
    define("message", (error) => visible(computed.message(error)))
    return withoutFrames(base)
  }
