/**
 * A batch of RunPod's batch API (beta) and its requests: collected as a draft, then run when RunPod schedules them. `Batch`
 * is something else: it submits jobs one by one from this process.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import { defined, isJsonObject, type JsonObject, numberOf, numbersIn, textOf } from "../internal/text/json.js"
import * as Reply from "../internal/text/reply.js"
import { JobStatus } from "./JobStatus.js"

/**
 * The states of a batch. FINALIZED lasts while its requests run and stays when all have ended.
 *
 * @since 0.1.0
 * @category models
 */
export type BatchStatus = "DRAFT" | "FINALIZED" | "FAILED" | "CANCELLED" | (string & {})

/**
 * @since 0.1.0
 * @category schemas
 */
export const BatchStatus: Schema.Schema<BatchStatus, string> = /* @__PURE__ */ Schema.String.annotations({
  identifier: "BatchStatus",
  description: "DRAFT, FINALIZED, FAILED, CANCELLED, or a status unknown to this version",
  arbitrary: () => (fc) => fc.constantFrom("DRAFT", "FINALIZED", "FAILED", "CANCELLED", "PAUSED")
})

const counts = {
  requestTotal: Reply.Count,
  /** How many requests are on a worker. */
  requestInProgress: Reply.Count,
  requestCompleted: Reply.Count,
  requestFailed: Reply.Count
}

const batchFields = () => ({
  id: Schema.String,
  status: BatchStatus,
  endpointId: Schema.optional(Schema.String),
  /** The name it is shown under in the console. */
  name: Schema.optional(Schema.String),
  ...counts,
  /** Milliseconds since 1970. */
  createdAt: Reply.Millis
})

/**
 * A batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface RemoteBatch extends Schema.Struct.Type<ReturnType<typeof batchFields>> {
  /** The whole body as it came. */
  readonly raw: Readonly<Record<string, unknown>>
}

const requestFields = () => ({
  id: Schema.String,
  status: JobStatus,
  /** The result, when it is COMPLETED. */
  output: Schema.optional(Reply.Json),
  /** What went wrong, as it came: any JSON, usually a string. */
  error: Schema.optional(Reply.Json),
  /** Milliseconds since 1970. */
  startedAt: Reply.Millis,
  /** Milliseconds since 1970. */
  completedAt: Reply.Millis
})

/**
 * A request of a batch, and how it stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchRequest extends Schema.Struct.Type<ReturnType<typeof requestFields>> {
  /** The whole entry as it came. */
  readonly raw: Readonly<Record<string, unknown>>
}

/**
 * One page of a batch's requests.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchPage {
  readonly requests: ReadonlyArray<BatchRequest>
  /** How many entries the page had, those that are no requests included. */
  readonly size: number
  /** How many requests the batch has, when RunPod said so. */
  readonly total?: number | undefined
  readonly hasMore: boolean
  /** The whole body as it came. */
  readonly raw: Readonly<Record<string, unknown>> | ReadonlyArray<unknown>
}

/**
 * An endpoint's batches.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchList extends Pick<BatchPage, "raw"> {
  /** The newest first. */
  readonly batches: ReadonlyArray<RemoteBatch>
}

/**
 * Whether nothing more will happen in the batch: it is FAILED or CANCELLED, or it is FINALIZED and as many of its requests
 * as it has are completed or failed. Counts that are missing beside a total count as 0.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFinished = (batch: RemoteBatch): boolean => {
  if (batch.status === "FAILED" || batch.status === "CANCELLED") return true
  const { requestCompleted = 0, requestFailed = 0, requestTotal } = batch
  return batch.status === "FINALIZED" && requestTotal !== undefined && requestCompleted + requestFailed >= requestTotal
}

/** Times come as milliseconds, and as ISO dates. */
const timeOf = (value: unknown): number | undefined =>
  typeof value === "string" ? numberOf(Date.parse(value)) : numberOf(value)

const toBatch = (body: JsonObject, id: string, status: string): RemoteBatch => ({
  id,
  status,
  ...defined({
    endpointId: textOf(body["endpointId"]),
    name: textOf(body["name"]),
    createdAt: timeOf(body["createdAt"])
  }),
  ...numbersIn(body, Struct.keys(counts)),
  raw: body
})

/**
 * Reads a reply about a batch whose id is known. Only a string `status` is required. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromReply: {
  (batchId: string): (body: unknown) => Either.Either<RemoteBatch, string>
  (body: unknown, batchId: string): Either.Either<RemoteBatch, string>
} = /* @__PURE__ */ dual(2, (body: unknown, batchId: string) =>
  Either.map(Reply.statusIn(body, "a batch"), ({ body, status }) => toBatch(body, batchId, status))
)

