import { fieldSpans } from "../../../internal/text/fieldSpans.js"
import { isJsonObject, parseJson } from "../../../internal/text/json.js"
import { completed, failedWith, isFalsy, type JobResult } from "../jobs/handler.js"

/** What a worker reports of a job. Values are JSON texts as they came; `undefined` is a field that is not there. */
export type Report =
  | { readonly _tag: "Progress"; readonly output: string | undefined }
  | {
      readonly _tag: "End"
      readonly result: JobResult
      /** Whether the worker wants to be replaced by a new one. */
      readonly stopPod: boolean
    }

/** The JSON text of a field of a JSON object, so that its numbers stay as they are. */
const fieldText = (text: string, name: string): string | undefined => {
  const span = fieldSpans(text, name).at(-1)
  return span && text.slice(span.start, span.end).trim()
}

/**
 * Reads what a worker posts as its job's output; `undefined` for what is no JSON object. A generator that is not aggregated ends
 * with an empty array, which is no output.
 */
export const readReport = (text: string, ofGenerator: boolean): Report | undefined => {
  const body = parseJson(text)
  if (!isJsonObject(body)) return undefined
  const posted = fieldText(text, "output")
  if (body["status"] === "IN_PROGRESS") return { _tag: "Progress", output: posted }
  const isNothing = ofGenerator && Array.isArray(body["output"]) && body["output"].length === 0
  const output = isNothing ? undefined : posted
  const error = isFalsy(body["error"]) ? undefined : fieldText(text, "error")
  const result = error === undefined ? completed(output) : failedWith(error, output)
  return { _tag: "End", result, stopPod: body["stopPod"] === true }
}

/** Reads what a worker posts as a chunk. */
export const readChunk = (text: string): string | undefined =>
  isJsonObject(parseJson(text)) ? fieldText(text, "output") : undefined
