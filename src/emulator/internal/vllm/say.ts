import { isJsonObject, type JsonObject, numberOf } from "../../../internal/text/json.js"
import type { VllmMessage, VllmOptions, VllmReply } from "../../vllm.js"
import { instanceOf } from "./schemaInstance.js"

export interface ToolCall {
  readonly id: string
  readonly name: string
  readonly arguments: string
}

/** What the model says to a request, in tokens. */
export interface Said {
  readonly reasoning: ReadonlyArray<string>
  readonly content: ReadonlyArray<string> | undefined
  readonly calls: ReadonlyArray<ToolCall>
  readonly finishReason: string
  readonly promptTokens: number
  readonly completionTokens: number
}

/** A request to say something, whichever route it came by. */
export interface Asked {
  readonly messages: ReadonlyArray<VllmMessage>
  readonly body: JsonObject
  readonly maxTokens: number | undefined
  /** The tool that has to be called, or whether any has. */
  readonly toolChoice: string | { readonly name: string } | undefined
  readonly tools: ReadonlyArray<{ readonly name: string; readonly parameters: unknown }>
  /** The schema that the answer has to keep to. */
  readonly schema: unknown
  readonly newId: (prefix: string) => string
}

/** A word with the blanks before it is a token. */
export const tokensOf = (text: string): ReadonlyArray<string> => text.match(/\s*\S+|\s+$/g) ?? []

/** The text of a message, whose content may be parts. */
export const textOfContent = (content: unknown): string => {
  if (typeof content === "string") return content
  if (!Array.isArray(content)) return ""
  return content.map((part) => (isJsonObject(part) && typeof part["text"] === "string" ? part["text"] : "")).join("")
}

const defaultReply = ({ messages, schema, toolChoice, tools }: Asked): VllmReply => {
  const wanted = typeof toolChoice === "object" ? tools.find(({ name }) => name === toolChoice.name) : tools[0]
  const mustCall = typeof toolChoice === "object" || toolChoice === "required"
  if (mustCall && wanted !== undefined) {
    const filled = instanceOf(wanted.parameters)
    return { toolCalls: [{ name: wanted.name, arguments: isJsonObject(filled) ? filled : {} }] }
  }
  if (schema !== undefined) return { content: JSON.stringify(instanceOf(schema)) }
  return { content: `You said: ${textOfContent(messages.at(-1)?.["content"])}` }
}

const take = (tokens: ReadonlyArray<string>, room: number) => tokens.slice(0, Math.max(0, room))

export const say = (asked: Asked, { reply }: Pick<VllmOptions, "reply">): Said => {
  const answer = reply?.(asked.messages, asked.body) ?? defaultReply(asked)
  const {
    content,
    finishReason,
    reasoning = "",
    toolCalls = []
  } = typeof answer === "string" ? { content: answer } : answer
  const room = asked.maxTokens ?? Infinity
  const thought = tokensOf(reasoning)
  const said = content === undefined ? undefined : tokensOf(content)
  const calls = toolCalls.map(({ arguments: given, id, name }) => ({
    id: id ?? asked.newId("chatcmpl-tool-"),
    name,
    arguments: typeof given === "string" ? given : JSON.stringify(given)
  }))
  const all = thought.length + (said?.length ?? 0)
  const callTokens = calls.reduce((sum, call) => sum + tokensOf(call.arguments).length + 1, 0)
  const isCut = all > room
  return {
    reasoning: take(thought, room),
    content: said && take(said, room - thought.length),
    calls: isCut ? [] : calls,
    finishReason: isCut ? "length" : (finishReason ?? (calls.length > 0 ? "tool_calls" : "stop")),
    promptTokens: asked.messages.reduce((sum, { content }) => sum + tokensOf(textOfContent(content)).length, 0),
    completionTokens: isCut ? room : all + callTokens
  }
}

/** The fields of a chat or completion that say how it is to be answered. */
export const readAsked = (
  body: JsonObject,
  messages: ReadonlyArray<VllmMessage>,
  newId: (prefix: string) => string
): Asked => {
  const choice = body["tool_choice"]
  const chosen = isJsonObject(choice) ? (isJsonObject(choice["function"]) ? choice["function"] : choice) : choice
  const tools = Array.isArray(body["tools"]) ? body["tools"].filter(isJsonObject) : []
  return {
    messages,
    body,
    maxTokens: numberOf(body["max_completion_tokens"] ?? body["max_tokens"] ?? body["max_output_tokens"]),
    toolChoice: isJsonObject(chosen)
      ? { name: String(chosen["name"]) }
      : typeof chosen === "string"
        ? chosen
        : undefined,
    tools: tools.map((tool) => {
      const of = isJsonObject(tool["function"]) ? tool["function"] : tool
      return { name: String(of["name"]), parameters: of["parameters"] }
    }),
    schema: schemaOf(body),
    newId
  }
}

/** The schema of chat/completions, of responses, or of vLLM's own field; of any JSON, that of an object. */
const schemaOf = (body: JsonObject): unknown => {
  const format = isJsonObject(body["response_format"])
    ? body["response_format"]
    : isJsonObject(body["text"]) && isJsonObject(body["text"]["format"])
      ? body["text"]["format"]
      : undefined
  if (format === undefined) return body["guided_json"]
  if (format["type"] === "json_object") return { type: "object", properties: { text: { type: "string" } } }
  if (format["type"] !== "json_schema") return undefined
  return isJsonObject(format["json_schema"]) ? format["json_schema"]["schema"] : format["schema"]
}
