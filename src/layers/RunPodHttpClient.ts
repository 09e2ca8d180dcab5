/**
 * The HTTP client of RunPod's APIs: how an operation becomes requests, and answers become values or tagged errors.
 * `RunPod` and `BatchApi` are layers over it; another API is another base URL and table of operations.
 *
 * @since 0.1.0
 */
import type * as Cookies from "@effect/platform/Cookies"
import type * as Headers from "@effect/platform/Headers"
import type * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import {
  type Context as ErrorContext,
  type ErrorResponse,
  fromResponse,
  type RunPodError
} from "../errors/RunPodError.js"
import * as Background from "../internal/http/background.js"
import * as EndpointClient from "../internal/http/endpointClient.js"
import { Execution, type Lane, type Sent, Where } from "../internal/http/execution.js"
import { meaningOf, meaningOfOpened } from "../internal/http/meaning.js"
import { isReadOnce, openWithClient } from "../internal/http/openWithClient.js"
import { leave, withPermit } from "../internal/http/permit.js"
import type { Reply } from "../internal/http/reply.js"
import { observe, once, withCaller } from "../internal/http/requestOptions.js"
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
import { Permits } from "./Permits.js"
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
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS"
  /** Below the base URL, with the names of parameters in braces: `/{endpointId}/status/{jobId}`. */
  readonly path: string
  /** Default: that of the layer's limits for this name, or none. It counts per `endpointId`. */
  readonly limit?: RateLimits.Limit | undefined
  /** Operations with the same one share one limit, whatever their endpoint. */
  readonly limiter?: string | undefined
}

/**
 * What every request says of itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestBase {
  readonly operation: Operation
  /** What stands in the path in place of the names in braces, percent-encoded here. */
  readonly params: Readonly<Record<string, string | undefined>>
  /** What the body holds that must not be printed. */
  readonly secrets?: ReadonlyArray<string> | undefined
  /** Submits only: send it again although it may have started something. Default: false. */
  readonly resubmit?: boolean | undefined
  /** Whether an error that could be gone at the next attempt is worth one. Default: always. */
  readonly retryWhile?: ((error: RunPodError) => boolean) | undefined
  /** Runs before the request is sent again after an answer that was lost. */
  readonly onGap?: ((error: RunPodError) => Effect.Effect<void>) | undefined
}

/**
 * A request, and what is made of its answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request<out A> extends RequestBase {
  /** What stands behind the path, without the question mark. */
  readonly query?: string | undefined
  /** How long the server may hold the answer, in milliseconds: `wait` in the query. */
  readonly hold?: number | undefined
  /** JSON, as UTF-8. */
  readonly body?: Uint8Array | undefined
  /** Reads the parsed JSON of a 2xx answer; `Left` says what was found instead. */
  readonly read: (body: unknown) => Either.Either<A, string>
  /** Whether an answer 204 is read, as `undefined`. Default: false. */
  readonly mayBeEmpty?: boolean | undefined
  /** The job that an answer names, for errors and the span. Default: none is looked for. */
  readonly idOf?: ((answer: unknown) => string | undefined) | undefined
}

/**
 * A request whose answer is passed on as it comes, whatever it is: an endpoint's own routes rather than operations of an API.
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenRequest extends RequestBase {
  /** Where it goes, with its query. It gets the layer's API key, so it must be RunPod's, or one that the program named. */
  readonly url: string
  /** By names in lower case. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** A stream is sent once, since it may be one that can be read once. */
  readonly body?: HttpBody.HttpBody | undefined
  /** How long an attempt may take until the answer's headers, in milliseconds. */
  readonly headersTimeout: number
  /** How long the body of the answer may stand still, in milliseconds. */
  readonly idleTimeout: number
  /**
   * The error that an answer stands for whose status is no success, from the first 64 KiB of its body; `undefined` for one that is
   * passed on.
   */
  readonly errorOf: (where: ErrorContext, response: ErrorResponse) => RunPodError | undefined
  /**
   * For how many milliseconds an answer whose status is no success is read before `errorOf` is asked; one that has not ended by then is
   * passed on, and with 0 unread. Default: until it ends, and no longer than `idleTimeout` between bytes.
   */
  readonly errorWait?: ((answer: Pick<OpenResponse, "status" | "headers">) => number) | undefined
}

/**
 * An answer as it comes.
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenResponse<out E = RunPodError> {
  readonly status: number
  readonly headers: Headers.Headers
  readonly cookies: Cookies.Cookies
  /**
   * The body, which is read once. It keeps a place in flight until it ends or its reader leaves, which closes the connection. Up to 256 KiB
   * are taken off the connection ahead of the reader; one who reads nothing more for 5 minutes finds it closed.
   */
  readonly stream: Stream.Stream<Uint8Array, E>
}

/**
 * How an `HttpClient` for the routes of one endpoint sends.
 *
 * @since 0.1.0
 * @category models
 */
