import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { RateLimitedError, type RunPodError } from "../../errors/RunPodError.js"
import type { Permit } from "../pace/limiter.js"
import type { Timer } from "../pace/timer.js"
import type { Execution } from "./execution.js"

/** Runs an attempt with a permit, unless its caller gives up first or the gate opens only after that. */
export const withPermit = <A>(
  execution: Execution<unknown>,
  timer: Timer,
  attempt: () => Effect.Effect<A, RunPodError>
): Effect.Effect<A, RunPodError> => {
  const { callerDeadline, deadline, limiter } = execution
  const onInterrupt = () => execution.interrupt()
  const use = (permit: Permit) => {
    execution.permit = permit
    return attempt()
  }
  if (deadline === Infinity && execution.grace === undefined) return limiter.withPermit(use, onInterrupt)
  return Effect.suspend(() => {
    const since = timer.now()
    const left = deadline - since
    const closedFor = limiter.opensAt - since
    if (closedFor > 0 && closedFor >= left) {
      return Effect.fail(new RateLimitedError({ ...execution.where, retryAfter: Duration.millis(closedFor) }))
    }
    if (left <= 0) return Effect.fail(execution.tooLate(0))
    const useInTime = (permit: Permit) => {
      const now = timer.now()
      execution.onPermit(now, now - since)
      return execution.deadline <= now ? Effect.fail(execution.tooLate(0)) : use(permit)
    }
    const onLate = () => Effect.fail(execution.tooLate(callerDeadline - since))
    return limiter.withPermit(useInTime, onInterrupt, { timer, deadline: callerDeadline, onLate })
  })
}
