import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { fromUnstorable, type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import { JobNotFoundError, provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import type { Reservation } from "../../layers/Cost.js"
import type * as Job from "../../schemas/Job.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { type BatchRun, type Item, type ItemEnd, type Open, open, withEarlier, withEarlierTime } from "./batchRun.js"
import { provesEnd } from "../jobs/pollPace.js"
import { cancelHandle, isFatal, pollOptions } from "./rules.js"
import { settleFor } from "./wait.js"

/** The job of an item, from its submit to its end. */
export interface BatchJob<I, O, P, C> {
  readonly _tag: "Started"
  readonly run: BatchRun<I, O, P, C>
  /** With the time of its attempts before this one. */
  item: Item
  readonly handle: JobHandle<O, P, C>
  /** On the monotonic clock. */
  readonly submittedAt: number
  /** When it is no longer waited for, on the monotonic clock. */
  readonly until: number
  /** How often it was started: its submits and its retries. */
  attempts: number
  /** Its room in the budget. */
  room: Reservation
  /** When it was put into the queue the last time, on the monotonic clock. */
  queuedAt: number
  /** It needs no cancel. */
  hasEnded: boolean
}

export const started = <I, O, P, C>(
  facts: Omit<BatchJob<I, O, P, C>, "_tag" | "hasEnded" | "queuedAt">
): BatchJob<I, O, P, C> => ({
  _tag: "Started",
  hasEnded: false,
  queuedAt: facts.submittedAt,
  ...facts
})

const noteSubmitted = ({ attempts, handle, item, run, submittedAt }: BatchJob<never, unknown, unknown, unknown>) =>
  run.notes.submitted(item, { jobId: handle.id, submittedAt, attempts })

/** The job of an item that was submitted just now, once that is noted; `open` when it could not be. */
export const begin = <I, O, P, C>(
  run: BatchRun<I, O, P, C>,
  { attempts, handle, item, room }: Pick<BatchJob<I, O, P, C>, "attempts" | "handle" | "item" | "room">
): Effect.Effect<BatchJob<I, O, P, C> | Open> =>
  Effect.suspend(() => {
    const submittedAt = run.now()
    run.answeredAt = submittedAt
    const until = Math.min(run.deadline, submittedAt + run.timeout)
    const job = started({ run, item, handle, room, submittedAt, until, attempts })
    return Effect.map(noteSubmitted(job), (isNoted) => (isNoted ? job : open))
  })

const cancel = ({ attempts, handle, item, run }: BatchJob<never, unknown, unknown, unknown>) =>
  Effect.flatMap(cancelHandle(handle, run.cancelGrace), (job) =>
    job?.status === "CANCELLED" ? run.notes.released(withEarlier(item, attempts, job.executionTime)) : Effect.void
  )

/** What an interruption does with the job; with a journal, one that is cancelled is to be submitted again. */
export const abandon = <I, O, P, C>(job: BatchJob<I, O, P, C>): Effect.Effect<unknown> =>
  Effect.suspend(() => (job.run.cancelOnInterrupt && !job.run.isOver && !job.hasEnded ? cancel(job) : Effect.void))

const onWaitError = <I, O, P, C>(job: BatchJob<I, O, P, C>, error: RunPodError | WaitTimeoutError) => {
  const { attempts, handle, run, submittedAt } = job
  const failed = (error: RunPodError | JobError) =>
    Effect.succeed<ItemEnd<O, P, C>>({ _tag: "Failed", error, jobId: handle.id, attempts })
  job.hasEnded = true
  run.spend.end(job.room, undefined)
  if (error._tag === "WaitTimeoutError") {
    return failed(new WaitTimeoutError({ ...error, elapsed: Duration.millis(run.now() - submittedAt) }))
  }
  if (error._tag === "JobNotFoundError") {
    // It was there: we have submitted it.
    return failed(error.reason === "Unknown" ? new JobNotFoundError({ ...error, reason: "Expired" }) : error)
  }
  const cancelled =
    run.cancelOnInterrupt && run.options.journal === undefined && !provesEnd(error)
      ? (run.endpoint.runtime?.fork ?? Effect.forkDaemon)(cancel(job))
      : Effect.void
  return Effect.zipRight(cancelled, isFatal(error) ? run.openWith(error) : failed(error))
}

const mayRetry = ({ attempts, run, until }: BatchJob<never, unknown, unknown, unknown>, { status }: Job.TerminalJob) =>
  (status === "FAILED" || status === "TIMED_OUT") &&
  attempts <= (run.options.retries ?? 0) &&
  run.stop === undefined &&
  run.now() < until

/** When the job began on its worker, on the monotonic clock; `delayTime` counts anew where RunPod has dispatched it again. */
const startedAt = <I, O, P, C>({ queuedAt, run }: BatchJob<I, O, P, C>, ended: Job.TerminalJob) => {
  const { delayTime, executionTime, retries = 0 } = ended
  if (executionTime === undefined) return undefined
  const latest = run.now() - executionTime
  return delayTime === undefined || retries > 0 ? latest : Math.min(latest, queuedAt + delayTime)
}

/** Waits for the job for a turn. Gives `undefined` when it needs another one, also after a `/retry`. */
export const turn = <I, O, P, C>(
  job: BatchJob<I, O, P, C>,
  millis: number
): Effect.Effect<ItemEnd<O, P, C> | undefined> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { handle, run, until } = job
      const settled = yield* Effect.either(
        restore(
          settleFor(handle, {
            ...pollOptions(run.options),
            cancelGrace: run.cancelGrace,
            cancelOnTimeout: run.cancelOnTimeout,
            // The webhook of a job that was retried, in this run or an earlier one, may tell of the end before that.
            trustWebhook: job.attempts > 1 ? undefined : run.options.trustWebhook,
            until,
            turn: millis
          })
        )
      )
      if (settled._tag === "Left") return yield* onWaitError(job, settled.left)
      if (settled.right._tag === "Over") return undefined
      const ended = settled.right.job
      run.answeredAt = run.now()
      run.spend.end(job.room, ended)
      const work = { ...ended, startedAt: startedAt(job, ended) }
      const room = mayRetry(job, ended) ? run.spend.roomToRetry() : undefined
      if (room !== undefined) {
        const retried = yield* Effect.either(restore(handle.retry))
        if (retried._tag === "Right" || !provesNoEffect(retried.left)) {
          job.attempts++
          job.room = room
          job.queuedAt = run.now()
          job.item = withEarlierTime(job.item, ended.executionTime)
          run.spend.onWork({ ...work, end: "Retried" }, "This")
          yield* noteSubmitted(job)
          return undefined
        }
        run.spend.release(room)
      }
      job.hasEnded = true
      const { attempts, item } = job
      const noted = yield* Effect.either(run.notes.settled(item, ended, attempts))
      if (noted._tag === "Left" && ended.status === "COMPLETED") {
        const error = fromUnstorable(run.endpoint.id, ended, noted.left.detail, run.scrub)
        return { _tag: "Failed", error, jobId: handle.id, attempts }
      }
      return noted._tag === "Right" && !noted.right
        ? open
        : { _tag: "Ended", handle, job: ended, attempts, replayed: false, startedAt: work.startedAt }
    })
  )

export const follow = <I, O, P, C>(job: BatchJob<I, O, P, C>): Effect.Effect<ItemEnd<O, P, C>> =>
  Effect.flatMap(turn(job, Infinity), (end) => (end === undefined ? follow(job) : Effect.succeed(end)))
