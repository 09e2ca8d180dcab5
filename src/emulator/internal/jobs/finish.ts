import { type JobResult, toText } from "./handler.js"
import * as Holds from "./holds.js"
import { type Job, largestBody, type Model, type SubmitOperation } from "./model.js"
import * as Retention from "./retention.js"

/** A worker cannot upload a result that is larger than a submit may be; the job is COMPLETED without it. */
const isTooLarge = (output: string | undefined, operation: SubmitOperation): boolean => {
  const { bytes } = largestBody[operation]
  // A character is at most 3 bytes.
  if (output === undefined || output.length * 3 <= bytes) return false
  return output.length > bytes || new TextEncoder().encode(output).byteLength > bytes
}

/** Writes the job's end into it and its endpoint's counts. */
const settle = (model: Model, job: Job, { error, output, status }: JobResult): void => {
  const { endpoint } = job
  const now = model.timer.now()
  job.status = status
  job.finishedAt = now
  if (job.startedAt !== undefined) job.executionTime = Math.round(now - job.startedAt)
  job.output = output
  job.error = error
  if (status !== "COMPLETED") job.chunks = []
  if (status === "COMPLETED") endpoint.completed++
  if (status === "FAILED") endpoint.failed++
  model.counters.jobEnded(status)
  Retention.keep(model, job, now)
}

/** Ends a job, wakes the requests held for it and delivers its webhook. */
export const finish = (model: Model, job: Job, result: JobResult): void => {
  settle(model, job, result)
  Holds.wakeAll(job)
  model.onEnd(job)
}

/** Ends a job with what its worker reports, unless a fault of the platform changes it. */
export const finishExecution = (model: Model, job: Job, result: JobResult): void => {
  const { lateProgress, operation, outputMissing } = job.submission
  if (result.status !== "COMPLETED") return finish(model, job, result)
  const progress = job.output
  const output = outputMissing || isTooLarge(result.output, operation) ? undefined : result.output
  if (lateProgress === undefined) return finish(model, job, { ...result, output })
  settle(model, job, { ...result, output })
  job.status = "IN_PROGRESS"
  job.output = lateProgress.value === undefined ? (progress ?? `"100%"`) : toText(lateProgress.value)
}
