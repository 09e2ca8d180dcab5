import type { RunPodError } from "../../errors/RunPodError.js"

/** A hold that was cut earlier than this says nothing about how long one may be. */
const tellingCut = 5_000

const definite = new Set<RunPodError["_tag"]>([
  "AuthenticationError",
  "PermissionDeniedError",
  "EndpointNotFoundError",
  "JobNotFoundError",
  "PayloadTooLargeError"
])

/** Whether an error ends a wait. A 2xx that is no job says nothing about the job and is waited out. */
export const isDefinite = (error: RunPodError): boolean =>
  error._tag === "BadRequestError" ? (error.status ?? 400) >= 400 : definite.has(error._tag)

/** A poll that failed, and how long RunPod was asked to hold it; missing when it was plain. Times are milliseconds. */
interface FailedPoll {
  readonly error: RunPodError
  readonly held: number | undefined
  readonly took: number
  /** The error is a 404 of a job that was submitted moments ago. */
  readonly isNotVisibleYet: boolean
}

/**
 * What a failed poll says: `Definite`: the wait is over. `NotHeld`: the error may be about holding rather than about the job,
 * and a plain poll tells. `Passing`: ask again later.
 */
export const meaningOf = ({ error, held, isNotVisibleYet }: FailedPoll): "Definite" | "NotHeld" | "Passing" => {
  if (isNotVisibleYet) return "Passing"
  const mayBeAboutHolding =
    error._tag === "BadRequestError" || error._tag === "JobNotFoundError" || error._tag === "EndpointNotFoundError"
  if (held !== undefined && mayBeAboutHolding) return "NotHeld"
  return isDefinite(error) ? "Definite" : "Passing"
}

/** How long to hold after a poll that failed: shorter than one that a gateway has cut. */
export const holdAfter = ({ error, held, took }: FailedPoll, hold: number): number => {
  const wasCut = error._tag === "TransportError" || error._tag === "ServerError" || error._tag === "RequestTimeoutError"
  const stoodStill = error._tag === "RequestTimeoutError" && error.phase === "Body"
  if (held === undefined || !wasCut || stoodStill || took < tellingCut) return hold
  return Math.max(tellingCut, Math.min(hold, took * 0.8, held * 0.8))
}
