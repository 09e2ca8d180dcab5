import { defined } from "../../internal/text/json.js"
import type { BatchSnapshot } from "../contract.js"
import * as Dice from "./dice.js"
import type { Endpoint, Engine, Job, Submission } from "./engine.js"

/** RunPod's limits of the batch API. */
export const limits = { activeBatches: 10, requestsPerBatch: 5_000, queued: 50_000 }

/** What a client asks for with one request of a batch, checked and with its defaults. */
export type Order = Omit<Submission, "operation" | "outputMissing" | "lateProgress">

/** A request of a batch; its job exists from the finalizing on. */
export interface Request {
  readonly id: string
  readonly order: Order
  job: Job | undefined
}

/** A batch, its requests in the order they came. */
export interface Batch {
  readonly id: string
  readonly endpoint: Endpoint
  /** On the clock. */
  readonly createdAt: number
  readonly requests: Map<string, Request>
  name: string | undefined
  /** CANCELLED is told once nothing of it runs any more. */
  state: "DRAFT" | "FINALIZED" | "FAILED" | "CANCELLED"
}

/** The batches of all endpoints. An answer that is a string says why not. */
export interface Batches {
  readonly create: (endpoint: Endpoint, orders: ReadonlyArray<Order>) => Batch | string
  readonly find: (endpoint: Endpoint, batchId: string) => Batch | undefined
  /** The newest first. */
  readonly list: (endpoint: Endpoint) => ReadonlyArray<Batch>
  readonly append: (batch: Batch, orders: ReadonlyArray<Order>) => string | undefined
  readonly remove: (batch: Batch, request: Request) => string | undefined
  readonly finalize: (batch: Batch) => string | undefined
  readonly cancel: (batch: Batch) => string | undefined
  readonly fail: (batch: Batch) => void
  readonly statusOf: (batch: Batch) => Batch["state"]
  readonly requestStatus: (batch: Batch, request: Request) => string
  /** As RunPod lists them: the failed first, then those on a worker, those queued, and those completed. */
  readonly requests: (batch: Batch) => ReadonlyArray<Request>
  readonly snapshot: (batch: Batch) => BatchSnapshot
}

const rank: Readonly<Record<string, number>> = { FAILED: 0, TIMED_OUT: 0, IN_PROGRESS: 1, IN_QUEUE: 2 }

/** `submission` adds to a request what a job is submitted with: the faults that are to strike it. */
export const make = (
  engine: Engine,
  seed: number | string,
  now: () => number,
  submission: (endpoint: Endpoint, order: Order) => Submission
): Batches => {
  const ids = Dice.make(seed, "batches")
  const newId = (prefix: string) => `${prefix}_${Dice.uuid(ids).replaceAll("-", "")}`
  const batches = new Map<Endpoint, Map<string, Batch>>()
  const of = (endpoint: Endpoint): Map<string, Batch> => {
    const known = batches.get(endpoint)
    if (known !== undefined) return known
    const made = new Map<string, Batch>()
    batches.set(endpoint, made)
    return made
  }

  const requestStatus = ({ endpoint, state }: Batch, { id, job }: Request): string => {
    if (job === undefined) return state === "CANCELLED" || state === "FAILED" ? "CANCELLED" : "IN_QUEUE"
    // A job that its ttl deleted before it ended has no result and will have none.
    const isLost = job.finishedAt === undefined && engine.find(endpoint, id) !== job
    return isLost ? "FAILED" : job.status
  }

  const count = (batch: Batch, ...statuses: ReadonlyArray<string>): number => {
    let found = 0
    for (const request of batch.requests.values()) if (statuses.includes(requestStatus(batch, request))) found++
    return found
  }

  const statusOf = (batch: Batch): Batch["state"] =>
    batch.state === "CANCELLED" && count(batch, "IN_PROGRESS") > 0 ? "FINALIZED" : batch.state

  const isActive = (batch: Batch): boolean =>
    statusOf(batch) === "DRAFT" || (statusOf(batch) === "FINALIZED" && count(batch, "IN_QUEUE", "IN_PROGRESS") > 0)

  const append = (batch: Batch, orders: ReadonlyArray<Order>): string | undefined => {
    if (batch.state !== "DRAFT") return `the batch is ${batch.state}; requests can only be added to a DRAFT`
    if (batch.requests.size + orders.length > limits.requestsPerBatch) {
      return `a batch can have at most ${limits.requestsPerBatch} requests`
    }
    for (const order of orders) {
      const id = newId("req")
      batch.requests.set(id, { id, order, job: undefined })
    }
    return undefined
  }

  const stopQueued = (batch: Batch): void => {
    for (const { job } of batch.requests.values()) if (job?.status === "IN_QUEUE") engine.cancel(job)
  }

  return {
    create: (endpoint, orders) => {
      const known = of(endpoint)
      if ([...known.values()].filter(isActive).length >= limits.activeBatches) {
        return `an endpoint can have at most ${limits.activeBatches} active batches`
      }
      const batch: Batch = {
        id: newId("batch"),
        endpoint,
        createdAt: now(),
        requests: new Map(),
        name: undefined,
        state: "DRAFT"
      }
      const problem = append(batch, orders)
      if (problem !== undefined) return problem
      known.set(batch.id, batch)
      return batch
    },
    find: (endpoint, batchId) => of(endpoint).get(batchId),
    list: (endpoint) => [...of(endpoint).values()].reverse(),
    append,
    remove: (batch, request) => {
      if (batch.state !== "DRAFT") return `the batch is ${batch.state}; requests can only be removed from a DRAFT`
      batch.requests.delete(request.id)
      return undefined
    },
    finalize: (batch) => {
      if (batch.state !== "DRAFT") return `the batch is ${batch.state}; only a DRAFT can be finalized`
      if (batch.endpoint.queue.size + batch.requests.size > limits.queued) {
        return `an endpoint can have at most ${limits.queued} queued requests`
      }
      batch.state = "FINALIZED"
      for (const request of batch.requests.values()) {
        request.job = engine.submit(batch.endpoint, submission(batch.endpoint, request.order), request.id)
      }
      return undefined
    },
    cancel: (batch) => {
      if (!isActive(batch) && batch.state !== "CANCELLED") return "the batch has ended"
      batch.state = "CANCELLED"
      stopQueued(batch)
      return undefined
    },
    fail: (batch) => {
      batch.state = "FAILED"
      stopQueued(batch)
    },
    statusOf,
    requestStatus,
    snapshot: (batch) => ({
      id: batch.id,
      endpointId: batch.endpoint.id,
      ...defined({ name: batch.name }),
      status: statusOf(batch),
      requestIds: [...batch.requests.keys()],
      requestInProgress: count(batch, "IN_PROGRESS"),
      requestCompleted: count(batch, "COMPLETED"),
      requestFailed: count(batch, "FAILED", "TIMED_OUT"),
      createdAt: batch.createdAt
    }),
    requests: (batch) =>
      [...batch.requests.values()]
        .map((request) => ({ request, rank: rank[requestStatus(batch, request)] ?? 3 }))
        .sort((a, b) => a.rank - b.rank)
        .map(({ request }) => request)
  }
}
