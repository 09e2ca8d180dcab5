import * as Duration from "effect/Duration"
import type { Operation } from "../../schemas/Operation.js"
import type { Delay, Fault, JobFault, LateProgress, RequestFault, WebhookFault } from "../Fault.js"
import * as Dice from "./dice.js"
import type { Tally } from "./tally.js"

/** A request as faults look at it. */
export interface Aim {
  readonly operation: Operation
  readonly endpointId: string
  /** The age in milliseconds of the job it asks for. */
  readonly jobAge: () => number | undefined
}

/** What struck a request. */
export interface Strike {
  readonly fault: Exclude<RequestFault, Delay> | undefined
  /** How long its answer is held back, in milliseconds. */
  readonly delay: number
}

/** What struck a job at its submit. */
export interface JobStrike {
  readonly outputMissing: boolean
  readonly lateProgress: LateProgress | undefined
}

/** The faults that are switched on. */
export interface Faults {
  readonly get: () => ReadonlyArray<Fault>
  readonly set: (faults: ReadonlyArray<Fault>) => void
  readonly strikeRequest: (aim: Aim) => Strike
  readonly strikeJob: (operation: "run" | "runSync", endpointId: string) => JobStrike
  /** What strikes a webhook at its job's end. */
  readonly strikeWebhook: (operation: "run" | "runSync", endpointId: string) => ReadonlyArray<WebhookFault>
}

interface Armed<F extends Fault> {
  readonly fault: F
  readonly dice: Dice.Dice
  seen: number
  struck: number
}

const ofOneJob: ReadonlyArray<Operation> = ["status", "statusSync", "stream", "cancel", "retry"]
const submits: ReadonlyArray<Operation> = ["run", "runSync"]

const operationsOf = (fault: Fault): ReadonlyArray<Operation> | undefined => {
  if (fault.operations !== undefined) return fault.operations
  if (fault._tag === "Paused") return submits
  return fault._tag === "NotVisibleYet" ? ofOneJob : undefined
}

const isOfJob = (fault: Fault): fault is JobFault => fault._tag === "OutputMissing" || fault._tag === "LateProgress"

const isOfWebhook = (fault: Fault): fault is WebhookFault =>
  fault._tag === "WebhookLost" ||
  fault._tag === "WebhookDuplicated" ||
  fault._tag === "WebhookLate" ||
  fault._tag === "WebhookOutOfOrder"

const nothing: Strike = { fault: undefined, delay: 0 }
const noJobFault: JobStrike = { outputMissing: false, lateProgress: undefined }

export const make = (initial: ReadonlyArray<Fault>, seed: number | string, tally: Tally): Faults => {
  let faults: ReadonlyArray<Fault> = []
  let ofRequests: Array<Armed<RequestFault>> = []
  let ofJobs: Array<Armed<JobFault>> = []
  let ofWebhooks: Array<Armed<WebhookFault>> = []

  const set = (next: ReadonlyArray<Fault>) => {
    faults = next
    ofRequests = []
    ofJobs = []
    ofWebhooks = []
    next.forEach((fault, index) => {
      const dice = Dice.make(seed, `fault ${index}`)
      if (isOfJob(fault)) ofJobs.push({ fault, dice, seen: 0, struck: 0 })
      else if (isOfWebhook(fault)) ofWebhooks.push({ fault, dice, seen: 0, struck: 0 })
      else ofRequests.push({ fault, dice, seen: 0, struck: 0 })
    })
  }
  set(initial)

  const strikes = (armed: Armed<Fault>, operation: Operation, endpointId: string): boolean => {
    const { after = 0, endpoints, rate = 1, times = Infinity } = armed.fault
    if (operationsOf(armed.fault)?.includes(operation) === false) return false
    if (endpoints?.includes(endpointId) === false) return false
    if (armed.seen++ < after || armed.struck >= times) return false
    if (rate < 1 && armed.dice.fraction() >= rate) return false
    armed.struck++
    tally.struck(armed.fault._tag)
    return true
  }

  const isTooOld = (fault: RequestFault, aim: Aim): boolean =>
    fault._tag === "NotVisibleYet" && (aim.jobAge() ?? Infinity) >= Duration.toMillis(fault.for)

  return {
    get: () => faults,
    set,
    strikeRequest: (aim) => {
      if (ofRequests.length === 0) return nothing
      let delay = 0
      for (const armed of ofRequests) {
        const { fault } = armed
        if (isTooOld(fault, aim) || !strikes(armed, aim.operation, aim.endpointId)) continue
        if (fault._tag !== "Delay") return { fault, delay }
        delay += Duration.toMillis(fault.by)
      }
      return { fault: undefined, delay }
    },
    strikeJob: (operation, endpointId) => {
      if (ofJobs.length === 0) return noJobFault
      let strike = noJobFault
      for (const armed of ofJobs) {
        if (!strikes(armed, operation, endpointId)) continue
        strike =
          armed.fault._tag === "OutputMissing"
            ? { ...strike, outputMissing: true }
            : { ...strike, lateProgress: armed.fault }
      }
      return strike
    },
    strikeWebhook: (operation, endpointId) =>
      ofWebhooks.flatMap((armed) => (strikes(armed, operation, endpointId) ? [armed.fault] : []))
  }
}
