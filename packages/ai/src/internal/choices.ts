/** What completions and their chunks have in common, read with every null and addition of vLLM. */
import type { ChatChunk, Choice, ChoiceDelta, ToolCall, ToolCallDelta, Usage } from "../ChatCompletion.js"
import { arrayOf, isJsonObject, type JsonObject, numberOf, parseJson, stringOf, wordOf } from "./json.js"

/** The text of a `content`: a string, null, or parts. */
const textOf = (content: unknown): string =>
  stringOf(content) ??
  arrayOf(content)
    .map((part) => (isJsonObject(part) ? (stringOf(part["text"]) ?? "") : (stringOf(part) ?? "")))
    .join("")

/** vLLM has renamed `reasoning_content` to `reasoning`, and some of its versions send both with the same text. */
const reasoningOf = ({ reasoning, reasoning_content }: JsonObject): string | undefined =>
  wordOf(reasoning_content) ?? wordOf(reasoning)

const argumentsOf = (value: unknown): string =>
  stringOf(value) ?? (value === undefined || value === null ? "" : JSON.stringify(value))

/** A list, or its only entry: TGI streams `tool_calls` as an object. */
const listOf = (value: unknown): ReadonlyArray<unknown> => (isJsonObject(value) ? [value] : arrayOf(value))

/** The calls of a message are whole, so each is one of its own, whatever index it has. */
const toolCallOf = (value: unknown, position: number, isWhole: boolean): ToolCallDelta => {
  const { function: called, id, index } = isJsonObject(value) ? value : {}
  const { arguments: args, name } = isJsonObject(called) ? called : {}
  const place = isWhole ? position : (numberOf(index) ?? position)
  return { index: place, id: wordOf(id), name: wordOf(name), arguments: argumentsOf(args) }
}

/** A choice with its `delta` or, of a whole completion, its `message`. */
const choiceOf = (value: unknown, position: number): ChoiceDelta => {
  const choice = isJsonObject(value) ? value : {}
  const { delta, message } = choice
  const said = [delta, message].find(isJsonObject) ?? {}
  return {
    index: numberOf(choice["index"]) ?? position,
    // The legacy route has no message.
    content: textOf(said["content"] ?? choice["text"]),
    reasoning: reasoningOf(said),
    refusal: wordOf(said["refusal"]),
    toolCalls: listOf(said["tool_calls"]).map((call, at) => toolCallOf(call, at, said === message)),
    finishReason: wordOf(choice["finish_reason"])
  }
}

const usageOf = (value: unknown): Usage | undefined => {
  if (!isJsonObject(value)) return undefined
  const { completion_tokens, completion_tokens_details, prompt_tokens, prompt_tokens_details, total_tokens } = value
  const output = isJsonObject(completion_tokens_details) ? completion_tokens_details : {}
  const input = isJsonObject(prompt_tokens_details) ? prompt_tokens_details : {}
  const [reasoningTokens, cachedInputTokens] = [numberOf(output["reasoning_tokens"]), numberOf(input["cached_tokens"])]
  return {
    inputTokens: numberOf(prompt_tokens),
    outputTokens: numberOf(completion_tokens),
    totalTokens: numberOf(total_tokens),
    ...(reasoningTokens === undefined ? {} : { reasoningTokens }),
    ...(cachedInputTokens === undefined ? {} : { cachedInputTokens })
  }
}

/** Whether an object without choices is a chunk: some servers leave them out where it has the usage only. */
const isWithoutChoices = ({ choices, object, usage }: JsonObject): boolean =>
  (choices === undefined || choices === null) && (object === "chat.completion.chunk" || isJsonObject(usage))

/** A chunk or a completion, or `undefined` for an object that is neither. */
export const chunkOf = (value: unknown): ChatChunk | undefined => {
  if (!isJsonObject(value)) return undefined
  const { choices, created, id, model, usage } = value
  if (Array.isArray(choices) ? !choices.every(isJsonObject) : !isWithoutChoices(value)) return undefined
  return {
    id: wordOf(id),
    model: wordOf(model),
    created: numberOf(created),
    choices: arrayOf(choices).map(choiceOf),
    usage: usageOf(usage),
    raw: value
  }
}

