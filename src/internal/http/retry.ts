import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import {
  isRetryable,
  provesNoEffect,
  retryAfter,
  type RunPodError,
  SubmitAmbiguousError
} from "../../errors/RunPodError.js"
import type { RetryPolicy } from "../../layers/RetryPolicy.js"
import { catchFailure } from "../effect/cause.js"
import * as Schedules from "../effect/schedule.js"
import { monotonicMillis, timeoutAt } from "../pace/monotonic.js"
import { retryBudget } from "../telemetry/instruments.js"
import type { Execution, Sent } from "./execution.js"

/** What a retry takes from the budget. A cancel takes nothing: its grace bounds it, and without it a job goes on running. */
const costOf = (error: RunPodError, { options }: Execution): number => {
  if (options.grace !== undefined) return 0
  return error._tag === "RequestTimeoutError" || error._tag === "TransportError" ? 10 : 5
}

/** Whether the request may be sent again after this error. RunPod has no idempotency key: a second submit is a second job. */
const mayRepeat = (request: Sent, error: RunPodError, policy: RetryPolicy): boolean => {
  if (error._tag === "EndpointPausedError") return policy.whilePaused !== undefined
  if (!isRetryable(error) || request.retryWhile?.(error) === false) return false
  switch (request.operation.repeat) {
    case "Repeatable":
    case "Draining":
      return true
    case "Submit":
      return provesNoEffect(error) || request.resubmit === true
    case "Once":
      return provesNoEffect(error)
  }
}

/** What the caller of a submit is told: any doubt about whether a job was started, also from an earlier attempt. */
export const admitDoubt = (error: RunPodError, earlier: RunPodError | undefined): RunPodError => {
  const cause = provesNoEffect(error) ? earlier : error
  switch (cause?._tag) {
    case "TransportError":
    case "RequestTimeoutError":
    case "ServerError":
    case "DecodeError": {
      const { attempt, batchId, endpointId, jobId, method, operation, path } = cause
      return new SubmitAmbiguousError({ operation, method, path, endpointId, jobId, batchId, attempt, cause })
    }
    default:
      return error
  }
}

/** How long a server has asked to wait, in milliseconds; 0 when it has not. */
export const askedMillis = (error: RunPodError): number => Duration.toMillis(retryAfter(error) ?? Duration.zero)

/** Goes on until the request's own deadline. */
const untilDeadline = Schedules.recurring({
  delay: (error: RunPodError) => Effect.succeed(Math.max(1_000, askedMillis(error)))
})

interface Retries {
  readonly ordinary: Schedules.Wait<RunPodError>
  readonly paused: Schedules.Wait<RunPodError>
  spent: number
  /** The error of an attempt whose answer was lost. */
  doubt: RunPodError | undefined
}

/** The retries of one layer: by a policy, within its budget. */
export const make = (policy: RetryPolicy) => {
  // What all retries of the layer share, so that an outage does not multiply its traffic.
  let tokens = policy.budget
  const setTokens = (left: number): void => {
    const next = Math.min(policy.budget, left)
    if (next === tokens) return
    tokens = next
    retryBudget.unsafeUpdate(tokens, [])
  }
  const giveBack = (spent: number): void => setTokens(tokens + spent)
  retryBudget.unsafeUpdate(tokens, [])
  const untilItIsOver = Schedule.andThen(policy.schedule, untilDeadline)

  const start = ({ options }: Execution): Effect.Effect<Retries> =>
    Effect.zipWith(
      Schedules.start(options.grace === undefined ? policy.schedule : untilItIsOver),
      Schedules.start(policy.whilePaused ?? Schedule.recurs(0)),
      (ordinary, paused) => ({ ordinary, paused, spent: 0, doubt: undefined })
    )

  /** Fails when there is to be no next attempt. */
  const waitAfter = (error: RunPodError, execution: Execution, retries: Retries) =>
    Effect.clockWith((clock) => {
      const { deadline, request } = execution
      const isTooLate = monotonicMillis(clock) + askedMillis(error) >= deadline
      const cost = costOf(error, execution)
      if (!mayRepeat(request, error, policy) || isTooLate || tokens < cost) return Effect.fail(error)
      setTokens(tokens - cost)
      retries.spent += cost
      const delay = (error._tag === "EndpointPausedError" ? retries.paused : retries.ordinary)(error)
      return Effect.mapError(Effect.flatten(timeoutAt(delay, deadline)), () => {
        retries.spent -= cost
        giveBack(cost)
        return error
      })
    })

  const run = <A>(execution: Execution, attempt: Effect.Effect<A, RunPodError>) => {
    const { options, request } = execution
    const isSubmit = request.operation.repeat === "Submit"

    const final = (error: RunPodError, doubt: RunPodError | undefined) =>
      Effect.fail(isSubmit ? admitDoubt(error, doubt) : error)

    const again = (error: RunPodError, retries: Retries): Effect.Effect<A, RunPodError> => {
      const isLost = !provesNoEffect(error)
      if (isLost) retries.doubt = error
      if (options.observer?.onQueued() === false) return Effect.interrupt
      return Effect.matchEffect(waitAfter(error, execution, retries), {
        onFailure: () => final(error, retries.doubt),
        onSuccess: () => {
          execution.nextAttempt(error)
          return Effect.zipRight(
            (isLost ? request.onGap?.(error) : undefined) ?? Effect.void,
            Effect.matchEffect(attempt, {
              onFailure: (next) => again(next, retries),
              onSuccess: (value) => {
                giveBack(retries.spent)
                return Effect.succeed(value)
              }
            })
          )
        }
      })
    }

    return catchFailure(attempt, (error) =>
      options.once || !mayRepeat(request, error, policy)
        ? final(error, undefined)
        : Effect.flatMap(start(execution), (retries) => again(error, retries))
    )
  }

  return { run, onSuccess: () => giveBack(1) }
}
