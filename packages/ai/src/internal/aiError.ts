import { type AiError, MalformedInput, MalformedOutput, UnknownError } from "@effect/ai/AiError"
import type { CallError } from "../ModelCall.js"

/**
 * The error of a call in the words of `@effect/ai`, with the call's own as its `cause`. `HttpRequestError` and `HttpResponseError` have
 * no place for one and hold headers, so none of them is used.
 */
export const toAiError =
  (module: string, method: string) =>
  (cause: CallError): AiError => {
    const description = cause.message
    switch (cause._tag) {
      case "BadRequestError":
      case "PayloadTooLargeError":
        return new MalformedInput({ module, method, description, cause })
      case "MalformedAnswerError":
      case "IncompleteStreamError":
      case "UnfinishedAnswerError":
      case "OutputDecodeError":
        return new MalformedOutput({ module, method, description, cause })
      default:
        return new UnknownError({ module, method, description, cause })
    }
  }
