/** What a server of the OpenAI API writes, made up: vLLM's additions and nulls are in it. */
import { FastCheck as fc } from "effect"

export interface Written {
  /** The text of a stream, with its `[DONE]`. */
  readonly text: string
  readonly content: string
  readonly reasoning: string
  /** By index. */
  readonly calls: ReadonlyArray<{ readonly id: string; readonly name: string; readonly arguments: string }>
}

const base = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1_764_000_000, model: "m" }

export const usage = { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12, prompt_tokens_details: null }

/** A chunk with one choice. */
export const chunk = (delta: object, finishReason: string | null = null, more: object = {}) => ({
  ...base,
  choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason, stop_reason: null, token_ids: null }],
  ...more
})

export const usageChunk = { ...base, choices: [], usage }

export const frame = (value: unknown): string =>
  `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`

/** The frames of an answer with these texts. */
export const streamOf = (texts: ReadonlyArray<string>): string =>
  [
    chunk({ role: "assistant", content: "", reasoning_content: null }),
    ...texts.map((content) => chunk({ content, reasoning_content: null, tool_calls: [] })),
    chunk({ content: "", reasoning_content: null }, "stop", { usage: null }),
    usageChunk,
    "[DONE]"
  ]
    .map(frame)
    .join("")

export const completion = (content: string | null, more: object = {}) => ({
  ...base,
  object: "chat.completion",
  choices: [
    {
      index: 0,
      message: { role: "assistant", content, refusal: null, reasoning_content: null, tool_calls: [], ...more },
      logprobs: null,
      finish_reason: "stop",
      stop_reason: null
    }
  ],
  usage,
  prompt_logprobs: null,
  kv_transfer_params: null
})

const callChunks = (index: number, call: Written["calls"][number], pieces: ReadonlyArray<string>) => [
  chunk({ tool_calls: [{ index, id: call.id, type: "function", function: { name: call.name, arguments: "" } }] }),
  ...pieces.map((piece) => chunk({ tool_calls: [{ index, id: null, function: { arguments: piece } }] }))
]

const text = fc.string({ unit: "grapheme", maxLength: 6 })

/** Any stream: texts of any characters, reasoning, tool calls, with any ends of lines, comments, and data in several lines. */
export const anyStream: fc.Arbitrary<Written> = fc
  .record({
    reasoning: fc.array(text, { maxLength: 2 }),
    texts: fc.array(text, { maxLength: 3 }),
    calls: fc.array(fc.array(text, { minLength: 1, maxLength: 2 }), { maxLength: 2 }),
    newline: fc.constantFrom("\n", "\r\n", "\r"),
    comments: fc.boolean(),
    bom: fc.boolean(),
    isPretty: fc.boolean()
  })
  .map(({ bom, calls, comments, isPretty, newline, reasoning, texts }) => {
    const written = calls.map((pieces, index) => ({
      id: `call-${index}`,
      name: `tool${index}`,
      arguments: pieces.join("")
    }))
    const chunks = [
      chunk({ role: "assistant", content: "" }),
      ...reasoning.map((reasoning_content) => chunk({ content: null, reasoning_content })),
      ...texts.map((content) => chunk({ content })),
      ...written.flatMap((call, index) => callChunks(index, call, calls[index] ?? [])),
      chunk({}, written.length === 0 ? "stop" : "tool_calls"),
      usageChunk
    ]
    const frames = chunks.map((value) => {
      const lines = (isPretty ? JSON.stringify(value, null, 1) : JSON.stringify(value)).split("\n")
      const data = lines.map((line) => `data: ${line}${newline}`).join("")
      return `${comments ? `: ping${newline}event: message${newline}id: 1${newline}` : ""}${data}${newline}`
    })
    return {
      text: `${bom ? "\uFEFF" : ""}${frames.join("")}data: [DONE]${newline}${newline}`,
      content: texts.join(""),
      reasoning: reasoning.join(""),
      calls: written
    }
  })
