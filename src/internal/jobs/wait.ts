import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { WaitTimeoutError } from "../../errors/JobError.js"
import { JobNotFoundError, type RunPodError } from "../../errors/RunPodError.js"
import { retryAfter } from "../../layers/RetryPolicy.js"
import * as Job from "../../schemas/Job.js"
import * as QueueDiagnosis from "../../schemas/QueueDiagnosis.js"
import type { WaitOptions, WatchedJob } from "../../services/WaitOptions.js"
import type { Keeper } from "./keeper.js"
import { defined } from "../text/json.js"
import { monotonicMillis, sleepUntil } from "../pace/monotonic.js"
import { plainPause } from "./pollPace.js"
import type { Condition } from "./queueHealth.js"
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
  /** Word from elsewhere that the job has ended. With it a wait does not hold, and polls only in case the word gets lost. */
  readonly ended?: Ended | undefined
}

/**
 * Completes when word comes that the job has ended, a webhook's say: with `undefined` the wait asks RunPod whether it is
 * so, a job is taken as its end. It never fails, may be pending for ever, and is interruptible. Each wait runs it once,
 * on a fiber that it stops at its own end.
 */
export type Ended = Effect.Effect<Job.TerminalJob | undefined>

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
/** A poll that takes longer stood in line. */
const longLine = 2_000
/** However long the line, a job is looked at so often. */
const longestRest = 5 * 60_000
/** What counts as the usual time in the queue where that is not known. */
const unknownDelay = 10_000
/** How far polls are apart that only make up for lost word of the end. */
const fallbackInterval = 30_000

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

/** The fiber that listens for word of the job's end. */
export type Word = Fiber.RuntimeFiber<Job.TerminalJob | undefined>

