import * as Duration from "effect/Duration"
import type { Operation } from "../../schemas/Operation.js"
import type { Delay, Fault, JobFault, LateProgress, RequestFault, WebhookFault } from "../Fault.js"
import type { Counters } from "./counters.js"
import * as Random from "./random.js"

/** What the faults look at of a request. */
export interface RequestFacts {
  readonly operation: Operation
  readonly endpointId: string
  /** The age in milliseconds of the job it asks for. */
  readonly jobAge: () => number | undefined
}

/** The faults that apply to a request. */
export interface RequestFaults {
  readonly fault: Exclude<RequestFault, Delay> | undefined
  /** How late the response is sent, in milliseconds. */
  readonly delay: number
}

/** The faults that apply to a job, drawn at its submit. */
export interface JobFaults {
  readonly outputMissing: boolean
  readonly lateProgress: LateProgress | undefined
}

/** A fault that is switched on. */
interface ActiveFault<F extends Fault> {
  readonly fault: F
  readonly random: Random.RandomSource
  /** How many matching requests there were. */
  matched: number
  /** To how many of them it applied. */
  applied: number
}

const ofOneJob: ReadonlyArray<Operation> = ["status", "statusSync", "stream", "cancel", "retry"]
const submits: ReadonlyArray<Operation> = ["run", "runSync"]

const operationsOf = (fault: Fault): ReadonlyArray<Operation> | undefined => {
  if (fault.operations !== undefined) return fault.operations
  if (fault._tag === "Paused") return submits
  return fault._tag === "NotVisibleYet" ? ofOneJob : undefined
}

/** The faults that are switched on, and to what they apply. */
export class Faults {
  private faults: ReadonlyArray<Fault> = []
  private ofRequests: Array<ActiveFault<RequestFault>> = []
  private ofJobs: Array<ActiveFault<JobFault>> = []
  private ofWebhooks: Array<ActiveFault<WebhookFault>> = []

  constructor(
    initial: ReadonlyArray<Fault>,
    private readonly seed: number | string,
    private readonly counters: Counters
  ) {
    this.set(initial)
  }

  get(): ReadonlyArray<Fault> {
    return this.faults
  }

  set(faults: ReadonlyArray<Fault>): void {
    this.faults = faults
    this.ofRequests = []
    this.ofJobs = []
    this.ofWebhooks = []
    faults.forEach((fault, index) => {
      const state = { random: Random.make(this.seed, `fault ${index}`), matched: 0, applied: 0 }
      switch (fault._tag) {
        case "OutputMissing":
        case "LateProgress":
          this.ofJobs.push({ fault, ...state })
          break
        case "WebhookLost":
        case "WebhookDuplicated":
        case "WebhookLate":
        case "WebhookOutOfOrder":
          this.ofWebhooks.push({ fault, ...state })
          break
        default:
          this.ofRequests.push({ fault, ...state })
      }
    })
  }

  forRequest(request: RequestFacts): RequestFaults {
    let delay = 0
    for (const active of this.ofRequests) {
      const { fault } = active
      if (fault._tag === "NotVisibleYet" && (request.jobAge() ?? Infinity) >= Duration.toMillis(fault.for)) continue
      if (!this.applies(active, request.operation, request.endpointId)) continue
      if (fault._tag !== "Delay") return { fault, delay }
      delay += Duration.toMillis(fault.by)
    }
    return { fault: undefined, delay }
  }

  forJob(operation: Operation, endpointId: string): JobFaults {
    let outputMissing = false
    let lateProgress: LateProgress | undefined
    for (const active of this.ofJobs) {
      if (!this.applies(active, operation, endpointId)) continue
      if (active.fault._tag === "OutputMissing") outputMissing = true
      else lateProgress = active.fault
    }
    return { outputMissing, lateProgress }
  }

  /** The faults that apply to a webhook, drawn at its job's end. */
  forWebhook(operation: Operation, endpointId: string): ReadonlyArray<WebhookFault> {
    return this.ofWebhooks.flatMap((active) => (this.applies(active, operation, endpointId) ? [active.fault] : []))
  }

  private applies(active: ActiveFault<Fault>, operation: Operation, endpointId: string): boolean {
    const { after = 0, endpoints, rate = 1, times = Infinity } = active.fault
    if (operationsOf(active.fault)?.includes(operation) === false) return false
    if (endpoints?.includes(endpointId) === false) return false
    if (active.matched++ < after || active.applied >= times) return false
    if (rate < 1 && active.random.fraction() >= rate) return false
    active.applied++
    this.counters.faultApplied(active.fault._tag)
    return true
  }
}
