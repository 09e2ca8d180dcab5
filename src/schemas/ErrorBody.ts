/**
 * The bodies RunPod sends with an error.
 *
 * @since 0.1.0
 */
import { defined, isJsonObject, jsonOf, parseJson, textIn, textOf } from "../internal/text/json.js"
import * as Job from "./Job.js"

/**
 * What an error body says. All of it may be missing: the body can be empty, plain text or HTML.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorBody {
  /**
   * `RunPod`: a JSON object with one of RunPod's fields in it, or with none at all. Everything else can be a gateway's: `Empty`,
   * `Html`, `Other` (plain text, other JSON).
   */
  readonly form: "RunPod" | "Empty" | "Html" | "Other"
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
  const isRunPods = detail !== undefined || code !== undefined || Object.keys(body).length === 0
  return { form: isRunPods ? "RunPod" : "Other", ...defined({ detail, code, jobId: Job.idOf(body) }) }
}
