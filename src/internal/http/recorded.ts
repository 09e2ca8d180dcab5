import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { RunPodError } from "../../errors/RunPodError.js"
import type { End, Service } from "../../layers/FlightRecorder.js"
import type { Request } from "../../layers/RunPodHttpClient.js"
import { failureOf } from "../effect/cause.js"
import type { Timer } from "../pace/timer.js"
import type { Execution } from "./execution.js"
import type { Reply } from "./reply.js"

type Send = (execution: Execution<Request<unknown>>) => Effect.Effect<Reply, RunPodError>

/** Tells a recorder of each attempt: of its wait for a permit, its send, and its end before anything is made of it. */
export const make = (recorder: Service, timer: Timer) => {
  /** When the attempt under way of an execution began to wait. */
  const queuedAt = new WeakMap<object, number>()

  const endOf = (execution: Execution, exit: Exit.Exit<Reply, RunPodError>): End => {
    if (Exit.isSuccess(exit)) return { _tag: "Answer", ...exit.value }
    const error = failureOf(exit.cause)
    if (error === undefined) return { _tag: "GivenUp" }
    // A deadline of the caller says nothing about RunPod. A submit was left in doubt all the same.
    const isCallers = error._tag === "RequestTimeoutError" && timer.now() >= execution.deadline
    const isSubmit = execution.request.operation.repeat === "Submit"
    return isCallers && !isSubmit ? { _tag: "GivenUp" } : { _tag: "NoAnswer", error }
  }

  return {
    queued: <A, E>(execution: Execution, attempt: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        queuedAt.set(execution, timer.now())
        return attempt
      }),
    sent:
      (send: Send): Send =>
      (execution) =>
        Effect.suspend(() => {
          const { attempt, request, scrub } = execution
          const sentAt = timer.now()
          const onEnd = recorder.onAttempt({
            request,
            attempt,
            queuedAt: queuedAt.get(execution) ?? sentAt,
            sentAt,
            scrub
          })
          return Effect.onExit(send(execution), (exit) => Effect.sync(() => onEnd(endOf(execution, exit), timer.now())))
        })
  }
}