/** The completion that a value is, or a list with nothing else: its choices have come whole. */
export const wholeAnswerIn = (value: unknown): JsonObject | undefined => {
  const only: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value
  if (!isJsonObject(only) || only["object"] === "chat.completion.chunk") return undefined
  const choices = arrayOf(only["choices"])
  const isWhole = choices.every(
    (choice) => isJsonObject(choice) && isJsonObject(choice["message"]) && !isJsonObject(choice["delta"])
  )
  return isWhole && choices.length > 0 ? only : undefined
}

/** A completion as the chunk of a stream that has all of it. */
export const asChunk = (completion: JsonObject): JsonObject => ({
  ...completion,
  object: "chat.completion.chunk",
  choices: arrayOf(completion["choices"]).map((choice) => {
    const { message, ...rest } = isJsonObject(choice) ? choice : {}
    const said = isJsonObject(message) ? message : {}
    const { tool_calls } = said
    const calls = arrayOf(tool_calls).map((call, index) => (isJsonObject(call) ? { ...call, index } : call))
    return { finish_reason: "stop", ...rest, delta: calls.length === 0 ? said : { ...said, tool_calls: calls } }
  })
})

/** A tool call of which more can follow. */
export class GrowingCall {
  id: string | undefined
  name: string | undefined
  arguments = ""

  /** A server may repeat id and name with each piece: the first ones count. */
  add(delta: ToolCallDelta): void {
    this.id ??= delta.id
    this.name ??= delta.name
    this.arguments += delta.arguments
  }

  /**
   * Whether a piece of the same index is another call's: some servers give each call the index 0, or none. Older vLLM gives each piece
   * an id of its own, so a call of the same name is another one where this one's arguments have come as a whole, or neither has any.
   * `Perhaps` is a piece without arguments behind whole ones: older vLLM ends so, and a call may begin so. The next piece tells.
   */
  isBefore(delta: ToolCallDelta): boolean | "Perhaps" {
    if (delta.name === undefined) return false
    if (this.name !== undefined && delta.name !== this.name) return true
    if (delta.id !== undefined && delta.id === this.id) return false
    if (delta.arguments.trim() !== "") return this.isWhole
    if (this.isWhole) return "Perhaps"
    return this.id !== undefined && delta.id !== undefined && this.arguments.trim() === ""
  }

  /** Whether its arguments have come as a whole. */
  get isWhole(): boolean {
    return /\}\s*$/.test(this.arguments.slice(-16)) && isJsonObject(parseJson(this.arguments))
  }
}

/** The calls of one index. */
interface Place {
  latest: GrowingCall
  /** What is the beginning of another call if arguments follow. */
  head: ToolCallDelta | undefined
}

/** The tool calls of one choice, in the order in which they began. */
export class GrowingCalls {
  readonly all: Array<GrowingCall> = []
  private readonly places = new Map<number, Place>()

  /** Adds a piece to its call, which is given. */
  add(delta: ToolCallDelta): GrowingCall {
    const place = this.places.get(delta.index)
    if (place === undefined) return this.begin(delta)
    const { head, latest } = place
    const isAnother = latest.isBefore(delta)
    if (isAnother === true) return this.begin(delta)
    if (isAnother === "Perhaps") {
      place.head = { ...delta, arguments: "" }
      latest.arguments += delta.arguments
      return latest
    }
    if (head !== undefined && delta.arguments.trim() !== "") {
      const call = this.begin(head)
      call.add(delta)
      return call
    }
    latest.add(delta)
    return latest
  }

  private begin(delta: ToolCallDelta): GrowingCall {
    const call = new GrowingCall()
    call.add(delta)
    this.places.set(delta.index, { latest: call, head: undefined })
    this.all.push(call)
    return call
  }
}

/** A choice of which more can follow. */
export class GrowingChoice {
  private content = ""
  private reasoning = ""
  private refusal = ""
  private finishReason: string | undefined
  private readonly calls = new GrowingCalls()

  constructor(private readonly index: number) {}

  add(delta: ChoiceDelta): void {
    this.content += delta.content
    this.reasoning += delta.reasoning ?? ""
    this.refusal += delta.refusal ?? ""
    this.finishReason ??= delta.finishReason
    for (const call of delta.toolCalls) this.calls.add(call)
  }

  get choice(): Choice {
    const toolCalls: ReadonlyArray<ToolCall> = this.calls.all.map((call) => ({
      id: call.id,
      name: call.name ?? "",
      arguments: call.arguments
    }))
    return {
      index: this.index,
      content: this.content,
      reasoning: wordOf(this.reasoning),
      refusal: wordOf(this.refusal),
      toolCalls,
      finishReason: this.finishReason
    }
  }
}
