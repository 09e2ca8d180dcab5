import * as Either from "effect/Either"
import { identity } from "effect/Function"
import type { ChatChunk } from "../ChatCompletion.js"
import { IncompleteStreamError, isModelError, type ModelError } from "../ModelError.js"
import { chunkOf, wholeAnswerIn } from "./choices.js"
import { type ItemReader, malformed, readData, scrubItem, tooLong } from "./itemReader.js"
import { arrayOf } from "./json.js"
import { readScrubbed, type Scrub } from "./scrub.js"
import { type Item, SseParser } from "./sse.js"
import { errorIn } from "./workerError.js"

/**
 * The chunks that a piece completes, and the error the stream ends with behind them.
 */
export interface Read {
  readonly chunks: ReadonlyArray<ChatChunk>
  readonly error?: ModelError | undefined
}

/**
 * Reads a stream of chunks. It is complete when `[DONE]` came, there was a choice, and each choice had its `finish_reason`; any
 * other end is an error. Only a worker that streams values in place of text has no `[DONE]`, nor has a completion that came whole,
 * although a stream was asked for. Used by one stream only, and synchronously.
 */
export class ChunkReader implements ItemReader {
  readonly expected = "a chunk of a chat completion"
  private readonly parser = new SseParser()
  /** By choice, whether it has finished. */
  private readonly finished = new Map<number, boolean>()
  /** How many characters of the answer's text came. */
  received = 0
  /** `[DONE]` came. */
  isEnded = false
  /** A chunk came as a value. */
  private hasValues = false
  /** A chunk came as text. */
  private hasFrames = false

  /** What an item that is quoted in an error passes through. */
  constructor(private readonly scrub: Scrub = identity) {}

  /** A piece of text, or a value where the worker streams values. */
  push(piece: unknown): Read {
    if (typeof piece === "string") return this.read(this.parser.push(piece))
    this.hasValues = true
    return this.read([{ _tag: "Bare", value: piece }])
  }

  /** The end of the stream. */
  end(): Read {
    const read = this.read(this.parser.end())
    return read.error === undefined ? { chunks: read.chunks, error: this.whatIsMissing() } : read
  }

  /** Whether the answer has come as a whole, although its stream may not have ended. */
  get isComplete(): boolean {
    return this.isEnded && this.whatIsMissing() === undefined
  }

  check(item: Item): ModelError | undefined {
    return Either.getOrUndefined(Either.flip(this.readItem(item)))
  }

  whatIsMissing(): ModelError | undefined {
    const { received } = this
    const needsDone = this.hasFrames || !this.hasValues
    if (needsDone && !this.isEnded) return new IncompleteStreamError({ reason: "NoDone", received })
    const isFinished = this.finished.size > 0 && [...this.finished.values()].every((finished) => finished)
    return isFinished ? undefined : new IncompleteStreamError({ reason: "NoFinish", received })
  }

  private read(items: ReadonlyArray<Item>): Read {
    const chunks: Array<ChatChunk> = []
    for (const item of items) {
      // Nothing of the answer comes behind its end.
      if (this.isEnded) break
      const read = this.readItem(item)
      if (Either.isLeft(read)) return { chunks, error: read.left }
      chunks.push(...read.right)
    }
    return { chunks }
  }

  private readItem(item: Item): Either.Either<ReadonlyArray<ChatChunk>, ModelError> {
    return readScrubbed(
      item,
      (quoted) => scrubItem(quoted, this.scrub),
      (whole) => this.readWhole(whole)
    )
  }

  private readWhole(item: Item): Either.Either<ReadonlyArray<ChatChunk>, ModelError> {
    switch (item._tag) {
      case "TooLong":
        return Either.left(tooLong())
      case "Bare":
        return Either.map(this.readValue(item.value), (chunks) => {
          if (wholeAnswerIn(item.value) !== undefined) this.endWhole()
          return chunks
        })
      case "Data": {
        this.hasFrames = true
        const data = readData(item, this.expected)
        if (isModelError(data)) return Either.left(data)
        if (data._tag === "Value") return this.readValue(data.value)
        if (data._tag === "Done") this.isEnded = true
        return Either.right([])
      }
    }
  }

  private endWhole(): void {
    this.isEnded = true
    for (const index of this.finished.keys()) this.finished.set(index, true)
  }

  private readValue(value: unknown): Either.Either<ReadonlyArray<ChatChunk>, ModelError> {
    if (Array.isArray(value)) {
      const all: Array<ChatChunk> = []
      for (const entry of arrayOf(value)) {
        const read = this.readValue(entry)
        if (Either.isLeft(read)) return read
        all.push(...read.right)
      }
      return Either.right(all)
    }
    const error = errorIn(value)
    if (error !== undefined) return Either.left(error)
    const chunk = chunkOf(value)
    if (chunk === undefined) return Either.left(malformed(this.expected, value))
    for (const { content, finishReason, index } of chunk.choices) {
      this.received += content.length
      this.finished.set(index, (this.finished.get(index) ?? false) || finishReason !== undefined)
    }
    return Either.right([chunk])
  }
}
