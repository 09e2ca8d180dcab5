import { isJsonObject, type JsonObject } from "../../../internal/text/json.js"
import { type Answered, badRequest, dataFrame, type Frame, type Route } from "./messages.js"
import { readAsked, type Said, say } from "./say.js"

const usageOf = ({ completionTokens, promptTokens }: Said) => ({
  prompt_tokens: promptTokens,
  total_tokens: promptTokens + completionTokens,
  completion_tokens: completionTokens,
  prompt_tokens_details: null
})

const wantsUsage = (body: JsonObject): boolean =>
  isJsonObject(body["stream_options"]) && body["stream_options"]["include_usage"] === true

interface Choice {
  readonly [key: string]: unknown
}

/** Makes the frames of a stream: each has the head, and nulls where vLLM writes them. */
const frames = (head: JsonObject, body: JsonObject, said: Said, choices: ReadonlyArray<readonly [Choice, number]>) => {
  const hasUsage = wantsUsage(body)
  const empty = hasUsage ? { usage: null } : {}
  const all: Array<Frame> = choices.map(([choice, tokens]) => ({
    text: dataFrame({ ...head, choices: [choice], ...empty }),
    tokens
  }))
  if (hasUsage) all.push({ text: dataFrame({ ...head, choices: [], usage: usageOf(said) }), tokens: 0 })
  return all
}

const join = (tokens: ReadonlyArray<string>): string => tokens.join("")

/** Reasoning under the names that vLLM has given it over time. */
const reasoningOf = (text: string | null, isOld: boolean) =>
  isOld ? { reasoning_content: text } : { reasoning: text, reasoning_content: text }

const chatChoices = (said: Said, isOld: boolean): ReadonlyArray<readonly [Choice, number]> => {
  const choice = (delta: JsonObject, tokens: number, end: JsonObject = { finish_reason: null }) =>
    [{ index: 0, delta, logprobs: null, ...end, ...(isOld ? {} : { token_ids: null }) }, tokens] as const
  return [
    choice({ role: "assistant", content: "" }, 0),
    ...said.reasoning.map((token) => choice(reasoningOf(token, isOld), 1)),
    ...(said.content ?? []).map((token) => choice({ content: token }, 1)),
    ...said.calls.flatMap(({ arguments: given, id, name }, index) => [
      choice({ tool_calls: [{ id, type: "function", index, function: { name, arguments: "" } }] }, 1),
      ...(given.match(/[^]{1,8}/gu) ?? []).map((part) =>
        choice({ tool_calls: [{ index, function: { arguments: part } }] }, 1)
      )
    ]),
    choice({ content: "" }, 0, { finish_reason: said.finishReason, stop_reason: null })
  ]
}

export const chat: Route = ({ body, created, isOld, model, newId, options }) => {
  const messages = Array.isArray(body["messages"]) ? body["messages"].filter(isJsonObject) : []
  if (messages.length === 0) return badRequest("messages: Field required")
  const said = say(readAsked(body, messages, newId), options)
  const id = newId("chatcmpl-")
  const message = {
    role: "assistant",
    content: said.content === undefined ? null : join(said.content),
    refusal: null,
    annotations: null,
    audio: null,
    function_call: null,
    tool_calls: said.calls.map(({ arguments: given, id, name }) => ({
      id,
      type: "function",
      function: { name, arguments: given }
    })),
    ...reasoningOf(said.reasoning.length === 0 ? null : join(said.reasoning), isOld)
  }
  const choice = {
    index: 0,
    message,
    logprobs: null,
    finish_reason: said.finishReason,
    stop_reason: null,
    token_ids: null
  }
  const answered: Answered = {
    body: {
      id,
      object: "chat.completion",
      created,
      model,
      choices: [choice],
      service_tier: null,
      system_fingerprint: null,
      usage: usageOf(said),
      prompt_logprobs: null,
      prompt_token_ids: null,
      kv_transfer_params: null
    },
    frames: frames({ id, object: "chat.completion.chunk", created, model }, body, said, chatChoices(said, isOld)),
    tokens: said.completionTokens,
    isDone: true
  }
  return answered
}

export const completions: Route = ({ body, created, model, newId, options }) => {
  const { prompt } = body
  if (prompt === undefined || prompt === null) return badRequest("prompt: Field required")
  const content = Array.isArray(prompt) ? prompt.map(String).join("") : String(prompt)
  const said = say(readAsked(body, [{ role: "user", content }], newId), options)
  const head = { id: newId("cmpl-"), object: "text_completion", created, model }
  const text = said.content ?? []
  const end = { finish_reason: said.finishReason, stop_reason: null }
  const going = { finish_reason: null, stop_reason: null }
  const choice = { index: 0, text: join(text), logprobs: null, ...end, prompt_logprobs: null }
  const choices = text.map((token, index) => {
    const isLast = index === text.length - 1
    return [{ index: 0, text: token, logprobs: null, ...(isLast ? end : going) }, 1] as const
  })
  return {
    body: {
      ...head,
      choices: [choice],
      service_tier: null,
      system_fingerprint: null,
      usage: usageOf(said),
      kv_transfer_params: null
    },
    frames: frames(head, body, said, choices),
    tokens: said.completionTokens,
    isDone: true
  }
}
