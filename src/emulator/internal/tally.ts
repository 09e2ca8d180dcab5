import type { Terminal } from "../../schemas/JobStatus.js"
import { names, type Operation } from "../../schemas/Operation.js"
import type { Counts, DeliveryRecord, OperationCounts, RequestRecord } from "../contract.js"
import type { Fault } from "../Fault.js"

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

/** A request while it is being worked on. */
export type OpenRecord = Mutable<RequestRecord>

/** A delivery while it is on its way. */
export type OpenDelivery = Mutable<DeliveryRecord>

/** How many requests are remembered, and how many deliveries. */
const remembered = 10_000

interface OperationTally extends Mutable<Omit<OperationCounts, "byStatus">> {
  byStatus: Record<number, number>
}

/** What happened, counted. It is written to synchronously by one emulator only. */
export class Tally {
  private total = 0
  private operations = emptyOperations()
  private rateLimited = 0
  private unauthorized = 0
  private abandoned = 0
  private faults: Partial<Record<Fault["_tag"], number>> = {}
  private submitted = 0
  private ended: Record<Terminal, number> = noneEnded()
  private coldStarts = 0
  private records: Array<OpenRecord> = []
  private sent: Array<OpenDelivery> = []

  reset(): void {
    const before = this.operations
    this.total = this.rateLimited = this.unauthorized = this.abandoned = this.submitted = this.coldStarts = 0
    this.operations = emptyOperations()
    for (const name of names) {
      this.operations[name].inFlight = this.operations[name].maxInFlight = before[name].inFlight
    }
    this.faults = {}
    this.ended = noneEnded()
    this.records = []
    this.sent = []
  }

  arrived(record: OpenRecord): void {
    this.total++
    this.records.push(record)
    if (this.records.length >= 2 * remembered) this.records = this.records.slice(-remembered)
    if (record.operation === undefined) return
    this.operations[record.operation].total++
  }

  /** The request got past the limits. */
  entered(name: Operation): void {
    const operation = this.operations[name]
    operation.inFlight++
    operation.maxInFlight = Math.max(operation.maxInFlight, operation.inFlight)
  }

  /** The end of a request that had entered. */
  exited(name: Operation): void {
    this.operations[name].inFlight--
  }

  left(record: OpenRecord): void {
    if (record.abandoned) this.abandoned++
    if (record.operation === undefined || record.status === undefined) return
    const { byStatus } = this.operations[record.operation]
    byStatus[record.status] = (byStatus[record.status] ?? 0) + 1
  }

  delivering(record: OpenDelivery): void {
    this.sent.push(record)
    if (this.sent.length >= 2 * remembered) this.sent = this.sent.slice(-remembered)
  }

  struck(tag: Fault["_tag"]): void {
    this.faults[tag] = (this.faults[tag] ?? 0) + 1
  }

  wasRateLimited(): void {
    this.rateLimited++
  }

  wasUnauthorized(): void {
    this.unauthorized++
  }

  jobSubmitted(): void {
    this.submitted++
  }

  jobEnded(status: Terminal): void {
    this.ended[status]++
  }

  workerStarted(): void {
    this.coldStarts++
  }

  counts(): Counts {
    return {
      total: this.total,
      byOperation: byOperation((name) => ({
        ...this.operations[name],
        byStatus: { ...this.operations[name].byStatus }
      })),
      rateLimited: this.rateLimited,
      unauthorized: this.unauthorized,
      abandoned: this.abandoned,
      faults: { ...this.faults },
      submitted: this.submitted,
      ended: { ...this.ended },
      coldStarts: this.coldStarts
    }
  }

  requests(): ReadonlyArray<RequestRecord> {
    return this.records.slice(-remembered).map((record) => ({ ...record }))
  }

  deliveries(): ReadonlyArray<DeliveryRecord> {
    return this.sent.slice(-remembered).map((record) => ({ ...record }))
  }
}

const byOperation = <A>(of: (name: Operation) => A): Record<Operation, A> => ({
  run: of("run"),
  runSync: of("runSync"),
  status: of("status"),
  statusSync: of("statusSync"),
  stream: of("stream"),
  cancel: of("cancel"),
  retry: of("retry"),
  purgeQueue: of("purgeQueue"),
  health: of("health"),
  requests: of("requests"),
  createBatch: of("createBatch"),
  listBatches: of("listBatches"),
  batchStatus: of("batchStatus"),
  updateBatch: of("updateBatch"),
  appendBatch: of("appendBatch"),
  batchResults: of("batchResults"),
  finalizeBatch: of("finalizeBatch"),
  cancelBatch: of("cancelBatch"),
  deleteBatchRequest: of("deleteBatchRequest")
})

const emptyOperations = () =>
  byOperation((): OperationTally => ({ total: 0, byStatus: {}, inFlight: 0, maxInFlight: 0 }))

const noneEnded = (): Record<Terminal, number> => ({ COMPLETED: 0, FAILED: 0, CANCELLED: 0, TIMED_OUT: 0 })
