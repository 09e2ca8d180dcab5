/** The beginning of a body, read for what it says. */
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Stream from "effect/Stream"
import { concatBytes } from "../../internal/text/bytes.js"
import type { BlobError } from "./error.js"

/** The text of bytes, at most so many of them. */
export const decoded = (bytes: Uint8Array, most: number): string => new TextDecoder().decode(bytes.subarray(0, most))

const isReadable = (body: unknown): body is ReadableStream<unknown> =>
  hasProperty(body, "getReader") && typeof body.getReader === "function"

const isIterable = (body: unknown): body is AsyncIterable<unknown> =>
  typeof body === "object" && body !== null && Symbol.asyncIterator in body

/** Not every browser can iterate over a stream. */
async function* read(stream: ReadableStream<unknown>): AsyncGenerator<unknown> {
  const reader = stream.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel()
  }
}

const bytesOf = (piece: unknown): Uint8Array =>
  piece instanceof Uint8Array ? piece : new TextEncoder().encode(typeof piece === "string" ? piece : "")

/** The first bytes of a body, of any kind that a client of HTTP gives. Of a longer one the rest is not read, and its connection is closed. */
export const beginningOf = async (body: unknown, most: number): Promise<Uint8Array> => {
  if (body instanceof Uint8Array) return body.subarray(0, most)
  if (typeof Blob === "function" && body instanceof Blob) {
    return new Uint8Array(await body.slice(0, most).arrayBuffer())
  }
  const pieces = isReadable(body) ? read(body) : isIterable(body) ? body : undefined
  if (pieces === undefined) return bytesOf(body).subarray(0, most)
  const taken: Array<Uint8Array> = []
  let size = 0
  for await (const piece of pieces) {
    const bytes = bytesOf(piece)
    taken.push(bytes)
    size += bytes.byteLength
    if (size > most) break
  }
  return concatBytes(taken).subarray(0, most)
}

/** How many bytes tell what a body is. */
const mostLooked = 1024

/** Has the first bytes of a download looked at before anybody gets them. */
export const looking = (
  stream: Stream.Stream<Uint8Array, BlobError>,
  look: (text: string) => Effect.Effect<void, BlobError>
): Stream.Stream<Uint8Array, BlobError> =>
  Stream.suspend(() => {
    let isFirst = true
    return Stream.tap(stream, (piece) => {
      if (!isFirst || piece.byteLength === 0) return Effect.void
      isFirst = false
      return look(decoded(piece, mostLooked))
    })
  })
