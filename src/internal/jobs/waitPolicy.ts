import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { WaitOptions } from "../../services/WaitOptions.js"
import type { Caller } from "../http/requestOptions.js"
import { monotonicMillis } from "../pace/monotonic.js"
import type { JobSpan } from "../telemetry/jobSpan.js"
import type { JobRef } from "./jobRef.js"
import type { Ended } from "./webhookEnd.js"

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

/** The options of a wait, durations in milliseconds. A wait that `owns` its job, having submitted it, cancels it by default. */
export const decode = (options: WaitOptions<never>, owns = false) => {
  const { cancelOnInterrupt = owns, cancelOnTimeout = owns, diagnoseAfter, hold, poll, timeout } = options
  const { ageShare, cap, initial, interval } = poll === undefined || Schedule.isSchedule(poll) ? {} : poll
  const defaults = waitDefaults.poll
  return {
    timeout: timeout === undefined ? undefined : Duration.toMillis(timeout),
    /** 0 for plain polls; missing when the caller does not say. */
    hold: hold === undefined ? undefined : hold === false ? 0 : Duration.toMillis(hold),
    progressInterval: Duration.toMillis(options.progressInterval ?? waitDefaults.progressInterval),
    poll: {
      initial: Duration.toMillis(initial ?? defaults.initial),
      interval: Duration.toMillis(interval ?? defaults.interval),
      ageShare: ageShare ?? defaults.ageShare,
      cap: Duration.toMillis(cap ?? defaults.cap)
    },
    /** Whether the caller has set the pace: nothing that was learned changes it then. */
    isPaceGiven: poll !== undefined,
    schedule: Schedule.isSchedule(poll) ? poll : undefined,
    diagnoseAfter: diagnoseAfter ?? waitDefaults.diagnoseAfter,
    cancelGrace: Duration.toMillis(options.cancelGrace ?? waitDefaults.cancelGrace),
    cancelOnInterrupt,
    cancelOnTimeout,
    /** When the wait fails otherwise although the job may go on. */
    cancelOnFailure: owns && cancelOnInterrupt
  }
}

export type WaitSettings = ReturnType<typeof decode>

export interface Wait {
  readonly job: JobRef
  readonly settings: WaitSettings
  /** With it the wait does not hold, and polls only in case the webhook gets lost. */
  readonly ended?: Ended | undefined
  readonly onProgress?: WaitOptions["onProgress"]
  /** Whether each change of the job's state is wanted. Default: when there is an `onProgress`. */
  readonly wantsProgress?: boolean | undefined
  /** Is told of the job as it is seen. */
  readonly span?: JobSpan | undefined
  /** When its caller began, on the monotonic clock; missing when that is now. */
  readonly since?: number | undefined
}

/** What a wait that begins now goes by: its settings, and times on the monotonic clock. It ends no later than its caller does. */
export const policyOf = (wait: Wait, { clock, options }: Caller) => {
  const { ended, job, onProgress, settings, wantsProgress = onProgress !== undefined } = wait
  const { since: startedAt = monotonicMillis(clock) } = wait
  const { hold = settings.isPaceGiven || ended !== undefined ? 0 : waitDefaults.hold, timeout } = settings
  const submittedAt = job.submittedAt?.(clock)
  /** What the job's age counts from. */
  const bornAt = submittedAt ?? startedAt
  return {
    ...settings,
    startedAt,
    submittedAt,
    bornAt,
    deadline: Math.min(
      options.deadline,
      timeout === undefined ? bornAt + (job.ttl ?? Duration.toMillis(waitDefaults.timeout)) : startedAt + timeout
    ),
    /** How long to hold at first; 0 when polls are plain. */
    hold: Math.min(Duration.toMillis(hold), longestHold),
    wantsProgress,
    /** The longest time between two looks at the job. */
    progressInterval: wantsProgress ? settings.progressInterval : Infinity
  }
}

export type WaitPolicy = ReturnType<typeof policyOf>
