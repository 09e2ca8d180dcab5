/**
 * What `/purge-queue` answers.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { describeJson, isJsonObject, numbersIn } from "../internal/text/json.js"
import { Count, openStruct, RawObject, replySchema } from "../internal/text/reply.js"

/**
 * The result of a purge. Jobs in progress are not touched by it.
 *
 * @since 0.1.0
 * @category models
 */
export interface PurgeResult {
  /** How many queued jobs were removed, when RunPod said so. */
  readonly removed?: number | undefined
  /** The whole body as it came. */
  readonly raw: Readonly<Record<string, unknown>>
}

/**
 * Reads a reply of `/purge-queue`. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromReply = (body: unknown): Either.Either<PurgeResult, string> => {
  if (!isJsonObject(body)) return Either.left(`expected the result of a purge, got ${describeJson(body)}`)
  const counts = numbersIn(body, ["removed"])
  return "removed" in counts || typeof body["status"] === "string"
    ? Either.right({ ...counts, raw: body })
    : Either.left(`expected "removed" or "status", got neither`)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const PurgeResult: Schema.Schema<PurgeResult, unknown> = /* @__PURE__ */ replySchema(() => ({
  identifier: "PurgeResult",
  description: "how many queued jobs were removed, as /purge-queue answers",
  wire: openStruct({ removed: Count, status: Schema.optional(Schema.String) }),
  type: Schema.Struct({ removed: Count, raw: RawObject }),
  read: fromReply
}))
