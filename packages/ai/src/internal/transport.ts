import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { CallError } from "../ModelCall.js"
import type { JsonObject } from "./json.js"
import type { Scrub } from "./scrub.js"

/** The routes of the OpenAI API that are used. */
export type Path = "/v1/chat/completions" | "/v1/embeddings"

/** Brings a body to a model's server. */
export interface Transport {
  /** The answer: JSON, or what a job's output holds of it. */
  readonly request: (path: Path, body: JsonObject) => Effect.Effect<unknown, CallError>
  /**
   * The pieces of an answer that streams: text that is cut anywhere, or values where a worker streams values. `isWhole` says when no
   * more are needed: a connection is left then, but a job is not, which would be cancelled.
   */
  readonly pieces: (path: Path, body: JsonObject, isWhole: () => boolean) => Stream.Stream<unknown, CallError>
}

/** A model that is called. */
export interface Model extends Transport {
  /** What an answer that is quoted in an error passes through. */
  readonly scrub: Scrub
}
