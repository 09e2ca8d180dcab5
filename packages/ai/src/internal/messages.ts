import { type AiError, MalformedInput } from "@effect/ai/AiError"
import type * as Prompt from "@effect/ai/Prompt"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import type { JsonObject } from "./json.js"

const unsupported = (description: string) =>
  Effect.fail(new MalformedInput({ module: "RunPodLanguageModel", method: "prompt", description }))

const urlOf = ({ data, mediaType }: Prompt.FilePart, defaultType: string): string => {
  if (data instanceof URL) return data.href
  const type = mediaType.endsWith("/*") ? defaultType : mediaType
  // A text is a URL, or base64.
  if (typeof data === "string") return /^(?:https?|data):/.test(data) ? data : `data:${type};base64,${data}`
  return `data:${type};base64,${Encoding.encodeBase64(data)}`
}

/** A file in vLLM's forms: images, videos and sounds by their URLs, which can hold the data. */
const fileOf = (part: Prompt.FilePart): Effect.Effect<JsonObject, AiError> => {
  const [kind] = part.mediaType.split("/")
  switch (kind) {
    case "image":
      return Effect.succeed({ type: "image_url", image_url: { url: urlOf(part, "image/jpeg") } })
    case "video":
      return Effect.succeed({ type: "video_url", video_url: { url: urlOf(part, "video/mp4") } })
    case "audio":
      return Effect.succeed({ type: "audio_url", audio_url: { url: urlOf(part, "audio/wav") } })
    default:
      return unsupported(
        `a model's server takes images, videos and sounds, and no file of type ${part.mediaType}: send its text instead`
      )
  }
}

const userMessage = (parts: ReadonlyArray<Prompt.UserMessagePart>): Effect.Effect<JsonObject, AiError> => {
  const texts = parts.filter((part) => part.type === "text")
  // Some chat templates take a string only.
  if (texts.length === parts.length) {
    return Effect.succeed({ role: "user", content: texts.map(({ text }) => text).join("") })
  }
  return Effect.map(
    Effect.forEach(parts, (part) =>
      part.type === "text" ? Effect.succeed<JsonObject>({ type: "text", text: part.text }) : fileOf(part)
    ),
    (content) => ({ role: "user", content })
  )
}

/** What the model thought is not sent back to it: its chat template would leave it out. */
const assistantMessage = (parts: ReadonlyArray<Prompt.AssistantMessagePart>): JsonObject => {
  const text = parts.map((part) => (part.type === "text" ? part.text : "")).join("")
  const calls = parts.flatMap((part) =>
    part.type === "tool-call" && !part.providerExecuted
      ? [{ id: part.id, type: "function", function: { name: part.name, arguments: JSON.stringify(part.params) } }]
      : []
  )
  if (calls.length === 0) return { role: "assistant", content: text }
  return { role: "assistant", content: text === "" ? null : text, tool_calls: calls }
}

const toolMessages = (parts: ReadonlyArray<Prompt.ToolMessagePart>): ReadonlyArray<JsonObject> =>
  parts.map(({ id, result }) => ({
    role: "tool",
    tool_call_id: id,
    content: typeof result === "string" ? result : (JSON.stringify(result) ?? "null")
  }))

/** A prompt as the messages of a chat. */
export const messagesOf = (prompt: Prompt.Prompt): Effect.Effect<ReadonlyArray<JsonObject>, AiError> =>
  Effect.map(
    Effect.forEach(prompt.content, (message): Effect.Effect<ReadonlyArray<JsonObject>, AiError> => {
      switch (message.role) {
        case "system":
          return Effect.succeed([{ role: "system", content: message.content }])
        case "user":
          return Effect.map(userMessage(message.content), (user) => [user])
        case "assistant":
          return Effect.succeed([assistantMessage(message.content)])
        case "tool":
          return Effect.succeed(toolMessages(message.content))
      }
    }),
    (messages) => messages.flat()
  )
