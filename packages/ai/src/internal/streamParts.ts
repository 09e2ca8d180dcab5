import type { AiError } from "@effect/ai/AiError"
import { IdGenerator } from "@effect/ai/IdGenerator"
import type * as Response from "@effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ChatChunk, ChoiceDelta, ToolCallDelta, Usage } from "../ChatCompletion.js"
import { type GrowingCall, GrowingCalls } from "./choices.js"
import { finishOf, metadataOf, toolCallOf } from "./parts.js"
import type { Scrub } from "./scrub.js"

type Part = Response.StreamPartEncoded

/** What of a tool call has been given. */
interface GivenCall {
  readonly id: string
  /** Of its arguments, how many characters. */
  length: number
}

/** The parts that chunks become, one stream's. */
class PartsOfStream {
  private hasMetadata = false
  private open: { readonly type: "text" | "reasoning"; readonly id: string } | undefined
  /** How many parts of text and reasoning there were, for their ids. */
  private opened = 0
  private finishReason: string | undefined
  private usage: Usage | undefined
  private readonly calls = new GrowingCalls()
  private readonly given = new Map<GrowingCall, GivenCall>()
  /** Of an answer without a first choice another counts, which is known at its end. */
  private hasFirst = false
  private readonly others: Array<ChoiceDelta> = []

  constructor(private readonly scrub: Scrub) {}

  read(chunk: ChatChunk): Effect.Effect<ReadonlyArray<Part>, never, IdGenerator> {
    return Effect.gen(this, function* () {
      const parts: Array<Part> = []
      if (!this.hasMetadata) {
        this.hasMetadata = true
        parts.push(metadataOf(chunk))
      }
      this.usage = chunk.usage ?? this.usage
      for (const choice of chunk.choices) {
        if (choice.index === 0) {
          this.hasFirst = true
          yield* this.readChoice(choice, parts)
        } else if (!this.hasFirst) this.others.push(choice)
      }
      return parts
    })
  }

  /** What stands behind the last chunk of an answer that is complete. */
  readonly end: Effect.Effect<ReadonlyArray<Part>, AiError, IdGenerator> = Effect.gen(this, function* () {
    const parts: Array<Part> = []
    if (!this.hasFirst) {
      const first = Math.min(...new Set(this.others.map(({ index }) => index)))
      for (const choice of this.others) if (choice.index === first) yield* this.readChoice(choice, parts)
    }
    this.close(parts)
    for (const call of this.calls.all) {
      const { name = "" } = call
      const { id } = yield* this.give(call, name, parts)
      const whole = { id, name, arguments: call.arguments }
      parts.push({ type: "tool-params-end", id }, yield* toolCallOf("streamText", whole, this.scrub))
    }
    parts.push(finishOf({ finishReason: this.finishReason }, this.calls.all.length > 0, this.usage))
    return parts
  })

  private *readChoice(choice: ChoiceDelta, parts: Array<Part>) {
    const { content, finishReason, reasoning, refusal, toolCalls } = choice
    if (reasoning !== undefined) this.add("reasoning", reasoning, parts)
    if (content !== "") this.add("text", content, parts)
    if (refusal !== undefined) {
      const id = this.openPart("text", parts)
      parts.push({ type: "text-delta", id, delta: "", metadata: { runpod: { refusal } } })
    }
    for (const delta of toolCalls) yield* this.readCall(delta, parts)
    this.finishReason ??= finishReason
  }

  private *readCall(delta: ToolCallDelta, parts: Array<Part>) {
    const call = this.calls.add(delta)
    // Its name may come behind its id.
    if (call.name !== undefined) yield* this.give(call, call.name, parts)
  }

  /** Gives what is new of a call. */
  private *give(call: GrowingCall, name: string, parts: Array<Part>) {
    let given = this.given.get(call)
    if (given === undefined) {
      given = { id: call.id ?? (yield* (yield* IdGenerator).generateId()), length: 0 }
      this.given.set(call, given)
      this.close(parts)
      parts.push({ type: "tool-params-start", id: given.id, name })
    }
    const delta = call.arguments.slice(given.length)
    given.length = call.arguments.length
    if (delta !== "") parts.push({ type: "tool-params-delta", id: given.id, delta })
    return given
  }

  private add(type: "text" | "reasoning", delta: string, parts: Array<Part>): void {
    parts.push({ type: `${type}-delta`, id: this.openPart(type, parts), delta })
  }

  private openPart(type: "text" | "reasoning", parts: Array<Part>): string {
    if (this.open?.type === type) return this.open.id
    this.close(parts)
    const id = String(this.opened++)
    this.open = { type, id }
    parts.push({ type: `${type}-start`, id })
    return id
  }

  private close(parts: Array<Part>): void {
    if (this.open === undefined) return
    parts.push({ type: `${this.open.type}-end`, id: this.open.id })
    this.open = undefined
  }
}

/** An answer's chunks as parts. Its `finish` comes when all chunks have, so a stream that fails has none. */
export const streamPartsOf = <E>(
  chunks: Stream.Stream<ChatChunk, E>,
  scrub: Scrub
): Stream.Stream<Part, E | AiError, IdGenerator> =>
  Stream.suspend(() => {
    const state = new PartsOfStream(scrub)
    return chunks.pipe(
      Stream.mapEffect((chunk) => state.read(chunk)),
      Stream.concat(Stream.fromEffect(Effect.suspend(() => state.end))),
      Stream.flattenIterables
    )
  })
