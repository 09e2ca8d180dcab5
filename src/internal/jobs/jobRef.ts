import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { JobNotFoundError, RequestTimeoutError, type RunPodError } from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import type { Operation } from "../../schemas/Operation.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import type { Service as RunPod } from "../../services/RunPod.js"
import type { WaitOptions } from "../../services/WaitOptions.js"
import { contextOf } from "../http/arguments.js"
import { isTerminal } from "../../schemas/JobStatus.js"
import * as RequestOptions from "../http/requestOptions.js"
import { monotonicMillis, sleepUntil } from "../pace/monotonic.js"
import type { JobSpan } from "../telemetry/jobSpan.js"
import { record, recordEnd } from "../telemetry/record.js"
import type { Scrub } from "../text/scrub.js"
import type { WebhookEnd } from "./webhookEnd.js"
import { visible } from "../text/visible.js"

type JobOperations = Pick<RunPod, "status" | "statusSync" | "stream" | "cancel" | "retry">

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
  /** Strikes out the API key and the secrets that it was submitted with. */
  readonly scrub: Scrub
  /** The `traceparent` of its submit, where that was traced. */
  readonly trace?: string | undefined
  /** Where RunPod posts its end. */
  readonly webhook?: WaitOptions["webhook"]
  /** Its webhook, where the `Webhooks` service receives it. */
  readonly webhookEnd?: WebhookEnd | undefined
}

/** A job was seen to end, after a wait of so many milliseconds: metrics, and the span of the job, say what it cost. */
export const noteEnd = (
  { endpointId, runtime }: Pick<JobRef, "endpointId" | "runtime">,
  job: Job.Ended,
  {
    age,
    span,
    waited
  }: { readonly waited: number; readonly age?: number | undefined; readonly span: JobSpan | undefined }
): Effect.Effect<void> => {
  const cost = runtime.cost?.costOf(endpointId, job)
  span?.set({ "runpod.cost": cost })
  return recordEnd(endpointId, job, { waited, age, cost })
}

/** How long a cancel waits for a job that is not visible yet, before it is sent again, and in all, in milliseconds. */
const betweenCancels = 1_000
const longestInvisibility = 10_000
/** How long after a submit its job may stay invisible: a 404 then means "not yet". */
const visibilityGrace = 60_000

export const isNotVisibleYet = (
  { submittedAt }: Pick<JobRef, "submittedAt">,
  error: RunPodError,
  clock: Clock.Clock
): boolean =>
  error._tag === "JobNotFoundError" &&
  submittedAt !== undefined &&
  monotonicMillis(clock) - submittedAt(clock) < visibilityGrace

/** Ends a request of a service that does not keep the deadlines it is under. */
const bounded = <A>(
  { endpointId, jobId, runtime }: JobRef,
  operation: Operation,
  request: Effect.Effect<A, RunPodError>,
  millis = Infinity
): Effect.Effect<A, RunPodError> => {
  if (runtime.keepsDeadlines || millis === Infinity) return request
  const timeout = Duration.millis(Math.max(0, millis))
  const onTimeout = () => {
    const where = contextOf(operation, { endpointId, jobId })
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

/** Cancels a job. One so new that RunPod does not know it yet is cancelled as soon as it does. */
export const cancel = (job: JobRef): Effect.Effect<Job.Job, RunPodError> =>
  RequestOptions.withCaller(({ clock, options: { deadline, grace } }) => {
    const { endpointId, jobId, runPod, runtime } = job
    const request = runPod.cancel(endpointId, jobId)
    const attempt = (end: number | undefined): Effect.Effect<Job.Job, RunPodError> => {
      const left = end === undefined ? grace : end - monotonicMillis(clock)
      const graced = grace === undefined || left === undefined ? request : RequestOptions.withGrace(request, left)
      const sent = Effect.tap(bounded(job, "cancel", graced, left), (cancelled) =>
        Effect.sync(() => {
          if (isTerminal(cancelled.status)) runtime.learn(endpointId, cancelled)
        })
      )
      return Effect.catchTag(sent, "JobNotFoundError", (error) => {
        if (!isNotVisibleYet(job, error, clock)) return Effect.fail(error)
        const now = monotonicMillis(clock)
        const until = end ?? Math.min(deadline, now + (grace ?? longestInvisibility))
        return now + betweenCancels < until
          ? Effect.zipRight(sleepUntil(now + betweenCancels), attempt(until))
          : Effect.fail(new JobNotFoundError({ ...error, reason: "NotVisibleYet" }))
      })
    }
    return attempt(undefined).pipe(
      Effect.tap(record(endpointId, ({ cancels }, labels) => cancels.unsafeUpdate(1, labels))),
      Effect.tapError((error) =>
        error._tag === "JobNotFoundError" && error.reason !== "NotVisibleYet"
          ? Effect.void
          : record(endpointId, ({ failedCancels }, labels) => failedCancels.unsafeUpdate(1, labels))
      )
    )
  })

/** Bounds what a cancel waits for: `grace` milliseconds. Gives `undefined` when there is no such job any more. */
export const cancelWithin = (
  cancel: Effect.Effect<Job.Job, RunPodError>,
  grace: number
): Effect.Effect<Job.Job | undefined, RunPodError> =>
  Effect.catchTag(RequestOptions.withGrace(cancel, grace), "JobNotFoundError", (error) =>
    error.reason === "NotVisibleYet" ? Effect.fail(error) : Effect.succeed(undefined)
  )

export const warnNotCancelled = (endpointId: string, jobId: string, why: string): Effect.Effect<void> =>
  Effect.logWarning(visible(`Job ${jobId} on endpoint ${endpointId} was not cancelled and may go on running: ${why}`))

/** RunPod has taken the cancel, but the job's status is still that of one that goes on. */
export const warnUnlessEnded = (endpointId: string, job: Job.Job | undefined): Effect.Effect<void> =>
  job === undefined || isTerminal(job.status)
    ? Effect.void
    : warnNotCancelled(endpointId, job.id, `RunPod took the cancel, and says that the job is ${job.status}.`)

/** Cancels a job; one that cannot be cancelled is logged with its id. */
export const cancelJob = (job: JobRef, grace: number): Effect.Effect<void> =>
  Effect.matchEffect(cancelWithin(cancel(job), grace), {
    onFailure: (error) => warnNotCancelled(job.endpointId, job.runtime.scrub(job.jobId), error.message),
    onSuccess: (cancelled) => warnUnlessEnded(job.endpointId, cancelled)
  })

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
