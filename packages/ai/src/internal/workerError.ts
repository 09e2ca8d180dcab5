import * as Either from "effect/Either"
import { MalformedAnswerError, WorkerError } from "../ModelError.js"
import { describe, isJsonObject, type JsonObject, numberOf, parseJson, stringOf, wordOf } from "./json.js"
import { excerpt } from "./text.js"

/** A worker's log is no part of an error. */
const longest = 2_000

const codeOf = (value: unknown): string | undefined => {
  const number = numberOf(value)
  return number === undefined ? wordOf(value) : String(number)
}

const detailOf = (value: unknown): string => {
  const text = stringOf(value) ?? (value === undefined || value === null ? "it did not say why" : JSON.stringify(value))
  return excerpt(text, longest)
}

/** What says nothing is an error only where nothing else is said: some servers write it beside a good answer. */
const isNoError = (error: unknown, value: JsonObject): boolean =>
  error === undefined ||
  error === null ||
  error === false ||
  ((error === "" || (typeof error === "object" && Object.keys(error).length === 0)) && Object.keys(value).length > 1)

/** The states of a job that has ended without an output. */
const failed: ReadonlySet<unknown> = new Set(["FAILED", "CANCELLED", "TIMED_OUT"])

/**
 * The error that an answer is, in the forms of worker-vllm and vLLM: `{"error": {"message", "type", "code"}}`, `{"error": "text"}`,
 * of older ones `{"object": "error", "message", "type", "code"}`, of streams `{"type": "error", "message", "code"}`; the same as the only
 * entry of what a handler yielded; and a job that failed.
 */
export const errorIn = (value: unknown, status?: number): WorkerError | undefined => {
  if (Array.isArray(value) && value.length === 1 && isJsonObject(value[0])) return errorIn(value[0], status)
  if (isJsonObject(value)) {
    const { error, object } = value
    const hasError = !isNoError(error, value)
    if (hasError && isJsonObject(error)) {
      const { code, message, type } = error
      return new WorkerError({ detail: detailOf(message ?? error), type: wordOf(type), code: codeOf(code), status })
    }
    if (hasError) return new WorkerError({ detail: detailOf(error), status })
    const { code, id, message, status: state, type } = value
    if (object === "error" || (type === "error" && typeof message === "string")) {
      return new WorkerError({ detail: detailOf(message), type: wordOf(type), code: codeOf(code), status })
    }
    if (failed.has(state) && typeof id === "string") {
      return new WorkerError({ detail: `the job of the request is ${String(state)}`, type: String(state), status })
    }
  }
  return undefined
}

/** The error that a response of `/responses` is: vLLM's that have failed have no `error`. */
export const errorInResponse = (response: unknown): WorkerError | undefined => {
  const { status } = isJsonObject(response) ? response : {}
  return (
    errorIn(response) ??
    (status === "failed" || status === "cancelled"
      ? new WorkerError({ detail: `the response is ${status}, and does not say why`, type: status })
      : undefined)
  )
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300

/** The error of an answer whose status is no success, whatever it says. */
export const refusalOf = (text: string, status: number): WorkerError => {
  const value = parseJson(text) ?? (text === "" ? undefined : text)
  const { detail, message, title } = isJsonObject(value) ? value : {}
  return errorIn(value, status) ?? new WorkerError({ detail: detailOf(message ?? detail ?? title ?? value), status })
}

/** The JSON of an answer that is a success. */
export const readJson = (text: string): Either.Either<unknown, MalformedAnswerError> => {
  const value = parseJson(text)
  return value === undefined
    ? Either.left(new MalformedAnswerError({ issue: `expected JSON, got ${describe(text)}` }))
    : Either.right(value)
}

/** The error that an event of a stream is: by what it says, or by its name. */
const errorOfEvent = (value: unknown, event: string | undefined): WorkerError | undefined => {
  const error = errorIn(value)
  if (error !== undefined || event !== "error") return error
  const { code, detail, message, type } = isJsonObject(value) ? value : {}
  return new WorkerError({ detail: detailOf(message ?? detail ?? value), type: wordOf(type), code: codeOf(code) })
}

/** An error that a worker wrote into the middle of a frame, which it had half written. */
const errorBehind = (text: string): WorkerError | undefined => {
  const at = text.lastIndexOf('{"error"')
  return at <= 0 ? undefined : errorIn(parseJson(text.slice(at)))
}

/** The error that a frame of a stream holds: its data as text, and the value of that where it is JSON. */
export const errorInFrame = (data: string, value: unknown, event: string | undefined): WorkerError | undefined =>
  value === undefined ? errorBehind(data) : errorOfEvent(value, event)
