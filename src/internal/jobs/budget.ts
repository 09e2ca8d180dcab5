import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { BudgetExceededError, provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import type * as Cost from "../../layers/Cost.js"
import * as Job from "../../schemas/Job.js"
import type { Operation } from "../../schemas/Operation.js"
import { failureOf } from "../effect/cause.js"
import { contextOf, refuse } from "../http/arguments.js"
import { defined } from "../text/json.js"
import type * as Submit from "./submit.js"

/** What starts work that costs money. */
interface Start {
  readonly cost: Cost.Service | undefined
  readonly operation: Operation
  readonly endpointId: string
  readonly jobId?: string | undefined
  readonly executionTimeout?: Duration.DurationInput | undefined
}

/** The error of a `maxCost` where nobody knows what a job costs. */
export const noRate = (operation: Operation, endpointId: string) => {
  const detail = `\`maxCost\` needs the rate of the workers of endpoint ${endpointId}: name their GPU in \`Cost.layer({ rates, gpu })\` or in its \`endpoints\`, and provide that layer`
  return refuse(operation, detail)
}

/** Reserves room in the layer's budget, or fails before anything is sent. */
const reserve = (
  { endpointId, executionTimeout, jobId, operation }: Start,
  { cost, budget }: { readonly cost: Cost.Service; readonly budget: Cost.Budget }
): Effect.Effect<Cost.Reservation, RunPodError> =>
  Effect.suspend((): Effect.Effect<Cost.Reservation, RunPodError> => {
    const expected = cost.expectedOf(endpointId, { executionTimeout })
    if (expected === undefined) return Effect.fail(noRate(operation, endpointId))
    const reserved = budget.reserve(endpointId, expected)
    if (reserved._tag === "Reservation") return Effect.succeed(reserved)
    const { inFlight, maxCost, next, spent } = reserved
    const where = contextOf(operation, { endpointId, ...defined({ jobId }) })
    return Effect.fail(new BudgetExceededError({ ...where, maxCost, spent, inFlight, next }))
  })

/** Tells of a submit's end, the first time. */
const tellEnd = (
  submitted: Submit.Submitted<Job.SyncJob>,
  reservation: Cost.Reservation,
  costOf: (job: Job.SyncJob) => number | undefined
): void => {
  switch (submitted._tag) {
    case "Accepted": {
      const job = submitted.value
      if (Job.isTerminal(job) || !Job.hasId(job)) reservation.end(costOf(job))
      else reservation.started(job.id)
      return
    }
    case "Ambiguous":
      return reservation.end(undefined)
    case "Refused":
    case "Withdrawn":
      return reservation.release()
  }
}

/** A submit that begins when there is room for its job in the layer's budget, which hears of its end before its owner does. */
export const submitWithin = (
  start: Start,
  submit: Effect.Effect<Submit.Submission<Job.SyncJob>>
): Effect.Effect<Submit.Submission<Job.SyncJob>, RunPodError> => {
  const { cost, endpointId } = start
  if (cost?.budget === undefined) return submit
  return Effect.flatMap(reserve(start, { cost, budget: cost.budget }), (reservation) =>
    Effect.map(submit, (submission) => {
      let isTold = false
      const tell = (submitted: Submit.Submitted<Job.SyncJob>) =>
        Effect.sync(() => {
          if (!isTold) tellEnd(submitted, reservation, (job) => cost.costOf(endpointId, job))
          isTold = true
        })
      return {
        ...submission,
        end: Effect.tap(submission.end, tell),
        leave: (onLeft) => submission.leave((submitted) => Effect.zipRight(tell(submitted), onLeft(submitted)))
      }
    })
  )
}

/** Puts a job back in the queue when there is room for that in the layer's budget. */
export const retryWithin = (
  start: Start & { readonly jobId: string },
  retry: Effect.Effect<Job.Job, RunPodError>
): Effect.Effect<Job.Job, RunPodError> => {
  const { cost, jobId } = start
  if (cost?.budget === undefined) return retry
  const { budget } = cost
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(reserve(start, { cost, budget }), (reservation) =>
      Effect.onExit(restore(retry), (exit) =>
        Effect.sync(() => {
          const error = Exit.isFailure(exit) ? failureOf(exit.cause) : undefined
          if (error !== undefined && provesNoEffect(error)) reservation.release()
          else reservation.started(jobId)
        })
      )
    )
  )
}