export interface HttpClientOptions<E extends Error = never> {
  /** Names its requests in errors, spans, metrics and limits. */
  readonly name: string
  readonly endpointId: string
  /** Requests go below it: with a path alone, or with a URL that begins with it. Others fail with `BadRequestError`. */
  readonly baseUrl: string
  /** Changes the URL of a request first. Default: none is changed. */
  readonly rewrite?: ((url: string) => string) | undefined
  /** What a second request does. GET, HEAD and OPTIONS can be repeated whatever it is. */
  readonly repeat: Operation["repeat"]
  /** Default: that of the layer's limits for `name`, or none. */
  readonly limit?: RateLimits.Limit | undefined
  /** How long an attempt may take until the answer's headers; numbers are milliseconds. */
  readonly headersTimeout: Duration.DurationInput
  /** How long the body of an answer may stand still; numbers are milliseconds. */
  readonly idleTimeout: Duration.DurationInput
  /** The most that a body may have, in bytes; larger ones fail with `PayloadTooLargeError` before they are sent. Default: any size. */
  readonly largestBody?: number | undefined
  /** As in `OpenRequest`. */
  readonly errorOf: OpenRequest["errorOf"]
  /** As in `OpenRequest`. */
  readonly errorWait?: OpenRequest["errorWait"]
  /** What is made of an answer that is passed on. */
  readonly read: (
    answer: OpenResponse,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<OpenResponse<RunPodError | E>, RunPodError | E>
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
  /**
   * Whether what `onSend` has said is too old to be acted on, as in a process that was stopped: asked when the attempt leaves, which fails as one that was
   * not sent if it is. Default: it never is.
   */
  readonly isStale?: (() => boolean) | undefined
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
  /** Sends a request through the same steps, and gives its answer when the headers are there. It is in no recording. */
  readonly open: (request: OpenRequest) => Effect.Effect<OpenResponse, RunPodError>
  /** Of the API, without a slash at its end: `https://api.runpod.ai/v2`. */
  readonly baseUrl: string
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
    const permits = Option.getOrUndefined(yield* Effect.serviceOption(Permits))
    const account = { apiKey: Redacted.make(server.apiKey), baseUrl: server.address.base }
    const limiters = new Limiters(
      limits.overall,
      permits && ((name, limit, isHeld) => permits.pool({ ...account, name, limit, isHeld }))
    )
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
    const laneOf = ({ hold, limit, limiter, name }: Operation, endpointId: string | undefined) => {
      const key = `${name} ${endpointId}`
      let lane = lanes.get(key)
      if (lane === undefined) {
        lane = {
          limiter: limiters.get(limiter ?? key, hold !== undefined, () => limit ?? RateLimits.limitOf(limits, name)),
          meters: ofOperation(name, endpointId),
          requestTimeout
        }
        lanes.set(key, lane)
      }
      return lane
    }

    const transmit = (execution: Execution<Request<unknown>>): Effect.Effect<Reply, RunPodError> => {
      const { request, where } = execution
      return dispatcher === undefined
        ? sendWithClient(server.requestOf(request, where.path), execution, client, timer)
        : sendWithDispatcher(dispatcher, server.dispatchOf(request, where.path), execution, timer)
    }
    const send = recorded === undefined ? transmit : recorded.sent(transmit)

    /** One attempt with its permit, told to its observer. */
    const attemptOf = <A>(execution: Execution, send: () => Effect.Effect<A, RunPodError>) =>
      withPermit(execution, timer, () =>
        observe(
          () =>
            leave(execution, timer, () => {
              execution.onSend()
              return send()
            }),
          execution.options.observer
        )
      )

    /** Checks a request, and runs its attempts in one span. */
    const run = <A, Q extends Sent>(
      request: Q,
      attempt: (execution: Execution<Q>) => Effect.Effect<A, RunPodError>
    ): Effect.Effect<A, RunPodError> =>
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
          return retry.run(execution, attempt(execution))
        })
      })

    const execute = <A>(request: Request<A>): Effect.Effect<A, RunPodError> =>
      run(request, (execution) => {
        const attempt = attemptOf(execution, () =>
          Effect.flatMap(send(execution), (reply) => meaningOf(execution, reply, reading))
        )
        return recorded === undefined ? attempt : recorded.queued(execution, attempt)
      })

    const open = (request: OpenRequest): Effect.Effect<OpenResponse, RunPodError> =>
      Effect.suspend(() => {
        let running: Execution | undefined
        const opened = run(request, (execution) => {
          running = execution
          return attemptOf(execution, () =>
            Effect.flatMap(openWithClient(server.openRequestOf(request), execution, client, timer), (opened) =>
              meaningOfOpened(execution, opened, reading)
            )
          )
        })
        // Its answer can be there already, and comes to nobody then.
        return Effect.onInterrupt(isReadOnce(request.body) ? once(opened) : opened, () =>
          Effect.sync(() => running?.current?.giveUp())
        )
      })

    return {
      execute,
      open,
      baseUrl: server.address.base,
      hasRoom: (operation, endpointId) => laneOf(operation, endpointId).limiter.hasRoom,
      limits,
      scrub: scrubKey,
      ...background
    }
  })

/**
 * An `HttpClient` for routes of an endpoint that are no operations of an API, over the steps of the layer's client: key, limits, deadlines,
 * retries by what a method does, and tagged errors. The key goes nowhere but below the base URL, and errors show no header that could hold one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const httpClient: <E extends Error = never>(
  client: Service,
  options: HttpClientOptions<E>
) => HttpClient.HttpClient.With<RunPodError | E> = EndpointClient.make

/**
 * A client with the errors of any `HttpClient`, for code that is written for one: `ResponseError` for an error with an HTTP status,
 * else `RequestError`; its `cause` is the original, and its message says the same.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withHttpErrors: <E extends Error>(client: HttpClient.HttpClient.With<E>) => HttpClient.HttpClient =
  EndpointClient.plain

/**
 * `make` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<RunPodHttpClient, never, HttpClient.HttpClient> =>
  Layer.scoped(RunPodHttpClient, make(options))
