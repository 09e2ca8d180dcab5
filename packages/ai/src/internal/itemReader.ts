import { MalformedAnswerError, type ModelError } from "../ModelError.js"
import { describe, isJsonObject, parseJson } from "./json.js"
import { type Scrub, scrubJson } from "./scrub.js"
import type { Item } from "./sse.js"
import { errorInFrame } from "./workerError.js"

/** What the items of a stream have to be, and when its answer is whole. Used by one stream only. */
export interface ItemReader {
  /** What the data of each frame is, or `undefined` where it can be anything. */
  readonly expected: string | undefined
  /** The error that an item is. Each item passes through it once. */
  readonly check: (item: Item) => ModelError | undefined
  /** Whether the end of the answer came: nothing of it comes behind. */
  readonly isEnded: boolean
  /** What is missing, if the stream ends here. */
  readonly whatIsMissing: () => ModelError | undefined
}

export const malformed = (expected: string, found: unknown, what?: string): MalformedAnswerError => {
  const got = what === undefined ? describe(found) : `${what}, ${describe(found)}`
  return new MalformedAnswerError({ issue: `expected ${expected}, got ${got}` })
}

export const tooLong = (): MalformedAnswerError => malformed("frames of an answer", "one of more than 16 MiB")

/** An item as errors may show it. */
export const scrubItem = (item: Item, scrub: Scrub): Item => {
  switch (item._tag) {
    case "Data":
      return { ...item, data: scrub(item.data) }
    case "Bare":
      return { ...item, value: scrubJson(item.value, scrub) }
    case "TooLong":
      return item
  }
}

/** What the data of a frame is: the end of the stream, nothing, or a value. */
export type FrameData =
  { readonly _tag: "Done" } | { readonly _tag: "None" } | { readonly _tag: "Value"; readonly value: unknown }

/** An event that only keeps the connection open. */
export const isPing = (value: unknown, event: string | undefined): boolean =>
  event === "ping" || (isJsonObject(value) && value["type"] === "ping")

/** Reads the data of a frame, which is an error where it holds one, or is no JSON. */
export const readData = (
  { data, event, isCut }: Extract<Item, { readonly _tag: "Data" }>,
  expected: string | undefined
): FrameData | ModelError => {
  const text = data.trim()
  if (text === "[DONE]") return { _tag: "Done" }
  const value = parseJson(text)
  const error = errorInFrame(data, value, event)
  if (error !== undefined) return error
  if (isPing(value, event)) return { _tag: "None" }
  if (value !== undefined) return { _tag: "Value", value }
  // Half a frame is no frame: what is missing is told at the end.
  return text === "" || isCut || expected === undefined ? { _tag: "None" } : malformed(expected, data)
}
