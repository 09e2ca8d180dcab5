/**
 * The text a failed job leaves in `error`, taken apart.
 *
 * @since 0.1.0
 */
import { defined, isJsonObject, type JsonObject, jsonOf, parseJson, textIn, textOf } from "../internal/text/json.js"

/**
 * Who ended the job: RunPod at its `executionTimeout`, RunPod because its workers went away as often as allowed, or the
 * handler. Only texts that are known word for word are classified.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = "ExecutionTimeout" | "RetriesExhausted" | "Handler"

/**
 * What could be read from a failed job's `error`.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobFailure {
  readonly reason: Reason
  /** The error in one sentence; missing when the job came without one. */
  readonly message?: string | undefined
  /** The exception's class name, without Python's `<class '…'>` around it. */
  readonly errorType?: string | undefined
  readonly traceback?: string | undefined
  readonly hostname?: string | undefined
  readonly workerId?: string | undefined
  readonly runpodVersion?: string | undefined
  /** The value as it came. */
  readonly raw: unknown
}

const fromObject = (value: JsonObject, raw: unknown, whole: () => string): JobFailure => ({
  reason: "Handler",
  ...defined({
    message: textIn(value, "error_message", "message", "error", "detail", "title") ?? whole(),
    errorType: textIn(value, "error_type", "type")?.replace(/^<class '(.*)'>$/, "$1"),
    traceback: textIn(value, "error_traceback", "traceback"),
    hostname: textOf(value["hostname"]),
    workerId: textOf(value["worker_id"]),
    runpodVersion: textOf(value["runpod_version"])
  }),
  raw
})

const handlerPrefix = "handler: "
const tracePrefix = "\ntraceback:"

const fromText = (raw: string): JobFailure => {
  const text = raw.trim()
  if (text === "") return { reason: "Handler", raw }
  if (text === "executionTimeout exceeded") return { reason: "ExecutionTimeout", message: text, raw }
  if (/^job timed out after \d+ retries$/.test(text)) return { reason: "RetriesExhausted", message: text, raw }
  const object = text.startsWith("{") ? parseJson(text) : undefined
  if (isJsonObject(object)) return fromObject(object, raw, () => text)
  const trace = text.startsWith(handlerPrefix) ? text.indexOf(tracePrefix) : -1
  if (trace < 0) return { reason: "Handler", message: text, raw }
  const message = textOf(text.slice(handlerPrefix.length, trace).trim())
  const traceback = textOf(text.slice(trace + tracePrefix.length).trim())
  return { reason: "Handler", ...defined({ message, traceback }), raw }
}

/**
 * Reads a job's `error`: a plain sentence, JSON inside a string (what RunPod's Python workers send), an object,
 * `handler: … traceback: …`, one of the platform's own sentences, or nothing. The value itself is kept in `raw`.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromError = (error: unknown): JobFailure => {
  if (typeof error === "string") return fromText(error)
  if (isJsonObject(error)) return fromObject(error, error, () => jsonOf(error))
  if (error === undefined || error === null) return { reason: "Handler", raw: error }
  return { reason: "Handler", message: jsonOf(error), raw: error }
}
