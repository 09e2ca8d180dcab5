import { IncompleteStreamError, isModelError, type ModelError, WorkerError } from "../ModelError.js"
import { type ItemReader, malformed, readData, scrubItem, tooLong } from "./itemReader.js"
import { isJsonObject, type JsonObject, parseJson, stringOf } from "./json.js"
import { readScrubbed, type Scrub } from "./scrub.js"
import type { Item } from "./sse.js"
import { errorIn, errorInResponse } from "./workerError.js"
import * as Either from "effect/Either"

/** The types of the events that end streams which have no `[DONE]`, or need none. */
const lastEvents: ReadonlySet<string> = new Set(["response.completed", "response.incomplete", "message_stop"])

/**
 * The type of the event that comes behind one of this type, where that is known. Behind some of them, more can come: of another image,
 * say, so they are not the last.
 */
const awaitedAfter = (type: string): string | undefined => {
  if (type.startsWith("response.")) return "response.completed"
  if (type === "message_start") return "message_stop"
  if (/^(?:transcript\.text|speech\.audio)\.delta$/.test(type)) return type.replace("delta", "done")
  return /^image_(?:generation|edit)\.partial_image$/.test(type)
    ? type.replace("partial_image", "completed")
    : undefined
}

/** The events whose `delta` is a part of the answer. */
const isDelta = (type: string): boolean =>
  /^response\.(?:output_text|refusal|function_call_arguments)\.delta$/.test(type)

/**
 * Streams of events that say what they are: of `/responses`, and of routes that are not known, which need no end but that of a kind of
 * event that has one.
 */
export class EventReader implements ItemReader {
  readonly expected: string | undefined
  isEnded = false
  /** The event, or `[DONE]`, that has to come behind those that came. Before anything has, any other does. */
  private awaited: string | undefined = "any"
  /** The last event came, which `[DONE]` does not stand for. */
  private isFinished = false
  private received = 0

  constructor(
    private readonly scrub: Scrub,
    private readonly route: "responses" | "other"
  ) {
    this.expected = route === "responses" ? "an event of a response" : undefined
  }

  check(item: Item): ModelError | undefined {
    const read = readScrubbed(
      item,
      (quoted) => scrubItem(quoted, this.scrub),
      (whole) => {
        const error = this.readItem(whole)
        return error === undefined ? Either.void : Either.left(error)
      }
    )
    return Either.getOrUndefined(Either.flip(read))
  }

  whatIsMissing(): ModelError | undefined {
    const { received } = this
    if (this.route === "other") {
      const isWhole = this.isEnded || this.awaited === undefined
      return isWhole ? undefined : new IncompleteStreamError({ reason: "NoDone", received })
    }
    if (!this.isEnded) return new IncompleteStreamError({ reason: "NoDone", received })
    return this.isFinished ? undefined : new IncompleteStreamError({ reason: "NoFinish", received })
  }

  private readItem(item: Item): ModelError | undefined {
    if (item._tag === "TooLong") return tooLong()
    if (item._tag === "Bare") return errorIn(item.value)
    const data = readData(item, this.expected)
    if (isModelError(data)) return data
    if (data._tag === "Done") this.isEnded = true
    if (data._tag === "None" && item.event !== "ping" && item.data.trim() !== "") this.awaitOfText(item)
    return data._tag === "Value" ? this.readEvent(data.value, item.event) : undefined
  }

  private readEvent(value: unknown, event: string | undefined): ModelError | undefined {
    const given = isJsonObject(value) ? stringOf(value["type"]) : undefined
    if (this.expected !== undefined && given === undefined) return malformed(this.expected, value)
    const type = given ?? event ?? ""
    if (isJsonObject(value) && type.startsWith("response.")) {
      const error = this.readResponse(value, type)
      if (error !== undefined) return error
    }
    this.awaitNext(value, type)
    if (lastEvents.has(type)) this.isEnded = this.isFinished = true
    return undefined
  }

  /** What is no JSON can be anything. At the end it is half a frame. */
  private awaitOfText({ data, isCut }: Extract<Item, { readonly _tag: "Data" }>): void {
    if (parseJson(data) !== undefined) return
    if (isCut) this.awaited = "its end"
    else if (this.awaited === "any") this.awaited = undefined
  }

  private awaitNext(value: unknown, type: string): void {
    const isChunk = isJsonObject(value) && stringOf(value["object"])?.endsWith(".chunk") === true
    if (isChunk) this.awaited = "[DONE]"
    else if (awaitedAfter(type) !== undefined) this.awaited = awaitedAfter(type)
    else if (this.awaited === "any" || this.awaited === type) this.awaited = undefined
  }

  private readResponse(value: JsonObject, type: string): ModelError | undefined {
    const { delta, response } = value
    const error = errorInResponse(response)
    if (error !== undefined) return error
    if (type === "response.failed") return new WorkerError({ detail: "the response failed, and does not say why" })
    if (isDelta(type)) {
      if (typeof delta !== "string") return malformed(`the text of ${type}`, value)
      if (type === "response.output_text.delta") this.received += delta.length
    }
    const isWhole = !lastEvents.has(type) || (isJsonObject(response) && Array.isArray(response["output"]))
    return isWhole ? undefined : malformed(`the response of ${type}`, value)
  }
}
