import type { RunPodError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import { isTerminal } from "../../schemas/JobStatus.js"
import type { Span } from "../../services/JobRuntime.js"
import type { WaitPolicy } from "./waitPolicy.js"

/** Polls for an expected end are never nearer. */
const shortestStep = 900
/** How long a job whose end is far may be left alone, since it may end before. */
const restAtLeast = 30_000
const restAtMost = 5 * 60_000
/** A plain poll that takes longer has waited for its permit. */
const longTurn = 2_000
/** How far polls are apart that only make up for a lost webhook. */
const webhookInterval = 30_000
/** RunPod refuses shorter holds. */
const shortestHold = 1_000
const firstProgressHold = 2_000
/** A hold that was cut earlier than this says nothing about how long one may be. */
const tellingCut = 5_000

/** How long before a job may end it is to be held, in milliseconds: as short as a request that waits for a permit may be on its way. */
const holdLead = 300

/**
 * How the next poll is paced, by how the one before it went: its error may have asked for a time, in milliseconds. `BeforeEnd` is for a job that no
 * request could be held for yet: at this age, shortly before it may end or when it may, others have ended that were.
 */
type Pace =
  | { readonly _tag: "AtOnce" }
  | { readonly _tag: "BeforeEnd"; readonly at: number; readonly isLast: boolean }
  | { readonly _tag: "Plain" }
  | { readonly _tag: "AfterError"; readonly asked: number }

/**
 * The pace of a job of this age that is too young for a plain poll, where none can be held. One whose end is far, or whose progress is wanted, is looked
 * at in between.
 */
export const paceUnheld = (
  { pace }: PollState,
  { progressInterval }: WaitPolicy,
  { age, end }: { readonly age: number; readonly end: Span | undefined }
): Pace => {
  // What is expected moves while jobs end: at its end, too, only once.
  if (end === undefined || (pace._tag === "BeforeEnd" && pace.isLast)) return { _tag: "Plain" }
  const isLast = pace._tag === "BeforeEnd"
  const at = isLast ? end.from : end.from - holdLead
  const isNear = at > age && at - age <= Math.min(restAtLeast, progressInterval)
  return isNear ? { _tag: "BeforeEnd", at, isLast } : { _tag: "Plain" }
}

/** Where one wait stands. Times are milliseconds. */
export class PollState {
  /** Polls that were answered or have failed. */
  polls = 0
  /** Polls that have failed since the last that was answered. */
  errors = 0
  /** When the first of them failed. */
  failingSince = 0
  pace: Pace
  /** How long to hold; 0 when holds cannot be had. */
  hold: number
  /** Holds that were answered long before their time although the job had not ended. */
  ignoredHolds = 0
  /** How long the last plain poll took, waiting for its permit included. */
  plainTook = 0
  /** Whether the poll shortly before the deadline has been planned. */
  tookLastLook = false
  last: Job.Job | undefined
  /** The age at which the job was last seen in the queue. */
  queuedAt = 0

  constructor(
    { hold, schedule }: WaitPolicy,
    /** Whether the job's webhook is still waited for. */
    public listens: boolean
  ) {
    this.pace = { _tag: schedule !== undefined || hold > 0 ? "AtOnce" : "Plain" }
    this.hold = hold
  }
}

/**
 * How long after `age` the next plain poll is, in milliseconds. Without a forecast polls begin early and become rare as
 * the job ages. With one, the job is left alone until it may have ended, but for a look now and then; while its end is
 * due polls are a part of that span apart, many for a short one and few for a long; and when it is overdue they become
 * rarer again. They are never rarer there than they would be without. The first is not later than the end is due.
 */
export const plainPause = (age: number, isFirst: boolean, numbers: WaitPolicy["poll"], end?: Span): number => {
  const ordinary = Math.max(numbers.interval, Math.min(age * numbers.ageShare, numbers.cap))
  if (end === undefined) return isFirst ? numbers.initial : ordinary
  const width = end.to - end.from
  const parts = width <= end.to / 4 ? 8 : 3
  const step = Math.min(ordinary, Math.max(shortestStep, width / parts))
  if (age < end.from) {
    const left = Math.min(end.from + step, end.to) - age
    const rest = Math.min(restAtMost, Math.max(restAtLeast, end.from / 8))
    return left / Math.ceil(left / rest)
  }
  if (age < end.to) return isFirst ? Math.min(step, end.to - age) : step
  return Math.min(ordinary, Math.max(step, age - end.to))
}

/** The delay before a plain poll of a job that is expected to end between these ages. `random` is between 0 and 1. */
export const plainDelay = (
  policy: WaitPolicy,
  { listens, plainTook, polls }: PollState,
  facts: { readonly age: number; readonly expectedEnd: Span | undefined; readonly random: number }
): number => {
  const { age, expectedEnd, random } = facts
  // With more waits than the limits let poll so often, it is better that they sleep than that they queue for permits.
  const afterTurn = plainTook < longTurn ? 0 : Math.min(3 * plainTook, restAtMost)
  const numbers = { ...policy.poll, interval: policy.poll.interval * (1 - 0.03 * random) }
  // The first for a lost webhook anywhere in the interval, so that waits that begin together do not poll together.
  const pause =
    listens && !policy.isPaceGiven
      ? webhookInterval * (1 - (polls === 0 ? 1 : 0.06) * random)
      : plainPause(age, polls === 0, numbers, expectedEnd)
  return Math.max(Math.min(pause, policy.progressInterval), afterTurn)
}

/**
 * How long to hold the next poll; `undefined` for a plain one. `diagnoseAt` is when a job that is in the queue is to be asked
 * why: a wait that may time out ends its hold then.
 */
export const holdLength = (
  policy: WaitPolicy,
  state: PollState,
  { diagnoseAt, now }: { readonly now: number; readonly diagnoseAt: number }
): number | undefined => {
  const { deadline, progressInterval, timeout, wantsProgress } = policy
  const { hold, last, polls } = state
  const progressHold = wantsProgress && polls === 0 ? Math.min(firstProgressHold, progressInterval) : progressInterval
  const mayBeQueued = last === undefined || last.status === "IN_QUEUE"
  const isDiagnosed = timeout !== undefined && mayBeQueued && diagnoseAt < deadline && diagnoseAt - now >= shortestHold
  const untilDiagnosis = isDiagnosed ? diagnoseAt - now : Infinity
  const length = Math.floor(Math.min(hold, progressHold, deadline - now, untilDiagnosis))
  return length < shortestHold ? undefined : length
}

const definite = new Set<RunPodError["_tag"]>([
  "AuthenticationError",
  "PermissionDeniedError",
  "EndpointNotFoundError",
  "JobNotFoundError"
])

/** Whether an error says that the job has ended: its result is gone, or is there and refused by the caller's `parseJson`. */
export const provesEnd = (error: RunPodError): boolean =>
  error._tag === "JobNotFoundError"
    ? error.reason === "Expired"
    : error._tag === "DecodeError" && error.jobStatus !== undefined && isTerminal(error.jobStatus)

/** Whether an error ends a wait. A 2xx that is no job says nothing about the job and is waited out. */
export const isDefinite = (error: RunPodError): boolean =>
  error._tag === "BadRequestError" ? (error.status ?? 400) >= 400 : definite.has(error._tag) || provesEnd(error)

/** How long an empty 401 is taken for a gateway's where RunPod has accepted the key before, in milliseconds. */
const longestSilence = 5 * 60_000

/** A 401 that says nothing: RunPod's, for a key it does not know, or a gateway's. */
const mayBeGateways = ({ error, failingFor, isKnown }: FailedPoll): boolean =>
  error._tag === "AuthenticationError" && error.body === undefined && isKnown && failingFor < longestSilence

/** With what a server that knows no held requests, or no such hold, answers one. */
const refusesHolds = new Set<number | undefined>([400, 404, 405, 422])

/** A poll that failed, and how long RunPod was asked to hold it; missing when it was plain. Times are milliseconds. */
interface FailedPoll {
  readonly error: RunPodError
  /** How long polls have been failing: since the first one after the last that was answered. */
  readonly failingFor: number
  /** Whether RunPod has accepted the job's submit, or answered a poll. */
  readonly isKnown: boolean
  readonly held: number | undefined
  readonly took: number
  /** The error is a 404 of a job that was submitted moments ago. */
  readonly isNotVisibleYet: boolean
}

/**
 * What a failed poll says: `Definite`: the wait is over. `NotHeld`: the error may be about holding rather than about the job,
 * and a plain poll tells. `Passing`: ask again later.
 */
export const meaningOf = (failed: FailedPoll): "Definite" | "NotHeld" | "Passing" => {
  const { error, held, isNotVisibleYet } = failed
  if (isNotVisibleYet || mayBeGateways(failed)) return "Passing"
  // Also a refusal that is not RunPod's: a server that knows no held requests may send it.
  const mayBeAboutHolding =
    error._tag === "BadRequestError" ||
    error._tag === "JobNotFoundError" ||
    error._tag === "EndpointNotFoundError" ||
    (error._tag === "ServerError" && refusesHolds.has(error.status))
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
