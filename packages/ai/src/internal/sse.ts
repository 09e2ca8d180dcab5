/**
 * Server-sent events, read from text that is cut anywhere: in a line, between CR and LF, in several frames at once.
 *
 * Beside the events of the standard it gives JSON that stands without `data:`. So workers write an error into a stream.
 */
import { parseJson } from "./json.js"

/** No frame of a model's stream is longer. */
const longest = 16 * 1024 * 1024

export type Item =
  /** The lines of an event's `data`, and its name. The text ended before the event when it `isCut`. */
  | { readonly _tag: "Data"; readonly data: string; readonly event: string | undefined; readonly isCut: boolean }
  /** A JSON object or array that stands by itself. */
  | { readonly _tag: "Bare"; readonly value: unknown }
  /** A frame that never ends. */
  | { readonly _tag: "TooLong" }

/** JSON without `data:`, line by line. Its end is where its brackets close: to parse it at every line would take quadratic time. */
class Bare {
  text = ""
  private depth = 0
  private isInString = false

  /** Whether the line closes the last bracket. What does not parse then is no JSON, whatever follows. */
  add(line: string): boolean {
    this.text += this.text === "" ? line : `\n${line}`
    for (let at = 0; at < line.length; at++) {
      const character = line[at]
      if (character === "\\" && this.isInString) at++
      else if (character === '"') this.isInString = !this.isInString
      else if (this.isInString) continue
      else if (character === "{" || character === "[") this.depth++
      else if (character === "}" || character === "]") this.depth--
    }
    return this.depth <= 0
  }
}

/** Used by one stream only, and synchronously. */
export class SseParser {
  private line = ""
  private isStart = true
  /** The last piece ended with CR, so that an LF at the start of the next belongs to it. */
  private skipsLineFeed = false
  private data: string | undefined
  private event: string | undefined
  /** JSON without `data:` of which the end has not come. */
  private bare: Bare | undefined

  /** The items that are complete with this piece. */
  push(piece: string): ReadonlyArray<Item> {
    let text = piece
    if (text === "") return []
    if (this.isStart) {
      this.isStart = false
      if (text.startsWith("\uFEFF")) text = text.slice(1)
    }
    const items: Array<Item> = []
    let start = 0
    if (this.skipsLineFeed && text !== "") {
      this.skipsLineFeed = false
      if (text.startsWith("\n")) start = 1
    }
    for (let at = start; at < text.length; at++) {
      const code = text.charCodeAt(at)
      if (code !== 10 && code !== 13) continue
      const line = this.line + text.slice(start, at)
      this.line = ""
      this.endOfLine(line, items)
      if (code === 13) {
        if (at + 1 === text.length) this.skipsLineFeed = true
        else if (text.charCodeAt(at + 1) === 10) at++
      }
      start = at + 1
    }
    this.line += text.slice(start)
    if (this.line.length + (this.data?.length ?? 0) + (this.bare?.text.length ?? 0) > longest) {
      this.line = ""
      this.data = this.bare = undefined
      items.push({ _tag: "TooLong" })
    }
    return items
  }

  /** What the end of the text completes: a last line need not have an end, nor a last event its empty line. */
  end(): ReadonlyArray<Item> {
    const items: Array<Item> = []
    if (this.line !== "") {
      const line = this.line
      this.line = ""
      this.endOfLine(line, items)
    }
    this.endOfBare(items)
    this.endOfEvent(items, true)
    return items
  }

  private endOfLine(line: string, items: Array<Item>): void {
    if (this.bare !== undefined) {
      const isField = /^(?:data|event|id|retry|error)?:/.test(line)
      if (!isField) return this.addToBare(this.bare, line, items)
      this.endOfBare(items)
    }
    if (line === "") return this.endOfEvent(items)
    if (/^\s*[[{]/.test(line)) {
      this.endOfEvent(items)
      this.bare = new Bare()
      return this.addToBare(this.bare, line, items)
    }
    const colon = line.indexOf(":")
    const name = colon === -1 ? line : line.slice(0, colon)
    const rest = colon === -1 ? "" : line.slice(colon + 1)
    const value = rest.startsWith(" ") ? rest.slice(1) : rest
    if (name === "data") this.data = this.data === undefined ? value : `${this.data}\n${value}`
    else if (name === "event") this.event = value
    // Older servers of llama.cpp write an error in a field of its own.
    else if (name === "error") items.push({ _tag: "Bare", value: { error: parseJson(value) ?? value } })
    // Comments, `id`, `retry` and other fields say nothing about an answer.
  }

  private endOfEvent(items: Array<Item>, isCut = false): void {
    if (this.data !== undefined) items.push({ _tag: "Data", data: this.data, event: this.event, isCut })
    this.data = this.event = undefined
  }

  private addToBare(bare: Bare, line: string, items: Array<Item>): void {
    if (bare.add(line)) this.endOfBare(items)
  }

  private endOfBare(items: Array<Item>): void {
    if (this.bare === undefined) return
    const value = parseJson(this.bare.text)
    // Half an object: whoever reads the items sees that the stream is incomplete.
    if (value !== undefined) items.push({ _tag: "Bare", value })
    this.bare = undefined
  }
}
