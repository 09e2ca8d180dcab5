/**
 * A batch of RunPod's batch API (beta), and the requests in it: collected as a draft, then run on the endpoint's workers
 * when RunPod schedules them. `Batch` is something else: it submits jobs one by one from this process.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import { idProblem } from "../internal/text/identifier.js"
import { defined, describeJson, isJsonObject, type JsonObject, numberOf, textOf } from "../internal/text/json.js"
import { Count, Finite, Json, Millis, openStruct, RawObject, replySchema } from "../internal/text/reply.js"
import { JobStatus } from "./JobStatus.js"

/**
 * The states of a batch. FINALIZED lasts while its requests run and stays when all have ended.
 *
 * @since 0.1.0
 * @category models
 */
export type BatchStatus = "DRAFT" | "FINALIZED" | "FAILED" | "CANCELLED" | (string & {})

/**
 * A batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface RemoteBatch {
  readonly id: string
  readonly status: BatchStatus
  readonly endpointId?: string | undefined
  /** The name it is shown under in the console. */
  readonly name?: string | undefined
  /** How many requests are in it. */
  readonly requestTotal?: number | undefined
  /** How many of them are on a worker. */
  readonly requestInProgress?: number | undefined
  readonly requestCompleted?: number | undefined
  readonly requestFailed?: number | undefined
  /** Milliseconds since 1970. */
  readonly createdAt?: number | undefined
  /** The whole body as it came. */
  readonly raw: Readonly<Record<string, unknown>>
}

