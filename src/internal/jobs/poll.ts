import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import { isRetryable, isRunPodError, JobNotFoundError, type RunPodError } from "../../errors/RunPodError.js"
import type { Health } from "../../schemas/Health.js"
import * as Job from "../../schemas/Job.js"
import * as QueueDiagnosis from "../../schemas/QueueDiagnosis.js"
import type { WatchedJob } from "../../services/WaitOptions.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import { failureOf } from "../effect/cause.js"
import * as Fibers from "../effect/fiber.js"
import * as Schedules from "../effect/schedule.js"
import { type Caller, withCaller } from "../http/requestOptions.js"
import { askedMillis } from "../http/retry.js"
import { delayAfter } from "../pace/backoff.js"
import { monotonicMillis, sleepUntil, timeoutAt } from "../pace/monotonic.js"
import type { Seen } from "../telemetry/jobSpan.js"
import { InFlight } from "../telemetry/record.js"
import { identityOf } from "../text/losslessJson.js"
import { cancelJob, isNotVisibleYet, noteEnd, read } from "./jobRef.js"
import { holdAfter, holdLength, meaningOf, paceUnheld, plainDelay, PollState, provesEnd } from "./pollPace.js"
import { policyOf, type Wait, type WaitPolicy } from "./waitPolicy.js"

export type WaitError = RunPodError | WaitTimeoutError

/** RunPod keeps a result so long after the job's end. */
const retention = 30 * 60_000
/** What counts as the usual time in the queue where that is not known. */
const unknownDelay = 10_000

/** What tells a job from the one seen before: its status, why it is in the queue and, while it runs, its progress. */
const signatureOf = (job: WatchedJob): string =>
  Job.isTerminal(job)
    ? job.status
    : [job.status, job.diagnosis?.reason, job.output === undefined ? undefined : identityOf(job.output)].join(" ")

/** Cancels by the options a job that was not seen to end, its wait having ended so: on interruption at once, else in the background. */
export const cancelAfter = (
  { job, settings }: Pick<Wait, "job" | "settings">,
  exit: Exit.Exit<unknown, RunPodError | JobError>
): Effect.Effect<void> => {
  const { cancelGrace, cancelOnFailure, cancelOnInterrupt, cancelOnTimeout } = settings
  if (Exit.isSuccess(exit)) return Effect.void
  const cancel = cancelJob(job, cancelGrace)
  if (Exit.isInterrupted(exit)) return cancelOnInterrupt ? cancel : Effect.void
  const error = failureOf(exit.cause)
  if (error !== undefined && isRunPodError(error) && provesEnd(error)) return Effect.void
  const isWanted = error?._tag === "WaitTimeoutError" ? cancelOnTimeout : cancelOnFailure
  return isWanted ? Effect.asVoid(job.runtime.fork(cancel)) : Effect.void
}

/** The states of a job, one after the other: paces polls, outlives what passes, and listens for the job's webhook. */
class Poller {
  private readonly clock: Clock.Clock
  private readonly policy: WaitPolicy
  private readonly state: PollState
  private readonly runtime: JobRuntime
  private signature = ""
  private lastError: RunPodError | undefined
  private webhook: Fibers.RuntimeFiber<Job.TerminalJob | undefined> | undefined
  private hasEnded = false
  /** How it last saw the job. */
  private seen: Seen = "poll"
  private readonly inFlight: InFlight

  constructor(
    private readonly wait: Wait,
    caller: Caller,
    private readonly waitBySchedule: Schedules.Wait<unknown> | undefined
  ) {
    this.clock = caller.clock
    this.policy = policyOf(wait, caller)
    this.state = new PollState(this.policy, wait.ended !== undefined)
    this.runtime = wait.job.runtime
    this.inFlight = new InFlight(wait.job.endpointId)
  }

