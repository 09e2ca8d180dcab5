import { type AiError, MalformedOutput } from "@effect/ai/AiError"
import { IdGenerator } from "@effect/ai/IdGenerator"
import type * as Response from "@effect/ai/Response"
import { unsafeSecureJsonParse } from "@effect/ai/Tool"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type { ChatCompletion, Choice, ToolCall, Usage } from "../ChatCompletion.js"
import { UnfinishedAnswerError } from "../ModelError.js"
import type { Scrub } from "./scrub.js"
import { excerpt } from "./text.js"

/** What a server does not tell of its tokens. */
const unknownUsage: Usage = { inputTokens: undefined, outputTokens: undefined, totalTokens: undefined }

export const metadataOf = ({
  created,
  id,
  model
}: Pick<ChatCompletion, "created" | "id" | "model">): Response.ResponseMetadataPartEncoded => {
  const time = created === undefined ? Option.none() : DateTime.make(created * 1_000)
  return {
    type: "response-metadata",
    ...(id === undefined ? {} : { id }),
    ...(model === undefined ? {} : { modelId: model }),
    ...(Option.isSome(time) ? { timestamp: DateTime.formatIso(time.value) } : {})
  }
}

const reasons: Readonly<Record<string, Response.FinishReason>> = {
  stop: "stop",
  length: "length",
  content_filter: "content-filter",
  tool_calls: "tool-calls",
  function_call: "tool-calls",
  error: "error"
}

/** A forced tool call ends with `stop` in vLLM. */
export const reasonOf = (finishReason: string | undefined, hasCalls: boolean): Response.FinishReason => {
  if (hasCalls && (finishReason === undefined || finishReason === "stop")) return "tool-calls"
  return finishReason === undefined ? "unknown" : (reasons[finishReason] ?? "other")
}

export const finishOf = (
  { finishReason }: Pick<Choice, "finishReason">,
  hasCalls: boolean,
  usage: Usage | undefined
): Response.FinishPartEncoded => ({
  type: "finish",
  reason: reasonOf(finishReason, hasCalls),
  usage: usage ?? unknownUsage
})

/** A tool call whose arguments have come as a whole. The error has no cause: that of JSON quotes a part of the text. */
export const toolCallOf = (
  method: string,
  call: ToolCall,
  scrub: Scrub
): Effect.Effect<Response.ToolCallPartEncoded, AiError, IdGenerator> =>
  Effect.gen(function* () {
    const id = call.id ?? (yield* (yield* IdGenerator).generateId())
    const params = yield* Effect.try({
      try: () => (call.arguments.trim() === "" ? {} : unsafeSecureJsonParse(call.arguments)),
      catch: () =>
        new MalformedOutput({
          module: "RunPodLanguageModel",
          method,
          description: `the model called the tool ${scrub(call.name)} with arguments that are no JSON: ${excerpt(scrub(call.arguments), 500)}`
        })
    })
    return { type: "tool-call", id, name: call.name, params }
  })

/** Why an object cannot be in this answer. */
export const whyNoObject = (
  { finishReason, refusal }: Choice,
  scrub: Scrub = identity
): UnfinishedAnswerError | undefined => {
  if (refusal !== undefined) return new UnfinishedAnswerError({ reason: "Refusal", detail: scrub(refusal) })
  if (finishReason === "length") return new UnfinishedAnswerError({ reason: "Length" })
  return finishReason === "content_filter" ? new UnfinishedAnswerError({ reason: "Filter" }) : undefined
}

/** The answer that counts: a request for several has to read them itself. */
export const firstOf = ({ choices }: ChatCompletion): Choice | undefined =>
  choices.find(({ index }) => index === 0) ?? choices[0]

/** A whole answer as parts. */
export const partsOf = (
  completion: ChatCompletion,
  scrub: Scrub
): Effect.Effect<Array<Response.PartEncoded>, AiError, IdGenerator> =>
  Effect.gen(function* () {
    const choice = firstOf(completion)
    const parts: Array<Response.PartEncoded> = [metadataOf(completion)]
    if (choice !== undefined) {
      const { content, reasoning, refusal, toolCalls } = choice
      if (reasoning !== undefined) parts.push({ type: "reasoning", text: reasoning })
      if (content !== "") parts.push({ type: "text", text: content })
      if (refusal !== undefined) parts.push({ type: "text", text: "", metadata: { runpod: { refusal } } })
      for (const call of toolCalls) parts.push(yield* toolCallOf("generateText", call, scrub))
    }
    const hasCalls = choice !== undefined && choice.toolCalls.length > 0
    parts.push(finishOf({ finishReason: choice?.finishReason }, hasCalls, completion.usage))
    return parts
  })
