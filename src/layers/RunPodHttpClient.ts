/**
 * The HTTP client of RunPod's APIs: how an operation becomes requests, and answers become values or tagged errors.
 * `RunPod` and `BatchApi` are layers over it; another API is another base URL and table of operations.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { fromResponse, type RunPodError } from "../errors/RunPodError.js"
import * as Background from "../internal/http/background.js"
import { Execution, type Lane, Where } from "../internal/http/execution.js"
import { meaningOf } from "../internal/http/meaning.js"
import { withPermit } from "../internal/http/permit.js"
import type { Reply } from "../internal/http/reply.js"
import { observe, withCaller } from "../internal/http/requestOptions.js"
import * as Recorded from "../internal/http/recorded.js"
import * as Retry from "../internal/http/retry.js"
import { sendWithClient, watched } from "../internal/http/sendWithClient.js"
import { sendWithDispatcher } from "../internal/http/sendWithDispatcher.js"
import * as Server from "../internal/http/server.js"
import { useRequestSpan } from "../internal/http/span.js"
import { Limiters } from "../internal/pace/limiter.js"
import * as Timer from "../internal/pace/timer.js"
import { ofOperation } from "../internal/telemetry/instruments.js"
import { makeScrub } from "../internal/text/scrub.js"
import type { Definition } from "../schemas/Operation.js"
import { Dispatcher } from "./Dispatcher.js"
import { FlightRecorder } from "./FlightRecorder.js"
import * as RateLimits from "./RateLimits.js"
import { type Options as RunPodOptions, withDefaults } from "./RunPodConfig.js"

/**
 * One operation of an API: a row of its table. `Operation.rows` is that of RunPod's serverless API.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operation extends Pick<Definition, "repeat" | "hold"> {
  /** Names it in errors, spans, metrics and limits. */
  readonly name: string
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE"
  /** Below the base URL, with the names of parameters in braces: `/{endpointId}/status/{jobId}`. */
  readonly path: string
  /** Default: that of the layer's limits for this name, or none. It counts per `endpointId`. */
  readonly limit?: RateLimits.Limit | undefined
  /** Operations with the same one share one limit, whatever their endpoint. */
  readonly limiter?: string | undefined
}

/**
 * A request, and what is made of its answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request<out A> {
  readonly operation: Operation
  /** What stands in the path in place of the names in braces, percent-encoded here. */
  readonly params: Readonly<Record<string, string | undefined>>
  /** What stands behind the path, without the question mark. */
  readonly query?: string | undefined
  /** How long the server may hold the answer, in milliseconds: `wait` in the query. */
  readonly hold?: number | undefined
  /** JSON, as UTF-8. */
  readonly body?: Uint8Array | undefined
  /** What the body holds that must not be printed. */
  readonly secrets?: ReadonlyArray<string> | undefined
  /** Submits only: send it again although it may have started something. Default: false. */
  readonly resubmit?: boolean | undefined
  /** Whether an error that could be gone at the next attempt is worth one. Default: always. */
  readonly retryWhile?: ((error: RunPodError) => boolean) | undefined
  /** Runs before the request is sent again after an answer that was lost. */
  readonly onGap?: ((error: RunPodError) => Effect.Effect<void>) | undefined
  /** Reads the parsed JSON of a 2xx answer; `Left` says what was found instead. */
  readonly read: (body: unknown) => Either.Either<A, string>
  /** Whether an answer 204 is read, as `undefined`. Default: false. */
  readonly mayBeEmpty?: boolean | undefined
  /** The job that an answer names, for errors and the span. Default: none is looked for. */
  readonly idOf?: ((answer: unknown) => string | undefined) | undefined
}

/**
 * Is asked and told about the attempts of a request, in its fiber.
 *
 * @since 0.1.0
 * @category models
 */
export interface AttemptObserver {
  /** It waits for its first or next attempt: until `onSend`, interrupting it aborts nothing that was sent. `false` withdraws it. */
  readonly onQueued: () => boolean
  /** Runs, uninterruptibly, when it is about to be handed to the transport; `false` withdraws it and interrupts its fiber. */
  readonly onSend: Effect.Effect<boolean>
  /** Runs, uninterruptibly, when the attempt failed with an error that proves that it had no effect. */
  readonly onRefused: (error: RunPodError) => Effect.Effect<void>
}

/**
 * The client of one layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly execute: <A>(request: Request<A>) => Effect.Effect<A, RunPodError>
  /** Whether a request of the operation would be sent at once. */
  readonly hasRoom: (operation: Operation, endpointId: string) => Effect.Effect<boolean>
  readonly limits: RateLimits.RateLimits
  /** Strikes the API key out of a text. */
  readonly scrub: (text: string) => string
  /** Starts work that outlives its caller, such as a cancel; closing the layer waits for it. It must end by itself. */
  readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Fiber.RuntimeFiber<A, E>>
  /** Runs what cleans up when it is interrupted; closing the layer interrupts it first, while it can still send. */
  readonly supervise: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/**
 * The tag of the client.
 *
 * @since 0.1.0
 * @category tags
 */
