import { isJsonObject, type JsonObject } from "../../../internal/text/json.js"
import type { VllmMessage } from "../../vllm.js"
import { badRequest, eventFrame, type Frame, type Route } from "./messages.js"
import { readAsked, type Said, say } from "./say.js"

const messagesOf = ({ input, instructions }: JsonObject): ReadonlyArray<VllmMessage> => {
  const system = typeof instructions === "string" ? [{ role: "system", content: instructions }] : []
  if (typeof input === "string") return [...system, { role: "user", content: input }]
  return [...system, ...(Array.isArray(input) ? input.filter(isJsonObject) : [])]
}

interface Item {
  readonly id: string
  readonly type: string
  readonly [key: string]: unknown
}

const messageItem = (id: string, text: string, status: string): Item => ({
  id,
  content: status === "completed" ? [{ annotations: [], text, type: "output_text", logprobs: null }] : [],
  role: "assistant",
  status,
  type: "message"
})

const itemsOf = (said: Said, newId: (prefix: string) => string): ReadonlyArray<Item> => {
  const reasoning = said.reasoning.join("")
  const thought: ReadonlyArray<Item> =
    reasoning === ""
      ? []
      : [
          {
            id: newId("rs_"),
            summary: [],
            type: "reasoning",
            content: [{ text: reasoning, type: "reasoning_text" }],
            encrypted_content: null,
            status: null
          }
        ]
  const text: ReadonlyArray<Item> =
    said.content === undefined ? [] : [messageItem(newId("msg_"), said.content.join(""), "completed")]
  const calls = said.calls.map((call) => ({
    arguments: call.arguments,
    call_id: call.id,
    name: call.name,
    type: "function_call",
    id: newId("fc_"),
    status: "completed"
  }))
  return [...thought, ...text, ...calls]
}

/** The events of a stream, numbered. */
const eventsOf = (response: JsonObject, items: ReadonlyArray<Item>, said: Said): ReadonlyArray<Frame> => {
  const frames: Array<Frame> = []
  const add = (type: string, fields: object, tokens = 0) => {
    frames.push({ text: eventFrame({ type, ...fields, sequence_number: frames.length } as { type: string }), tokens })
  }
  const begun = { ...response, status: "in_progress", output: [], usage: null }
  add("response.created", { response: begun })
  add("response.in_progress", { response: begun })
  items.forEach((item, output_index) => {
    const at = { item_id: item.id, output_index }
    if (item.type === "message") {
      add("response.output_item.added", { item: messageItem(item.id, "", "in_progress"), output_index })
      const part = { annotations: [], text: "", type: "output_text", logprobs: [] }
      add("response.content_part.added", { ...at, content_index: 0, part })
      for (const delta of said.content ?? []) {
        add("response.output_text.delta", { ...at, content_index: 0, delta, logprobs: [] }, 1)
      }
      const text = (said.content ?? []).join("")
      add("response.output_text.done", { ...at, content_index: 0, text, logprobs: [] })
      add("response.content_part.done", { ...at, content_index: 0, part: { ...part, text } })
    } else if (item.type === "reasoning") {
      add("response.output_item.added", { item: { ...item, content: [], status: "in_progress" }, output_index })
      for (const delta of said.reasoning) add("response.reasoning_text.delta", { ...at, content_index: 0, delta }, 1)
      add("response.reasoning_text.done", { ...at, content_index: 0, text: said.reasoning.join("") })
    } else {
      add("response.output_item.added", { item: { ...item, arguments: "", status: "in_progress" }, output_index })
      add("response.function_call_arguments.delta", { ...at, delta: item["arguments"] }, 1)
      add("response.function_call_arguments.done", { ...at, arguments: item["arguments"], name: item["name"] })
    }
    add("response.output_item.done", { item, output_index })
  })
  add("response.completed", { response })
  return frames
}

/** vLLM's `/v1/responses`, whose body has no key `error`, also where nothing went wrong. */
export const responses: Route = ({ body, created, model, newId, options }) => {
  const messages = messagesOf(body)
  if (messages.length === 0) return badRequest("input: Field required")
  const asked = readAsked(body, messages, newId)
  const said = say(asked, options)
  const items = itemsOf(said, newId)
  const isCut = said.finishReason === "length"
  const response = {
    id: newId("resp_"),
    created_at: created,
    incomplete_details: isCut ? { reason: "max_output_tokens" } : null,
    instructions: body["instructions"] ?? null,
    metadata: null,
    model,
    object: "response",
    output: items,
    parallel_tool_calls: true,
    temperature: body["temperature"] ?? 1,
    tool_choice: body["tool_choice"] ?? "auto",
    tools: body["tools"] ?? [],
    top_p: body["top_p"] ?? 1,
    background: false,
    max_output_tokens: asked.maxTokens ?? 4096,
    max_tool_calls: null,
    previous_response_id: null,
    prompt: null,
    reasoning: null,
    service_tier: "auto",
    status: isCut ? "incomplete" : "completed",
    text: body["text"] ?? null,
    top_logprobs: null,
    truncation: "disabled",
    usage: {
      input_tokens: said.promptTokens,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: said.completionTokens,
      output_tokens_details: { reasoning_tokens: said.reasoning.length, tool_output_tokens: 0 },
      total_tokens: said.promptTokens + said.completionTokens
    },
    user: null
  }
  return { body: response, frames: eventsOf(response, items, said), tokens: said.completionTokens, isDone: false }
}
