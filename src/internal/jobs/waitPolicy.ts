import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { WaitOptions } from "../../services/WaitOptions.js"

/** The defaults of a wait; documented at `WaitOptions`. */
export const waitDefaults = {
  timeout: "24 hours",
  hold: "90 seconds",
  progressInterval: "6 seconds",
  diagnoseAfter: 3,
  cancelGrace: "10 seconds",
  poll: { initial: "3 seconds", interval: "6 seconds", ageShare: 0.1, cap: "1 minute" }
} as const

/** RunPod takes longer holds, but gateways cut them. */
const longestHold = 240_000

/** The numbers of a `PollPolicy`, in milliseconds. */
export interface PollNumbers {
  readonly initial: number
  readonly interval: number
  readonly ageShare: number
  readonly cap: number
}

/** The options of a wait with their durations decoded, in milliseconds. */
export interface WaitSettings {
  readonly timeout: number | undefined
  /** 0 for plain polls; missing when the caller does not say. */
  readonly hold: number | undefined
  readonly progressInterval: number
  readonly poll: PollNumbers
  /** Whether the caller has set the pace: nothing that was learned changes it then. */
  readonly isPaceGiven: boolean
  readonly schedule: Schedule.Schedule<unknown> | undefined
  readonly diagnoseAfter: number
  readonly cancelGrace: number
}

/** The options of one wait at its time: settings, and times on the monotonic clock. */
export interface WaitPolicy extends WaitSettings {
  readonly startedAt: number
  /** When the job was submitted; missing where that is not known. */
  readonly submittedAt: number | undefined
  /** What the job's age counts from: its submit, or else the beginning of the wait. */
  readonly bornAt: number
  readonly deadline: number
  /** How long to hold at first; 0 when polls are plain. */
  readonly hold: number
  readonly wantsProgress: boolean
  /** The longest time between two looks at the job; `Infinity` when nobody wants progress. */
  readonly progressInterval: number
}

/** What a wait's policy depends on beside its settings. */
export interface WaitFacts {
  readonly now: number
  /** When the caller began; missing when that is now. */
  readonly since: number | undefined
  readonly submittedAt: number | undefined
  readonly ttl: number | undefined
  readonly wantsProgress: boolean
  /** A webhook may tell of the job's end. */
  readonly listens: boolean
}

const defaultTimeout = Duration.toMillis(waitDefaults.timeout)
const defaultHold = Duration.toMillis(waitDefaults.hold)

const pollNumbersOf = (poll: WaitOptions["poll"]): PollNumbers => {
  const { ageShare, cap, initial, interval } = poll === undefined || Schedule.isSchedule(poll) ? {} : poll
  const defaults = waitDefaults.poll
  return {
    initial: Duration.toMillis(initial ?? defaults.initial),
    interval: Duration.toMillis(interval ?? defaults.interval),
    ageShare: ageShare ?? defaults.ageShare,
    cap: Duration.toMillis(cap ?? defaults.cap)
  }
}

/** Decodes the options of a wait. */
export const decode = (options: WaitOptions<never>): WaitSettings => {
  const { cancelGrace, diagnoseAfter, hold, poll, progressInterval, timeout } = options
  return {
    timeout: timeout === undefined ? undefined : Duration.toMillis(timeout),
    hold: hold === undefined ? undefined : hold === false ? 0 : Duration.toMillis(hold),
    progressInterval: Duration.toMillis(progressInterval ?? waitDefaults.progressInterval),
    poll: pollNumbersOf(poll),
    isPaceGiven: poll !== undefined,
    schedule: Schedule.isSchedule(poll) ? poll : undefined,
    diagnoseAfter: diagnoseAfter ?? waitDefaults.diagnoseAfter,
    cancelGrace: Duration.toMillis(cancelGrace ?? waitDefaults.cancelGrace)
  }
}

/** The policy of a wait that begins now. */
export const policyOf = (settings: WaitSettings, facts: WaitFacts): WaitPolicy => {
  const { listens, now, since = now, submittedAt, ttl = defaultTimeout, wantsProgress } = facts
  const { hold = settings.isPaceGiven || listens ? 0 : defaultHold, timeout } = settings
  const bornAt = submittedAt ?? since
  return {
    ...settings,
    startedAt: since,
    submittedAt,
    bornAt,
    deadline: timeout === undefined ? bornAt + ttl : since + timeout,
    hold: Math.min(hold, longestHold),
    wantsProgress,
    progressInterval: wantsProgress ? settings.progressInterval : Infinity
  }
}

/** When a wait cancels its job. */
export interface CancelRules {
  readonly onInterrupt: boolean
  readonly onTimeout: boolean
  /** When the wait fails otherwise although the job may go on. */
  readonly onFailure: boolean
}

/** The rules of a wait for a job that somebody else has submitted. */
export const rulesOf = ({ cancelOnInterrupt, cancelOnTimeout }: WaitOptions<never>): CancelRules => ({
  onInterrupt: cancelOnInterrupt === true,
  onTimeout: cancelOnTimeout === true,
  onFailure: false
})
