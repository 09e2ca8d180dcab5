/**
 * The bodies RunPod sends with an error.
 *
 * @since 0.1.0
 */
import { defined, isJsonObject, type JsonObject, jsonOf, parseJson, textIn, textOf } from "../internal/text/json.js"
import * as Job from "./Job.js"

/**
 * What an error body says. All of it may be missing: the body can be empty, plain text or HTML.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorBody {
  /**
   * `RunPod`: a JSON object in a form that RunPod is known to send: `{"status", "title", "detail"?, "code"?}` with a number as its
   * status, a job with its status, or `{"error"}` with a text of RunPod's. `Json`: another object with one of the fields that
   * RunPod uses, or with none at all, as many servers send it. `Empty`, `Html`, and `Other`: plain text, other JSON.
   */
  readonly form: "RunPod" | "Json" | "Empty" | "Html" | "Other"
  /** The first present of `error`, `message`, `detail` and `title`, or a short plain-text body. */
  readonly detail?: string | undefined
  /** RunPod's machine-readable `code`, such as `ENDPOINT_PAUSED`. */
  readonly code?: string | undefined
  /** The job the body describes, when a public endpoint sent a whole job with an error status. */
  readonly jobId?: string | undefined
}

const messageOf = (value: unknown): string | undefined => {
  if (isJsonObject(value)) return textIn(value, "message", "detail") ?? jsonOf(value)
  return Array.isArray(value) && value.length > 0 ? jsonOf(value) : textOf(value)
}

const problemKeys = new Set(["status", "title", "detail", "code", "errors"])

/** What RunPod was seen to say in `{"error"}`. Other servers say that they do not know a key, too, but not in these words. */
const knownText =
  /^(?:unauthorized|no token provided|invalid api key|(?:job|endpoint|batch|request) not found|not allowed for \w+ API|ENDPOINT_PAUSED|(?:wait|json) is invalid; .*|.*exceeded max body size.*)$/

/** Whether an error has a form that RunPod's have. A problem of another server has a `type` or an `instance`, Spring's errors have a `path`. */
const hasRunPodsForm = (body: JsonObject): boolean => {
  const { error, status, title } = body
  const keys = Object.keys(body)
  if (typeof status === "number") return typeof title === "string" && keys.every((key) => problemKeys.has(key))
  if (typeof status === "string") return Job.idOf(body) !== undefined
  return keys.length === 1 && typeof error === "string" && knownText.test(error)
}

/**
 * Reads what there is to read from an error's body.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromText = (text: string): ErrorBody => {
  const trimmed = text.trim()
  if (trimmed === "") return { form: "Empty" }
  // Plain text such as "error code: 502" belongs in a message; a page of HTML does not.
  if (trimmed.startsWith("<")) return { form: "Html" }
  const body = parseJson(trimmed)
  if (body === undefined) return { form: "Other", detail: trimmed }
  if (!isJsonObject(body)) return { form: "Other", ...defined({ detail: messageOf(body) }) }
  const detail =
    messageOf(body["error"]) ?? messageOf(body["message"]) ?? messageOf(body["detail"]) ?? messageOf(body["title"])
  const code = textOf(body["code"])
  const hasKnownField = detail !== undefined || code !== undefined || Object.keys(body).length === 0
  const form = hasRunPodsForm(body) ? "RunPod" : hasKnownField ? "Json" : "Other"
  return { form, ...defined({ detail, code, jobId: Job.idOf(body) }) }
}