  /** Waits until the job's state is another than before, tells `onProgress`, and gives the job. Who calls it has to `close`. */
  nextChange(): Effect.Effect<WatchedJob, WaitError> {
    return Effect.gen(this, function* () {
      const { ended, onProgress, span } = this.wait
      const { scrub } = this.wait.job
      yield* this.inFlight.begin()
      if (ended !== undefined && this.webhook === undefined) {
        const listening = Effect.forkDaemon(Effect.interruptible(ended))
        yield* Effect.uninterruptible(Effect.map(listening, (fiber) => (this.webhook = fiber)))
      }
      for (;;) {
        const job = yield* this.next()
        this.hasEnded = Job.isTerminal(job)
        span?.onJob(job, this.seen, scrub)
        const signature = signatureOf(job)
        if (signature === this.signature) continue
        this.signature = signature
        if (Job.isTerminal(job)) {
          const { startedAt, submittedAt } = this.policy
          const age = submittedAt === undefined ? undefined : this.now() - submittedAt
          yield* noteEnd(this.wait.job, job, { waited: this.now() - startedAt, age, span })
        }
        if (onProgress !== undefined) yield* this.tell(onProgress(job))
        return job
      }
    })
  }

  /** Runs the caller's `onProgress`, until the deadline. What does not end then is left behind, even where it cannot be interrupted. */
  private tell(told: Effect.Effect<void>): Effect.Effect<void, WaitTimeoutError> {
    const { deadline } = this.policy
    return Effect.flatMap(timeoutAt(Effect.disconnect(told), deadline), (end) =>
      Option.isSome(end) || this.hasEnded ? Effect.void : this.timedOut()
    )
  }

  /** Listens no more, and cancels what was not seen to end. */
  close(exit: Exit.Exit<unknown, WaitError>): Effect.Effect<void> {
    const listened = this.webhook === undefined ? Effect.void : Fiber.interrupt(this.webhook)
    const stopped = Effect.zipRight(this.inFlight.end(), listened)
    return Effect.zipRight(stopped, this.hasEnded ? Effect.void : cancelAfter(this.wait, exit))
  }

  /** Whether a job was to be asked for in a request that is held, and is too young for a plain one, which would be in vain. */
  private isTooYoung(): boolean {
    const { pace, polls, tookLastLook } = this.state
    if (polls > 0 || tookLastLook || this.waitBySchedule !== undefined) return false
    return pace._tag === "BeforeEnd" || (pace._tag === "AtOnce" && this.age() < this.policy.poll.initial)
  }

  private now(): number {
    return monotonicMillis(this.clock)
  }

  private age(): number {
    return this.now() - this.policy.bornAt
  }

  /** Paces, polls, and gives the job as it stands. */
  private next(): Effect.Effect<WatchedJob, WaitError> {
    return Effect.gen(this, function* () {
      const { job } = this.wait
      for (;;) {
        yield* this.state.listens && this.webhook !== undefined
          ? Effect.raceFirst(this.pause(), Fiber.await(this.webhook))
          : this.pause()
        const delivery = this.takeDelivery()
        if (delivery?.job !== undefined) {
          this.seen = "webhook"
          this.runtime.learn(job.endpointId, delivery.job)
          return delivery.job
        }
        if (this.now() >= this.policy.deadline) return yield* this.timedOut()
        // After a webhook, RunPod can answer at once.
        const held = delivery === undefined ? yield* this.nextHold() : undefined
        if (held === undefined && delivery === undefined && this.isTooYoung()) {
          const age = this.age()
          this.state.pace = paceUnheld(this.state, this.policy, { age, end: this.expectedEnd(age) })
          continue
        }
        this.seen = delivery !== undefined ? "webhook" : held !== undefined ? "hold" : "poll"
        const askedAt = this.now()
        const found = yield* Effect.matchEffect(read(job, { hold: held, deadline: this.policy.deadline }), {
          onSuccess: (found) => this.onJob(found, held, this.now() - askedAt),
          onFailure: (error) => this.onError(error, held, this.now() - askedAt)
        })
        if (found !== undefined) return found
      }
    })
  }

  /** What has come by the webhook that was listened for, once; `job` is its end where that is trusted. */
  private takeDelivery(): { readonly job: Job.TerminalJob | undefined } | undefined {
    const exit = this.state.listens && this.webhook !== undefined ? Fibers.exitOf(this.webhook) : undefined
    if (exit === undefined) return undefined
    this.state.listens = false
    return { job: Exit.isSuccess(exit) ? exit.value : undefined }
  }

