import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import { JobNotFoundError, type RunPodError } from "../../errors/RunPodError.js"
import type { FatalError, WaitOptions, WaitOutcome } from "../../services/Batch.js"
import type { Endpoint } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { waitDefaults } from "../jobs/waitPolicy.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { defined } from "../text/json.js"
import { cancelHandle, inSpan, isFatal, outputOf, pollOptions, supervise, waitConcurrency } from "./rules.js"
import * as Turns from "./turns.js"

/** A job that is waited for. */
interface WaitedJob<O, P, C> {
  readonly handle: JobHandle<O, P, C>
  /** What it was seen to be in the turns before. */
  lastStatus: WaitTimeoutError["lastStatus"]
  outcome: WaitOutcome<O> | undefined
}

/** The error of all of a job's turns: its last one knows neither of those before nor how long they took. */
const errorOf = (
  { lastStatus }: WaitedJob<unknown, unknown, unknown>,
  error: RunPodError | WaitTimeoutError,
  elapsed: number
): RunPodError | JobError => {
  if (error._tag === "WaitTimeoutError") {
    const known = defined({ lastStatus: error.lastStatus ?? lastStatus })
    return new WaitTimeoutError({ ...error, elapsed: Duration.millis(elapsed), ...known })
  }
  return error._tag === "JobNotFoundError" && lastStatus !== undefined
    ? new JobNotFoundError({ ...error, reason: "Expired" })
    : error
}

export const wait = <I, O, P, C>(
  endpoint: Endpoint<I, O, P, C>,
  jobs: Iterable<string | JobHandle<O, P, C>>,
  options: WaitOptions = {}
): Effect.Effect<ReadonlyArray<WaitOutcome<O>>, FatalError> =>
  Effect.gen(function* () {
    const { cancelOnInterrupt = false, cancelOnTimeout = false, concurrency = waitConcurrency, timeout } = options
    const { trustWebhook, webhook } = options
    if (!(concurrency >= 1)) throw new RangeError("the concurrency of a wait must be at least 1")
    const clock = yield* Effect.clock
    const startedAt = monotonicMillis(clock)
    const until = startedAt + Duration.toMillis(timeout ?? waitDefaults.timeout)
    const waited = Array.from(jobs, (job): WaitedJob<O, P, C> => {
      const handle = typeof job === "string" ? endpoint.attach(job) : job
      return { handle, lastStatus: undefined, outcome: undefined }
    })

    const turn = (job: WaitedJob<O, P, C>, millis: number): Effect.Effect<boolean, FatalError> => {
      const { handle } = job
      const isBounded = timeout !== undefined || millis !== Infinity
      const settled = Turns.settle(handle, {
        ...pollOptions(options),
        cancelOnInterrupt,
        cancelOnTimeout,
        trustWebhook,
        webhook,
        until: isBounded ? until : undefined,
        turn: millis
      })
      return Effect.matchEffect(settled, {
        onFailure: (error): Effect.Effect<boolean, FatalError> => {
          if (error._tag !== "WaitTimeoutError" && isFatal(error)) return Effect.fail(error)
          const result = Exit.fail(errorOf(job, error, monotonicMillis(clock) - startedAt))
          job.outcome = { jobId: handle.id, result }
          return Effect.succeed(true)
        },
        onSuccess: (end): Effect.Effect<boolean> => {
          if (end._tag === "Over") {
            job.lastStatus = end.lastStatus ?? job.lastStatus
            return Effect.succeed(false)
          }
          const { delayTime, executionTime } = end.job
          return Effect.map(Effect.exit(outputOf(handle, end.job)), (result) => {
            job.outcome = { jobId: handle.id, result, ...defined({ delayTime, executionTime }) }
            return true
          })
        }
      })
    }

    const onInterrupt = ({ handle }: WaitedJob<O, P, C>) => (cancelOnInterrupt ? cancelHandle(handle) : Effect.void)
    yield* supervise(endpoint, Turns.takeTurns(waited, { concurrency, turn, until, onInterrupt }))
    return waited.flatMap(({ outcome }) => outcome ?? [])
  }).pipe(inSpan("Batch.wait", endpoint.id))
