/**
 * How a job can end badly, or not be seen to end.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { asSentence, excerpt, excerptOfJson, formatDuration } from "../internal/text/excerpt.js"
import { defined, isJsonObject } from "../internal/text/json.js"
import { Json } from "../internal/text/reply.js"
import { scrubValue } from "../internal/text/scrub.js"
import type * as Job from "../schemas/Job.js"
import * as JobFailure from "../schemas/JobFailure.js"
import * as QueueDiagnosis from "../schemas/QueueDiagnosis.js"
import { taggedError } from "./taggedError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod/JobError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

const subject = { endpointId: Schema.String, jobId: Schema.optional(Schema.String) }

/** What every error about a known job holds. */
const fields = {
  ...subject,
  workerId: Schema.optional(Schema.String),
  /** Milliseconds in the queue. */
  delayTime: Schema.optional(Schema.Number),
  /** Milliseconds on the worker. */
  executionTime: Schema.optional(Schema.Number)
}

const jobError =
  <Self>() =>
  <Tag extends string, Fields extends Schema.Struct.Fields>(
    tag: Tag,
    fields: Fields,
    says: (error: Schema.Struct.Type<Fields>) => string
  ) =>
    taggedError<Self>()(tag, fields, {
      typeId: TypeId,
      mark: (): TypeId => TypeId,
      message: (error: Schema.Struct.Type<typeof subject> & Schema.Struct.Type<Fields>) =>
        `${error.jobId === undefined ? "A job" : `Job ${error.jobId}`} on endpoint ${error.endpointId} ${says(error)}`
    })

/**
 * The job ended FAILED: its handler raised an error, or RunPod gave up on it.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobFailedError extends jobError<JobFailedError>()(
  "JobFailedError",
  {
    ...fields,
    /** Who ended the job: RunPod at its `executionTimeout`, RunPod after lost workers, or the handler. */
    reason: Schema.Literal("ExecutionTimeout", "RetriesExhausted", "Handler"),
    /** The error in one sentence, when there was one. */
    detail: Schema.optional(Schema.String),
    /** The exception's class name. */
    errorType: Schema.optional(Schema.String),
    traceback: Schema.optional(Schema.String),
    /** `error` as it came. */
    error: Schema.optional(Json),
    /** What the handler left in `output`. */
    output: Schema.optional(Json)
  },
  ({ detail = "it came without an error text", errorType, reason, workerId }) => {
    const type = errorType === undefined ? "" : `${errorType}: `
    const advice = {
      ExecutionTimeout: "It ran longer than its executionTimeout; raise `policy.executionTimeout` or make it shorter.",
      RetriesExhausted:
        "Its workers went away (out of memory, a crash at start-up, an empty input); read the worker's log.",
      Handler: `Read the worker's log${workerId === undefined ? "" : ` (${workerId})`}; \`traceback\` and \`output\` hold what it sent.`
    }
    return `failed: ${type}${asSentence(excerpt(detail))} ${advice[reason]}`
  }
) {}

/**
 * The job was cancelled.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobCancelledError extends jobError<JobCancelledError>()(
  "JobCancelledError",
  fields,
  () => "was cancelled. Submit it again if its result is still wanted."
) {}

/**
 * The job ended TIMED_OUT: it expired in the queue, or its worker never reported.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobTimedOutError extends jobError<JobTimedOutError>()(
  "JobTimedOutError",
  { ...fields, error: Schema.optional(Json) },
  () => "timed out on RunPod's side. Retry it, raise `policy.ttl`, or give the endpoint more workers."
) {}

/**
 * The job ended COMPLETED without an output: too large to upload, `{}`, or a generator's without aggregation.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutputMissingError extends jobError<OutputMissingError>()(
  "OutputMissingError",
  fields,
  () =>
    "completed without an output. Return less or store it elsewhere, return a value that is not empty, or set return_aggregate_stream on a generator handler."
) {}

/** What workers return of an error that they caught: `{"error": …}`, `{"status": "error"}`, and vLLM a list with `{"object": "error"}`. */
const looksLikeError = (output: unknown): boolean => {
  const value: unknown = Array.isArray(output) ? output[0] : output
  if (!isJsonObject(value)) return false
  const { error, error_message, error_type, object, status } = value
  const given = [error, error_message, error_type].some(
    (entry) => entry !== undefined && entry !== null && entry !== false
  )
  return given || object === "error" || status === "error"
}