  /** Waits until the next poll, or until the deadline. */
  private pause(): Effect.Effect<unknown, WaitTimeoutError> {
    return Effect.suspend(() => {
      const { state } = this
      const left = this.policy.deadline - this.now()
      if (this.waitBySchedule !== undefined) {
        if (state.polls === 0) return Effect.void
        return this.waitBySchedule(state.last).pipe(
          (waiting) => Effect.flatten(timeoutAt(waiting, this.policy.deadline)),
          Effect.catchAll(() => this.timedOut())
        )
      }
      return Effect.flatMap(this.nextDelay(), (delay) => {
        if (delay <= 0) return Effect.void
        if (delay < left) return sleepUntil(this.now() + Math.ceil(delay))
        // The deadline is nearer: one last look shortly before it, and then sleep to its end.
        const isLast = state.tookLastLook || state.pace._tag === "AfterError"
        state.tookLastLook = true
        return sleepUntil(this.now() + Math.ceil(isLast ? left : Math.max(left - 250, left / 2)))
      })
    })
  }

  private nextDelay(): Effect.Effect<number> {
    const { policy, state } = this
    const { pace } = state
    const age = this.age()
    if (pace._tag === "AtOnce") return Effect.succeed(0)
    if (pace._tag === "BeforeEnd") return Effect.succeed(pace.at - age)
    if (pace._tag === "AfterError") {
      const backoff = { base: 250, cap: Math.min(30_000, Math.max(1_000, age / 10)), jitter: "half" } as const
      return Effect.map(delayAfter(backoff, state.errors - 1), (delay) => Math.max(pace.asked, delay))
    }
    return Effect.map(Random.next, (random) =>
      plainDelay(policy, state, { age, random, expectedEnd: this.expectedEnd(age) })
    )
  }

  /** The ages between which the job is expected to end, where that may set the pace. */
  private expectedEnd(age: number) {
    const { last, queuedAt } = this.state
    if (this.policy.submittedAt === undefined || this.policy.isPaceGiven) return undefined
    const delayTime = last?.status === "IN_QUEUE" ? undefined : last?.delayTime
    return this.runtime.expectedEnd(this.wait.job.endpointId, { age, queuedAt, delayTime })
  }

  /** How long to hold the next poll; `undefined` for a plain one. */
  private nextHold(): Effect.Effect<number | undefined> {
    const diagnoseAt = this.policy.bornAt + this.diagnosisAge()
    const length = holdLength(this.policy, this.state, { now: this.now(), diagnoseAt })
    if (length === undefined) return Effect.succeed(undefined)
    const hasRoom = this.runtime.hasRoomToHold(this.wait.job.endpointId)
    return Effect.map(hasRoom, (hasRoom) => (hasRoom ? length : undefined))
  }

  private onJob(job: Job.Job, held: number | undefined, took: number): Effect.Effect<WatchedJob> {
    const { state } = this
    const { endpointId } = this.wait.job
    this.lastError = undefined
    state.polls++
    state.errors = 0
    state.last = job
    state.plainTook = held === undefined ? took : 0
    if (job.status === "IN_QUEUE") state.queuedAt = this.age()
    const hasEnded = Job.isTerminal(job)
    if (hasEnded) this.runtime.learn(endpointId, job)
    // A server that answers long before the end of a hold does not hold: to ask it at once again would be a tight loop.
    const isIgnored = held !== undefined && took < held / 2
    if (isIgnored && !hasEnded && ++state.ignoredHolds >= 2) state.hold = 0
    state.pace = { _tag: held !== undefined && !isIgnored ? "AtOnce" : "Plain" }
    if (!this.isOverdue()) return Effect.succeed(job)
    return Effect.map(this.runtime.health(endpointId), (condition) => {
      const diagnosis = this.diagnose(condition)
      return diagnosis === undefined ? job : { ...job, diagnosis }
    })
  }

