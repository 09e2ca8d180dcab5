import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { WaitTimeoutError } from "../errors/JobError.js"
import { JobNotFoundError, type RunPodError } from "../errors/RunPodError.js"
import { retryAfter } from "../layers/RetryPolicy.js"
import * as Metrics from "../layers/RunPodMetrics.js"
import * as Job from "../schemas/Job.js"
import type { WaitOptions } from "../services/WaitOptions.js"
import type { Keeper } from "./keeper.js"
import { defined } from "./json.js"
import { monotonicMillis, sleepUntil } from "./monotonic.js"
import { waitDefaults as defaults } from "./waitDefaults.js"

/** The job a wait is for, and what is known of it. */
export interface Target {
  readonly keeper: Keeper
  readonly endpointId: string
  readonly jobId: string
  /** When this process submitted it, on the monotonic clock; missing for a job from elsewhere. */
  readonly submittedAt?: number | undefined
  /** How long RunPod keeps the job, in milliseconds. */
  readonly ttl?: number | undefined
}

export type WaitError = RunPodError | WaitTimeoutError

/** How long after our own submit a job may stay invisible: a 404 then means "not yet". */
const visibilityGrace = 60_000
/** RunPod keeps a result so long after the job's end. */
const retention = 30 * 60_000
/** RunPod refuses shorter holds. */
const shortestHold = 1_000
const longestHold = 240_000
const firstProgressHold = 2_000
/** A hold that was cut earlier than this says nothing about how long one may be. */
const tellingCut = 5_000
const firstErrorDelay = 250

/** Whether a 404 of this job only means that it is not visible yet. */
export const isNotVisibleYet = (target: Target, error: RunPodError, now: number): boolean =>
  error._tag === "JobNotFoundError" && target.submittedAt !== undefined && now - target.submittedAt < visibilityGrace

/** Whether an error ends a wait. A 2xx that is no job says nothing about the job and is waited out. */
export const isDefinite = (error: RunPodError): boolean => {
  switch (error._tag) {
    case "AuthenticationError":
    case "PermissionDeniedError":
    case "EndpointNotFoundError":
    case "JobNotFoundError":
    case "PayloadTooLargeError":
      return true
    case "BadRequestError":
      return error.status === undefined || error.status >= 400
    default:
      return false
  }
}

/** Whether the error may be about holding, not about the job: a plain poll tells. */
const mayBeAboutHolding = (error: RunPodError): boolean =>
  error._tag === "BadRequestError" || error._tag === "JobNotFoundError" || error._tag === "EndpointNotFoundError"

/** How the next poll is paced, by how the one before it went. */
type Pace =
  { readonly _tag: "AtOnce" } | { readonly _tag: "Plain" } | { readonly _tag: "AfterError"; readonly asked: number }

interface Wait {
  /** Paces, polls, outlives faults, and gives the job as it stands. */
  readonly next: Effect.Effect<Job.Job, WaitError>
  readonly elapsed: () => number
}