/**
 * A request of a batch, and how it stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchRequest {
  readonly id: string
  readonly status: JobStatus
  /** The result, when it is COMPLETED. */
  readonly output?: unknown
  /** What went wrong, as it came: any JSON, usually a string. */
  readonly error?: unknown
  /** Milliseconds since 1970. */
  readonly startedAt?: number | undefined
  /** Milliseconds since 1970. */
  readonly completedAt?: number | undefined
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
export interface BatchList {
  /** The newest first. */
  readonly batches: ReadonlyArray<RemoteBatch>
  /** The whole body as it came. */
  readonly raw: Readonly<Record<string, unknown>> | ReadonlyArray<unknown>
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

const idIn = (value: unknown): string | undefined =>
  typeof value === "string" && idProblem(value) === undefined ? value : undefined

/** Times come as milliseconds, and as ISO dates. */
const timeOf = (value: unknown): number | undefined =>
  typeof value === "string" ? numberOf(Date.parse(value)) : numberOf(value)

const toBatch = (body: JsonObject, id: string, status: string): RemoteBatch => ({
  id,
  status,
  ...defined({
    endpointId: textOf(body["endpointId"]),
    name: textOf(body["name"]),
    requestTotal: numberOf(body["requestTotal"]),
    requestInProgress: numberOf(body["requestInProgress"]),
    requestCompleted: numberOf(body["requestCompleted"]),
    requestFailed: numberOf(body["requestFailed"]),
    createdAt: timeOf(body["createdAt"])
  }),
  raw: body
})

/**
 * Reads a reply about a batch whose id is known, from the request's path. Only a string `status` is required. `Left` says
 * what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromReply: {
  (batchId: string): (body: unknown) => Either.Either<RemoteBatch, string>
  (body: unknown, batchId: string): Either.Either<RemoteBatch, string>
} = /* @__PURE__ */ dual(2, (body: unknown, batchId: string): Either.Either<RemoteBatch, string> => {
  if (!isJsonObject(body)) return Either.left(`expected a batch, got ${describeJson(body)}`)
  const { status } = body
  return typeof status === "string"
    ? Either.right(toBatch(body, batchId, status))
    : Either.left(`expected a batch with a string "status", got ${describeJson(status)} there`)
})

/**
 * Reads the reply to a create. A string `id` makes it a batch; a status that is missing is taken as DRAFT. `Left` says
 * what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromCreateReply = (body: unknown): Either.Either<RemoteBatch, string> => {
  const id = isJsonObject(body) ? idIn(body["id"]) : undefined
  if (!isJsonObject(body) || id === undefined) {
    return Either.left(`expected a batch with a string "id", got ${describeJson(body)}`)
  }
  const status = textOf(body["status"])
  if (status === undefined && body["error"] !== undefined && body["error"] !== null) {
    return Either.left(`expected a batch, got an "error" beside the id "${id}" and no status`)
  }
  return Either.right(toBatch(body, id, status ?? "DRAFT"))
}

const listIn = (
  body: unknown,
  key: string
): Either.Either<readonly [ReadonlyArray<unknown>, JsonObject | ReadonlyArray<unknown>], string> => {
  if (Array.isArray(body)) return Either.right([body, body])
  if (!isJsonObject(body)) return Either.left(`expected an object with "${key}", got ${describeJson(body)}`)
  const list = body[key]
  if (list === null) return Either.right([[], body])
  return Array.isArray(list)
    ? Either.right([list, body])
    : Either.left(`expected an array or null in "${key}", got ${describeJson(list)} there`)
}

/**
 * Reads a list of batches: in `batches`, where `null` stands for none, or a bare array. Entries that are no batches are
 * left out. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const listFromReply = (body: unknown): Either.Either<BatchList, string> =>
  Either.map(listIn(body, "batches"), ([list, raw]) => ({
    batches: list.flatMap((entry) => {
      if (!isJsonObject(entry)) return []
      const id = idIn(entry["id"])
      const status = entry["status"]
      return id === undefined || typeof status !== "string" ? [] : [toBatch(entry, id, status)]
    }),
    raw
  }))

const toRequest = (entry: unknown): ReadonlyArray<BatchRequest> => {
  if (!isJsonObject(entry)) return []
  const id = idIn(entry["id"])
  const status = entry["status"]
  if (id === undefined || typeof status !== "string") return []
  const { error, output } = entry
  return [
    {
      id,
      status,
      ...(output === undefined ? {} : { output }),
      ...(error === undefined || error === null ? {} : { error }),
      ...defined({ startedAt: timeOf(entry["startedAt"]), completedAt: timeOf(entry["completedAt"]) }),
      raw: entry
    }
  ]
}

/**
 * Reads a page of a batch's requests. Entries without an id or a status are left out. Without `hasMore`, `offset` and
 * `total` tell whether there is another page. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const pageFromReply = (body: unknown): Either.Either<BatchPage, string> =>
  Either.map(listIn(body, "requests"), ([list, raw]) => {
    const fields = isJsonObject(body) ? body : {}
    const total = numberOf(fields["total"])
    const { hasMore } = fields
    const isBeforeTotal = total !== undefined && (numberOf(fields["offset"]) ?? 0) + list.length < total
    return {
      requests: list.flatMap(toRequest),
      size: list.length,
      ...defined({ total }),
      hasMore: typeof hasMore === "boolean" ? hasMore : isBeforeTotal,
      raw
    }
  })

/**
 * The schema of a batch's status: any string.
 *
 * @since 0.1.0
 * @category schemas
 */
export const BatchStatus: Schema.Schema<BatchStatus, string> = /* @__PURE__ */ Schema.String.annotations({
  identifier: "BatchStatus",
  description: "DRAFT, FINALIZED, FAILED, CANCELLED, or a status unknown to this version",
  arbitrary: () => (fc) => fc.constantFrom("DRAFT", "FINALIZED", "FAILED", "CANCELLED", "PAUSED")
})

/** A field for a time on the wire. */
const time = () =>
  Schema.optional(
    Schema.Union(
      Finite.annotations({ description: "milliseconds since 1970" }),
      Schema.String.annotations({
        description: "an ISO date",
        arbitrary: () => (fc) => fc.date({ noInvalidDate: true }).map((date) => date.toISOString())
      })
    )
  )

/**
 * The schema of a batch, from the body RunPod sends; forgiving as `fromCreateReply` is.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RemoteBatch: Schema.Schema<RemoteBatch, unknown> = /* @__PURE__ */ replySchema(() => {
  const fields = {
    id: Schema.String,
    status: BatchStatus,
    endpointId: Schema.optional(Schema.String),
    name: Schema.optional(Schema.String),
    requestTotal: Count,
    requestInProgress: Count,
    requestCompleted: Count,
    requestFailed: Count
  }
  return {
    identifier: "RemoteBatch",
    description: "a batch of the batch API",
    wire: openStruct({ ...fields, createdAt: time() }),
    type: Schema.Struct({ ...fields, createdAt: Millis, raw: RawObject }),
    read: fromCreateReply,
    body: ({ createdAt, raw, ...batch }) => ({
      ...raw,
      ...batch,
      // A date stays as RunPod wrote it.
      ...(timeOf(raw["createdAt"]) === createdAt ? {} : { createdAt })
    })
  }
})

/**
 * The schema of a page of a batch's requests, as `pageFromReply` reads it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const BatchPage: Schema.Schema<BatchPage, unknown> = /* @__PURE__ */ replySchema(() => {
  const fields = { id: Schema.String, status: JobStatus, output: Schema.optional(Json), error: Schema.optional(Json) }
  const sent = Schema.Array(openStruct({ ...fields, startedAt: time(), completedAt: time() }))
  return {
    identifier: "BatchPage",
    description: "some of a batch's requests, and how they stand",
    wire: Schema.Union(
      openStruct({
        requests: Schema.NullOr(sent),
        total: Count,
        offset: Count,
        hasMore: Schema.optional(Schema.Boolean)
      }),
      sent
    ),
    type: Schema.Struct({
      requests: Schema.Array(Schema.Struct({ ...fields, startedAt: Millis, completedAt: Millis, raw: RawObject })),
      size: Finite,
      total: Count,
      hasMore: Schema.Boolean,
      raw: Schema.Union(RawObject, Schema.Array(Json))
    }),
    read: pageFromReply,
    body: (page) => page.raw
  }
})
