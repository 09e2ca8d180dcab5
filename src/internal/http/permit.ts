import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { RateLimitedError, RequestTimeoutError, type RunPodError } from "../../errors/RunPodError.js"
import type { Permit } from "../pace/limiter.js"
import type { Timer } from "../pace/timer.js"
import type { Execution } from "./execution.js"

/** The deadline came before it was sent. */
const tooLate = ({ where }: Execution<unknown>, millis: number) =>
  Effect.fail(new RequestTimeoutError({ ...where, sent: "No", phase: "Headers", timeout: Duration.millis(millis) }))

/** Runs an attempt with a permit, unless its caller gives up first or the gate opens only after that. */
export const withPermit = <A>(
  execution: Execution<unknown>,
  timer: Timer,
  attempt: () => Effect.Effect<A, RunPodError>
): Effect.Effect<A, RunPodError> => {
  const { limiter, options } = execution
  const onInterrupt = () => execution.current?.giveUp()
  if (options.deadline === Infinity && options.grace === undefined) {
    const use = (permit: Permit) => {
      execution.permit = permit
      return attempt()
    }
    return limiter.withPermit(use, onInterrupt)
  }
  return Effect.suspend(() => {
    const since = timer.now()
    const left = execution.deadline - since
    const closedFor = limiter.opensAt - since
    if (closedFor > 0 && closedFor >= left) {
      return Effect.fail(new RateLimitedError({ ...execution.where, retryAfter: Duration.millis(closedFor) }))
    }
    if (left <= 0) return tooLate(execution, 0)
    const use = (permit: Permit) => {
      const now = timer.now()
      execution.onPermit(permit, now, now - since)
      return execution.deadline <= now ? tooLate(execution, 0) : attempt()
    }
    const { deadline } = options
    return limiter.withPermit(use, onInterrupt, { timer, deadline, onLate: () => tooLate(execution, deadline - since) })
  })
}