const makeWait = (
  target: Target,
  options: WaitOptions<never>,
  rules: CancelRules,
  wantsProgress: boolean,
  since?: number
): Effect.Effect<Wait> =>
  Effect.gen(function* () {
    const { endpointId, jobId, keeper, submittedAt } = target
    const clock = yield* Effect.clock
    const now = () => monotonicMillis(clock)
    const startedAt = since ?? now()
    const schedule = Schedule.isSchedule(options.poll) ? yield* Schedule.driver(options.poll) : undefined
    const policy = { ...defaults.poll, ...(Schedule.isSchedule(options.poll) ? {} : options.poll) }
    const progressInterval = wantsProgress
      ? Duration.toMillis(options.progressInterval ?? defaults.progressInterval)
      : Infinity
    const initial = Math.min(Duration.toMillis(policy.initial), progressInterval)
    const interval = Math.min(Duration.toMillis(policy.interval), progressInterval)
    const bornAt = submittedAt ?? startedAt
    const deadline =
      options.timeout === undefined
        ? bornAt + (target.ttl ?? Duration.toMillis(defaults.timeout))
        : startedAt + Duration.toMillis(options.timeout)
    const wantedHold = options.hold ?? (options.poll === undefined ? defaults.hold : false)

    let hold = wantedHold === false ? 0 : Math.min(Duration.toMillis(wantedHold), longestHold)
    let pace: Pace = schedule !== undefined || hold > 0 ? { _tag: "AtOnce" } : { _tag: "Plain" }
    let polls = 0
    let errors = 0
    let ignoredHolds = 0
    let tookLastLook = false
    let last: Job.Job | undefined
    let lastError: RunPodError | undefined

    const timedOut = Effect.suspend(() => {
      const mayHaveEnded = last?.status === "IN_PROGRESS" && last.executionTime !== undefined
      return Effect.fail(
        new WaitTimeoutError({
          endpointId,
          jobId,
          elapsed: Duration.millis(now() - startedAt),
          cancel: rules.onTimeout ? "Pending" : "No",
          ...defined({
            lastStatus: last?.status,
            lastError: lastError?.message,
            diagnosis: mayHaveEnded
              ? "It may have ended: its executionTime is set, and a late progress update can leave a finished job IN_PROGRESS."
              : undefined
          })
        })
      )
    })

    const delay = Effect.map(Random.next, (random) => {
      const age = now() - bornAt
      switch (pace._tag) {
        case "AtOnce":
          return 0
        case "Plain":
          if (polls === 0) return initial
          return Math.max(
            interval * (1 - 0.03 * random),
            Math.min(age * policy.ageShare, Duration.toMillis(policy.cap))
          )
        case "AfterError": {
          const longest = Math.min(firstErrorDelay * 2 ** (errors - 1), Math.min(30_000, Math.max(1_000, age / 10)))
          return Math.max(pace.asked, longest * (0.5 + 0.5 * random))
        }
      }
    })

    const pause: Effect.Effect<void, WaitTimeoutError> = Effect.suspend(() => {
      const left = deadline - now()
      if (schedule !== undefined) {
        return polls === 0
          ? Effect.void
          : schedule.next(last).pipe(
              Effect.timeoutFail({ duration: Math.max(0, left), onTimeout: () => Option.none() }),
              Effect.catchAll(() => timedOut)
            )
      }
      return Effect.flatMap(delay, (planned) => {
        if (planned <= 0) return Effect.void
        if (planned < left) return sleepUntil(now() + Math.round(planned))
        // The deadline is nearer than the next poll: one last look shortly before it.
        const lastLook = tookLastLook || pace._tag === "AfterError" ? left : Math.max(left - 250, left / 2)
        tookLastLook = true
        return sleepUntil(now() + Math.ceil(lastLook))
      })
    })

    const holdFor = Effect.suspend(() => {
      const progressHold =
        wantsProgress && polls === 0 ? Math.min(firstProgressHold, progressInterval) : progressInterval
      const length = Math.floor(Math.min(hold, progressHold, deadline - now()))
      if (length < shortestHold) return Effect.succeed(undefined)
      return Effect.map(keeper.hasRoomToHold(endpointId), (hasRoom) => (hasRoom ? length : undefined))
    })

    const onJob = (job: Job.Job, held: number | undefined, took: number) => {
      errors = 0
      lastError = undefined
      last = job
      // Held, but not for long: this server does not hold, and asking at once again would be a tight loop.
      const ignored = held !== undefined && took < held / 2
      if (ignored && !Job.isTerminal(job) && ++ignoredHolds >= 2) hold = 0
      pace = held !== undefined && !ignored ? { _tag: "AtOnce" } : { _tag: "Plain" }
    }

    const onError = (error: RunPodError, held: number | undefined, took: number): RunPodError | undefined => {
      const age = now() - bornAt
      const isVisible = !isNotVisibleYet(target, error, now())
      errors++
      lastError = error
      if (held !== undefined && isVisible && mayBeAboutHolding(error)) {
        hold = 0
        pace = { _tag: "AtOnce" }
        return undefined
      }
      if (isVisible && isDefinite(error)) {
        if (error._tag !== "JobNotFoundError") return error
        const expired = last !== undefined || age >= Math.min(retention, target.ttl ?? retention)
        return new JobNotFoundError({ ...error, reason: expired ? "Expired" : "Unknown" })
      }
      const wasCut =
        error._tag === "TransportError" || error._tag === "ServerError" || error._tag === "RequestTimeoutError"
      const stoodStill = error._tag === "RequestTimeoutError" && error.phase === "Body"
      if (held !== undefined && wasCut && !stoodStill && took >= tellingCut) {
        hold = Math.max(tellingCut, Math.min(hold, took * 0.8, held * 0.8))
      }
      const asked = retryAfter(error)
      pace = { _tag: "AfterError", asked: asked === undefined ? 0 : Duration.toMillis(asked) }
      return undefined
    }

    return {
      elapsed: () => now() - startedAt,
      next: Effect.gen(function* () {
        for (;;) {
          yield* pause
          if (now() >= deadline) return yield* timedOut
          const held = yield* holdFor
          const askedAt = now()
          const reply = yield* Effect.either(keeper.poll(endpointId, jobId, { hold: held, deadline }))
          polls++
          if (Either.isRight(reply)) {
            onJob(reply.right, held, now() - askedAt)
            return reply.right
          }
          // A poll that the deadline cut is no fault.
          if (now() >= deadline) return yield* timedOut
          const definite = onError(reply.left, held, now() - askedAt)
          if (definite !== undefined) return yield* Effect.fail(definite)
        }
      })
    }
  })

