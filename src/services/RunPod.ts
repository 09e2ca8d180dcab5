/**
 * The RunPod serverless API: one method per operation, each with retries, limits, typed errors and a span. For typed
 * inputs and outputs, and to wait for jobs, see `Endpoint` and `Jobs`.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Chunk from "effect/Chunk"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { RunPodError } from "../errors/RunPodError.js"
import { fromEither } from "../internal/effect/either.js"
import { checkIds, readBody, readHold } from "../internal/http/arguments.js"
import { Holds, isUnknownPath } from "../internal/http/holds.js"
import * as RequestOptions from "../internal/http/requestOptions.js"
import { recordHealth } from "../internal/telemetry/record.js"
import { atRoot } from "../internal/telemetry/tracing.js"
import { warnOfGap } from "../internal/jobs/handle.js"
import * as LocalWorker from "../internal/jobs/localWorker.js"
import { monotonicMillis, sleepUntil } from "../internal/pace/monotonic.js"
import { Cost } from "../layers/Cost.js"
import {
  type ConfigOptions,
  fromConfig,
  localDefaults,
  type LocalOptions,
  type Options
} from "../layers/RunPodConfig.js"
import { layer as layerHttpClient, type Request, RunPodHttpClient } from "../layers/RunPodHttpClient.js"
import * as Health from "../schemas/Health.js"
import * as Job from "../schemas/Job.js"
import { isTerminal, type JobStatus } from "../schemas/JobStatus.js"
import { type Operation, rows } from "../schemas/Operation.js"
import * as PurgeResult from "../schemas/PurgeResult.js"
import * as RequestList from "../schemas/RequestList.js"
import * as RunRequest from "../schemas/RunRequest.js"
import * as StreamChunk from "../schemas/StreamChunk.js"
import * as JobRuntime from "./JobRuntime.js"

/**
 * @since 0.1.0
 * @category models
 */
export type { ConfigOptions, LocalOptions, Options }

/**
 * Choices of a submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubmitOptions {
  /** Send it again when its fate is unknown, which can start, and bill, two jobs. Default: false, `SubmitAmbiguousError`. */
  readonly resubmit?: boolean | undefined
}

/**
 * Choices of a held request.
 *
 * @since 0.1.0
 * @category models
 */
export interface HoldOptions {
  /**
   * How long RunPod may hold the request until the job has ended (stream: until there is a chunk), from 1 second to 5
   * minutes; numbers are milliseconds. RunPod's default: 90 seconds, stream about 10.
   */
  readonly wait?: Duration.DurationInput | undefined
}

/**
 * Choices of `runSync`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunSyncOptions extends SubmitOptions, HoldOptions {}

/**
 * Choices of `stream`.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends HoldOptions {
  /** Called when a lost answer may have taken chunks with it: RunPod sends each chunk once. Default: logs a warning. */
  readonly onGap?: ((error: RunPodError) => Effect.Effect<void>) | undefined
  /** Called once RunPod has said that the job has ended, with its last status, before its last chunks are given. */
  readonly onEnd?: ((status: JobStatus) => Effect.Effect<void>) | undefined
}

