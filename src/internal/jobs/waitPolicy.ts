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

/** What the options of a wait come to. Durations are milliseconds, times are on the monotonic clock. */
export interface WaitPolicy {
  readonly startedAt: number
  /** When the job was submitted; missing where that is not known. */
  readonly submittedAt: number | undefined
  /** What the job's age counts from: its submit, or else the beginning of the wait. */
  readonly bornAt: number
  readonly deadline: number
  /** Whether the caller has set the deadline. */
  readonly hasTimeout: boolean
  /** How long to hold at first; 0 when polls are plain. */
  readonly hold: number
  readonly wantsProgress: boolean
  /** The longest time between two looks at the job; `Infinity` when nobody wants progress. */
  readonly progressInterval: number
  readonly poll: PollNumbers
  /** Whether the caller has set the pace: nothing that was learned changes it then. */
  readonly isPaceGiven: boolean
  readonly schedule: Schedule.Schedule<unknown> | undefined
  readonly diagnoseAfter: number
  readonly cancelGrace: number
}

/** What a wait's policy depends on beside its options. */
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

/** How long a cancel may take, in milliseconds. */
export const cancelGraceOf = ({ cancelGrace = waitDefaults.cancelGrace }: Pick<WaitOptions, "cancelGrace">): number =>
  Duration.toMillis(cancelGrace)

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
export const decode = (options: WaitOptions<never>, facts: WaitFacts): WaitPolicy => {
  const { diagnoseAfter = waitDefaults.diagnoseAfter, poll, timeout } = options
  const { listens, now, since, submittedAt, ttl, wantsProgress } = facts
  const startedAt = since ?? now
  const bornAt = submittedAt ?? startedAt
  const hold = options.hold ?? (poll === undefined && !listens ? waitDefaults.hold : false)
  return {
    startedAt,
    submittedAt,
    bornAt,
    deadline:
      timeout === undefined
        ? bornAt + (ttl ?? Duration.toMillis(waitDefaults.timeout))
        : startedAt + Duration.toMillis(timeout),
    hasTimeout: timeout !== undefined,
    hold: hold === false ? 0 : Math.min(Duration.toMillis(hold), longestHold),
    wantsProgress,
    progressInterval: wantsProgress
      ? Duration.toMillis(options.progressInterval ?? waitDefaults.progressInterval)
      : Infinity,
    poll: pollNumbersOf(poll),
    isPaceGiven: poll !== undefined,
    schedule: Schedule.isSchedule(poll) ? poll : undefined,
    diagnoseAfter,
    cancelGrace: cancelGraceOf(options)
  }
}