/**
 * The job ended COMPLETED with an output that the endpoint's schema does not accept, or that the journal of its batch cannot
 * hold (`isUnstorable`).
 *
 * @since 0.1.0
 * @category errors
 */
export class OutputDecodeError extends jobError<OutputDecodeError>()(
  "OutputDecodeError",
  {
    ...fields,
    /** Where the value and the schema differ. */
    issue: Schema.String,
    /** The value as it came; missing when it is unstorable. */
    output: Json,
    /**
     * The journal cannot hold the value: it is no plain data, or too long. The item stays open, so that a later run with another
     * `parseJson` can have the result while RunPod keeps it (30 minutes).
     */
    isUnstorable: Schema.optional(Schema.Boolean)
  },
  ({ issue, isUnstorable, output }) => {
    if (isUnstorable === true) {
      return `returned a value that the batch's journal cannot hold: ${asSentence(issue)} Run the batch again while RunPod has the result.`
    }
    const advice = looksLikeError(output)
      ? "It looks like an error of the worker, which returned it instead of raising it: read the worker's log."
      : "Correct the schema; `output` holds the value."
    return `returned ${excerptOfJson(output)}, which the endpoint's schema does not accept: ${asSentence(issue)} ${advice}`
  }
) {}

const cancelSentences = {
  No: "The job was not cancelled: wait again with `attach`, or cancel it.",
  Pending: "The job is being cancelled.",
  Sent: "The job was cancelled."
}

/**
 * A wait reached its deadline before the job was seen to end. The job may go on. Without `jobId` its submit was not answered.
 *
 * @since 0.1.0
 * @category errors
 */
export class WaitTimeoutError extends jobError<WaitTimeoutError>()(
  "WaitTimeoutError",
  {
    ...subject,
    lastStatus: Schema.optional(Schema.String),
    elapsed: Schema.DurationFromMillis,
    /** Whether the job was cancelled: `No`, `Pending` (a cancel is on its way in the background) or `Sent`. */
    cancel: Schema.Literal("No", "Pending", "Sent"),
    /** No job was started: its submit was not sent, or refused each time. */
    isUnsent: Schema.optional(Schema.Boolean),
    /** What the newest failed poll (`isUnsent`: attempt of the submit) failed with, when none had been good since. */
    lastError: Schema.optional(Schema.String),
    /** Why the job is still in the queue, when it is there for unusually long and `/health` tells. */
    diagnosis: Schema.optional(QueueDiagnosis.QueueDiagnosis),
    /** The job seems to have ended although its status does not say so, and may never. */
    mayHaveEnded: Schema.optional(Schema.Boolean)
  },
  ({ cancel, diagnosis, elapsed, isUnsent, lastError, lastStatus, mayHaveEnded }) => {
    if (isUnsent === true) {
      const why =
        lastError === undefined ? "It waited for its turn under the limits." : `The last attempt failed: ${lastError}`
      return `was not submitted within ${formatDuration(elapsed)}, and nothing was started. ${why} Submit it again, or with more time.`
    }
    const status = lastStatus === undefined ? "was never seen" : `was ${lastStatus}`
    const error = lastError === undefined ? "" : ` The last poll failed: ${lastError}`
    const why = diagnosis === undefined ? "" : ` ${diagnosis.message}`
    const ended =
      mayHaveEnded === true
        ? " It may have ended: its executionTime is set, and a late progress update can leave a finished job IN_PROGRESS."
        : ""
    return `${status} after ${formatDuration(elapsed)} of waiting.${error}${why}${ended} ${cancelSentences[cancel]}`
  }
) {}

/**
 * Any way a job can end badly.
 *
 * @since 0.1.0
 * @category errors
 */
export type JobError =
  JobFailedError | JobCancelledError | JobTimedOutError | OutputMissingError | OutputDecodeError | WaitTimeoutError

/**
 * Whether a value says that a job ended badly.
 *
 * @since 0.1.0
 * @category guards
 */
export const isJobError = (value: unknown): value is JobError => hasProperty(value, TypeId)