/**
 * The operations. Ids are plain strings; what is wrong with an argument fails with `BadRequestError` before anything is sent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Submits a job and returns it queued. Interrupting it aborts the request, and nobody knows whether a job was started;
   * `Endpoint.run` does not. Body: at most 10 MiB.
   */
  readonly run: (
    endpointId: string,
    request: RunRequest.RunRequest,
    options?: SubmitOptions
  ) => Effect.Effect<Job.Job, RunPodError>
  /**
   * Submits a job and lets RunPod hold the answer until it has ended or `wait` is over: it may come back unfinished. An
   * answer without an id is returned when the job has ended; otherwise it cannot be followed: `SubmitAmbiguousError`.
   * Body: at most 20 MB.
   */
  readonly runSync: (
    endpointId: string,
    request: RunRequest.RunRequest,
    options?: RunSyncOptions
  ) => Effect.Effect<Job.SyncJob, RunPodError>
  /** Reads a job. */
  readonly status: (endpointId: string, jobId: string) => Effect.Effect<Job.Job, RunPodError>
  /** Reads a job, held until it has ended or `wait` is over. */
  readonly statusSync: (endpointId: string, jobId: string, options?: HoldOptions) => Effect.Effect<Job.Job, RunPodError>
  /** The chunks of a job's output as they come. It ends with the job, however that ended. Two readers take each other's chunks. */
  readonly stream: (
    endpointId: string,
    jobId: string,
    options?: StreamOptions
  ) => Stream.Stream<StreamChunk.StreamChunk, RunPodError>
  /** Cancels a job, queued or running. */
  readonly cancel: (endpointId: string, jobId: string) => Effect.Effect<Job.Job, RunPodError>
  /** Puts a FAILED or TIMED_OUT job back in the queue, under the same id; its old output is gone. */
  readonly retry: (endpointId: string, jobId: string) => Effect.Effect<Job.Job, RunPodError>
  /** Removes all queued jobs of the endpoint; running ones go on. */
  readonly purgeQueue: (endpointId: string) => Effect.Effect<PurgeResult.PurgeResult, RunPodError>
  /** The endpoint's gauges. */
  readonly health: (endpointId: string) => Effect.Effect<Health.Health, RunPodError>
  /** The endpoint's recent jobs, without their outputs. */
  readonly requests: (endpointId: string) => Effect.Effect<ReadonlyArray<Job.Job>, RunPodError>
}

/**
 * The tag of the RunPod API.
 *
 * @since 0.1.0
 * @category tags
 */
export class RunPod extends Context.Tag("effect-runpod/RunPod")<RunPod, Service>() {}

// --- streams ------------------------------------------------------------------------------------------------------

/** How long to wait before the next read: RunPod holds an empty stream itself, other servers may answer at once. */
const pauseAfter = (took: number, hadChunks: boolean, pause: number): number => {
  if (hadChunks) return Math.max(0, Math.round(100 - took))
  return took >= 1000 ? 0 : Math.min(2000, Math.max(250, pause * 2))
}

/** Waits `millis`, but no longer than the caller does: the read after it then says why it ends. */
const pauseFor = (millis: number): Effect.Effect<void> =>
  RequestOptions.withCaller(({ clock, options }) =>
    sleepUntil(Math.min(monotonicMillis(clock) + millis, options.deadline))
  )

/** The chunks of reads of `/stream`, until the job has ended. */
const chunksOf = (
  read: Effect.Effect<StreamChunk.StreamReply, RunPodError>,
  status: Effect.Effect<Job.Job, RunPodError>,
  onEnd: (status: JobStatus) => Effect.Effect<void>
): Stream.Stream<StreamChunk.StreamChunk, RunPodError> => {
  // A bare array says nothing of the job: ask for it once no more chunks come.
  const statusAfter = (reply: StreamChunk.StreamReply): Effect.Effect<JobStatus | undefined, RunPodError> =>
    reply.status === undefined && reply.chunks.length === 0
      ? Effect.map(status, (job) => job.status)
      : Effect.succeed(reply.status)
  return Stream.paginateChunkEffect(0, (pause) =>
    Effect.gen(function* () {
      if (pause > 0) yield* pauseFor(pause)
      const [took, reply] = yield* Effect.timed(read)
      const status = yield* statusAfter(reply)
      if (status === undefined || !isTerminal(status)) {
        const next = pauseAfter(Duration.toMillis(took), reply.chunks.length > 0, pause)
        return [Chunk.fromIterable(reply.chunks), Option.some(next)]
      }
      yield* onEnd(status)
      const rest = reply.status === undefined ? (yield* read).chunks : []
      return [Chunk.fromIterable([...reply.chunks, ...rest]), Option.none()]
    })
  )
}

// --- the service --------------------------------------------------------------------------------------------------