/** Runs `use` while it listens for word of the job's end, where there may be any. */
export const listening = <A, E>(
  { ended }: Target,
  use: (word: Word | undefined) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  ended === undefined
    ? use(undefined)
    : Effect.acquireUseRelease(Effect.fork(Effect.interruptible(ended)), use, Fiber.interrupt)

/** The same for as long as a scope is open. */
export const scopedWord = ({ ended }: Target): Effect.Effect<Word | undefined, never, Scope.Scope> =>
  ended === undefined
    ? Effect.succeed(undefined)
    : Effect.acquireRelease(Effect.fork(Effect.interruptible(ended)), Fiber.interrupt)

/** One wait: where it stands, and how it goes on. */
export interface Wait {
  /** Paces, polls, outlives faults, and gives the job as it stands. */
  readonly next: Effect.Effect<WatchedJob, WaitError>
  readonly elapsed: () => number
}

/** What a wait has to know besides its job and its options. */
export interface Situation {
  readonly cancelsOnTimeout: boolean
  readonly wantsProgress: boolean
  readonly word: Word | undefined
  /** When its caller began, on the monotonic clock; missing when that is now. */
  readonly since?: number | undefined
}

export const make = (
  target: Target,
  options: WaitOptions<never>,
  { cancelsOnTimeout, since, wantsProgress, word }: Situation
): Effect.Effect<Wait> =>
  Effect.gen(function* () {
    const { endpointId, jobId, keeper, submittedAt } = target
    const clock = yield* Effect.clock
    const now = () => monotonicMillis(clock)
    const startedAt = since ?? now()
    const schedule = Schedule.isSchedule(options.poll) ? yield* Schedule.driver(options.poll) : undefined
    const policy = { ...defaults.poll, ...(Schedule.isSchedule(options.poll) ? {} : defined(options.poll ?? {})) }
    const progressInterval = wantsProgress
      ? Duration.toMillis(options.progressInterval ?? defaults.progressInterval)
      : Infinity
    const numbers = {
      initial: Duration.toMillis(policy.initial),
      interval: Duration.toMillis(policy.interval),
      ageShare: policy.ageShare,
      cap: Duration.toMillis(policy.cap)
    }
    const bornAt = submittedAt ?? startedAt
    const deadline =
      options.timeout === undefined
        ? bornAt + (target.ttl ?? Duration.toMillis(defaults.timeout))
        : startedAt + Duration.toMillis(options.timeout)
    const wantedHold = options.hold ?? (options.poll === undefined && word === undefined ? defaults.hold : false)

    let hold = wantedHold === false ? 0 : Math.min(Duration.toMillis(wantedHold), longestHold)
    let pace: Pace = schedule !== undefined || hold > 0 ? { _tag: "AtOnce" } : { _tag: "Plain" }
    let polls = 0
    let errors = 0
    let ignoredHolds = 0
    let tookLastLook = false
    let listens = word !== undefined
    let last: Job.Job | undefined
    /** The age at which it was last seen in the queue. */
    let queuedAt = 0
    let lastError: RunPodError | undefined
    /** How long the last plain poll took, in line for its permit and all. */
    let plainTook = 0

    const usualDelay = () => keeper.forecasts.usualDelay(endpointId)
    /** The age from which on a job that is in the queue is diagnosed. */
    const patience = () =>
      (options.diagnoseAfter ?? defaults.diagnoseAfter) * Math.max(1_000, usualDelay() ?? unknownDelay)

    const diagnose = (condition: Condition | undefined) =>
      condition === undefined
        ? undefined
        : QueueDiagnosis.fromHealth(condition, { queuedFor: queuedAt, usualDelay: usualDelay() })

    const isOverdue = () => last?.status === "IN_QUEUE" && queuedAt >= patience()

    const timedOut = Effect.suspend(() => {
      const mayHaveEnded = last?.status === "IN_PROGRESS" && last.executionTime !== undefined
      return Effect.fail(
        new WaitTimeoutError({
          endpointId,
          jobId,
          elapsed: Duration.millis(now() - startedAt),
          cancel: cancelsOnTimeout ? "Pending" : "No",
          ...defined({
            lastStatus: last?.status,
            lastError: lastError?.message,
            diagnosis: isOverdue() ? diagnose(keeper.queueHealth.last(endpointId)) : undefined,
            mayHaveEnded: mayHaveEnded ? true : undefined
          })
        })
      )
    })

    /** The ages between which the job is expected to end, where that may set the pace. */
    const expectedEnd = () =>
      submittedAt === undefined || options.poll !== undefined
        ? undefined
        : keeper.forecasts.end(endpointId, {
            age: now() - bornAt,
            queuedAt,
            delayTime: last?.status === "IN_QUEUE" ? undefined : last?.delayTime
          })

    const delay = Effect.map(Random.next, (random) => {
      const age = now() - bornAt
      // More waits than the limits let poll as often as they would: better they sleep than stand in line.
      const afterLine = plainTook < longLine ? 0 : Math.min(3 * plainTook, longestRest)
      switch (pace._tag) {
        case "AtOnce":
          return 0
        case "Plain":
          if (listens && options.poll === undefined) {
            // The first anywhere in the interval, so that waits that begin together do not poll together.
            const share = polls === 0 ? 1 - random : 1 - 0.06 * random
            return Math.max(Math.min(fallbackInterval * share, progressInterval), afterLine)
          }
          return Math.max(
            Math.min(
              plainPause(
                age,
                polls === 0,
                { ...numbers, interval: numbers.interval * (1 - 0.03 * random) },
                expectedEnd()
              ),
              progressInterval
            ),
            afterLine
          )
        case "AfterError": {
          const longest = Math.min(firstErrorDelay * 2 ** (errors - 1), Math.min(30_000, Math.max(1_000, age / 10)))
          return Math.max(pace.asked, longest * (0.5 + 0.5 * random))
        }
      }
    })

    const untilWord = <E>(pause: Effect.Effect<unknown, E>): Effect.Effect<unknown, E> =>
      listens && word !== undefined ? Effect.raceFirst(pause, Fiber.await(word)) : pause

    const pause: Effect.Effect<unknown, WaitTimeoutError> = Effect.suspend(() => {
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
        if (planned < left) return sleepUntil(now() + Math.ceil(planned))
        // The deadline is nearer than the next poll: one last look shortly before it.
        const lastLook = tookLastLook || pace._tag === "AfterError" ? left : Math.max(left - 250, left / 2)
        tookLastLook = true
        return sleepUntil(now() + Math.ceil(lastLook))
      })
    })

    /** A wait that may time out looks up from its hold when the job is due for a diagnosis. */
    const untilDiagnosis = () => {
      const at = bornAt + patience()
      const mayBeQueued = last === undefined || last.status === "IN_QUEUE"
      return options.timeout !== undefined && mayBeQueued && at < deadline && at - now() >= shortestHold
        ? at - now()
        : Infinity
    }

    const holdFor = Effect.suspend(() => {
      const progressHold =
        wantsProgress && polls === 0 ? Math.min(firstProgressHold, progressInterval) : progressInterval
      const length = Math.floor(Math.min(hold, progressHold, deadline - now(), untilDiagnosis()))
      if (length < shortestHold) return Effect.succeed(undefined)
      return Effect.map(keeper.hasRoomToHold(endpointId), (hasRoom) => (hasRoom ? length : undefined))
    })

    const onJob = (job: Job.Job, held: number | undefined, took: number) => {
      errors = 0
      lastError = undefined
      last = job
      plainTook = held === undefined ? took : 0
      if (job.status === "IN_QUEUE") queuedAt = now() - bornAt
      if (Job.isTerminal(job)) keeper.forecasts.learn(endpointId, job)
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
          yield* untilWord(pause)
          const heard = listens ? word?.unsafePoll() : undefined
          if (heard) {
            listens = false
            if (Exit.isSuccess(heard) && heard.value !== undefined) {
              keeper.forecasts.learn(endpointId, heard.value)
              return heard.value
            }
          }
          if (now() >= deadline) return yield* timedOut
          // What was heard, RunPod can tell at once.
          const held = heard ? undefined : yield* holdFor
          const askedAt = now()
          const reply = yield* Effect.either(keeper.poll(endpointId, jobId, { hold: held, deadline }))
          polls++
          if (Either.isRight(reply)) {
            const job = reply.right
            onJob(job, held, now() - askedAt)
            const diagnosis = isOverdue() ? diagnose(yield* keeper.queueHealth.look(endpointId)) : undefined
            return diagnosis === undefined ? job : { ...job, diagnosis }
          }
          // A poll that the deadline cut is no fault.
          if (now() >= deadline) return yield* timedOut
          const definite = onError(reply.left, held, now() - askedAt)
          if (definite !== undefined) return yield* Effect.fail(definite)
        }
      })
    }
  })
