import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ChatChunk, ChatCompletion } from "../ChatCompletion.js"
import type { CallError } from "../ModelCall.js"
import { IncompleteStreamError } from "../ModelError.js"
import { ChunkReader, type Read } from "./chunkReader.js"
import * as Completion from "./completion.js"
import type { JsonObject } from "./json.js"
import type { Scrub } from "./scrub.js"
import type { Model } from "./transport.js"

const path = "/v1/chat/completions"

/** The body of a call whose answer streams, and ends with its usage. */
export const streaming = (body: JsonObject): JsonObject => ({
  ...body,
  stream: true,
  stream_options: { include_usage: true }
})

/** The whole answer. */
export const complete = ({ request, scrub }: Model, body: JsonObject): Effect.Effect<ChatCompletion, CallError> =>
  Effect.flatMap(request(path, body), (answer) => Completion.read(answer, scrub))

const given = ({ chunks, error }: Read): Stream.Stream<ChatChunk, CallError> => {
  const read = Stream.fromChunk(Chunk.unsafeFromArray(chunks))
  return error === undefined ? read : Stream.concat(read, Stream.fail(error))
}

/** The error of a stream; only its reader knows how much of the text came. */
const counted = <E>(error: E, { received }: ChunkReader): E | IncompleteStreamError =>
  error instanceof IncompleteStreamError ? new IncompleteStreamError({ reason: error.reason, received }) : error

/** The chunks that pieces of a stream hold, and an error when they are no complete answer. */
export const chunksOf = <E>(
  piecesOf: (isWhole: () => boolean) => Stream.Stream<unknown, E>,
  scrub?: Scrub
): Stream.Stream<ChatChunk, E | CallError> =>
  Stream.suspend(() => {
    const reader = new ChunkReader(scrub)
    return piecesOf(() => reader.isComplete).pipe(
      // The answer is there, whatever becomes of its connection or job.
      Stream.catchAll((error) => (reader.isComplete ? Stream.empty : Stream.fail(counted(error, reader)))),
      Stream.flatMap((piece) => given(reader.push(piece))),
      Stream.concat(Stream.suspend(() => given(reader.end())))
    )
  })

/** The answer as it comes. */
export const stream = ({ pieces, scrub }: Model, body: JsonObject): Stream.Stream<ChatChunk, CallError> =>
  chunksOf((isWhole) => pieces(path, streaming(body), isWhole), scrub)
