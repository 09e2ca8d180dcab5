import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Stream from "effect/Stream"
import { squash } from "../../../internal/effect/cause.js"
import { isJsonObject, textOf } from "../../../internal/text/json.js"
import type { Terminal } from "../../../schemas/JobStatus.js"
import type { Handler } from "../../contract.js"

/** How a job ended. Values are JSON texts; `undefined` is a field that is not there. */
export interface JobResult {
  readonly status: Terminal
  readonly output: string | undefined
  readonly error: string | undefined
}

/** A value as JSON text; `undefined` for what JSON has no form of. It throws for what cannot be written. */
export const toText = (value: unknown): string | undefined => JSON.stringify(value)

export const completed = (output: string | undefined): JobResult => ({ status: "COMPLETED", output, error: undefined })

export const failed = (message: string): JobResult => failedWith(JSON.stringify(message))

export const failedWith = (error: string, output?: string): JobResult => ({ status: "FAILED", output, error })

export const isFalsy = (value: unknown): boolean =>
  value === undefined || value === null || value === "" || value === false

/** A handler's value as RunPod reads it: an empty object is no output, an object with an `error` is a failure. */
const fromOutput = (value: unknown): JobResult => {
  const text = toText(value)
  if (text === undefined || text === "{}") return completed(undefined)
  if (!text.startsWith("{")) return completed(text)
  const output: unknown = JSON.parse(text)
  if (!isJsonObject(output) || isFalsy(output["error"])) return completed(text)
  const { error, ...rest } = output
  return failedWith(JSON.stringify(error), Object.keys(rest).length === 0 ? undefined : JSON.stringify(rest))
}

const messageOf = (error: unknown): string => {
  if (typeof error === "string") return error
  if (error instanceof Error) return error.message
  const message = isJsonObject(error) ? textOf(error["message"]) : undefined
  return message ?? safeText(error)
}

const safeText = (value: unknown): string => {
  try {
    return toText(value) ?? String(value)
  } catch {
    return String(value)
  }
}

const classOf = (error: unknown): string => {
  const tag = isJsonObject(error) ? textOf(error["_tag"]) : undefined
  return tag ?? (error instanceof Error ? error.name : "Exception")
}

const traceOf = (error: unknown): string => {
  const stack = error instanceof Error ? error.stack : undefined
  return stack ?? `${classOf(error)}: ${messageOf(error)}`
}

/** A failure as the worker's library reports it: JSON inside a string. */
const fromCause = (cause: Cause.Cause<unknown>, workerId: string): JobResult => {
  const error = squash(cause)
  const report = {
    error_type: `<class '${classOf(error)}'>`,
    error_message: messageOf(error),
    error_traceback: traceOf(error),
    hostname: `${workerId}-64410fe5`,
    worker_id: workerId,
    runpod_version: "1.7.13"
  }
  return failed(JSON.stringify(report))
}

/** The same of a handler that yields chunks: plain text. */
const fromStreamCause = (cause: Cause.Cause<unknown>): JobResult => {
  const error = squash(cause)
  return failed(`handler: ${messageOf(error)} \ntraceback: ${traceOf(error)}`)
}

/** Runs a handler to its end. Whatever the handler does is a result; only an interruption from outside is not. */
export const perform = (
  run: () => ReturnType<Handler>,
  options: { readonly workerId: string; readonly aggregate: boolean; readonly onChunk: (text: string) => void }
): Effect.Effect<JobResult> =>
  Effect.suspend(() => {
    const work = run()
    if (Effect.isEffect(work)) return Effect.map(work, fromOutput)
    const chunks: Array<string> = []
    return work.pipe(
      Stream.runForEach((chunk) =>
        Effect.sync(() => {
          const text = toText(chunk) ?? "null"
          if (options.aggregate) chunks.push(text)
          options.onChunk(text)
        })
      ),
      Effect.matchCause({
        onFailure: fromStreamCause,
        onSuccess: () => completed(options.aggregate ? `[${chunks.join(",")}]` : undefined)
      })
    )
  }).pipe(Effect.matchCause({ onFailure: (cause) => fromCause(cause, options.workerId), onSuccess: identity }))
