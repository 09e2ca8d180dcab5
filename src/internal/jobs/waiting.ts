import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { RunPodError } from "../../errors/RunPodError.js"
import * as Metrics from "../../layers/RunPodMetrics.js"
import * as Job from "../../schemas/Job.js"
import type { WaitOptions, WatchedJob } from "../../services/WaitOptions.js"
import { jsonOf } from "../text/json.js"
import type { Restore } from "../pace/mask.js"
import { monotonicMillis } from "../pace/monotonic.js"
import {
  isDefinite,
  isNotVisibleYet,
  listening,
  make,
  scopedWord,
  type Ended,
  type Target,
  type Wait,
  type WaitError
} from "./wait.js"
import { waitDefaults as defaults } from "./waitDefaults.js"

export { isDefinite, isNotVisibleYet, type Ended, type Target, type WaitError }

/** What distinguishes a job from the one seen before: its status, why it is in the queue and, while it runs, its progress. */
const stateOf = (job: WatchedJob): string =>
  Job.isTerminal(job)
    ? job.status
    : [job.status, job.diagnosis?.reason, job.output === undefined ? undefined : jsonOf(job.output)].join(" ")

/** How long a cancel waits for a job that is not visible yet, before it looks again. */
const betweenCancels = 1_000

/** Cancels the job, also one that is so new that RunPod does not know it yet. Gives nothing when there is no such job. */
export const cancelSeen = (
  target: Target,
  grace: number,
  waited = 0
): Effect.Effect<Job.Job | undefined, RunPodError> =>
  Effect.catchTag(target.keeper.cancel(target.endpointId, target.jobId, grace), "JobNotFoundError", (error) =>
    Effect.clockWith((clock): Effect.Effect<Job.Job | undefined, RunPodError> => {
      if (!isNotVisibleYet(target, error, monotonicMillis(clock))) return Effect.succeed(undefined)
      return waited >= grace
        ? Effect.fail(error)
        : Effect.zipRight(Effect.sleep(betweenCancels), cancelSeen(target, grace, waited + betweenCancels))
    })
  )

export const warnNotCancelled = (endpointId: string, jobId: string, error: RunPodError): Effect.Effect<void> =>
  Effect.logWarning(`Job ${jobId} on endpoint ${endpointId} was not cancelled and may go on running: ${error.message}`)

/** Cancels the job; what cannot be cancelled is logged with its id. */
export const cancelJob = (target: Target, grace: Duration.DurationInput | undefined): Effect.Effect<void> =>
  cancelSeen(target, Duration.toMillis(grace ?? defaults.cancelGrace)).pipe(
    Effect.catchAll((error) => warnNotCancelled(target.endpointId, target.jobId, error)),
    Effect.asVoid
  )

/** When a wait cancels its job. */
export interface CancelRules {
  readonly onInterrupt: boolean
  readonly onTimeout: boolean
  /** When the wait fails otherwise although the job may go on. */
  readonly onFailure: boolean
}

const rulesOf = (options: WaitOptions<never>): CancelRules => ({
  onInterrupt: options.cancelOnInterrupt === true,
  onTimeout: options.cancelOnTimeout === true,
  onFailure: false
})

/** Cancels by the rules when a wait did not see its job end: on interruption at once, otherwise in the background. */
const cancelOnExit = (
  target: Target,
  options: WaitOptions<never>,
  rules: CancelRules,
  exit: Exit.Exit<unknown, WaitError>
): Effect.Effect<void> => {
  if (Exit.isSuccess(exit)) return Effect.void
  const cancel = cancelJob(target, options.cancelGrace)
  if (Exit.isInterrupted(exit)) return rules.onInterrupt ? cancel : Effect.void
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (error?._tag === "JobNotFoundError" && error.reason === "Expired") return Effect.void
  const wanted = error?._tag === "WaitTimeoutError" ? rules.onTimeout : rules.onFailure
  return wanted ? Effect.asVoid(target.keeper.fork(cancel)) : Effect.void
}

/** What a caller that is more than a wait adds to it. */
export interface Circumstances {
  readonly rules: CancelRules
  /** When the caller began, on the monotonic clock. */
  readonly since?: number | undefined
  /** Of the mask the caller is inside, so that no interruption comes between its part and the wait. */
  readonly restore?: Restore | undefined
}

/** Waits until the job has ended, as a plain loop. */
export const settle = (
  target: Target,
  options: WaitOptions,
  circumstances?: Circumstances
): Effect.Effect<Job.TerminalJob, WaitError> => {
  if (circumstances !== undefined) return settleIn(target, options, circumstances)
  const rules = rulesOf(options)
  const settled = settleIn(target, options, { rules })
  return rules.onInterrupt ? target.keeper.whileOpen(settled) : settled
}

const settleIn = (
  target: Target,
  options: WaitOptions,
  { restore = identity, rules, since }: Circumstances
): Effect.Effect<Job.TerminalJob, WaitError> =>
  Effect.suspend(() => {
    const { onProgress } = options
    let state = ""
    let hasEnded = false
    const follow = (wait: Wait): Effect.Effect<Job.TerminalJob, WaitError> =>
      Effect.flatMap(wait.next, (job) => {
        const isNews = stateOf(job) !== state
        state = stateOf(job)
        hasEnded = Job.isTerminal(job)
        const report = isNews && onProgress !== undefined ? onProgress(job) : Effect.void
        if (!Job.isTerminal(job)) return Effect.zipRight(report, follow(wait))
        return Metrics.recordEnd(job, wait.elapsed()).pipe(Effect.zipRight(report), Effect.as(job))
      })
    return Effect.onExit(
      restore(
        listening(target, (word) =>
          Effect.flatMap(
            make(target, options, {
              cancelsOnTimeout: rules.onTimeout,
              wantsProgress: onProgress !== undefined,
              word,
              since
            }),
            follow
          )
        )
      ),
      (exit) => (hasEnded ? Effect.void : cancelOnExit(target, options, rules, exit))
    )
  })

/** The job whenever its status or its progress has changed, until it has ended. */
export const watch = (target: Target, options: WaitOptions): Stream.Stream<WatchedJob, WaitError> => {
  const rules = rulesOf(options)
  const { onProgress } = options
  return Stream.suspend(() => {
    let hasEnded = false
    const news = (wait: Wait, state: string): Effect.Effect<WatchedJob, WaitError> =>
      Effect.flatMap(wait.next, (job) => (stateOf(job) === state ? news(wait, state) : Effect.succeed(job)))
    const jobs = Stream.unwrapScoped(
      Effect.map(
        Effect.flatMap(scopedWord(target), (word) =>
          make(target, options, { cancelsOnTimeout: rules.onTimeout, wantsProgress: true, word })
        ),
        (wait) =>
          Stream.paginateEffect("", (state) =>
            Effect.flatMap(news(wait, state), (job) => {
              hasEnded = Job.isTerminal(job)
              const page = [job, Job.isTerminal(job) ? Option.none() : Option.some(stateOf(job))] as const
              const record = Job.isTerminal(job) ? Metrics.recordEnd(job, wait.elapsed()) : Effect.void
              return record.pipe(
                Effect.zipRight(onProgress === undefined ? Effect.void : onProgress(job)),
                Effect.as<readonly [WatchedJob, Option.Option<string>]>(page)
              )
            })
          )
      )
    )
    return Stream.ensuringWith(jobs, (exit) => (hasEnded ? Effect.void : cancelOnExit(target, options, rules, exit)))
  })
}
