import * as Effect from "effect/Effect"
import type * as Job from "../../schemas/Job.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { cancelWithin, warnNotCancelled } from "../jobs/jobRef.js"

/** When a job was submitted, on the monotonic clock, and how long its cancel may take, in milliseconds. */
export interface CancelOptions {
  readonly submittedAt?: number | undefined
  readonly grace: number
}

/** Cancels a job, and gives it as it is then; one that is gone gives `undefined`, one that cannot be cancelled is logged, too. */
export const cancelHandle = (
  { cancel, endpointId, id }: Pick<JobHandle<unknown>, "cancel" | "endpointId" | "id">,
  { grace, submittedAt }: CancelOptions
): Effect.Effect<Job.Job | undefined> =>
  Effect.catchAll(
    cancelWithin({ cancel, submittedAt: submittedAt === undefined ? undefined : () => submittedAt, grace }),
    (error) => Effect.as(warnNotCancelled(endpointId, id, error), undefined)
  )
