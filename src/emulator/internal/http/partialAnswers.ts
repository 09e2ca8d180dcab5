import * as Stream from "effect/Stream"
import { utf8 } from "../../../internal/text/bytes.js"
import type { CutBody, Stall, Truncated } from "../../Fault.js"
import { type HttpResponse, isStreamed, type StreamedBody, type Transmission } from "./messages.js"

/** The first `bytes` of a stream, or its first piece; then `rest`. */
const beginning = (
  { close, stream }: StreamedBody,
  bytes: number | undefined,
  rest: Stream.Stream<never, unknown>
): StreamedBody => {
  const first =
    bytes === undefined
      ? Stream.take(stream, 1)
      : stream.pipe(
          Stream.mapAccum(bytes, (left, piece) => {
            const after = left - piece.byteLength
            return [after, { sent: piece.subarray(0, left), isLast: after <= 0 }] as const
          }),
          Stream.takeUntil(({ isLast }) => isLast),
          Stream.map(({ sent }) => sent)
        )
  return { stream: Stream.concat(first, rest), close }
}

const connectionCloses = Stream.failSync(() => new Error("a fault closed the connection"))

/** The part of an answer that a fault lets through: what follows never comes, is cut off, or seems to be all. */
export const partOf = (fault: Truncated | Stall | CutBody, response: HttpResponse): Transmission => {
  const { body } = response
  if (isStreamed(body)) {
    const rest = { Truncated: Stream.empty, Stall: Stream.never, CutBody: connectionCloses }[fault._tag]
    return { _tag: "Whole", response: { ...response, body: beginning(body, fault.afterBytes, rest) } }
  }
  const all = typeof body === "string" ? utf8(body) : body
  const bytes = fault.afterBytes ?? all.byteLength >> 1
  if (fault._tag === "Truncated") return { _tag: "Whole", response: { ...response, body: all.subarray(0, bytes) } }
  return { _tag: fault._tag === "Stall" ? "Stall" : "Cut", response: { ...response, body: all }, bytes }
}
