import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { RequestTimeoutError, type RunPodError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import { type Operation, operations, pathOf } from "../../schemas/Operation.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import type { Service as RunPod } from "../../services/RunPod.js"
import * as RequestOptions from "../http/requestOptions.js"
import { monotonicMillis } from "../pace/monotonic.js"

/** The operations on a job. */
export type JobOperations = Pick<RunPod, "status" | "statusSync" | "stream" | "cancel" | "retry">

/** A job, what is known of its submit, and the services it is asked for with. */
export interface JobRef {
  readonly runPod: JobOperations
  readonly runtime: JobRuntime
  readonly endpointId: string
  readonly jobId: string
  /** When it was submitted, on the monotonic clock; missing where that is not known. */
  readonly submittedAt?: ((clock: Clock.Clock) => number) | undefined
  /** How long RunPod keeps the job, in milliseconds. */
  readonly ttl?: number | undefined
}

/** How long after a submit its job may stay invisible: a 404 then means "not yet". */
const visibilityGrace = 60_000

/** Whether a 404 of a job that was submitted then only means that it is not visible yet. */
export const isNotVisibleYet = (error: RunPodError, submittedAt: number | undefined, now: number): boolean =>
  error._tag === "JobNotFoundError" && submittedAt !== undefined && now - submittedAt < visibilityGrace

/** Ends a request of a service that does not keep the deadlines it is under. */
const bounded = <A>(
  { endpointId, jobId, runtime }: JobRef,
  operation: Operation,
  request: Effect.Effect<A, RunPodError>,
  millis: number
): Effect.Effect<A, RunPodError> => {
  if (runtime.keepsDeadlines) return request
  const timeout = Duration.millis(Math.max(0, millis))
  const onTimeout = () => {
    const { method } = operations[operation]
    const where = { operation, method, path: pathOf(operation, { endpointId, jobId }), endpointId, jobId }
    return new RequestTimeoutError({ ...where, sent: "Maybe", phase: "Headers", timeout })
  }
  // `timeoutFail` gives the request a fiber of its own, which can be interrupted although a finalizer waits for it.
  return Effect.timeoutFail(Effect.interruptible(request), { duration: timeout, onTimeout })
}

/** Reads the job with one request, held for `hold` milliseconds when given, over at `deadline` on the monotonic clock. */
export const read = (
  job: JobRef,
  { deadline, hold }: { readonly hold: number | undefined; readonly deadline: number }
): Effect.Effect<Job.Job, RunPodError> =>
  Effect.clockWith((clock) => {
    const { endpointId, jobId, runPod } = job
    const left = deadline - monotonicMillis(clock)
    const request =
      hold === undefined ? runPod.status(endpointId, jobId) : runPod.statusSync(endpointId, jobId, { wait: hold })
    return bounded(job, hold === undefined ? "status" : "statusSync", RequestOptions.once(request, deadline), left)
  })

/** Cancels the job, with a service that keeps no deadlines within `grace` milliseconds. */
export const cancel = (job: JobRef, grace: number): Effect.Effect<Job.Job, RunPodError> =>
  bounded(job, "cancel", job.runPod.cancel(job.endpointId, job.jobId), grace)

/** The operations with errors that hold none of the secrets the job was submitted with: RunPod echoes them. */
export const withSecrets = (runPod: JobOperations, secrets: ReadonlyArray<string>): JobOperations => {
  if (secrets.length === 0) return runPod
  const scrubbed = <A, E>(effect: Effect.Effect<A, E>) => RequestOptions.withSecrets(effect, secrets)
  return {
    status: (...args) => scrubbed(runPod.status(...args)),
    statusSync: (...args) => scrubbed(runPod.statusSync(...args)),
    cancel: (...args) => scrubbed(runPod.cancel(...args)),
    retry: (...args) => scrubbed(runPod.retry(...args)),
    stream: (...args) => Stream.fromPull(Effect.map(Stream.toPull(runPod.stream(...args)), scrubbed))
  }
}