/** The part of a handler's message that is not its traceback, which it can hold in the forms of Python and JavaScript. */
const withoutTraceback = (detail: string): string | undefined => {
  const found = /Traceback \(most recent call last\)|"?error_traceback|\n\s+at |\n\s*File "/.exec(detail)
  if (found === null) return detail
  const before = detail.slice(0, found.index).trim()
  if (before !== "" && !/^[[{]/.test(before)) return before
  // Python's last line names the exception.
  return /^Traceback/.test(detail.trim()) ? detail.trim().split("\n").at(-1) : undefined
}

const publicMessages = {
  JobFailedError: "the job failed",
  JobCancelledError: "the job was cancelled",
  JobTimedOutError: "the job took too long",
  OutputMissingError: "the job returned nothing",
  OutputDecodeError: "the job returned something unexpected",
  WaitTimeoutError: "the job did not end in time"
} as const

/**
 * What may be shown to others of a job that ended badly, as the body of an HTTP API's answer: no traceback, no output, no worker,
 * endpoint or advice.
 *
 * @since 0.1.0
 * @category schemas
 */
export const PublicJobError = /* @__PURE__ */ Schema.Struct({
  /** The tag of the error. */
  error: Schema.String,
  message: Schema.String,
  jobId: Schema.optional(Schema.String),
  /** As in `JobFailedError`. */
  reason: Schema.optional(Schema.String),
  /** The exception's class name. */
  errorType: Schema.optional(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface PublicJobError extends Schema.Schema.Type<typeof PublicJobError> {}

/**
 * The public part of an error: its kind, one sentence, the job's id and, of a failed job, what the handler's exception says.
 *
 * @since 0.1.0
 * @category combinators
 */
export const toPublic = (error: JobError): PublicJobError => {
  const { _tag, jobId } = error
  if (_tag !== "JobFailedError") return { error: _tag, message: publicMessages[_tag], ...defined({ jobId }) }
  const { errorType, reason } = error
  const detail = error.detail === undefined ? undefined : withoutTraceback(excerpt(error.detail))
  const message = [publicMessages[_tag], detail].filter((part) => part !== undefined).join(": ")
  return { error: _tag, message, ...defined({ jobId, reason, errorType }) }
}

const factsOf = (endpointId: string, job: Job.SyncJob, scrub: (text: string) => string) => ({
  endpointId,
  ...defined({
    jobId: job.id === undefined ? undefined : scrub(job.id),
    workerId: job.workerId === undefined ? undefined : scrub(job.workerId),
    delayTime: job.delayTime,
    executionTime: job.executionTime
  })
})

/**
 * The error of a job that ended without a result, or `undefined` for one that is COMPLETED with an output.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromJob = (
  endpointId: string,
  job: Job.Ended,
  scrub: (text: string) => string
): JobFailedError | JobCancelledError | JobTimedOutError | OutputMissingError | undefined => {
  const facts = factsOf(endpointId, job, scrub)
  switch (job.status) {
    case "COMPLETED":
      return job.output === undefined ? new OutputMissingError(facts) : undefined
    case "CANCELLED":
      return new JobCancelledError(facts)
    case "TIMED_OUT":
      return new JobTimedOutError({ ...facts, ...defined({ error: scrubValue(job.error, scrub) }) })
    case "FAILED": {
      const failure = JobFailure.fromError(scrubValue(job.error, scrub))
      const { errorType, message: detail, raw: error, reason, traceback } = failure
      const workerId = facts.workerId ?? failure.workerId
      const output = scrubValue(job.output, scrub)
      return new JobFailedError({
        ...facts,
        reason,
        ...defined({ workerId, detail, errorType, traceback, error, output })
      })
    }
  }
}

/**
 * The error of a COMPLETED job whose output the endpoint's schema does not accept.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromUndecodable = (
  endpointId: string,
  job: Job.Ended,
  issue: string,
  scrub: (text: string) => string
): OutputDecodeError =>
  new OutputDecodeError({
    ...factsOf(endpointId, job, scrub),
    issue: excerpt(scrub(issue)),
    output: scrubValue(job.output, scrub)
  })

/**
 * The error of a COMPLETED job whose output the journal of its batch cannot hold.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromUnstorable = (
  endpointId: string,
  job: Job.Ended,
  issue: string,
  scrub: (text: string) => string
): OutputDecodeError =>
  new OutputDecodeError({ ...factsOf(endpointId, job, scrub), issue, output: undefined, isUnstorable: true })
