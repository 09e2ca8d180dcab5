import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type { FatalError } from "../../errors/BatchError.js"
import { type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import { JobNotFoundError, type RunPodError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import type { Options, WaitOptions, WaitOutcome } from "../../services/Batch.js"
import type { Endpoint } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { waitDefaults } from "../jobs/waitPolicy.js"
import { monotonicMillis, sleepUntil } from "../pace/monotonic.js"
import { defined } from "../text/json.js"
import { aroundJob, type JobSpan, makeJobSpan } from "../telemetry/jobSpan.js"
import * as Rules from "./rules.js"

/** All jobs have had a turn after this long: less than the longest interval, since a turn may begin with a wait for permits. */
const longestRound = 0.8 * Rules.longestInterval
/** The longest turn: that of a hold, so that a turn takes no more requests than a wait without turns. */
const longestTurn = 90_000
/** Where turns would be shorter than this, a job is read once a turn. */
const shortestTurn = 60_000

/** How long the turn of each of so many jobs lasts, in milliseconds: 0 for one request, `Infinity` for as long as it takes. */
export const turnOf = (jobs: number, concurrency: number): number => {
  if (jobs <= concurrency) return Infinity
  const turn = Math.min(longestTurn, (longestRound * concurrency) / jobs)
  return turn < shortestTurn ? 0 : turn
}

interface TurnsOptions<J, E> {
  readonly concurrency: number
  /** Waits for the job for so many milliseconds, and says whether that was its last turn. Deals with its own interruption. */
  readonly turn: (job: J, millis: number) => Effect.Effect<boolean, E>
  /** When all waits end at the latest, on the monotonic clock: nothing sleeps beyond it. */
  readonly until: number
  /** When they are interrupted, gets each job that was to have further turns and has none now. */
  readonly onInterrupt: (job: J) => Effect.Effect<unknown>
}

/**
 * Gives jobs turns until each has had its last one. Where there are more than have a turn at once, each is read at least every
 * 10 minutes: up to 100,000 at the 200 requests a second that RunPod allows.
 */
export const takeTurns = <J, E>(
  jobs: Iterable<J>,
  { concurrency, onInterrupt, turn, until }: TurnsOptions<J, E>
): Effect.Effect<void, E> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const waiting = new Set(jobs)

    const takeTurn = (job: J, millis: number) =>
      Effect.uninterruptibleMask((restore) => {
        waiting.delete(job)
        return Effect.map(restore(turn(job, millis)), (isLast) => {
          if (!isLast) waiting.add(job)
        })
      })

    const rounds = Effect.gen(function* () {
      while (waiting.size > 0) {
        const millis = turnOf(waiting.size, concurrency)
        const startedAt = monotonicMillis(clock)
        yield* Effect.forEach(Array.from(waiting), (job) => takeTurn(job, millis), { concurrency, discard: true })
        // Rounds of single requests begin a turn apart: asking more often would only take permits from others.
        if (millis === 0 && waiting.size > 0) yield* sleepUntil(Math.min(until, startedAt + shortestTurn))
      }
    })
    yield* Effect.onInterrupt(rounds, () =>
      Effect.forEach(waiting, onInterrupt, { concurrency: Rules.cancelConcurrency, discard: true })
    )
  })

interface SettleOptions
  extends
    Pick<Options<never>, "cancelGrace">,
    Pick<WaitOptions, "cancelOnInterrupt" | "cancelOnTimeout" | "hold" | "poll" | "trustWebhook" | "webhook"> {
  /** Default: as long as the job lives. */
  readonly until?: number | undefined
  /** How long the turn lasts, as `turnOf` says. */
  readonly turn: number
}

/** How a turn ended: with the job's end, or before that with what it was seen to be, if it was seen. */
type TurnEnd =
  | { readonly _tag: "Ended"; readonly job: Job.TerminalJob }
  | { readonly _tag: "Over"; readonly lastStatus: WaitTimeoutError["lastStatus"] }

/** Waits for a job's end for a turn. */
export const settleFor = (
  { settle }: Pick<JobHandle<unknown>, "settle">,
  { cancelOnTimeout, turn, until = Infinity, ...options }: SettleOptions
): Effect.Effect<TurnEnd, RunPodError | WaitTimeoutError> =>
  Effect.clockWith((clock) => {
    const ended = (job: Job.TerminalJob): TurnEnd => ({ _tag: "Ended", job })
    const left = Math.max(0, until - monotonicMillis(clock))
    const timeout = left === Infinity ? undefined : left
    if (turn >= left) return Effect.map(settle({ ...options, cancelOnTimeout, timeout }), ended)
    // One request that no end of a turn cuts, however long it waits for its permit.
    const once = settle({ ...options, poll: Schedule.stop, hold: false, timeout })
    const turned =
      turn === 0
        ? once
        : Effect.catchTag(settle({ ...options, timeout: turn }), "WaitTimeoutError", (error) =>
            error.lastStatus === undefined ? once : Effect.fail(error)
          )
    return Effect.catchTag(Effect.map(turned, ended), "WaitTimeoutError", ({ lastStatus }) =>
      Effect.succeed<TurnEnd>({ _tag: "Over", lastStatus })
    )
  })

