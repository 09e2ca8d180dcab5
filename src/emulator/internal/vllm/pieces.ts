import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { utf8 } from "../../../internal/text/bytes.js"
import type { VllmCut } from "../../vllm.js"
import type { RandomSource } from "../random.js"

/** Whether a byte goes on with a character that began before it. */
const continues = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80

/** Where the next cut is, in bytes of the whole text. */
const cutsOf = ({ at, every }: VllmCut, random: RandomSource) => {
  const places = at === undefined ? undefined : [...at].sort((a, b) => a - b)
  const { max, min } = typeof every === "object" ? every : { min: every ?? 1, max: every ?? 1 }
  return (from: number): number =>
    places === undefined
      ? from + Math.max(1, random.between(min, max))
      : (places.find((place) => place > from) ?? Infinity)
}

/**
 * Cuts the frames of a stream into pieces. A piece is sent when all of it is there, and what is there when a frame has been said goes out
 * with it, as it would from a socket.
 */
export const cut = <E>(
  frames: Stream.Stream<string, E>,
  options: VllmCut | undefined,
  random: RandomSource
): Stream.Stream<Uint8Array, E> => {
  if (options?.every === undefined && options?.at === undefined) return Stream.map(frames, utf8)
  return Stream.suspend(() => {
    const next = cutsOf(options, random)
    let sent = 0
    let end = next(0)
    const pieces = (frame: string): Chunk.Chunk<Uint8Array> => {
      const bytes = utf8(frame)
      const found: Array<Uint8Array> = []
      let from = 0
      while (end - sent < bytes.byteLength - from) {
        let to = from + end - sent
        while (options.characters !== true && continues(bytes[to])) to++
        if (to >= bytes.byteLength) break
        found.push(bytes.subarray(from, to))
        sent += to - from
        from = to
        end = next(sent)
      }
      found.push(bytes.subarray(from))
      sent += bytes.byteLength - from
      if (sent >= end) end = next(sent)
      return Chunk.fromIterable(found)
    }
    return Stream.flattenChunks(Stream.mapEffect(frames, (frame) => Effect.sync(() => pieces(frame))))
  })
}
