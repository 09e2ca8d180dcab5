/**
 * A job as the API describes it, on every operation that answers with one.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { excerpt } from "../internal/text/excerpt.js"
import { describeJson, type JsonObject, type Mutable, numberOf, textOf } from "../internal/text/json.js"
import * as Reply from "../internal/text/reply.js"
import { isTerminal as isTerminalStatus, JobStatus, type Terminal } from "./JobStatus.js"
import * as JobId from "./JobId.js"

const fields = () => ({
  status: JobStatus,
  /** Time in the queue in milliseconds, from IN_PROGRESS on. A re-dispatch by the platform resets it. */
  delayTime: Reply.Millis,
  /** Time on the worker in milliseconds. Sometimes set while the job is still IN_PROGRESS. */
  executionTime: Reply.Millis,
  workerId: Schema.optional(Schema.String),
  /** How often the platform dispatched the job again. */
  retries: Reply.Count,
  /**
   * COMPLETED: the result, absent when the worker returned none. IN_PROGRESS: the newest progress update.
   * FAILED: what the handler left behind.
   */
  output: Schema.optional(Reply.Json),
  /** What went wrong, as it came: any JSON, usually a string. */
  error: Schema.optional(Reply.Json)
})

/**
 * A job whose id may be unknown: `/runsync` sometimes answers without one.
 *
 * @since 0.1.0
 * @category models
 */
export interface SyncJob extends Schema.Struct.Type<ReturnType<typeof fields>> {
  readonly id?: JobId.JobId | undefined
  /** The whole body as it came; an echoed `webhook`, `webhookV2` or `s3Config`, which can hold a secret, in `Redacted`. */
  readonly raw: Readonly<Record<string, unknown>>
}

/**
 * A job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Job extends SyncJob {
  readonly id: JobId.JobId
}

/**
 * A job that has ended, its id known or not.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ended extends SyncJob {
  readonly status: Terminal
}

/**
 * A job that has ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface TerminalJob extends Job {
  readonly status: Terminal
}

/**
 * Whether the job has ended.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTerminal: {
  (job: Job): job is TerminalJob
  (job: SyncJob): job is Ended
} = (job: SyncJob): job is TerminalJob => isTerminalStatus(job.status)

/**
 * Whether the job's id is known.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasId = (job: SyncJob): job is Job => job.id !== undefined

const secretKeys = ["webhook", "webhookV2", "s3Config"]
const isPlain = (echo: unknown): boolean => echo !== undefined && echo !== null && !Redacted.isRedacted(echo)

const redactEchoes = (body: JsonObject): JsonObject => {
  const plain = secretKeys.filter((key) => isPlain(body[key]))
  if (plain.length === 0) return body
  const copy: Record<string, unknown> = { ...body }
  for (const key of plain) copy[key] = Redacted.make(copy[key])
  return copy
}

const numberKeys = ["delayTime", "executionTime", "retries"] as const

const make = (body: JsonObject, status: string): Mutable<SyncJob> => {
  const job: Mutable<SyncJob> = { status, raw: redactEchoes(body) }
  for (const key of numberKeys) {
    const number = numberOf(body[key])
    if (number !== undefined) job[key] = number
  }
  const workerId = textOf(body["workerId"])
  if (workerId !== undefined) job.workerId = workerId
  if (body["output"] !== undefined) job.output = body["output"]
  if (body["error"] !== undefined && body["error"] !== null) job.error = body["error"]
  return job
}

const withId = (job: Mutable<SyncJob>, id: string): Job => Object.assign(job, { id: JobId.unsafeMake(id) })

/**
 * The id a reply carries, when it is one that can be followed.
 *
 * @since 0.1.0
 * @category decoding
 */
export const idOf: (body: unknown) => string | undefined = Reply.idIn

const statusOf = (body: unknown) => Reply.statusIn(body, "a job", "a job object")

/**
 * Reads a reply about a job whose id is known. Only a string `status` is required: unknown keys stay in `raw`, fields of a
 * wrong type count as missing. `Left` says what was found instead, which may be another job.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromReply: {
  (id: string): (body: unknown) => Either.Either<Job, string>
  (body: unknown, id: string): Either.Either<Job, string>
} = /* @__PURE__ */ dual(2, (body: unknown, id: string) =>
  Either.flatMap(statusOf(body), ({ body, status }) => {
    const { id: named = id } = body
    return typeof named !== "string" || named === id
      ? Either.right(withId(make(body, status), id))
      : Either.left(`expected the job "${id}", got the job "${excerpt(named, 128)}"`)
  })
)

/**
 * Reads a reply that may not name the job, like that of `/runsync`. Without an id a job that has not ended is a `Left`.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromSyncReply = (body: unknown): Either.Either<SyncJob, string> =>
  Either.flatMap(statusOf(body), ({ body, status }) => {
    const id = Reply.idIn(body)
    if (id !== undefined) return Either.right<SyncJob>(withId(make(body, status), id))
    return isTerminalStatus(status)
      ? Either.right(make(body, status))
      : Either.left(`expected an "id" beside the status ${status}, got ${describeJson(body["id"])} there`)
  })

/**
 * Reads a body that must name its job: a delivery to a webhook, an entry of `/requests`. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromNamedReply = (body: unknown): Either.Either<Job, string> =>
  Either.filterOrLeft(fromSyncReply(body), hasId, () => `expected a job with a string "id", got none`)

/**
 * Reads the reply to a submit: a string `id` makes it a job, whose missing status is IN_QUEUE, so that no paid job is lost.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromSubmitReply = (body: unknown): Either.Either<Job, string> =>
  Either.map(Reply.createdIn(body, "a job"), ({ body, id, status = "IN_QUEUE" }) => withId(make(body, status), id))

/**
 * The body a job came from: the known fields over `raw`. Echoed secrets stay wrapped.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toBody = ({ raw, ...fields }: SyncJob): Readonly<Record<string, unknown>> => ({ ...raw, ...fields })

const wire = <Id extends Schema.Struct.Fields>(id: Id) =>
  Reply.openStruct({
    ...id,
    ...fields(),
    input: Schema.optional(Reply.Json),
    webhook: Schema.optional(Schema.String),
    s3Config: Schema.optional(Reply.Json)
  })

/**
 * The schema of a job whose id may be unknown, as `fromSyncReply` reads it. It encodes to the body the job came from.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SyncJob: Schema.Schema<SyncJob, unknown> = /* @__PURE__ */ Reply.replySchema(() => ({
  identifier: "SyncJob",
  description: "a job whose id may be unknown",
  wire: wire({ id: Schema.optional(JobId.JobId) }),
  type: Schema.Struct({ id: Schema.optional(JobId.JobId), ...fields(), raw: Reply.RawObject }),
  read: fromSyncReply,
  body: toBody
}))

/**
 * The schema of a job with an id, from the body RunPod sends; forgiving as `fromSyncReply` is. It encodes to that body.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Job: Schema.Schema<Job, unknown> = /* @__PURE__ */ Reply.replySchema(() => ({
  identifier: "Job",
  description: "a job",
  wire: wire({ id: JobId.JobId }),
  type: Schema.Struct({ id: JobId.JobId, ...fields(), raw: Reply.RawObject }),
  read: fromNamedReply,
  body: toBody
}))
