import { submitEnd } from "../../../internal/flight/outcomes.js"
import type { Attempt } from "../../../schemas/FlightRecord.js"
import { names } from "../../../schemas/Operation.js"
import * as Fault from "../../Fault.js"

/** A fault that was met once waits so long for a request of another schedule, in milliseconds. */
const lingers = 60_000

/** An answer that was not held and took longer was late. In milliseconds. */
const late = 250

/** What holds until it is seen to be gone: a key, or an endpoint. */
const states = new Set(["AuthenticationError", "PermissionDeniedError", "EndpointNotFoundError", "EndpointPausedError"])

const bodies = { Json: "json", Cut: "json", Html: "html", Text: "text", Empty: "empty" } as const

/** How late the end of an attempt was, in milliseconds. */
export const latenessOf = ({ end, ended, held, sent }: Attempt): number => {
  // What came in part was held until the job had ended, too.
  const isHeld = held === true && end._tag === "Answer" && (end.job !== undefined || end.body === "Cut")
  const neverEnds =
    end._tag === "GivenUp" || (end._tag === "NoAnswer" && end.error === "RequestTimeoutError" && end.sent === "Maybe")
  return isHeld || neverEnds || ended - sent < late ? 0 : ended - sent
}

/** What went wrong with an attempt, as a fault of the emulator. */
export const faultOf = ({ end }: Attempt): Fault.RequestFault => {
  if (end._tag === "GivenUp") return Fault.hang()
  if (end._tag === "NoAnswer") {
    if (end.sent === "No") return Fault.refused()
    if (end.error !== "RequestTimeoutError") return Fault.resetBefore()
    return end.phase === "Body" ? Fault.stall() : Fault.hang()
  }
  const { body, error, retryAfter, status } = end
  if (error === "EndpointPausedError") return Fault.paused()
  if (status === 429) return Fault.rateLimited({ retryAfter })
  if (status >= 300) return Fault.serverError({ status, body: bodies[body] })
  if (body === "Empty") return Fault.emptyOk()
  return body === "Cut" ? Fault.truncated() : Fault.htmlOk()
}

const isJunk = ({ end }: Attempt): boolean =>
  end._tag === "Answer" && end.status < 300 && end.status !== 204 && end.body !== "Json"

/** Whether an attempt met a fault of its time: not one that belongs to its submit or its job. */
export const metFault = (attempt: Attempt): boolean => {
  const { end } = attempt
  if (attempt.submit !== undefined) {
    const { _tag, ...rest } = submitEnd(attempt)
    return _tag === "NoEffect" || ("error" in rest && states.has(rest.error))
  }
  if (end._tag === "NoAnswer") return true
  if (end._tag === "GivenUp") return false
  const { error, status } = end
  return isJunk(attempt) || status === 429 || (error !== undefined && (error === "ServerError" || states.has(error)))
}

/** Attempts of one operation that met the same fault one after another, and between them none that did not. */
class Outage {
  /** When the last of them was sent, or until when it went on for all that is known. */
  until: number
  readonly attempts: Array<Attempt>

  constructor(
    readonly key: string,
    first: Attempt
  ) {
    this.attempts = [first]
    this.until = first.sent
  }

  get from(): number {
    return this.attempts[0]?.sent ?? this.until
  }
}

/** What a request met, to tell whether the next one met the same. */
const keyOf = (attempt: Attempt): string | undefined => {
  if (metFault(attempt)) {
    const { end } = attempt
    return `${faultOf(attempt)._tag} ${end._tag === "Answer" ? end.status : ""}`
  }
  // How late the answer to a submit was belongs to its job.
  return latenessOf(attempt) > 0 && attempt.submit === undefined ? "Delay" : undefined
}

const isState = ({ end }: Attempt): boolean => end._tag === "Answer" && end.error !== undefined && states.has(end.error)

/** What the attempts of one operation met, in the order they were sent. */
const outagesOf = (attempts: ReadonlyArray<Attempt>): ReadonlyArray<Outage> => {
  const outages: Array<Outage> = []
  let open: Outage | undefined
  for (const attempt of attempts) {
    // It tells nothing of the server.
    if (attempt.end._tag === "GivenUp") continue
    const key = keyOf(attempt)
    if (open !== undefined && key === open.key) {
      open.attempts.push(attempt)
      open.until = attempt.sent
      continue
    }
    if (open?.attempts.some(isState) === true) open.until = Math.max(open.until, attempt.sent - 1)
    open = key === undefined ? undefined : new Outage(key, attempt)
    if (open !== undefined) outages.push(open)
  }
  if (open?.attempts.some(isState) === true) open.until = Infinity
  return outages
}

/** A fault of these attempts, and how late it was. */
const toFaults = (attempt: Attempt, target: Fault.Target): ReadonlyArray<Fault.RequestFault> => {
  const by = latenessOf(attempt)
  return [
    ...(by === 0 ? [] : [Fault.delay({ by, ...target })]),
    ...(metFault(attempt) ? [{ ...faultOf(attempt), ...target }] : [])
  ]
}

export interface Met {
  /** The faults of a time. */
  readonly faults: ReadonlyArray<Fault.Fault>
  /** Attempts that met a fault beside others that did not: it belongs to their submit, or their job. */
  readonly alone: ReadonlyArray<Attempt>
}

/** The faults that one operation of an endpoint met. */
export const faultsOf = (attempts: ReadonlyArray<Attempt>, endpoint: string): Met => {
  const operation = names.find((name) => name === attempts[0]?.operation)
  if (operation === undefined) return { faults: [], alone: [] }
  const target = { endpoints: [endpoint], operations: [operation] }
  const unhurt = new Set(attempts.flatMap((attempt) => (keyOf(attempt) === undefined ? [attempt.sent] : [])))
  const faults: Array<Fault.Fault> = []
  const alone: Array<Attempt> = []
  for (const { attempts: hit, from, until } of outagesOf(attempts)) {
    const [first] = hit
    if (first === undefined) continue
    const lasts = until > from && !unhurt.has(from) && !unhurt.has(until)
    if (lasts) faults.push(...toFaults(first, { ...target, between: { from, until: until + 1 } }))
    else alone.push(...hit)
  }
  return { faults, alone }
}

/** The faults that requests about one job met, each by the first such request from then on. */
export const faultsOfJob = (attempts: ReadonlyArray<Attempt>): ReadonlyArray<Fault.RequestFault> =>
  attempts.flatMap((attempt) => {
    const operations = names.filter((name) => name === attempt.operation)
    return toFaults(attempt, { operations, between: { from: attempt.sent }, times: 1 })
  })

/** The faults that requests about no job of the recording met, each by the first such request within a minute. */
export const faultsOfEndpoint = (attempts: ReadonlyArray<Attempt>, endpoint: string): ReadonlyArray<Fault.Fault> =>
  attempts.flatMap((attempt) => {
    const operations = names.filter((name) => name === attempt.operation)
    const between = { from: attempt.sent, until: attempt.sent + lingers }
    return toFaults(attempt, { endpoints: [endpoint], operations, between, times: 1 })
  })
