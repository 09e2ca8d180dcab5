/** Handlers that answer like worker-vllm, for the emulator. */
import { Effect, Stream } from "effect"
import type * as Emulator from "effect-runpod/Emulator"
import { completion, streamOf } from "./answers.js"

export interface Body {
  readonly model?: string
  readonly stream?: boolean
  readonly messages: ReadonlyArray<{ readonly role: string; readonly content: unknown }>
  readonly [field: string]: unknown
}

/** The body of a job of the OpenAI route. */
export const bodyOf = (input: Readonly<Record<string, unknown>>): Body => input["openai_input"] as Body

/** A text in pieces of so many characters. */
export const cut = (text: string, length: number): ReadonlyArray<string> =>
  Array.from({ length: Math.ceil(text.length / length) }, (_, n) => text.slice(n * length, (n + 1) * length))

/** Says these words, in one answer or in pieces of a stream that are cut anywhere. */
export const saying =
  (words: (body: Body) => ReadonlyArray<string>, pause: `${number} millis` | 0 = 0): Emulator.Handler =>
  (input) => {
    const body = bodyOf(input)
    const said = words(body)
    if (body.stream !== true) return Stream.make(completion(said.join("")))
    const pieces = Stream.fromIterable(cut(streamOf(said), 50)).pipe(Stream.rechunk(1))
    return pause === 0 ? pieces : Stream.tap(pieces, () => Effect.sleep(pause))
  }

/** Yields these values, whatever is asked. */
export const yielding =
  (...values: ReadonlyArray<unknown>): Emulator.Handler =>
  () =>
    Stream.fromIterable(values)
