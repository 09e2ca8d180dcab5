import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import type { RunPodError } from "../../errors/RunPodError.js"
import { provesNoEffect, RequestTimeoutError } from "../../errors/RunPodError.js"
import type { RunPodHttpClient } from "../../layers/RunPodHttpClient.js"
import type * as Job from "../../schemas/Job.js"
import { operations, pathOf } from "../../schemas/Operation.js"
import type { RunRequest } from "../../schemas/RunRequest.js"
import type { Service } from "../../services/RunPod.js"
import { Forecasts } from "./forecasts.js"
import { monotonicMillis } from "../pace/monotonic.js"
import * as QueueHealth from "./queueHealth.js"
import type { Scrub } from "../text/scrub.js"

/** What is done with the end of a submit whose owner was interrupted meanwhile. */
export type OnOrphan = (end: Exit.Exit<Job.SyncJob, RunPodError>) => Effect.Effect<void>

/** How a job is submitted. */
export interface Submission {
  readonly request: RunRequest
  /** Submit with `/runsync` and let RunPod hold the answer so many milliseconds; without it, `/run`. */
  readonly hold?: number | undefined
  readonly resubmit?: boolean | undefined
  /** Gets the job as soon as the answer was read, before an interruption can come between. */
  readonly onAccepted: (job: Job.SyncJob) => void
  readonly onOrphan: OnOrphan
  /** Runs, uninterruptibly, before each attempt is handed to the transport: false withdraws it, and interrupts. */
  readonly onPermit?: Effect.Effect<boolean> | undefined
  /** Gets the error of each attempt that proves that it started nothing. */
  readonly onRefused?: ((error: RunPodError) => Effect.Effect<void>) | undefined
}

/**
 * What a `RunPod` service does beyond its operations so that no job is lost: endpoints, handles and waits use it.
 */
export interface Keeper {
  /**
   * Submits a job. Once handed to the transport that is not aborted: an interruption waits for its end and gives it to
   * `onOrphan`.
   */
  readonly submit: (endpointId: string, submission: Submission) => Effect.Effect<Job.SyncJob, RunPodError>
  /** Reads a job with one request, held for `hold` milliseconds when given, over at `deadline` on the monotonic clock. */
  readonly poll: (
    endpointId: string,
    jobId: string,
    options: { readonly hold?: number | undefined; readonly deadline: number }
  ) => Effect.Effect<Job.Job, RunPodError>
  /** Whether a held request would be sent at once. */
  readonly hasRoomToHold: (endpointId: string) => Effect.Effect<boolean>
  /** `cancel`, within `grace` milliseconds from its permit. */
  readonly cancel: (endpointId: string, jobId: string, grace: number) => Effect.Effect<Job.Job, RunPodError>
  /** Starts work that outlives its caller; closing the layer waits for it. */
  readonly fork: <A>(effect: Effect.Effect<A>) => Effect.Effect<Fiber.RuntimeFiber<A>>
  /** Runs what cleans up when it is interrupted; closing the layer interrupts it. */
  readonly whileOpen: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Strikes out the API key. */
  readonly scrub: Scrub
  /** The same service with errors that hold nothing of these secrets either, which its jobs were submitted with. */
  readonly knowing: (secrets: ReadonlyArray<string>) => Service
  /** What the jobs seen to end say of those to come. */
  readonly forecasts: Forecasts
  /** What the endpoints' workers are like. */
  readonly queueHealth: QueueHealth.QueueHealth
  /** The request pipeline; missing in a service that is not of our making. */
  readonly pipeline?: RunPodHttpClient | undefined
}

export const KeeperKey: unique symbol = Symbol.for("effect-runpod/Keeper")

/** The keeper of a service; for one that is not of our making, a keeper on its plain operations. */
export const keeperOf = (service: Service): Keeper => service[KeeperKey] ?? plainKeeper(service)

const plainKeeper = (service: Service): Keeper => ({
  submit: (endpointId, { hold, onAccepted, onOrphan, onPermit, onRefused, request, resubmit }) =>
    Effect.uninterruptibleMask((restore) => {
      const options = resubmit === undefined ? {} : { resubmit }
      const submit: Effect.Effect<Job.SyncJob, RunPodError> =
        hold === undefined
          ? service.run(endpointId, request, options)
          : service.runSync(endpointId, request, { ...options, wait: hold })
      const accepted = submit.pipe(
        Effect.tap((job) => Effect.sync(() => onAccepted(job))),
        Effect.tapError((error) => (provesNoEffect(error) ? (onRefused?.(error) ?? Effect.void) : Effect.void))
      )
      const start = Effect.flatMap(Effect.forkDaemon(Effect.interruptible(accepted)), (fiber) =>
        Effect.onInterrupt(restore(Effect.flatten(fiber.await)), () => Effect.flatMap(fiber.await, onOrphan))
      )
      return Effect.flatMap(onPermit ?? Effect.succeed(true), (isWanted) => (isWanted ? start : Effect.interrupt))
    }),
  poll: (endpointId, jobId, { deadline, hold }) =>
    Effect.clockWith((clock) => {
      const left = Duration.millis(Math.max(0, deadline - monotonicMillis(clock)))
      const operation = hold === undefined ? "status" : "statusSync"
      const poll =
        hold === undefined ? service.status(endpointId, jobId) : service.statusSync(endpointId, jobId, { wait: hold })
      return Effect.timeoutFail(poll, {
        duration: left,
        onTimeout: () => {
          const { method } = operations[operation]
          const path = pathOf(operation, endpointId, jobId)
          const where = { operation, method, path, endpointId, jobId }
          return new RequestTimeoutError({ ...where, sent: "Maybe", phase: "Headers", timeout: left })
        }
      })
    }),
  hasRoomToHold: () => Effect.succeed(true),
  cancel: (endpointId, jobId) => service.cancel(endpointId, jobId),
  fork: (effect) => Effect.forkDaemon(effect),
  whileOpen: identity,
  scrub: (text) => text,
  knowing: () => service,
  forecasts: new Forecasts(),
  queueHealth: QueueHealth.make(service.health, Effect.forkDaemon)
})
