/**
 * How a model's answer can be none, beside the errors of requests and jobs that `effect-runpod` has.
 *
 * Worker images report most of their errors inside an answer that looks like a success: HTTP 200, or a job that is COMPLETED.
 *
 * @since 0.1.0
 */
import { isAiError } from "@effect/ai/AiError"
import { isJobError, type JobError } from "effect-runpod/JobError"
import * as RunPodErrors from "effect-runpod/RunPodError"
import * as TerminalText from "effect-runpod/TerminalText"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { asSentence } from "./internal/text.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod-ai/ModelError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * The worker, or the model's server on it, answered with an error: `{"error": {"message", "type", "code"}}`.
 *
 * @since 0.1.0
 * @category errors
 */
export class WorkerError extends Schema.TaggedError<WorkerError>("effect-runpod-ai/WorkerError")("WorkerError", {
  /** What the worker says. */
  detail: Schema.String,
  /** The kind, such as `worker_error` or `NotFoundError`. */
  type: Schema.optional(Schema.String),
  /** The worker's code, as text. */
  code: Schema.optional(Schema.String),
  /** The HTTP status, where that was no success. Missing inside a job and in an answer 200. */
  status: Schema.optional(Schema.Number)
}) {
  readonly [TypeId]: TypeId = TypeId

  override get message(): string {
    const kind = [this.type, this.code, this.status === undefined ? undefined : `HTTP ${this.status}`].filter(
      (part) => part !== undefined
    )
    const said = `The worker answered with an error${kind.length === 0 ? "" : ` (${kind.join(", ")})`}: ${asSentence(this.detail)}`
    return TerminalText.make(`${said} Correct the request (its model, its parameters), or read the worker's log.`)
  }
}

/**
 * A stream ended before the answer was complete: without `[DONE]`, or the last event of a route that has none, or before each choice had
 * its `finish_reason`. What came until then was given.
 *
 * @since 0.1.0
 * @category errors
 */
export class IncompleteStreamError extends Schema.TaggedError<IncompleteStreamError>(
  "effect-runpod-ai/IncompleteStreamError"
)("IncompleteStreamError", {
  /**
   * `NoDone`: no `[DONE]` or last event came. `NoFinish`: `[DONE]` came, but a choice has no `finish_reason`, there was no choice, or no
   * last event. `Gap`: a part is lost.
   */
  reason: Schema.Literal("NoDone", "NoFinish", "Gap"),
  /** How many characters of the answer's text came. */
  received: Schema.Number
}) {
  readonly [TypeId]: TypeId = TypeId

  override get message(): string {
    const why = {
      NoDone: "it ended without [DONE] or another last event",
      NoFinish: "it ended before the model said that it had finished",
      Gap: "a part of it was lost, and the job's output does not have it either"
    }
    return `The stream of an answer is incomplete after ${this.received} characters: ${why[this.reason]}. The worker or a gateway cut it: ask again, or through a job (via: "job"), whose output is kept.`
  }
}

/**
 * The answer is neither a completion nor an error of the worker.
 *
 * @since 0.1.0
 * @category errors
 */
export class MalformedAnswerError extends Schema.TaggedError<MalformedAnswerError>(
  "effect-runpod-ai/MalformedAnswerError"
)("MalformedAnswerError", {
  /** What was expected, and what was found. */
  issue: Schema.String
}) {
  readonly [TypeId]: TypeId = TypeId

  override get message(): string {
    return TerminalText.make(
      `The answer is not one of the OpenAI API: ${asSentence(this.issue)} Check that the endpoint's worker serves models (worker-vllm or another with an OpenAI-compatible route).`
    )
  }
}

/**
 * An object was asked for, and the model refused, or was stopped before its answer was complete.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnfinishedAnswerError extends Schema.TaggedError<UnfinishedAnswerError>(
  "effect-runpod-ai/UnfinishedAnswerError"
)("UnfinishedAnswerError", {
  /** `Length`: `max_tokens` or the context is used up. `Refusal`: the model refused, `detail` says how. `Filter`: a filter stopped it. */
  reason: Schema.Literal("Length", "Refusal", "Filter"),
  detail: Schema.optional(Schema.String)
}) {
  readonly [TypeId]: TypeId = TypeId

  override get message(): string {
    switch (this.reason) {
      case "Length":
        return "The answer was cut off before its object was complete (finish_reason length). Raise max_tokens, or ask for less."
      case "Filter":
        return "A content filter stopped the answer before its object was complete. Change the prompt."
      case "Refusal":
        return TerminalText.make(
          `The model refused: ${asSentence(this.detail ?? "it did not say why")} Change the prompt.`
        )
    }
  }
}

/**
 * The OpenAI route gave no first byte in time, as when a worker starts cold: RunPod's edge ends a request after about 100 seconds (HTTP 524).
 * The job behind it has no id that is known, may go on, and is paid then; the request is not sent again.
 *
 * @since 0.1.0
 * @category errors
 */
export class ColdStartError extends Schema.TaggedError<ColdStartError>("effect-runpod-ai/ColdStartError")(
  "ColdStartError",
  {
    endpointId: Schema.optional(Schema.String),
    /** 524, or missing where our own deadline came first. */
    status: Schema.optional(Schema.Number),
    /** `SubmitAmbiguousError` of a request that may have started something, else the error itself. */
    cause: RunPodErrors.RunPodError
  }
) {
  readonly [TypeId]: TypeId = TypeId

  override get message(): string {
    const where = this.endpointId === undefined ? "" : ` of endpoint ${this.endpointId}`
    const status = this.status === undefined ? "" : ` (HTTP ${this.status})`
    return `The OpenAI route${where} gave no first byte in time${status}, as in a cold start. The request may still run, and be paid: it was not sent again. Warm the endpoint up first (OpenAi.warm), or go through a job (via: "job" or "auto"), which waits for a worker, has an id, and can be cancelled.`
  }
}

/**
 * The request to the model's server failed, and the client that sent it is not one of `effect-runpod`.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConnectionError extends Schema.TaggedError<ConnectionError>("effect-runpod-ai/ConnectionError")(
  "ConnectionError",
  {
    /** What the client says, without the request it belongs to. */
    detail: Schema.String
  }
) {
  readonly [TypeId]: TypeId = TypeId

  override get message(): string {
    return TerminalText.make(
      `The request to the model's server failed: ${asSentence(this.detail)} The model may have answered it: ask again only if a second answer does no harm.`
    )
  }
}

/**
 * Any way a model's answer can be none.
 *
 * @since 0.1.0
 * @category errors
 */
export type ModelError =
  WorkerError | IncompleteStreamError | MalformedAnswerError | UnfinishedAnswerError | ColdStartError | ConnectionError

/**
 * Whether a value says why a model's answer is none.
 *
 * @since 0.1.0
 * @category guards
 */
export const isModelError = (value: unknown): value is ModelError => hasProperty(value, TypeId)

/**
 * The error that an `AiError` of this package's models stands for: of a request, of a job, or of the model's answer. `undefined` for
 * those that `@effect/ai` itself made.
 *
 * @since 0.1.0
 * @category combinators
 */
export const causeOf = (error: unknown): RunPodErrors.RunPodError | JobError | ModelError | undefined => {
  const cause: unknown = isAiError(error) && "cause" in error ? error.cause : undefined
  return isModelError(cause) || RunPodErrors.isRunPodError(cause) || isJobError(cause) ? cause : undefined
}
