/**
 * Chunks of a job's streamed output, and the reply that carries them.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { defined, describeJson, isJsonObject } from "../internal/text/json.js"
import { Json, openStruct, RawBody, replySchema } from "../internal/text/reply.js"
import { JobStatus } from "./JobStatus.js"

/**
 * One chunk: what the handler yielded once.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamChunk {
  /** The yielded value. When the chunk had no `output` key, the whole chunk as it came. */
  readonly output: unknown
  /** What some workers report beside a chunk, as it came. */
  readonly metrics?: unknown
}

/**
 * One reply of `/stream`: the chunks since the reply before it, which it removes on RunPod's side.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamReply {
  /** Missing when RunPod answered with a bare array. */
  readonly status?: JobStatus | undefined
  readonly chunks: ReadonlyArray<StreamChunk>
  /** The whole body as it came. */
  readonly raw: Readonly<Record<string, unknown>> | ReadonlyArray<unknown>
}

const toChunk = (value: unknown): StreamChunk => {
  if (!isJsonObject(value) || !("output" in value)) return { output: value }
  return { output: value["output"], ...defined({ metrics: value["metrics"] }) }
}

/**
 * Reads a reply of `/stream`: an object with `status`, `stream` or both, or an array of chunks. `Left` says what was found.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromReply = (body: unknown): Either.Either<StreamReply, string> => {
  if (Array.isArray(body)) return Either.right({ chunks: body.map(toChunk), raw: body })
  if (!isJsonObject(body)) return Either.left(`expected stream chunks, got ${describeJson(body)}`)
  const { status, stream } = body
  if (stream !== undefined && stream !== null && !Array.isArray(stream)) {
    return Either.left(`expected an array in "stream", got ${describeJson(stream)}`)
  }
  if (typeof status !== "string" && !Array.isArray(stream)) {
    return Either.left(`expected "status" or "stream", got neither`)
  }
  const chunks = Array.isArray(stream) ? stream.map(toChunk) : []
  return Either.right(typeof status === "string" ? { status, chunks, raw: body } : { chunks, raw: body })
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const StreamChunk: Schema.Schema<StreamChunk, unknown> = /* @__PURE__ */ replySchema(() => {
  const fields = { output: Json, metrics: Schema.optional(Json) }
  return {
    identifier: "StreamChunk",
    description: "what a handler yielded once",
    wire: openStruct(fields),
    type: Schema.Struct(fields),
    read: (chunk) => Either.right(toChunk(chunk))
  }
})

/**
 * @since 0.1.0
 * @category schemas
 */
export const StreamReply: Schema.Schema<StreamReply, unknown> = /* @__PURE__ */ replySchema(() => {
  const chunks = Schema.Array(StreamChunk)
  const sent = Schema.encodedSchema(chunks)
  return {
    identifier: "StreamReply",
    description: "the chunks since the reply before, as /stream answers",
    wire: Schema.Union(
      openStruct({ status: Schema.optional(JobStatus), stream: Schema.optional(Schema.NullOr(sent)) }),
      sent
    ),
    type: Schema.Struct({ status: Schema.optional(JobStatus), chunks: Schema.typeSchema(chunks), raw: RawBody }),
    read: fromReply
  }
})