/** What distinguishes a job from the one seen before: its status and, while it runs, its progress. */
const stateOf = (job: Job.Job): string =>
  Job.isTerminal(job) || job.output === undefined ? job.status : `${job.status} ${JSON.stringify(job.output)}`

/** Cancels the job; what cannot be cancelled is logged with its id. */
export const cancelJob = (target: Target, grace: Duration.DurationInput | undefined): Effect.Effect<void> =>
  target.keeper.cancel(target.endpointId, target.jobId, Duration.toMillis(grace ?? defaults.cancelGrace)).pipe(
    Effect.catchTag("JobNotFoundError", () => Effect.void),
    Effect.catchAll((error) =>
      Effect.logWarning(
        `Job ${target.jobId} on endpoint ${target.endpointId} was not cancelled and may go on running: ${error.message}`
      )
    ),
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
  readonly since?: number
  /** Of the mask the caller is inside, so that no interruption comes between its part and the wait. */
  readonly restore?: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** Waits until the job has ended, as a plain loop. */
export const settle = (
  target: Target,
  options: WaitOptions,
  { restore = identity, rules, since }: Circumstances = { rules: rulesOf(options) }
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
      restore(Effect.flatMap(makeWait(target, options, rules, onProgress !== undefined, since), follow)),
      (exit) => (hasEnded ? Effect.void : cancelOnExit(target, options, rules, exit))
    )
  })

/** The job whenever its status or its progress has changed, until it has ended. */
export const watch = (target: Target, options: WaitOptions): Stream.Stream<Job.Job, WaitError> => {
  const rules = rulesOf(options)
  const { onProgress } = options
  return Stream.suspend(() => {
    let hasEnded = false
    const news = (wait: Wait, state: string): Effect.Effect<Job.Job, WaitError> =>
      Effect.flatMap(wait.next, (job) => (stateOf(job) === state ? news(wait, state) : Effect.succeed(job)))
    const jobs = Stream.unwrap(
      Effect.map(makeWait(target, options, rules, true), (wait) =>
        Stream.paginateEffect("", (state) =>
          Effect.flatMap(news(wait, state), (job) => {
            hasEnded = Job.isTerminal(job)
            const page = [job, Job.isTerminal(job) ? Option.none() : Option.some(stateOf(job))] as const
            const record = Job.isTerminal(job) ? Metrics.recordEnd(job, wait.elapsed()) : Effect.void
            return record.pipe(
              Effect.zipRight(onProgress === undefined ? Effect.void : onProgress(job)),
              Effect.as<readonly [Job.Job, Option.Option<string>]>(page)
            )
          })
        )
      )
    )
    return Stream.ensuringWith(jobs, (exit) => (hasEnded ? Effect.void : cancelOnExit(target, options, rules, exit)))
  })
}
