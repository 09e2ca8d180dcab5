/**
 * What `/requests` tells of an endpoint's recent jobs.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { Json, listIn, openStruct, replySchema } from "../internal/text/reply.js"
import * as Job from "./Job.js"

/**
 * An endpoint's recent jobs, without their outputs.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestList {
  readonly requests: ReadonlyArray<Job.Job>
  /** The whole body as it came, entries that are no jobs included. */
  readonly raw: unknown
}

/**
 * Reads a reply of `/requests`, where `null` stands for an empty list. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromReply = (body: unknown): Either.Either<RequestList, string> =>
  Either.map(listIn(body, "requests"), ({ body, list }) => ({
    requests: Array.getRights(list.map(Job.fromNamedReply)),
    raw: body
  }))

/**
 * @since 0.1.0
 * @category schemas
 */
export const RequestList: Schema.Schema<RequestList, unknown> = /* @__PURE__ */ replySchema(() => ({
  identifier: "RequestList",
  description: "an endpoint's recent jobs, as /requests answers",
  wire: openStruct({ requests: Schema.NullOr(Schema.Array(Schema.encodedSchema(Job.Job))) }),
  type: Schema.Struct({ requests: Schema.Array(Schema.typeSchema(Job.Job)), raw: Json }),
  read: fromReply
}))
