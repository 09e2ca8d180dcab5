/**
 * The RunPod serverless API: one method per operation, each with retries, limits, typed errors and a span.
 *
 * For typed inputs and outputs, and to wait for jobs, see `Endpoint` and `Jobs`.
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
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { BadRequestError, PayloadTooLargeError, type RunPodError } from "../errors/RunPodError.js"
import { warnOfGap } from "../internal/jobs/warnOfGap.js"
import { within } from "../internal/http/deadline.js"
import { Forecasts } from "../internal/jobs/forecasts.js"
import { defined } from "../internal/text/json.js"
import { type Keeper, KeeperKey } from "../internal/jobs/keeper.js"
import { monotonicMillis } from "../internal/pace/monotonic.js"
import * as QueueHealth from "../internal/jobs/queueHealth.js"
import type { Reader } from "../internal/text/reply.js"
import type { ConfigOptions, Options } from "../layers/RunPodConfig.js"
import { fromConfig } from "../layers/RunPodConfig.js"
import * as RunPodHttpClient from "../layers/RunPodHttpClient.js"
import * as EndpointId from "../schemas/EndpointId.js"
import * as Health from "../schemas/Health.js"
import * as Job from "../schemas/Job.js"
import * as JobId from "../schemas/JobId.js"
import { isTerminal } from "../schemas/JobStatus.js"
import { type Operation, operations, pathOf } from "../schemas/Operation.js"
import * as PurgeResult from "../schemas/PurgeResult.js"
import * as RequestList from "../schemas/RequestList.js"
import * as RunRequest from "../schemas/RunRequest.js"
import * as StreamChunk from "../schemas/StreamChunk.js"

/**
 * @since 0.1.0
 * @category models
 */
export type { ConfigOptions, Options }

/**
 * Choices of a submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions {
  /**
   * Send the submit again when its fate is unknown, although that can start, and bill, the job twice. Default: false,
   * which fails with `SubmitAmbiguousError` instead.
   */
  readonly resubmit?: boolean | undefined
}

/**
 * Choices of a held request.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitOptions {
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
export interface RunSyncOptions extends RunOptions, WaitOptions {}

/**
 * Choices of `stream`.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends WaitOptions {
  /** Called when a lost answer may have taken chunks with it: RunPod sends each chunk once. Default: logs a warning. */
  readonly onGap?: ((error: RunPodError) => Effect.Effect<void>) | undefined
}

/**
 * The operations. Ids are plain strings; what is wrong with an argument fails with `BadRequestError` before anything is sent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Submits a job and returns it queued. Interrupting it aborts the request, and with it the knowledge whether a job was
   * started; `Endpoint.run` does not. Body: at most 10 MiB.
   */
  readonly run: (
    endpointId: string,
    request: RunRequest.RunRequest,
    options?: RunOptions
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
  readonly statusSync: (endpointId: string, jobId: string, options?: WaitOptions) => Effect.Effect<Job.Job, RunPodError>
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
  /** @internal */
  readonly [KeeperKey]?: Keeper | undefined
}

/**
 * The tag of the RunPod API.
 *
 * @since 0.1.0
 * @category tags
 */
export class RunPod extends Context.Tag("effect-runpod/RunPod")<RunPod, Service>() {}

/** The most RunPod takes in a body, in bytes. Source: RunPod's endpoint operation reference. */
const largestBody = { run: 10 * 1024 * 1024, runSync: 20_000_000 }

const encoder = new TextEncoder()

// --- checks before anything is sent -------------------------------------------------------------------------------

const invalid = (operation: Operation, detail: string) => {
  const { method, path } = operations[operation]
  return new BadRequestError({ operation, method, path: `/{endpointId}/${path}`, detail })
}

const checkIds = (operation: Operation, endpointId: string, jobId?: string): BadRequestError | undefined => {
  const endpointProblem = EndpointId.problemOf(endpointId)
  if (endpointProblem !== undefined) return invalid(operation, `the endpoint id is not valid: ${endpointProblem}`)
  if (!operations[operation].job) return undefined
  const jobProblem = JobId.problemOf(jobId)
  return jobProblem === undefined ? undefined : invalid(operation, `the job id is not valid: ${jobProblem}`)
}

const readWait = (operation: Operation, options: WaitOptions | undefined) =>
  options?.wait === undefined
    ? Either.right(undefined)
    : Either.mapLeft(RunRequest.waitMillis(options.wait), (problem) => invalid(operation, problem))

