/**
 * The bodies RunPod sends with an error.
 *
 * @since 0.1.0
 */
import { defined, isJsonObject, jsonOf, textOf } from "../internal/text/json.js"
import * as Job from "./Job.js"

/**
 * What an error body says. All of it may be missing: the body can be empty, plain text or HTML.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorBody {
  /** The first present of `error`, `message`, `detail` and `title`, or a short plain-text body. */
  readonly detail?: string | undefined
  /** RunPod's machine-readable `code`, such as `ENDPOINT_PAUSED`. */
  readonly code?: string | undefined
  /** The job the body describes, when a public endpoint sent a whole job with an error status. */
  readonly jobId?: string | undefined
}

const messageOf = (value: unknown): string | undefined => {
  const text = textOf(value)
  if (text !== undefined) return text
  if (isJsonObject(value)) return textOf(value["message"]) ?? textOf(value["detail"]) ?? jsonOf(value)
  if (Array.isArray(value) && value.length > 0) return jsonOf(value)
  return undefined
}

/**
 * Reads what there is to read from an error's body.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromText = (text: string): ErrorBody => {
  const trimmed = text.trim()
  if (trimmed === "") return {}
  let body: unknown
  try {
    body = JSON.parse(trimmed)
  } catch {
    // Plain text such as "error code: 502" belongs in a message; a page of HTML does not.
    return trimmed.startsWith("<") ? {} : { detail: trimmed }
  }
  if (!isJsonObject(body)) {
    const detail = messageOf(body)
    return detail === undefined ? {} : { detail }
  }
  const detail =
    messageOf(body["error"]) ?? messageOf(body["message"]) ?? messageOf(body["detail"]) ?? messageOf(body["title"])
  return defined({ detail, code: textOf(body["code"]), jobId: Job.idOf(body) })
}