/**
 * The service over the client it is provided with.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service, never, RunPodHttpClient> = Effect.map(RunPodHttpClient, (client) => {
  type Ids = readonly [endpointId: string, jobId?: string]

  const send = <A>(
    operation: Operation,
    [endpointId, jobId]: Ids,
    read: Request<A>["read"],
    choices?: Partial<Request<A>>
  ): Effect.Effect<A, RunPodError> =>
    client.execute({ operation: rows[operation], params: { endpointId, jobId }, read, idOf: Job.idOf, ...choices })

  const call = <A>(operation: Operation, ids: Ids, read: Request<A>["read"], choices?: Partial<Request<A>>) =>
    Effect.suspend(() => {
      const problem = checkIds(operation, ...ids)
      return problem === undefined ? send(operation, ids, read, choices) : Effect.fail(problem)
    })

  const holds = new Holds()

  const job = (operation: Operation, endpointId: string, jobId: string, choices?: Partial<Request<Job.Job>>) =>
    call(operation, [endpointId, jobId], (body) => Job.fromReply(body, jobId), choices)

  const submit = <A>(
    operation: "run" | "runSync",
    [endpointId, request]: readonly [string, RunRequest.RunRequest],
    options: RunSyncOptions | undefined,
    read: Request<A>["read"]
  ): Effect.Effect<A, RunPodError> =>
    Effect.suspend(() => {
      const problem = checkIds(operation, endpointId)
      if (problem !== undefined) return Effect.fail(problem)
      const parts = Either.all([readBody(operation, endpointId, request), readHold(operation, options?.wait)])
      if (Either.isLeft(parts)) return Effect.fail(parts.left)
      const [body, hold] = parts.right
      const secrets = RunRequest.secretsOf(request)
      return send(operation, [endpointId], read, { body, hold, secrets, resubmit: options?.resubmit })
    })

  return {
    run: (endpointId, request, options) => submit("run", [endpointId, request], options, Job.fromSubmitReply),
    runSync: (endpointId, request, options) => submit("runSync", [endpointId, request], options, Job.fromSyncReply),
    status: (endpointId, jobId) => job("status", endpointId, jobId),
    statusSync: (endpointId, jobId, options) =>
      Effect.flatMap(fromEither(readHold("statusSync", options?.wait)), (hold) => {
        const held = job("statusSync", endpointId, jobId, { hold, retryWhile: (error) => !isUnknownPath(error) })
        return holds.ask(endpointId, held, job("status", endpointId, jobId))
      }),
    stream: (endpointId, jobId, options) => {
      const onGap = options?.onGap ?? ((error) => warnOfGap(endpointId, jobId, error))
      const read = Effect.flatMap(fromEither(readHold("stream", options?.wait)), (hold) =>
        call("stream", [endpointId, jobId], StreamChunk.fromReply, { hold, onGap })
      )
      return chunksOf(read, job("status", endpointId, jobId), options?.onEnd ?? (() => Effect.void))
    },
    cancel: (endpointId, jobId) => job("cancel", endpointId, jobId),
    retry: (endpointId, jobId) => job("retry", endpointId, jobId),
    purgeQueue: (endpointId) => call("purgeQueue", [endpointId], PurgeResult.fromReply),
    health: (endpointId) =>
      Effect.tap(call("health", [endpointId], Health.fromReply), (health) => recordHealth(endpointId, health)),
    requests: (endpointId) => Effect.map(call("requests", [endpointId], RequestList.fromReply), (list) => list.requests)
  }
})

/**
 * What submits, waits and batches share: the `JobRuntime` in the context, or else a new one over the `RunPod` there; with the `Cost`
 * in the context, where there is one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const jobRuntime: Effect.Effect<JobRuntime.Service, never, RunPod> = Effect.gen(function* () {
  const shared = yield* Effect.serviceOption(JobRuntime.JobRuntime)
  const cost = yield* Effect.serviceOption(Cost)
  const runtime = Option.isSome(shared) ? shared.value : yield* newJobRuntime
  return Option.isSome(cost) ? JobRuntime.withCost(runtime, cost.value) : runtime
})

const newJobRuntime = Effect.gen(function* () {
  const runPod = yield* RunPod
  const client = Option.getOrUndefined(yield* Effect.serviceOption(RunPodHttpClient))
  return yield* JobRuntime.make((endpointId) => runPod.health(endpointId), client)
})

/** That of a layer: never the one of a layer around it, which does not end with this one. */
const layerJobRuntime = Layer.effect(JobRuntime.JobRuntime, newJobRuntime)