const readBody = (operation: "run" | "runSync", endpointId: string, request: RunRequest.RunRequest) =>
  RunRequest.toText(request).pipe(
    Either.mapLeft((problem): BadRequestError | PayloadTooLargeError => invalid(operation, problem)),
    Either.flatMap((text) => {
      const body = encoder.encode(text)
      const limit = largestBody[operation]
      const { method } = operations[operation]
      return body.byteLength <= limit
        ? Either.right(body)
        : Either.left(
            new PayloadTooLargeError({
              operation,
              method,
              path: pathOf(operation, endpointId),
              endpointId,
              size: body.byteLength,
              limit
            })
          )
    })
  )

// --- streams ------------------------------------------------------------------------------------------------------

/** How long to wait before the next read: RunPod holds an empty stream itself, other servers may answer at once. */
const pauseAfter = (took: number, hadChunks: boolean, pause: number): number => {
  if (hadChunks) return Math.max(0, Math.round(100 - took))
  return took >= 1000 ? 0 : Math.min(2000, Math.max(250, pause * 2))
}

// --- the service --------------------------------------------------------------------------------------------------

type Choices = Pick<RunPodHttpClient.Request, "wait" | "once" | "grace" | "onGap">

const fromClient = (
  client: RunPodHttpClient.RunPodHttpClient,
  memory?: Pick<Keeper, "forecasts" | "queueHealth">
): Service => {
  /** An operation on an endpoint, or on one of its jobs. */
  const call = <A>(
    operation: Operation,
    endpointId: string,
    jobId: string | undefined,
    read: Reader<A>,
    choices?: Choices
  ): Effect.Effect<A, RunPodError> =>
    Effect.suspend(() => {
      const problem = checkIds(operation, endpointId, jobId)
      return problem === undefined
        ? client.execute({ operation, endpointId, jobId, read, ...choices })
        : Effect.fail(problem)
    })

  const job = (operation: Operation, endpointId: string, jobId: string, choices?: Choices) =>
    call(operation, endpointId, jobId, (body) => Job.fromReply(body, jobId), choices)

  const submit = <A extends Job.SyncJob>(
    operation: "run" | "runSync",
    endpointId: string,
    request: RunRequest.RunRequest,
    options: RunSyncOptions | undefined,
    read: Reader<A>,
    hooks: Pick<RunPodHttpClient.Call<A>, "onOrphan" | "onPermit" | "onRefused"> = {}
  ): Effect.Effect<A, RunPodError> =>
    Effect.suspend(() => {
      const problem = checkIds(operation, endpointId)
      if (problem !== undefined) return Effect.fail(problem)
      return Either.all([readBody(operation, endpointId, request), readWait(operation, options)]).pipe(
        Effect.flatMap(([body, wait]) =>
          client.execute({
            operation,
            endpointId,
            body,
            wait,
            secrets: RunRequest.secretsOf(request),
            resubmit: options?.resubmit,
            ...hooks,
            read
          })
        )
      )
    })

  const statusSync: Service["statusSync"] = (endpointId, jobId, options) =>
    Effect.flatMap(readWait("statusSync", options), (wait) => job("statusSync", endpointId, jobId, { wait }))

  const status: Service["status"] = (endpointId, jobId) => job("status", endpointId, jobId)

  const stream: Service["stream"] = (endpointId, jobId, options) => {
    const onGap = options?.onGap ?? ((error) => warnOfGap(endpointId, jobId, error))
    const read = Effect.flatMap(readWait("stream", options), (wait) =>
      call("stream", endpointId, jobId, StreamChunk.fromReply, { wait, onGap })
    )
    // A bare array says nothing of the job: ask for it once no more chunks come.
    const hasEnded = (reply: StreamChunk.StreamReply): Effect.Effect<boolean, RunPodError> =>
      reply.status === undefined && reply.chunks.length === 0
        ? Effect.map(status(endpointId, jobId), Job.isTerminal)
        : Effect.succeed(reply.status !== undefined && isTerminal(reply.status))
    return Stream.paginateChunkEffect(0, (pause) =>
      Effect.gen(function* () {
        if (pause > 0) yield* Effect.sleep(pause)
        const [took, reply] = yield* Effect.timed(read)
        if (!(yield* hasEnded(reply))) {
          const next = pauseAfter(Duration.toMillis(took), reply.chunks.length > 0, pause)
          return [Chunk.fromIterable(reply.chunks), Option.some(next)]
        }
        const rest = reply.status === undefined ? (yield* read).chunks : []
        return [Chunk.fromIterable([...reply.chunks, ...rest]), Option.none()]
      })
    )
  }

  const { forecasts, queueHealth } = memory ?? {
    forecasts: new Forecasts(),
    queueHealth: QueueHealth.make(
      (endpointId) => call("health", endpointId, undefined, Health.fromReply, { once: true }),
      client.background.fork
    )
  }

  const knowing = (secrets: ReadonlyArray<string>): Service => {
    const execute: typeof client.execute = (call) =>
      client.execute({ ...call, secrets: [...secrets, ...(call.secrets ?? [])] })
    return fromClient({ ...client, execute }, { forecasts, queueHealth })
  }

  return {
    run: (endpointId, request, options) => submit("run", endpointId, request, options, Job.fromSubmitReply),
    runSync: (endpointId, request, options) => submit("runSync", endpointId, request, options, Job.fromSyncReply),
    status,
    statusSync,
    stream,
    cancel: (endpointId, jobId) => job("cancel", endpointId, jobId),
    retry: (endpointId, jobId) => job("retry", endpointId, jobId),
    purgeQueue: (endpointId) => call("purgeQueue", endpointId, undefined, PurgeResult.fromReply),
    health: (endpointId) => call("health", endpointId, undefined, Health.fromReply),
    requests: (endpointId) =>
      Effect.map(call("requests", endpointId, undefined, RequestList.fromReply), (list) => list.requests),
    [KeeperKey]: {
      submit: (endpointId, { hold, onAccepted, request, resubmit, ...hooks }) => {
        const noting =
          <A extends Job.SyncJob>(read: Reader<A>): Reader<A> =>
          (body) =>
            Either.map(read(body), (job) => {
              onAccepted(job)
              return job
            })
        return hold === undefined
          ? submit("run", endpointId, request, defined({ resubmit }), noting(Job.fromSubmitReply), hooks)
          : submit(
              "runSync",
              endpointId,
              request,
              { ...defined({ resubmit }), wait: hold },
              noting(Job.fromSyncReply),
              hooks
            )
      },
      poll: (endpointId, jobId, { deadline, hold }) =>
        within(
          job(hold === undefined ? "status" : "statusSync", endpointId, jobId, { wait: hold, once: true }),
          deadline
        ),
      hasRoomToHold: (endpointId) => client.hasRoom(endpointId, "statusSync"),
      cancel: (endpointId, jobId, grace) => job("cancel", endpointId, jobId, { grace }),
      fork: client.background.fork,
      whileOpen: client.background.whileOpen,
      scrub: client.scrub,
      knowing,
      forecasts,
      queueHealth,
      pipeline: client
    }
  }
}