/**
 * Reads the reply to a create: a string `id` makes it a batch, and a missing status is DRAFT. `Left` says what was found.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromCreateReply = (body: unknown): Either.Either<RemoteBatch, string> =>
  Either.map(Reply.createdIn(body, "a batch"), ({ body, id, status = "DRAFT" }) => toBatch(body, id, status))

/** The entries of a list, bare or under a key, that have an id and a status. */
const entriesIn = <A>(body: unknown, key: string, make: (entry: JsonObject, id: string, status: string) => A) => {
  const found: Either.Either<{ readonly body: BatchPage["raw"]; readonly list: ReadonlyArray<unknown> }, string> =
    Array.isArray(body) ? Either.right({ body, list: body }) : Reply.listIn(body, key)
  return Either.map(found, ({ body, list }) => ({
    entries: list.flatMap((entry) => {
      const id = Reply.idIn(entry)
      if (id === undefined || !isJsonObject(entry) || typeof entry["status"] !== "string") return []
      return [make(entry, id, entry["status"])]
    }),
    size: list.length,
    raw: body
  }))
}

/**
 * Reads a list of batches: a bare array, or one in `batches`, where `null` stands for none. Entries that are no batches are
 * left out. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const listFromReply = (body: unknown): Either.Either<BatchList, string> =>
  Either.map(entriesIn(body, "batches", toBatch), ({ entries, raw }) => ({ batches: entries, raw }))

const toRequest = (entry: JsonObject, id: string, status: string): BatchRequest => ({
  id,
  status,
  ...defined({
    output: entry["output"],
    error: entry["error"] ?? undefined,
    startedAt: timeOf(entry["startedAt"]),
    completedAt: timeOf(entry["completedAt"])
  }),
  raw: entry
})

/**
 * Reads a page of a batch's requests. Entries without an id or a status are left out. Without `hasMore`, `offset` and
 * `total` tell whether there is another page. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const pageFromReply = (body: unknown): Either.Either<BatchPage, string> =>
  Either.map(entriesIn(body, "requests", toRequest), ({ entries, raw, size }) => {
    const { offset = 0, total } = numbersIn(body, ["offset", "total"])
    const hasMore = isJsonObject(body) ? body["hasMore"] : undefined
    return {
      requests: entries,
      size,
      ...defined({ total }),
      hasMore: typeof hasMore === "boolean" ? hasMore : total !== undefined && offset + size < total,
      raw
    }
  })

const time = () =>
  Schema.optional(
    Schema.Union(
      Reply.Finite.annotations({ description: "milliseconds since 1970" }),
      Schema.String.annotations({
        description: "an ISO date",
        arbitrary: () => (fc) => fc.date({ noInvalidDate: true }).map((date) => date.toISOString())
      })
    )
  )

/**
 * @since 0.1.0
 * @category schemas
 */
export const RemoteBatch: Schema.Schema<RemoteBatch, unknown> = /* @__PURE__ */ Reply.replySchema(() => ({
  identifier: "RemoteBatch",
  description: "a batch of the batch API",
  wire: Reply.openStruct({ ...batchFields(), createdAt: time() }),
  type: Schema.Struct({ ...batchFields(), raw: Reply.RawObject }),
  read: fromCreateReply,
  body: ({ createdAt, raw, ...batch }) => ({
    ...raw,
    ...batch,
    // A date stays as RunPod wrote it.
    ...(timeOf(raw["createdAt"]) === createdAt ? {} : { createdAt })
  })
}))

/**
 * @since 0.1.0
 * @category schemas
 */
export const BatchPage: Schema.Schema<BatchPage, unknown> = /* @__PURE__ */ Reply.replySchema(() => {
  const fields = requestFields()
  const sent = Schema.Array(Reply.openStruct({ ...fields, startedAt: time(), completedAt: time() }))
  const page = { total: Reply.Count, offset: Reply.Count, hasMore: Schema.optional(Schema.Boolean) }
  return {
    identifier: "BatchPage",
    description: "some of a batch's requests, and how they stand",
    wire: Schema.Union(Reply.openStruct({ requests: Schema.NullOr(sent), ...page }), sent),
    type: Schema.Struct({
      requests: Schema.Array(Schema.Struct({ ...fields, raw: Reply.RawObject })),
      size: Reply.Finite,
      total: Reply.Count,
      hasMore: Schema.Boolean,
      raw: Reply.RawBody
    }),
    read: pageFromReply
  }
})