/**
 * The service, the client below it and what jobs share, over any `HttpClient`; `NodeRunPod.layer` brings one. Closing it
 * interrupts the calls under it, which cancels their jobs, and waits for what outlived its caller: a submit that was
 * sent, a cancel.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<RunPod | RunPodHttpClient | JobRuntime.JobRuntime, never, HttpClient.HttpClient> =>
  layerJobRuntime.pipe(Layer.provideMerge(Layer.effect(RunPod, make)), Layer.provideMerge(layerHttpClient(options)))

/**
 * The same with options that are values or `Config`s. What is not given comes from `RUNPOD_API_KEY` and `RUNPOD_BASE_URL`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options?: ConfigOptions
): Layer.Layer<RunPod | RunPodHttpClient | JobRuntime.JobRuntime, ConfigError.ConfigError, HttpClient.HttpClient> =>
  Layer.unwrapEffect(Effect.map(fromConfig(options), layer))

/**
 * The service over a worker on this machine, `python handler.py --rp_serve_api`, so that a handler under development is called
 * with the code that calls RunPod. It needs no API key, and every endpoint id is the same worker. A handler runs when its job is
 * first asked for, and once; `cancel`, `retry`, `purgeQueue`, `health` and `requests`, which the worker has not, fail with
 * `BadRequestError`. See docs/local-worker.md.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLocal = ({
  concurrency = localDefaults.concurrency,
  url = localDefaults.url,
  ...options
}: LocalOptions = {}): Layer.Layer<RunPod | JobRuntime.JobRuntime, never, HttpClient.HttpClient> => {
  const local = Effect.flatMap(RunPodHttpClient, (client) => LocalWorker.make(client, { concurrency }))
  return layerJobRuntime.pipe(
    Layer.provideMerge(Layer.scoped(RunPod, local)),
    // The worker asks for no key.
    Layer.provide(
      layerHttpClient({
        ...options,
        apiKey: "the-local-worker-needs-no-key",
        baseUrl: url,
        errorOf: LocalWorker.errorOf
      })
    )
  )
}

/**
 * Asks for the gauges of endpoints every `interval` (default: 15 seconds), so that the metrics `workers` and `queue` of
 * `RunPodMetrics` are as fresh. An answer that fails is asked for again at the next.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerHealth = ({
  endpoints,
  interval = "15 seconds"
}: {
  readonly endpoints: ReadonlyArray<string>
  readonly interval?: Duration.DurationInput | undefined
}): Layer.Layer<never, never, RunPod> =>
  Layer.scopedDiscard(
    Effect.flatMap(RunPod, ({ health }) => {
      const ask = Effect.forEach(endpoints, (endpointId) => Effect.ignore(health(endpointId)), { concurrency: 10 })
      return Effect.forkScoped(Effect.repeat(atRoot(ask), Schedule.spaced(interval)))
    })
  )

/**
 * Gives the operations inside `effect` a deadline in all, limits and retries included. An attempt that it cuts short fails
 * with `RequestTimeoutError` (a submit: `SubmitAmbiguousError`); when RunPod asks for a longer wait than is left, the
 * operation fails at once with `RateLimitedError` and that time. Waits end there with `WaitTimeoutError`; the cancel of a job
 * that nobody waits for any more is not bounded by it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withDeadline: {
  (duration: Duration.DurationInput): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, duration: Duration.DurationInput): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, duration: Duration.DurationInput) =>
  Effect.clockWith((clock) => RequestOptions.withDeadline(effect, monotonicMillis(clock) + Duration.toMillis(duration)))
)
