import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constant } from "effect/Function"
import type { FatalError } from "../../errors/BatchError.js"
import type { JobError } from "../../errors/JobError.js"
import {
  type DecodeError,
  retryAfter,
  type RunPodError,
  type ServerError,
  type SubmitAmbiguousError
} from "../../errors/RunPodError.js"
import type * as Job from "../../schemas/Job.js"
import type { Inputs, Options, Outcome } from "../../services/Batch.js"
import type { Endpoint } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { failureOf } from "../effect/cause.js"
import { cancelWithin, warnNotCancelled, warnUnlessEnded } from "../jobs/jobRef.js"
import { waitDefaults } from "../jobs/waitPolicy.js"
import { delayAfter } from "../pace/backoff.js"
import { sizeOf } from "./inputs.js"

/** How many items are in flight at once where the limits do not say. */
const usualConcurrency = 400
/** The most items in flight where nobody knows how many there are. */
const mostConcurrency = 10_000
/** Every job is read at least so often, so that RunPod, which keeps results for 30 minutes, has not deleted its result. */
export const longestInterval = 10 * 60_000
/** How long there may be no way to RunPod before the batch gives up; it does at once when there never was one. */
export const outage = 5 * 60_000
/** How many jobs are waited for at once by default; where there are more, they take turns. */
export const waitConcurrency = 1_000
/** As many cancels as RunPod allows in flight. */
export const cancelConcurrency = 20

/** What would hit every item alike. */
export const isFatal = (error: RunPodError | JobError): error is FatalError => {
  switch (error._tag) {
    case "AuthenticationError":
    case "PermissionDeniedError":
    case "EndpointNotFoundError":
    case "EndpointPausedError":
    case "RequestTimeoutError":
    case "TransportError":
      return true
    default:
      return false
  }
}

/** After so many submits that something else than RunPod has answered, and none that RunPod has, a batch ends. */
export const mostStrange = 10

/**
 * An answer to a submit that is not RunPod's, such as a proxy's page, which says that the base URL or the way there is wrong; or
 * one that `parseJson` refuses, as it will those to all others.
 */
export const strangeAnswer = ({ cause }: SubmitAmbiguousError): ServerError | DecodeError | undefined => {
  if (cause?._tag === "DecodeError") return cause
  const isStrange =
    cause?._tag === "ServerError" && cause.status !== undefined && cause.status < 500 && cause.status !== 408
  return isStrange ? cause : undefined
}

/** How a batch polls: an interval is never so long that a result could expire meanwhile. */
export const pollOptions = ({ hold, poll }: Pick<Options<never>, "hold" | "poll">) => {
  if (poll === undefined) return { hold }
  const bounded = (duration: Duration.DurationInput) => Math.min(Duration.toMillis(duration), longestInterval)
  const { ageShare, cap, initial, interval } = poll
  const defaults = waitDefaults.poll
  return {
    hold,
    poll: {
      ageShare,
      initial: bounded(initial ?? defaults.initial),
      interval: bounded(interval ?? defaults.interval),
      cap: bounded(cap ?? defaults.cap)
    }
  }
}

export const concurrencyOf = (
  { runtime }: Pick<Endpoint<never, unknown>, "runtime">,
  inputs: Inputs<unknown, unknown>,
  wanted: number | undefined
): number => {
  if (wanted !== undefined && !(wanted >= 1)) throw new RangeError("The concurrency of a batch must be at least 1")
  const heldAtOnce = runtime?.heldAtOnce ?? Infinity
  const concurrency = wanted ?? (Number.isFinite(heldAtOnce) ? heldAtOnce : usualConcurrency)
  return Math.floor(Math.min(concurrency, Math.max(1, sizeOf(inputs) ?? mostConcurrency)))
}

/** How long to wait before the next try after so many, in milliseconds: what RunPod asked for, else longer each time. */
export const pauseAfter = (error: RunPodError, tries: number): Effect.Effect<number> =>
  Effect.map(delayAfter({ base: 1_000, cap: 30_000, jitter: "half" }, tries), (delay) => {
    const asked = retryAfter(error)
    return Math.max(asked === undefined ? 0 : Math.round(Duration.toMillis(asked)), delay)
  })

export const outputOf = <O>(
  handle: Pick<JobHandle<O>, "read" | "result">,
  job: Job.TerminalJob
): Effect.Effect<O, RunPodError | JobError> => handle.read?.(job) ?? handle.result()

/**
 * Cancels a job within `grace` milliseconds. Gives it as it is then: `undefined` when it is gone, or could not be cancelled, which
 * is logged.
 */
export const cancelHandle = (
  { cancel, endpointId, id }: Pick<JobHandle<unknown>, "cancel" | "endpointId" | "id">,
  grace = Duration.toMillis(waitDefaults.cancelGrace)
): Effect.Effect<Job.Job | undefined> =>
  cancelWithin(cancel, grace).pipe(
    Effect.tap((job) => warnUnlessEnded(endpointId, job)),
    Effect.catchAll((error) => Effect.as(warnNotCancelled(endpointId, id, error.message), undefined))
  )

/** What kind of outcome it is: `Completed`, or the tag of the error. */
export const kindOf = (result: Outcome<unknown, unknown>["result"]): string =>
  Exit.isSuccess(result) ? "Completed" : (failureOf(result.cause)?._tag ?? "Defect")

export const indexAsKey = (_: unknown, index: number): string => String(index)

/** Runs an effect that the closing of the endpoint's layer interrupts. */
export const supervise = <A, E>(
  { runtime }: Pick<Endpoint<never, unknown>, "runtime">,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, E> => (runtime === undefined ? effect : runtime.supervise(effect))

/** A span that is not told the value: outputs and errors of jobs can hold what their workers were sent. */
export const inSpan =
  (name: string, endpointId: string) =>
  <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.withSpan(Effect.map(effect, constant), name, {
      captureStackTrace: false,
      attributes: { "runpod.endpoint_id": endpointId }
    }).pipe(Effect.map((value) => value()))
