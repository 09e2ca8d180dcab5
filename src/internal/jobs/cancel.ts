import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { RunPodError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import { failureOf } from "../effect/cause.js"
import { withGrace } from "../http/requestOptions.js"
import { monotonicMillis } from "../pace/monotonic.js"
import * as JobRef from "./jobRef.js"
import type { Poller, WaitError } from "./poll.js"

/** How long a cancel waits for a job that is not visible yet, before it is sent again, in milliseconds. */
const betweenCancels = 1_000

/** The cancel of a job that may be so new that RunPod does not know it yet. */
export interface Cancellation {
  readonly cancel: Effect.Effect<Job.Job, RunPodError>
  /** When the job was submitted, on the monotonic clock; missing where that is not known. */
  readonly submittedAt?: ((clock: Clock.Clock) => number) | undefined
  /** How long one cancel may take from its first permit, in milliseconds, and how long to wait for an invisible job. */
  readonly grace: number
}

/** Cancels a job. Gives `undefined` when there is no such job any more. */
export const cancelWithin = ({
  cancel,
  grace,
  submittedAt
}: Cancellation): Effect.Effect<Job.Job | undefined, RunPodError> =>
  Effect.clockWith((clock) => {
    const attempt = (waited: number): Effect.Effect<Job.Job | undefined, RunPodError> =>
      Effect.catchTag(withGrace(cancel, grace), "JobNotFoundError", (error) => {
        if (!JobRef.isNotVisibleYet(error, submittedAt?.(clock), monotonicMillis(clock))) {
          return Effect.succeed(undefined)
        }
        return waited >= grace
          ? Effect.fail(error)
          : Effect.zipRight(Effect.sleep(betweenCancels), attempt(waited + betweenCancels))
      })
    return attempt(0)
  })

/** Logs that a job was not cancelled. */
export const warnNotCancelled = (endpointId: string, jobId: string, error: RunPodError): Effect.Effect<void> =>
  Effect.logWarning(`Job ${jobId} on endpoint ${endpointId} was not cancelled and may go on running: ${error.message}`)

/** Cancels a job; one that cannot be cancelled is logged with its id. */
export const cancelJob = (job: JobRef.JobRef, grace: number): Effect.Effect<void> =>
  cancelWithin({ cancel: JobRef.cancel(job, grace), submittedAt: job.submittedAt, grace }).pipe(
    Effect.catchAll((error) => warnNotCancelled(job.endpointId, job.jobId, error)),
    Effect.asVoid
  )

/** Cancels by the rules when a wait did not see its job end: on interruption at once, otherwise in the background. */
export const cancelUnlessEnded = (poller: Poller, exit: Exit.Exit<unknown, WaitError>): Effect.Effect<void> => {
  const { job, rules } = poller.wait
  if (poller.hasEnded || Exit.isSuccess(exit)) return Effect.void
  const cancel = cancelJob(job, poller.policy.cancelGrace)
  if (Exit.isInterrupted(exit)) return rules.onInterrupt ? cancel : Effect.void
  const error = failureOf(exit.cause)
  if (error?._tag === "JobNotFoundError" && error.reason === "Expired") return Effect.void
  const isWanted = error?._tag === "WaitTimeoutError" ? rules.onTimeout : rules.onFailure
  return isWanted ? Effect.asVoid(job.runtime.fork(cancel)) : Effect.void
}
