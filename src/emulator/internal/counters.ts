import * as Record from "effect/Record"
import type { Mutable } from "../../internal/text/json.js"
import type { Terminal } from "../../schemas/JobStatus.js"
import { operations } from "../../schemas/Operation.js"
import type { Counts, DeliveryRecord, EmulatedOperation, OperationCounts, RequestRecord } from "../contract.js"
import type { Fault } from "../Fault.js"

export type OpenRequest = Mutable<RequestRecord>
export type OpenDelivery = Mutable<DeliveryRecord>

/** Of requests, and of deliveries. */
const remembered = 10_000

class Log<A extends object> {
  private records: Array<A> = []

  /** Adds a record and, now and then, drops the oldest. */
  add(record: A): void {
    this.records.push(record)
    if (this.records.length >= 2 * remembered) this.records.splice(0, this.records.length - remembered)
  }

  clear(): void {
    this.records = []
  }

  copy(): ReadonlyArray<A> {
    return this.records.slice(-remembered).map((record) => ({ ...record }))
  }
}

type OpenOperationCounts = Mutable<OperationCounts> & { readonly byStatus: Record<number, number> }

interface OpenCounts extends Mutable<Omit<Counts, "byOperation" | "faults" | "ended">> {
  readonly byOperation: Record<EmulatedOperation, OpenOperationCounts>
  readonly faults: Partial<Record<Fault["_tag"], number>>
  readonly ended: Record<Terminal, number>
}

const zeroOf = (inFlight: number): OpenOperationCounts => ({ total: 0, byStatus: {}, inFlight, maxInFlight: inFlight })

const zero = (inFlight: (name: EmulatedOperation) => number): OpenCounts => ({
  total: 0,
  byOperation: {
    ...Record.map(operations, (_, name) => zeroOf(inFlight(name))),
    openai: zeroOf(inFlight("openai")),
    loadBalancer: zeroOf(inFlight("loadBalancer"))
  },
  rateLimited: 0,
  unauthorized: 0,
  abandoned: 0,
  faults: {},
  submitted: 0,
  ended: { COMPLETED: 0, FAILED: 0, CANCELLED: 0, TIMED_OUT: 0 },
  coldStarts: 0
})

/** What happened, counted, and the newest requests and deliveries. Written synchronously by one emulator only. */
export class Counters {
  counts = zero(() => 0)
  readonly requests = new Log<OpenRequest>()
  readonly deliveries = new Log<OpenDelivery>()

  /** Counts from zero again; requests in flight stay in flight. */
  reset(): void {
    const { byOperation } = this.counts
    this.counts = zero((name) => byOperation[name].inFlight)
    this.requests.clear()
    this.deliveries.clear()
  }

  requestArrived(record: OpenRequest): void {
    this.counts.total++
    this.requests.add(record)
    if (record.operation !== undefined) this.counts.byOperation[record.operation].total++
  }

  requestEntered(name: EmulatedOperation): void {
    const operation = this.counts.byOperation[name]
    operation.inFlight++
    operation.maxInFlight = Math.max(operation.maxInFlight, operation.inFlight)
  }

  requestEnded({ abandoned, operation, status }: OpenRequest, hadEntered: boolean): void {
    if (abandoned) this.counts.abandoned++
    if (operation === undefined) return
    const counts = this.counts.byOperation[operation]
    if (hadEntered) counts.inFlight--
    if (status !== undefined) counts.byStatus[status] = (counts.byStatus[status] ?? 0) + 1
  }

  copyCounts(): Counts {
    return structuredClone(this.counts)
  }
}