  private onError(error: RunPodError, held: number | undefined, took: number): Effect.Effect<undefined, WaitError> {
    const { policy, state } = this
    state.polls++
    // A poll that the deadline cut is no fault.
    if (this.now() >= policy.deadline) return this.timedOut()
    if (state.errors++ === 0) state.failingSince = this.now()
    this.lastError = error
    const failed = {
      error,
      held,
      took,
      failingFor: this.now() - state.failingSince,
      isKnown: state.last !== undefined || this.wait.job.submittedAt !== undefined,
      isNotVisibleYet: isNotVisibleYet(this.wait.job, error, this.clock)
    }
    // A server that was never reached, and whose certificate is not trusted, will not be reached later either.
    const isHopeless = error._tag === "TransportError" && !isRetryable(error) && state.last === undefined
    const meaning = isHopeless && this.wait.job.submittedAt === undefined ? "Definite" : meaningOf(failed)
    if (meaning === "Definite") return Effect.fail(error._tag === "JobNotFoundError" ? this.notFound(error) : error)
    if (meaning === "NotHeld") {
      state.hold = 0
      state.pace = { _tag: "AtOnce" }
    } else {
      state.hold = holdAfter(failed, state.hold)
      state.pace = { _tag: "AfterError", asked: askedMillis(error) }
    }
    return Effect.succeed(undefined)
  }

  /** A job that was there, or could have ended so long ago that its result is gone, has expired. */
  private notFound(error: JobNotFoundError): JobNotFoundError {
    const { ttl = retention } = this.wait.job
    const hasExpired = this.state.last !== undefined || this.age() >= Math.min(retention, ttl)
    return new JobNotFoundError({ ...error, reason: hasExpired ? "Expired" : "Unknown" })
  }

  /** The age from which on a job that is in the queue is diagnosed. */
  private diagnosisAge(): number {
    const usualDelay = this.runtime.usualDelay(this.wait.job.endpointId) ?? unknownDelay
    return this.policy.diagnoseAfter * Math.max(1_000, usualDelay)
  }

  private isOverdue(): boolean {
    return this.state.last?.status === "IN_QUEUE" && this.state.queuedAt >= this.diagnosisAge()
  }

  private diagnose(condition: Health | "Paused" | undefined) {
    const usualDelay = this.runtime.usualDelay(this.wait.job.endpointId)
    return condition && QueueDiagnosis.fromHealth(condition, { queuedFor: this.state.queuedAt, usualDelay })
  }

  private timedOut(): Effect.Effect<never, WaitTimeoutError> {
    const { endpointId, jobId } = this.wait.job
    const { last } = this.state
    const mayHaveEnded = last?.status === "IN_PROGRESS" && last.executionTime !== undefined
    return Effect.fail(
      new WaitTimeoutError({
        endpointId,
        jobId,
        elapsed: Duration.millis(this.now() - this.policy.startedAt),
        cancel: this.policy.cancelOnTimeout ? "Pending" : "No",
        lastStatus: last?.status,
        lastError: this.lastError?.message,
        diagnosis: this.isOverdue() ? this.diagnose(this.runtime.lastHealth(endpointId)) : undefined,
        mayHaveEnded: mayHaveEnded ? true : undefined
      })
    )
  }
}

const start = (wait: Wait): Effect.Effect<Poller> =>
  withCaller((caller) => {
    const { schedule } = wait.settings
    const waitBySchedule = schedule === undefined ? Effect.succeed(undefined) : Schedules.start(schedule)
    return Effect.map(waitBySchedule, (started) => new Poller(wait, caller, started))
  })

/** Waits for the job's end in a loop: a Stream for each waiting job would take 40 KiB. `restore` makes it interruptible. */
export const follow = (wait: Wait, restore: Fibers.Restore = identity): Effect.Effect<Job.TerminalJob, WaitError> =>
  Effect.flatMap(start(wait), (poller) => {
    const loop: Effect.Effect<Job.TerminalJob, WaitError> = Effect.flatMap(poller.nextChange(), (job) =>
      Job.isTerminal(job) ? Effect.succeed(job) : loop
    )
    return Effect.onExit(restore(loop), (exit) => poller.close(exit))
  })

export const settle = (wait: Wait): Effect.Effect<Job.TerminalJob, WaitError> =>
  wait.settings.cancelOnInterrupt ? wait.job.runtime.supervise(follow(wait)) : follow(wait)

/** The job whenever its status, its progress or its diagnosis has changed, last when it has ended. */
export const watch = (wait: Wait): Stream.Stream<WatchedJob, WaitError> =>
  Stream.unwrap(
    Effect.map(start({ ...wait, wantsProgress: true }), (poller) =>
      Stream.repeatEffect(poller.nextChange()).pipe(
        Stream.takeUntil(Job.isTerminal),
        Stream.ensuringWith((exit) => poller.close(exit))
      )
    )
  )
