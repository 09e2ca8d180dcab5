import * as Duration from "effect/Duration"
import type { Delay, EmulatedOperation, Fault, JobFault, LateProgress, RequestFault, WebhookFault } from "../Fault.js"
import type { Counters } from "./counters.js"
import * as Random from "./random.js"

export type ResponseFault = Exclude<RequestFault, Delay>

/** The faults that apply to a job, drawn at its submit. */
export interface JobFaults {
  readonly outputMissing: boolean
  readonly lateProgress: LateProgress | undefined
}

/** What a fault makes of a request. */
export interface Applied {
  readonly fault: ResponseFault | undefined
  /** How late the response is sent, in milliseconds. */
  readonly delay: number
}

/** The job that a request is about. */
interface Job {
  readonly age: number
  /** Those of its plan. */
  readonly faults: ReadonlyArray<ActiveFault>
}

export interface ActiveFault {
  readonly fault: Fault
  readonly random: Random.RandomSource
  /** How many matching requests there were. */
  matched: number
  /** To how many of them it applied. */
  applied: number
}

const operationsOf = ({ _tag, operations }: Fault): ReadonlyArray<EmulatedOperation> | undefined => {
  if (operations !== undefined) return operations
  if (_tag === "Paused") return ["run", "runSync", "openai"]
  return _tag === "NotVisibleYet" ? ["status", "statusSync", "stream", "cancel", "retry"] : undefined
}

const isOfJobs = (fault: Fault): fault is JobFault => fault._tag === "OutputMissing" || fault._tag === "LateProgress"

const isOfWebhooks = (fault: Fault): fault is WebhookFault => fault._tag.startsWith("Webhook")

const isBetween = (age: number, { from = 0, until = Infinity }: NonNullable<Fault["between"]>): boolean =>
  age >= Duration.toMillis(from) && age < Duration.toMillis(until)

export class Faults {
  private active: ReadonlyArray<ActiveFault> = []

  constructor(
    faults: ReadonlyArray<Fault>,
    private readonly seed: number | string,
    private readonly counters: Counters,
    /** Milliseconds since the emulator's start. */
    private readonly age: () => number
  ) {
    this.set(faults)
  }

  get(): ReadonlyArray<Fault> {
    return this.active.map(({ fault }) => fault)
  }

  set(faults: ReadonlyArray<Fault>): void {
    this.active = this.activate(faults, "fault")
  }

  /** Faults whose `times` and `after` count from zero. */
  activate(faults: ReadonlyArray<Fault>, purpose: string): ReadonlyArray<ActiveFault> {
    const random = (index: number) => Random.make(this.seed, `${purpose} ${index}`)
    return faults.map((fault, index) => ({ fault, random: random(index), matched: 0, applied: 0 }))
  }

  /** The fault that applies to a request, and how late its response is sent. Times are milliseconds. */
  forRequest(operation: EmulatedOperation, endpointId: string, job: Job | undefined): Applied {
    let delay = 0
    for (const active of job === undefined ? this.active : [...job.faults, ...this.active]) {
      const { fault } = active
      if (isOfJobs(fault) || isOfWebhooks(fault)) continue
      if (fault._tag === "NotVisibleYet" && (job?.age ?? Infinity) >= Duration.toMillis(fault.for)) continue
      if (!this.applies(active, operation, endpointId)) continue
      if (fault._tag !== "Delay") return { fault, delay }
      delay += Duration.toMillis(fault.by)
    }
    return { fault: undefined, delay }
  }

  forJob(operation: EmulatedOperation, endpointId: string): JobFaults {
    const drawn = this.draw(isOfJobs, operation, endpointId)
    return {
      outputMissing: drawn.some((fault) => fault._tag === "OutputMissing"),
      lateProgress: drawn.findLast((fault) => fault._tag === "LateProgress")
    }
  }

  forWebhook(operation: EmulatedOperation, endpointId: string): ReadonlyArray<WebhookFault> {
    return this.draw(isOfWebhooks, operation, endpointId)
  }

  private draw<F extends Fault>(
    is: (fault: Fault) => fault is F,
    operation: EmulatedOperation,
    endpointId: string
  ): Array<F> {
    return this.active.flatMap((active) =>
      is(active.fault) && this.applies(active, operation, endpointId) ? [active.fault] : []
    )
  }

  private applies(active: ActiveFault, operation: EmulatedOperation, endpointId: string): boolean {
    const { after = 0, between, endpoints, rate = 1, times = Infinity } = active.fault
    if (operationsOf(active.fault)?.includes(operation) === false) return false
    if (endpoints?.includes(endpointId) === false) return false
    if (between !== undefined && !isBetween(this.age(), between)) return false
    if (active.matched++ < after || active.applied >= times) return false
    if (rate < 1 && active.random.fraction() >= rate) return false
    active.applied++
    const { faults } = this.counters.counts
    faults[active.fault._tag] = (faults[active.fault._tag] ?? 0) + 1
    return true
  }
}
