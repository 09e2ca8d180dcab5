import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { RateLimitedError, RequestTimeoutError, type RunPodError, TransportError } from "../../errors/RunPodError.js"
import type { Permit, Until, Wait } from "../pace/limiter.js"
import type { Timer } from "../pace/timer.js"
import { type Execution, keptTooLong } from "./execution.js"

/** How long an attempt waits for its permit. */
class UntilDeadline implements Until<never, RunPodError> {
  private readonly wait: Wait

  constructor(
    private readonly execution: Execution,
    readonly timer: Timer,
    since: number
  ) {
    this.wait = execution.limiter.beginWait(since)
  }

  deadline(): number {
    return this.execution.deadlineAfter(this.wait, this.timer.now())
  }

  /** It was not sent, because the gate opens only after its deadline, or the deadline has come. */
  onLate(): Effect.Effect<never, RunPodError> {
    const { limiter, where } = this.execution
    const now = this.timer.now()
    // There is no next attempt.
    this.execution.deadline = Math.min(this.execution.deadline, now)
    if (limiter.opensAt > now) {
      return Effect.fail(new RateLimitedError({ ...where, retryAfter: Duration.millis(limiter.opensAt - now) }))
    }
    const timeout = Duration.millis(Math.round(Math.max(0, now - this.wait.since)))
    return Effect.fail(new RequestTimeoutError({ ...where, sent: "No", phase: "Headers", timeout }))
  }
}

/** Runs an attempt with a permit, unless its caller gives up first or the gate opens only after that. */
export const withPermit = <A>(
  execution: Execution,
  timer: Timer,
  attempt: () => Effect.Effect<A, RunPodError>
): Effect.Effect<A, RunPodError> => {
  const { limiter, options } = execution
  const onInterrupt = () => execution.current?.giveUp()
  if (options.deadline === Infinity && options.grace === undefined) {
    const use = (permit: Permit, waited: number) => {
      execution.permit = permit
      execution.onAdmitted(waited)
      return attempt()
    }
    return limiter.withPermit(use, onInterrupt)
  }
  return Effect.suspend(() => {
    const since = timer.now()
    const until = new UntilDeadline(execution, timer, since)
    const deadline = until.deadline()
    if (deadline <= since || limiter.opensAt >= deadline) return until.onLate()
    const use = (permit: Permit, waited: number) => {
      const now = timer.now()
      execution.onPermit(permit, now, until.deadline())
      execution.onAdmitted(waited)
      if (execution.deadline <= now) return until.onLate()
      return options.grace === undefined ? attempt() : Effect.tapError(attempt(), (error) => noteSilence(error))
    }
    const noteSilence = ({ _tag }: RunPodError) => {
      if (_tag === "TransportError" || _tag === "RequestTimeoutError") limiter.unanswered(timer.now())
      return Effect.void
    }
    return limiter.withPermit(use, onInterrupt, until)
  })
}

/**
 * Hands an attempt that has its permit to its transport. When its observer has kept it for long, it waits for another start of what processes
 * share first: RunPod counts it from now on.
 */
export const leave = <A>(
  execution: Execution,
  timer: Timer,
  send: () => Effect.Effect<A, RunPodError>
): Effect.Effect<A, RunPodError> => {
  const since = execution.permit.startedAt
  const wait = execution.limiter.beforeLeaving(execution.permit, timer.now())
  const go = () =>
    execution.isStale
      ? Effect.fail(new TransportError({ ...execution.where, sent: "No", cause: new Error(keptTooLong) }))
      : send()
  if (wait === undefined) return go()
  return Effect.flatMap(wait, () => {
    const now = timer.now()
    if (execution.deadline > now) return go()
    const timeout = Duration.millis(Math.round(now - since))
    return Effect.fail(new RequestTimeoutError({ ...execution.where, sent: "No", phase: "Headers", timeout }))
  })
}
