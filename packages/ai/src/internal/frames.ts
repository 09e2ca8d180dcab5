/** The frames of a stream, passed on one by one to a client that reads them itself. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { ModelError } from "../ModelError.js"
import { asChunk, wholeAnswerIn } from "./choices.js"
import { isPing, type ItemReader, malformed, scrubItem, tooLong } from "./itemReader.js"
import { isJsonObject, type JsonObject, parseJson } from "./json.js"
import type { Scrub } from "./scrub.js"
import { type Item, SseParser } from "./sse.js"
import { endAt } from "./streamEnd.js"

export interface Options {
  /** Says which items are errors, and when the answer is whole. */
  readonly reader: ItemReader
  /** Strikes the key out, which a gateway may quote. */
  readonly scrub: Scrub
  /** What a frame is given as, where it is not as it came. */
  readonly change: (value: unknown) => JsonObject | undefined
}

const utf8 = new TextEncoder()

const frameOf = (data: string, event: string | undefined): string => {
  const name = event === undefined ? "" : `event: ${event}\n`
  return `${name}${data
    .split("\n")
    .map((line) => `data: ${line}\n`)
    .join("")}\n`
}

interface Read {
  readonly text: string
  readonly error: ModelError | undefined
}

/** Each frame that is complete is passed on, until one is an error, or the last. */
class Frames {
  private readonly parser = new SseParser()
  private readonly decoder = new TextDecoder()

  constructor(private readonly options: Options) {}

  push(bytes: Uint8Array): Read {
    return this.read(this.parser.push(this.decoder.decode(bytes, { stream: true })))
  }

  end(): Read {
    const rest = this.parser.push(this.decoder.decode())
    const read = this.read([...rest, ...this.parser.end()])
    return read.error === undefined ? { text: read.text, error: this.options.reader.whatIsMissing() } : read
  }

  private read(items: ReadonlyArray<Item>): Read {
    let text = ""
    for (const item of items) {
      if (this.options.reader.isEnded) break
      const frame = this.readItem(item)
      if (typeof frame !== "string") return { text, error: frame }
      text += frame
    }
    return { text, error: undefined }
  }

  private readItem(item: Item): string | ModelError {
    const { change, reader, scrub } = this.options
    const error = reader.check(item) ?? (reader.isEnded ? reader.whatIsMissing() : undefined)
    if (error !== undefined) return error
    const shown = scrubItem(item, scrub)
    if (item._tag === "Bare") {
      // Not every server streams what it was asked to.
      const whole = reader.isEnded ? wholeAnswerIn(item.value) : undefined
      if (whole !== undefined) return frameOf(JSON.stringify(asChunk(whole)), undefined) + frameOf("[DONE]", undefined)
    }
    if (shown._tag === "Bare") return malformed("frames of a stream", shown.value)
    if (shown._tag !== "Data" || item._tag !== "Data") return tooLong()
    const { data, event } = item
    if (data.trim() === "[DONE]") return frameOf(data, event)
    const value = parseJson(data)
    if (reader.expected !== undefined && isPing(value, event)) return ""
    // What is no JSON is no output: half a frame, or what its reader makes an error of.
    if (value === undefined) return item.isCut || data.trim() === "" ? "" : frameOf(shown.data, event)
    if (reader.expected !== undefined && !isJsonObject(value)) return malformed(reader.expected, shown.data)
    const changed = change(value)
    return frameOf(changed === undefined ? data : JSON.stringify(changed), event)
  }
}

/** The frames of a body as they come, and the error behind them. */
export const framesOf = <E>(
  body: Stream.Stream<Uint8Array, E>,
  options: Options
): Stream.Stream<Uint8Array, E | ModelError> =>
  Stream.unwrapScoped(
    Effect.map(Stream.toPull(endAt(body, () => options.reader.isEnded)), (pull) => {
      const frames = new Frames(options)
      let end: Option.Option<E | ModelError> | undefined
      const next = pull.pipe(
        Effect.map((chunks) => Chunk.map(chunks, (bytes) => frames.push(bytes))),
        Effect.catchAll(
          Option.match({
            onNone: () => {
              end = Option.none()
              return Effect.sync(() => Chunk.of(frames.end()))
            },
            onSome: (error) => Effect.fail(Option.some(error))
          })
        )
      )
      const give = (reads: Chunk.Chunk<Read>) => {
        const given: Array<Uint8Array> = []
        for (const { error, text } of reads) {
          if (text !== "") given.push(utf8.encode(text))
          if (error === undefined) continue
          end = Option.some(error)
          break
        }
        return Chunk.unsafeFromArray(given)
      }
      return Stream.repeatEffectChunkOption(
        Effect.suspend(() => (end === undefined ? Effect.map(next, give) : Effect.fail(end)))
      )
    })
  )
