import * as Record from "effect/Record"
import type { Mutable } from "../../internal/text/json.js"
import type { Terminal } from "../../schemas/JobStatus.js"
import { type Operation, operations } from "../../schemas/Operation.js"
import type { Counts, DeliveryRecord, OperationCounts, RequestRecord } from "../contract.js"
import type { Fault } from "../Fault.js"

/** The record of a request that is being handled. */
export type OpenRequest = Mutable<RequestRecord>

/** The record of a webhook's delivery that is on its way. */
export type OpenDelivery = Mutable<DeliveryRecord>

/** How many requests are remembered, and how many deliveries. */
const remembered = 10_000

/** Appends to a log and, now and then, drops its oldest records. */
const remember = <A>(log: Array<A>, record: A): void => {
  log.push(record)
  if (log.length >= 2 * remembered) log.splice(0, log.length - remembered)
}

const copyNewest = <A extends object>(log: ReadonlyArray<A>): ReadonlyArray<A> =>
  log.slice(-remembered).map((record) => ({ ...record }))

interface OpenCounts extends Mutable<Omit<Counts, "byOperation" | "faults" | "ended">> {
  readonly byOperation: Record<Operation, Mutable<OperationCounts> & { readonly byStatus: Record<number, number> }>
  readonly faults: Partial<Record<Fault["_tag"], number>>
  readonly ended: Record<Terminal, number>
}

const zero = (inFlight: (name: Operation) => number): OpenCounts => ({
  total: 0,
  byOperation: Record.map(operations, (_, name) => ({
    total: 0,
    byStatus: {},
    inFlight: inFlight(name),
    maxInFlight: inFlight(name)
  })),
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
  private current = zero(() => 0)
  private requestLog: Array<OpenRequest> = []
  private deliveryLog: Array<OpenDelivery> = []

  /** Counts from zero again; requests in flight stay in flight. */
  reset(): void {
    const { byOperation } = this.current
    this.current = zero((name) => byOperation[name].inFlight)
    this.requestLog = []
    this.deliveryLog = []
  }

  requestArrived(record: OpenRequest): void {
    this.current.total++
    remember(this.requestLog, record)
    if (record.operation !== undefined) this.current.byOperation[record.operation].total++
  }

  requestUnauthorized(): void {
    this.current.unauthorized++
  }

  requestRateLimited(): void {
    this.current.rateLimited++
  }

  /** The request got past the limits. */
  requestEntered(name: Operation): void {
    const operation = this.current.byOperation[name]
    operation.inFlight++
    operation.maxInFlight = Math.max(operation.maxInFlight, operation.inFlight)
  }

  /** A request that had entered is no longer in flight. */
  requestLeft(name: Operation): void {
    this.current.byOperation[name].inFlight--
  }

  requestEnded({ abandoned, operation, status }: OpenRequest): void {
    if (abandoned) this.current.abandoned++
    if (operation === undefined || status === undefined) return
    const { byStatus } = this.current.byOperation[operation]
    byStatus[status] = (byStatus[status] ?? 0) + 1
  }

  deliveryStarted(record: OpenDelivery): void {
    remember(this.deliveryLog, record)
  }

  faultApplied(tag: Fault["_tag"]): void {
    this.current.faults[tag] = (this.current.faults[tag] ?? 0) + 1
  }

  jobSubmitted(): void {
    this.current.submitted++
  }

  jobEnded(status: Terminal): void {
    this.current.ended[status]++
  }

  workerStarted(): void {
    this.current.coldStarts++
  }

  counts(): Counts {
    const { byOperation, ended, faults, ...totals } = this.current
    return {
      ...totals,
      byOperation: Record.map(byOperation, (counts) => ({ ...counts, byStatus: { ...counts.byStatus } })),
      faults: { ...faults },
      ended: { ...ended }
    }
  }

  requests(): ReadonlyArray<RequestRecord> {
    return copyNewest(this.requestLog)
  }

  deliveries(): ReadonlyArray<DeliveryRecord> {
    return copyNewest(this.deliveryLog)
  }
}