// --- Batch.wait ---------------------------------------------------------------------------------------------------

/** A job that is waited for, in turns that share a span. */
export interface Spanned {
  readonly handle: Pick<JobHandle<unknown>, "endpointId" | "trace">
  /** Once it was waited for. */
  span?: JobSpan | undefined
}

interface WaitedJob<O, P, C> extends Spanned {
  readonly handle: JobHandle<O, P, C>
  /** When it is no longer waited for, on the monotonic clock: after `timeout`, or when RunPod has deleted it at the latest. */
  readonly until: number
  /** What it was seen to be in the turns before. */
  lastStatus: WaitTimeoutError["lastStatus"]
  outcome: WaitOutcome<O> | undefined
}

/** The error of all of a job's turns: its last one knows neither of those before nor how long they took. */
const errorOf = (
  { lastStatus }: WaitedJob<unknown, unknown, unknown>,
  error: RunPodError | WaitTimeoutError,
  elapsed: number
): RunPodError | JobError => {
  if (error._tag === "WaitTimeoutError") {
    const known = defined({ lastStatus: error.lastStatus ?? lastStatus })
    return new WaitTimeoutError({ ...error, elapsed: Duration.millis(elapsed), ...known })
  }
  return error._tag === "JobNotFoundError" && lastStatus !== undefined
    ? new JobNotFoundError({ ...error, reason: "Expired" })
    : error
}

/** Runs a turn of a job in its span, which all of its turns share. */
export const inSpanOf = <A, E>(job: Spanned, turn: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const { endpointId, trace } = job.handle
  const span =
    job.span === undefined
      ? Effect.uninterruptible(
          Effect.map(makeJobSpan("Batch.item", { endpointId, trace, isItem: true }), (made) => (job.span = made))
        )
      : Effect.succeed(job.span)
  return Effect.flatMap(span, (span) => aroundJob(span, turn))
}

export const wait = <I, O, P, C>(
  endpoint: Endpoint<I, O, P, C>,
  jobs: Iterable<string | JobHandle<O, P, C>>,
  options: WaitOptions = {}
): Effect.Effect<ReadonlyArray<WaitOutcome<O>>, FatalError> =>
  Effect.gen(function* () {
    const { cancelOnInterrupt = false, cancelOnTimeout = false, concurrency = Rules.waitConcurrency, timeout } = options
    const { trustWebhook, webhook } = options
    if (!(concurrency >= 1)) throw new RangeError("The concurrency of a wait must be at least 1")
    const clock = yield* Effect.clock
    const startedAt = monotonicMillis(clock)
    const waited = Array.from(jobs, (job): WaitedJob<O, P, C> => {
      const handle = typeof job === "string" ? endpoint.attach(job) : job
      const until = startedAt + Duration.toMillis(timeout ?? handle.ttl ?? waitDefaults.timeout)
      return { handle, until, lastStatus: undefined, outcome: undefined }
    })
    const until = waited.reduce((latest, job) => Math.max(latest, job.until), startedAt)

    const turn = (job: WaitedJob<O, P, C>, millis: number): Effect.Effect<boolean, FatalError> => {
      const { handle } = job
      const isBounded = timeout !== undefined || millis !== Infinity
      const settled = settleFor(handle, {
        ...Rules.pollOptions(options),
        cancelOnInterrupt,
        cancelOnTimeout,
        trustWebhook,
        webhook,
        until: isBounded ? job.until : undefined,
        turn: millis
      })
      const end = (outcome: WaitOutcome<O>) => {
        job.outcome = outcome
        job.span?.end(outcome.result)
        return true
      }
      return Effect.matchEffect(inSpanOf(job, settled), {
        onFailure: (error): Effect.Effect<boolean, FatalError> => {
          if (error._tag !== "WaitTimeoutError" && Rules.isFatal(error)) return Effect.fail(error)
          const result = Exit.fail(errorOf(job, error, monotonicMillis(clock) - startedAt))
          return Effect.succeed(end({ jobId: handle.id, result }))
        },
        onSuccess: (turned): Effect.Effect<boolean> => {
          if (turned._tag === "Over") {
            job.lastStatus = turned.lastStatus ?? job.lastStatus
            return Effect.succeed(false)
          }
          const { delayTime, executionTime } = turned.job
          return Effect.map(Effect.exit(Rules.outputOf(handle, turned.job)), (result) =>
            end({ jobId: handle.id, result, ...defined({ delayTime, executionTime }) })
          )
        }
      })
    }

    const onInterrupt = ({ handle }: WaitedJob<O, P, C>) =>
      cancelOnInterrupt ? Rules.cancelHandle(handle) : Effect.void
    const turns = Effect.onExit(takeTurns(waited, { concurrency, turn, until, onInterrupt }), (exit) =>
      Effect.sync(() => waited.forEach(({ span }) => span?.end(exit)))
    )
    yield* Rules.supervise(endpoint, turns)
    return waited.flatMap(({ outcome }) => outcome ?? [])
  }).pipe(Rules.inSpan("Batch.wait", endpoint.id))