/**
 * The service over a transport. Background work (a submit whose owner was interrupted, a cancel) belongs to the scope,
 * which waits for it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Service, never, HttpClient.HttpClient | Scope.Scope> =>
  Effect.map(RunPodHttpClient.make(options), fromClient)

/**
 * The service as a layer, over any `HttpClient`. In Node, `NodeRunPod.layer` brings a tuned one.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<RunPod, never, HttpClient.HttpClient> =>
  Layer.scoped(RunPod, make(options))

/**
 * The same with options from `Config`: each a value or a `Config`. What is not given comes from `RUNPOD_API_KEY` and
 * `RUNPOD_BASE_URL`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options?: ConfigOptions
): Layer.Layer<RunPod, ConfigError.ConfigError, HttpClient.HttpClient> =>
  Layer.scoped(RunPod, Effect.flatMap(fromConfig(options), make))

/**
 * Gives the operations inside `effect` a deadline in all, limits and retries included. An attempt that it cuts short fails
 * with `RequestTimeoutError` (a submit: `SubmitAmbiguousError`); when RunPod asks for a longer wait than is left, the
 * operation fails at once with `RateLimitedError` and that time.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withDeadline: {
  (duration: Duration.DurationInput): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, duration: Duration.DurationInput): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, duration: Duration.DurationInput) =>
  Effect.clockWith((clock) => within(effect, monotonicMillis(clock) + Duration.toMillis(duration)))
)
