/**
 * What the handlers and apps that imitate vLLM are given.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"

/**
 * What the model says.
 *
 * @since 0.1.0
 * @category models
 */
export interface VllmReply {
  /** Default: none, which is `null` on the wire. */
  readonly content?: string | undefined
  /** What it thinks before. Default: none. */
  readonly reasoning?: string | undefined
  /** The tools it calls, with their arguments as JSON or as the text itself. Default: none. */
  readonly toolCalls?:
    | ReadonlyArray<{ readonly name: string; readonly arguments: string | object; readonly id?: string | undefined }>
    | undefined
  /** Default: `stop`, `tool_calls` with tool calls, `length` where `max_tokens` cuts it. */
  readonly finishReason?: string | undefined
}

/**
 * How a request to the model goes wrong.
 *
 * @since 0.1.0
 * @category models
 */
export interface VllmFailure {
  /**
   * - `start`: before anything is said;
   * - `middle`: a stream breaks off after half of its tokens, and the worker's error object follows without `data:`; a server breaks off;
   * - `frame`: after half of its tokens the stream has a frame with the error, then `[DONE]`.
   *
   * An answer that does not stream fails at the start. Default: `start`.
   */
  readonly at?: "start" | "middle" | "frame" | undefined
  /** Default: `vLLM server process is not running; worker is unhealthy`. */
  readonly message?: string | undefined
}

/**
 * Where the text of a stream is cut into pieces.
 *
 * @since 0.1.0
 * @category models
 */
export interface VllmCut {
  /** After each of so many bytes; of a range, as many as are drawn from the seed. Default: after each frame. */
  readonly every?: number | { readonly min: number; readonly max: number } | undefined
  /** At these bytes of the whole text, in place of `every`. */
  readonly at?: ReadonlyArray<number> | undefined
  /** Also inside a character, whose parts a worker then replaces with U+FFFD; else after it. Default: false. */
  readonly characters?: boolean | undefined
}

/**
 * A message of a chat, as it came.
 *
 * @since 0.1.0
 * @category models
 */
export type VllmMessage = Readonly<Record<string, unknown>>

/**
 * The options of `vllm` and `vllmApp`.
 *
 * @since 0.1.0
 * @category models
 */
export interface VllmOptions {
  /** The names it is served by, the first for requests that name none. Default: `emulated/model`. */
  readonly model?: string | ReadonlyArray<string> | undefined
  /** The age of the worker's image: an `old` one knows chat/completions, completions and models only. Default: `new`. */
  readonly image?: "new" | "old" | undefined
  /**
   * What it says to the messages of a chat (a prompt is one message); `undefined` for the default, which calls the tool that must be
   * called, fills the schema that must be kept to, or else says `You said: ` and the newest message.
   */
  readonly reply?:
    | ((
        messages: ReadonlyArray<VllmMessage>,
        body: Readonly<Record<string, unknown>>
      ) => string | VllmReply | undefined)
    | undefined
  /** How long a token takes; a word is one. Default: 0. */
  readonly perToken?: Duration.DurationInput | undefined
  /** Where streams are cut into pieces. Default: each frame is one. */
  readonly cut?: VllmCut | undefined
  /** Which requests go wrong, and how: all, or those for which it says so. Default: none. */
  readonly fail?: VllmFailure | ((body: Readonly<Record<string, unknown>>) => VllmFailure | undefined) | undefined
  /** Whether a stream ends with `data: [DONE]`. Default: true. */
  readonly done?: boolean | undefined
  /** The length of an embedding. Default: 8. */
  readonly dimensions?: number | undefined
  /** The seed of ids and of pieces. Default: always the same. */
  readonly seed?: number | string | undefined
}
