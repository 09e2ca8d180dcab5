/**
 * A model's answer in a chat, as servers of the OpenAI API give it: vLLM with its additions and explicit nulls, and others.
 *
 * @since 0.1.0
 */
import { identity } from "effect/Function"
import type * as Schema from "effect/Schema"
import * as internal from "./internal/completion.js"

/**
 * The tokens of a request. What the server does not tell is missing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Usage {
  readonly inputTokens: number | undefined
  readonly outputTokens: number | undefined
  readonly totalTokens: number | undefined
  readonly reasoningTokens?: number | undefined
  readonly cachedInputTokens?: number | undefined
}

/**
 * A tool that the model calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCall {
  /** Missing where the server gave it none. */
  readonly id: string | undefined
  readonly name: string
  /** JSON as the model wrote it, which need not be valid. */
  readonly arguments: string
}

/**
 * One of the answers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Choice {
  readonly index: number
  /** The text; "" when there is none. */
  readonly content: string
  /** What a reasoning model thought, where the server separates it (`reasoning` or `reasoning_content`). */
  readonly reasoning: string | undefined
  readonly refusal: string | undefined
  readonly toolCalls: ReadonlyArray<ToolCall>
  /** `stop`, `length`, `tool_calls`, `content_filter` or another; missing where the server gave none. */
  readonly finishReason: string | undefined
}

/**
 * A whole answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatCompletion {
  readonly id: string | undefined
  readonly model: string | undefined
  /** Seconds since 1970. */
  readonly created: number | undefined
  /** At least one. */
  readonly choices: ReadonlyArray<Choice>
  readonly usage: Usage | undefined
  /** The answer as it came: an object, or of a job its output. */
  readonly raw: unknown
}

/**
 * A piece of a tool call: those of one `index` belong together.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallDelta {
  readonly index: number
  readonly id: string | undefined
  readonly name: string | undefined
  /** What follows of the arguments. */
  readonly arguments: string
}

/**
 * What is new of one of the answers.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChoiceDelta extends Omit<Choice, "toolCalls"> {
  readonly toolCalls: ReadonlyArray<ToolCallDelta>
}

/**
 * A piece of an answer that streams.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatChunk extends Omit<ChatCompletion, "choices"> {
  /** None in the last one, which has the `usage`. */
  readonly choices: ReadonlyArray<ChoiceDelta>
}

/**
 * Reads an answer: a completion, or the output of a job, which holds it as the worker's handler gave it (the object, an array of it,
 * the pieces of a stream). An error of the worker does not decode; the issue says what it was.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ChatCompletion: Schema.Schema<ChatCompletion, unknown> = internal.schemaOf(identity)
