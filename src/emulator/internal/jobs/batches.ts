import { wallMillis } from "../../../internal/pace/monotonic.js"
import { defined } from "../../../internal/text/json.js"
import type { BatchSnapshot } from "../../contract.js"
import type { JobFaults } from "../faults.js"
import * as Random from "../random.js"
import * as Lifecycle from "./lifecycle.js"
import type { Endpoint, Job, JobRequest, Model } from "./model.js"
import * as Retention from "./retention.js"

/** RunPod's limits of the batch API. */
const limits = { activeBatches: 10, requestsPerBatch: 5_000, queued: 50_000 }

/** A request of a batch. */
export interface BatchRequest {
  readonly id: string
  readonly jobRequest: JobRequest
  /** Missing until the batch is finalized. */
  job: Job | undefined
}

/** A batch, its requests in the order they came. */
export interface Batch {
  readonly id: string
  readonly endpoint: Endpoint
  /** Milliseconds of the clock. */
  readonly createdAt: number
  readonly requests: Map<string, BatchRequest>
  name: string | undefined
  /** Clients are told CANCELLED once nothing of it runs any more: see `statusOf`. */
  state: "DRAFT" | "FINALIZED" | "FAILED" | "CANCELLED"
}

/** The order in which RunPod lists requests: by status, the others last. */
const rank: Readonly<Record<string, number>> = { FAILED: 0, TIMED_OUT: 0, IN_PROGRESS: 1, IN_QUEUE: 2 }

/** The batches of all endpoints. A method that returns a string says with it why it refused. */
export class Batches {
  private readonly byEndpoint = new Map<Endpoint, Map<string, Batch>>()
  private readonly ids: Random.RandomSource

  constructor(
    readonly model: Model,
    seed: number | string,
    /** The faults that apply to a job at its submit. */
    private readonly jobFaults: (endpointId: string) => JobFaults
  ) {
    this.ids = Random.make(seed, "batches")
  }

  private newId(prefix: string): string {
    return `${prefix}_${Random.uuid(this.ids).replaceAll("-", "")}`
  }

  private of(endpoint: Endpoint): Map<string, Batch> {
    const known = this.byEndpoint.get(endpoint)
    if (known !== undefined) return known
    const batches = new Map<string, Batch>()
    this.byEndpoint.set(endpoint, batches)
    return batches
  }

  private count(batch: Batch, ...statuses: ReadonlyArray<string>): number {
    let found = 0
    for (const request of batch.requests.values()) if (statuses.includes(this.requestStatus(batch, request))) found++
    return found
  }

  private isActive(batch: Batch): boolean {
    const status = this.statusOf(batch)
    return status === "DRAFT" || (status === "FINALIZED" && this.count(batch, "IN_QUEUE", "IN_PROGRESS") > 0)
  }

  private cancelQueued(batch: Batch): void {
    for (const { job } of batch.requests.values()) if (job?.status === "IN_QUEUE") Lifecycle.cancel(this.model, job)
  }

  create(endpoint: Endpoint, requests: ReadonlyArray<JobRequest>): Batch | string {
    const batches = this.of(endpoint)
    if ([...batches.values()].filter((batch) => this.isActive(batch)).length >= limits.activeBatches) {
      return `an endpoint can have at most ${limits.activeBatches} active batches`
    }
    const batch: Batch = {
      id: this.newId("batch"),
      endpoint,
      createdAt: wallMillis(this.model.clock),
      requests: new Map(),
      name: undefined,
      state: "DRAFT"
    }
    const problem = this.append(batch, requests)
    if (problem !== undefined) return problem
    batches.set(batch.id, batch)
    return batch
  }

  find(endpoint: Endpoint, batchId: string): Batch | undefined {
    return this.of(endpoint).get(batchId)
  }

  /** In the order of their creates. */
  list(endpoint: Endpoint): ReadonlyArray<Batch> {
    return [...this.of(endpoint).values()]
  }

  append(batch: Batch, requests: ReadonlyArray<JobRequest>): string | undefined {
    if (batch.state !== "DRAFT") return `the batch is ${batch.state}; requests can only be added to a DRAFT`
    if (batch.requests.size + requests.length > limits.requestsPerBatch) {
      return `a batch can have at most ${limits.requestsPerBatch} requests`
    }
    for (const jobRequest of requests) {
      const id = this.newId("req")
      batch.requests.set(id, { id, jobRequest, job: undefined })
    }
    return undefined
  }

  remove(batch: Batch, request: BatchRequest): string | undefined {
    if (batch.state !== "DRAFT") return `the batch is ${batch.state}; requests can only be removed from a DRAFT`
    batch.requests.delete(request.id)
    return undefined
  }

  finalize(batch: Batch): string | undefined {
    const { endpoint, requests } = batch
    if (batch.state !== "DRAFT") return `the batch is ${batch.state}; only a DRAFT can be finalized`
    if (endpoint.queue.size + requests.size > limits.queued) {
      return `an endpoint can have at most ${limits.queued} queued requests`
    }
    batch.state = "FINALIZED"
    for (const request of requests.values()) {
      const submission = { ...request.jobRequest, operation: "run" as const, ...this.jobFaults(endpoint.id) }
      request.job = Lifecycle.submitBatched(this.model, endpoint, submission, request.id)
    }
    return undefined
  }

  cancel(batch: Batch): string | undefined {
    if (!this.isActive(batch) && batch.state !== "CANCELLED") return "the batch has ended"
    batch.state = "CANCELLED"
    this.cancelQueued(batch)
    return undefined
  }

  fail(batch: Batch): void {
    batch.state = "FAILED"
    this.cancelQueued(batch)
  }

  /** The status that clients are told. */
  statusOf(batch: Batch): Batch["state"] {
    return batch.state === "CANCELLED" && this.count(batch, "IN_PROGRESS") > 0 ? "FINALIZED" : batch.state
  }

  requestStatus({ endpoint, state }: Batch, { id, job }: BatchRequest): string {
    if (job === undefined) return state === "CANCELLED" || state === "FAILED" ? "CANCELLED" : "IN_QUEUE"
    // A job that its ttl deleted before it ended has no result and will have none.
    const isLost = job.finishedAt === undefined && Retention.find(this.model, endpoint, id) !== job
    return isLost ? "FAILED" : job.status
  }

  /** As RunPod lists them: the failed first, then those on a worker, those queued, and those completed. */
  requests(batch: Batch): ReadonlyArray<BatchRequest> {
    return [...batch.requests.values()]
      .map((request) => ({ request, rank: rank[this.requestStatus(batch, request)] ?? 3 }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ request }) => request)
  }

  snapshot(batch: Batch): BatchSnapshot {
    return {
      id: batch.id,
      endpointId: batch.endpoint.id,
      ...defined({ name: batch.name }),
      status: this.statusOf(batch),
      requestIds: [...batch.requests.keys()],
      requestInProgress: this.count(batch, "IN_PROGRESS"),
      requestCompleted: this.count(batch, "COMPLETED"),
      requestFailed: this.count(batch, "FAILED", "TIMED_OUT"),
      createdAt: batch.createdAt
    }
  }
}