export class RunPodHttpClient extends Context.Tag("effect-runpod/RunPodHttpClient")<RunPodHttpClient, Service>() {}

/**
 * The options of a client: those of a `RunPod` layer, and what another API has of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends RunPodOptions {
  /** The error that an answer stands for whose status is no success. Default: `RunPodError.fromResponse`. */
  readonly errorOf?: typeof fromResponse | undefined
}

/**
 * The client over the `Dispatcher` where there is one, else the `HttpClient`: from the inside out send, attempt deadline, rate
 * limiter, meaning of the answer, retry. Timer and background work belong to the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Service, never, HttpClient.HttpClient | Scope.Scope> =>
  Effect.gen(function* () {
    const { baseUrl, limits, parseJson, requestTimeout, retry: policy, transformClient } = withDefaults(options)
    const transport = yield* HttpClient.HttpClient
    const lean = Option.getOrUndefined(yield* Effect.serviceOption(Dispatcher))
    const dispatcher = transformClient === undefined ? lean : undefined
    // Closed after the background work, whose attempts have their deadlines from it.
    const timer = yield* Timer.make
    const background = yield* Background.make
    const recorder = Option.getOrUndefined(yield* Effect.serviceOption(FlightRecorder))
    const recorded = recorder === undefined ? undefined : Recorded.make(recorder, timer)
    const server = Server.make(options.apiKey, baseUrl)
    const limiters = new Limiters(limits.overall)
    const retry = Retry.make(policy)
    const reading = {
      parseJson,
      holdsKey: server.holdsKey,
      errorOf: options.errorOf ?? fromResponse,
      onSuccess: retry.onSuccess
    }
    const scrubKey = makeScrub([server.apiKey])
    const wired = watched(transport, { isRead: transformClient !== undefined })
    const client = transformClient === undefined ? wired : transformClient(wired)

    const lanes = new Map<string, Lane>()
    const laneOf = ({ limit, limiter, name }: Operation, endpointId: string | undefined) => {
      const key = `${name} ${endpointId}`
      let lane = lanes.get(key)
      if (lane === undefined) {
        lane = {
          limiter: limiters.get(limiter ?? key, () => limit ?? RateLimits.limitOf(limits, name)),
          meters: ofOperation(name, endpointId),
          requestTimeout
        }
        lanes.set(key, lane)
      }
      return lane
    }

    const transmit = (execution: Execution<unknown>): Effect.Effect<Reply, RunPodError> => {
      const { request, where } = execution
      return dispatcher === undefined
        ? sendWithClient(server.requestOf(request, where.path), execution, client, timer)
        : sendWithDispatcher(dispatcher, server.dispatchOf(request, where.path), execution, timer)
    }
    const send = recorded === undefined ? transmit : recorded.sent(transmit)

    const attemptOf = <A>(execution: Execution<A>): Effect.Effect<A, RunPodError> =>
      withPermit(execution, timer, () =>
        observe(() => {
          execution.onSend()
          return Effect.flatMap(send(execution), (reply) => meaningOf(execution, reply, reading))
        }, execution.options.observer)
      )

    const execute = <A>(request: Request<A>): Effect.Effect<A, RunPodError> =>
      withCaller((caller) => {
        const { operation, params } = request
        const where = new Where(request)
        const problem = server.problemAt(where, request)
        if (problem !== undefined) return Effect.fail(problem)
        const { options } = caller
        if (options.observer?.onQueued() === false) return Effect.interrupt
        const secrets = [...options.secrets, ...(request.secrets ?? [])]
        const scrub = secrets.length === 0 ? scrubKey : makeScrub([server.apiKey, ...secrets])
        return useRequestSpan(where, { address: server.address, caller }, (span) => {
          const execution = new Execution(request, where, caller, laneOf(operation, params["endpointId"]))
          execution.span = span
          execution.scrub = scrub
          const attempt = attemptOf(execution)
          return retry.run(execution, recorded === undefined ? attempt : recorded.queued(execution, attempt))
        })
      })

    return {
      execute,
      hasRoom: (operation, endpointId) => laneOf(operation, endpointId).limiter.hasRoom,
      limits,
      scrub: scrubKey,
      ...background
    }
  })

/**
 * `make` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<RunPodHttpClient, never, HttpClient.HttpClient> =>
  Layer.scoped(RunPodHttpClient, make(options))
