import * as Either from "effect/Either"
import { wallMillis } from "../../../internal/pace/monotonic.js"
import { defined } from "../../../internal/text/json.js"
import type { BatchSnapshot } from "../../contract.js"
import * as Random from "../random.js"
import * as Lifecycle from "./lifecycle.js"
import type { Batch, BatchRequest, Endpoint, JobRequest, Model } from "./model.js"
import * as Retention from "./retention.js"

/** RunPod's limits of the batch API. */
const limits = { activeBatches: 10, requestsPerBatch: 5_000, queued: 50_000 }

/** The order in which RunPod lists requests: by status, the others last. */
const rank: Readonly<Record<string, number>> = { FAILED: 0, TIMED_OUT: 0, IN_PROGRESS: 1, IN_QUEUE: 2 }

const newId = (model: Model, prefix: string) => `${prefix}_${Random.uuid(model.random.batchIds).replaceAll("-", "")}`

const count = (model: Model, batch: Batch, ...statuses: ReadonlyArray<string>): number => {
  const requests = [...batch.requests.values()]
  return requests.filter((request) => statuses.includes(requestStatus(model, batch, request))).length
}

const isActive = (model: Model, batch: Batch): boolean => {
  const status = statusOf(model, batch)
  return status === "DRAFT" || (status === "FINALIZED" && count(model, batch, "IN_QUEUE", "IN_PROGRESS") > 0)
}

/** What is queued never runs. */
export const stop = (model: Model, batch: Batch, state: "CANCELLED" | "FAILED"): void => {
  batch.state = state
  for (const { job } of batch.requests.values()) if (job?.status === "IN_QUEUE") Lifecycle.cancel(model, job)
}

/** The batch, or why the change was refused. */
type Changed = Either.Either<Batch, string>

export const create = (model: Model, endpoint: Endpoint, requests: ReadonlyArray<JobRequest>): Changed => {
  const active = [...endpoint.batches.values()].filter((batch) => isActive(model, batch))
  if (active.length >= limits.activeBatches) {
    return Either.left(`an endpoint can have at most ${limits.activeBatches} active batches`)
  }
  const id = newId(model, "batch")
  const createdAt = wallMillis(model.clock)
  const batch: Batch = { id, endpoint, createdAt, requests: new Map(), name: undefined, state: "DRAFT" }
  const created = append(model, batch, requests)
  if (Either.isRight(created)) endpoint.batches.set(batch.id, batch)
  return created
}

export const append = (model: Model, batch: Batch, requests: ReadonlyArray<JobRequest>): Changed => {
  if (batch.state !== "DRAFT") return Either.left(`the batch is ${batch.state}; requests can only be added to a DRAFT`)
  if (batch.requests.size + requests.length > limits.requestsPerBatch) {
    return Either.left(`a batch can have at most ${limits.requestsPerBatch} requests`)
  }
  for (const jobRequest of requests) {
    const id = newId(model, "req")
    batch.requests.set(id, { id, jobRequest, job: undefined })
  }
  return Either.right(batch)
}

export const remove = (batch: Batch, request: BatchRequest): Changed => {
  if (batch.state !== "DRAFT") {
    return Either.left(`the batch is ${batch.state}; requests can only be removed from a DRAFT`)
  }
  batch.requests.delete(request.id)
  return Either.right(batch)
}

export const finalize = (model: Model, batch: Batch): Changed => {
  const { endpoint, requests } = batch
  if (batch.state !== "DRAFT") return Either.left(`the batch is ${batch.state}; only a DRAFT can be finalized`)
  if (endpoint.queue.size + requests.size > limits.queued) {
    return Either.left(`an endpoint can have at most ${limits.queued} queued requests`)
  }
  batch.state = "FINALIZED"
  for (const request of requests.values()) {
    request.job = Lifecycle.submit(model, endpoint, "run", request.jobRequest, { batchedId: request.id })
  }
  return Either.right(batch)
}

export const cancel = (model: Model, batch: Batch): Changed => {
  if (!isActive(model, batch) && batch.state !== "CANCELLED") return Either.left("the batch has ended")
  stop(model, batch, "CANCELLED")
  return Either.right(batch)
}

/** The status that clients are told. */
export const statusOf = (model: Model, batch: Batch): Batch["state"] =>
  batch.state === "CANCELLED" && count(model, batch, "IN_PROGRESS") > 0 ? "FINALIZED" : batch.state

export const requestStatus = (model: Model, { endpoint, state }: Batch, { id, job }: BatchRequest): string => {
  if (job === undefined) return state === "CANCELLED" || state === "FAILED" ? "CANCELLED" : "IN_QUEUE"
  // A job that its ttl deleted before it ended has no result and will have none.
  const isLost = job.finishedAt === undefined && Retention.find(model, endpoint, id) !== job
  return isLost ? "FAILED" : job.status
}

/** As RunPod lists them: the failed first, then those on a worker, those queued, and those completed. */
export const requests = (model: Model, batch: Batch): ReadonlyArray<BatchRequest> =>
  [...batch.requests.values()]
    .map((request) => ({ request, rank: rank[requestStatus(model, batch, request)] ?? 3 }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ request }) => request)

export const snapshot = (model: Model, batch: Batch): BatchSnapshot => ({
  id: batch.id,
  endpointId: batch.endpoint.id,
  ...defined({ name: batch.name }),
  status: statusOf(model, batch),
  requestIds: [...batch.requests.keys()],
  requestInProgress: count(model, batch, "IN_PROGRESS"),
  requestCompleted: count(model, batch, "COMPLETED"),
  requestFailed: count(model, batch, "FAILED", "TIMED_OUT"),
  createdAt: batch.createdAt
})
