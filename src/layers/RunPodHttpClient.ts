/**
 * The request pipeline: how one operation becomes requests, and answers become values or errors.
 *
 * From the inside out: `send` (the transport through `transformClient`, headers, and the whole body) → attempt deadline →
 * rate limiter → status and text to a tagged error → retry → the operation.
 *
 * @since 0.1.0
 */
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import {
  AuthenticationError,
  BadRequestError,
  type Context,
  DecodeError,
  fromResponse,
  isRetryable,
  provesNoEffect,
  RateLimitedError,
  RequestTimeoutError,
  type RunPodError,
  ServerError,
  SubmitAmbiguousError
} from "../errors/RunPodError.js"
import * as Background from "../internal/http/background.js"
import { currentDeadline } from "../internal/http/deadline.js"
import { excerpt } from "../internal/text/excerpt.js"
import { type Exchange, largestAnswer, type Reply, startOnClient, startOnWire } from "../internal/http/exchange.js"
import { isJsonObject, type Mutable } from "../internal/text/json.js"
import { maxTimerMillis, monotonicMillis } from "../internal/pace/monotonic.js"
import type { Reader } from "../internal/text/reply.js"
import { makeScrub, type Scrub } from "../internal/text/scrub.js"
import * as Timer from "../internal/pace/timer.js"
import { wireOf, type WireRequest } from "../internal/http/dispatcher.js"
import type { Restore } from "../internal/pace/mask.js"
import { useSpanInMask } from "../internal/http/span.js"
import * as ErrorBody from "../schemas/ErrorBody.js"
import * as Job from "../schemas/Job.js"
import { batchPathOf, isOfBatch, type Operation, operations, pathOf } from "../schemas/Operation.js"
import type { RateLimits } from "./RateLimits.js"
import * as RequestLimiter from "../internal/pace/limiter.js"
import { type RetryPolicy, retryAfter } from "./RetryPolicy.js"
import { defaults, type Options } from "./RunPodConfig.js"
import * as Metrics from "./RunPodMetrics.js"

/**
 * One operation as the service asks for it. Its ids and numbers have been checked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly operation: Operation
  readonly endpointId: string
  readonly jobId?: string | undefined
  /** The ids in the path of an operation of the batch API. */
  readonly batchId?: string | undefined
  readonly requestId?: string | undefined
  /** What stands behind the path, without the question mark. */
  readonly query?: string | undefined
  /** How long RunPod may hold the request, in milliseconds. */
  readonly wait?: number | undefined
  /** The JSON of the body, as UTF-8. */
  readonly body?: Uint8Array | undefined
  /** What the body holds that must not be printed. */
  readonly secrets?: ReadonlyArray<string> | undefined
  /** Submits only: send it again although it may have started a job. */
  readonly resubmit?: boolean | undefined
  /** Runs before the operation is sent again after an answer that was lost. */
  readonly onGap?: ((error: RunPodError) => Effect.Effect<void>) | undefined
  /** One attempt only: the caller has a way of its own to go on. */
  readonly once?: boolean | undefined
  /** How long the operation may take in all, in milliseconds, counted from its first permit. Waiting for another does not count. */
  readonly grace?: number | undefined
  /** Runs before each attempt is handed to the transport, when it has its permit: false withdraws it, and interrupts. */
  readonly onPermit?: Effect.Effect<boolean> | undefined
  /** Gets the error of each attempt that proves that it had no effect, once it had its permit. */
  readonly onRefused?: ((error: RunPodError) => Effect.Effect<void>) | undefined
}

/**
 * A request and what is made of its answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call<A> extends Request {
  /**
   * Once handed to the transport the attempt is not aborted: it goes on in the background when the caller is interrupted,
   * and this gets its end. The interruption waits for both.
   */
  readonly onOrphan?: ((end: Exit.Exit<A, RunPodError>) => Effect.Effect<void>) | undefined
  /** Reads the parsed JSON of a 2xx answer. */
  readonly read: Reader<A>
}

/**
 * The pipeline of one layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunPodHttpClient {
  readonly execute: <A>(call: Call<A>) => Effect.Effect<A, RunPodError>
  /** Whether a request of this kind would be sent at once. */
  readonly hasRoom: (endpointId: string, operation: Operation) => Effect.Effect<boolean>
  readonly background: Background.Background
  readonly limits: RateLimits
  /** Strikes out the API key. */
  readonly scrub: Scrub
}

/** What a held request gets on top of its hold. */
const holdGrace = 10_000
/** How long RunPod holds when it is not told. */
const defaultHold: { readonly [K in Operation]?: number | undefined } = {
  runSync: 90_000,
  statusSync: 90_000,
  stream: 10_000
}
const userAgent = "effect-runpod/0.1.0"

// --- status and text to a tagged error ----------------------------------------------------------------------------

// `Date.parse` finds a date in nearly everything, such as "-5"; only what looks like an HTTP date is one.
const httpDate = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*\d\d:\d\d:\d\d/

const retryAfterOf = (header: string | undefined, now: number): Duration.Duration | undefined => {
  const text = header?.trim() ?? ""
  const isSeconds = /^\d+(\.\d+)?$/.test(text)
  if (!isSeconds && !httpDate.test(text)) return undefined
  const millis = isSeconds ? Number(text) * 1000 : Date.parse(text) - now
  return Number.isNaN(millis) ? undefined : Duration.millis(Math.min(Math.max(0, millis), maxTimerMillis))
}

const interpret = <A>(
  call: Call<A>,
  where: Context,
  reply: Reply,
  asked: Duration.Duration | undefined,
  parseJson: (text: string) => unknown,
  scrub: Scrub
): Either.Either<A, RunPodError> => {
  const { status } = reply
  if (status < 200 || status >= 300) {
    return Either.left(fromResponse(where, { status, text: scrub(reply.text), retryAfter: asked }))
  }
  const body = () => excerpt(scrub(reply.text))
  if (!reply.isWhole) {
    return Either.left(
      new ServerError({ ...where, status, detail: `the answer is larger than ${largestAnswer} bytes` })
    )
  }
  let json: unknown
  let read: Either.Either<A, string>
  try {
    json = status === 204 && isOfBatch(call.operation) ? undefined : parseJson(reply.text)
    read = call.read(json)
  } catch {
    const detail = reply.text.trim() === "" ? "the answer is empty" : undefined
    return Either.left(new ServerError({ ...where, status, detail, body: body() }))
  }
  if (Either.isRight(read)) return Either.right(read.right)
  const jobId = where.jobId ?? (isOfBatch(call.operation) ? undefined : Job.idOf(json))
  const at = { ...where, status, body: body(), jobId: jobId === undefined ? undefined : scrub(jobId) }
  const isRefusal =
    isJsonObject(json) && json["error"] !== undefined && json["error"] !== null && typeof json["status"] !== "string"
  if (isRefusal && jobId === where.jobId) {
    const { detail } = ErrorBody.fromText(scrub(reply.text))
    return Either.left(new BadRequestError({ ...at, detail: detail === undefined ? undefined : excerpt(detail, 512) }))
  }
  return Either.left(new DecodeError({ ...at, issue: scrub(read.left) }))
}

// --- retry --------------------------------------------------------------------------------------------------------

/** The tokens that all retries of a layer share, so that an outage does not multiply its traffic. */
interface Budget {
  readonly size: number
  tokens: number
}

const costOf = (error: RunPodError): number =>
  error._tag === "RequestTimeoutError" || error._tag === "TransportError" ? 10 : 5

/** Whether the operation may be sent again after this error. RunPod has no idempotency key: a second submit is a second job. */
const mayRepeat = (call: Request, error: RunPodError, policy: RetryPolicy): boolean => {
  if (error._tag === "EndpointPausedError") return policy.whilePaused !== undefined
  if (!isRetryable(error)) return false
  switch (operations[call.operation].repeat) {
    case "Repeatable":
    case "Draining":
      return true
    case "Submit":
      return provesNoEffect(error) || call.resubmit === true
    case "Once":
      return provesNoEffect(error)
  }
}

/** What the caller of a submit is told: any doubt about whether a job was started, also from an earlier attempt. */
const admitDoubt = (call: Request, error: RunPodError, doubt: RunPodError | undefined): RunPodError => {
  if (operations[call.operation].repeat !== "Submit") return error
  const cause = provesNoEffect(error) ? doubt : error
  switch (cause?._tag) {
    case "TransportError":
    case "RequestTimeoutError":
    case "ServerError":
    case "DecodeError": {
      const { attempt, batchId, endpointId, jobId, method, operation, path } = cause
      return new SubmitAmbiguousError({ operation, method, path, endpointId, jobId, batchId, attempt, cause })
    }
    default:
      return error
  }
}

/** How far an operation has come. Plain state of one execution, touched only by its fiber. */
interface Progress {
  /** The number of the current attempt. */
  attempt: number
  /** When its caller gives up on it, on the monotonic clock. */
  readonly limit: number
  /** When it is given up: by its caller, or at the end of its grace. */
  deadline: number
}

/** Goes on until the operation's own deadline. */
const untilDeadline = Schedule.identity<RunPodError>().pipe(
  Schedule.modifyDelay((error) => Duration.max("1 second", retryAfter(error) ?? Duration.zero))
)

/** Runs inside a mask: only the delays and what the caller gave are interruptible. */
const withRetry = <A>(
  call: Call<A>,
  policy: RetryPolicy,
  budget: Budget,
  progress: Progress,
  restore: Restore,
  once: () => Effect.Effect<A, RunPodError>
): Effect.Effect<A, RunPodError> => {
  const repay = (tokens: number) => {
    budget.tokens = Math.min(budget.size, budget.tokens + tokens)
  }

  const retrying = (first: RunPodError): Effect.Effect<A, RunPodError> => {
    let spent = 0
    let doubt: RunPodError | undefined
    const schedule = call.grace === undefined ? policy.schedule : Schedule.andThen(policy.schedule, untilDeadline)
    return Effect.zip(Schedule.driver(schedule), Schedule.driver(policy.whilePaused ?? Schedule.stop)).pipe(
      Effect.flatMap(([ordinary, paused]) => {
        const next = (error: RunPodError): Effect.Effect<A, RunPodError> =>
          Effect.clockWith((clock) => {
            if (!provesNoEffect(error)) doubt = error
            const failed = Effect.fail(admitDoubt(call, error, doubt))
            const cost = costOf(error)
            const left = progress.deadline - monotonicMillis(clock)
            const asked = retryAfter(error)
            if (!mayRepeat(call, error, policy) || budget.tokens < cost || left <= 0) return failed
            if (asked !== undefined && Duration.toMillis(asked) >= left) return failed
            budget.tokens -= cost
            spent += cost
            const delay = (error._tag === "EndpointPausedError" ? paused : ordinary).next(error)
            return Effect.matchEffect(
              restore(
                left === Infinity ? delay : Effect.timeoutFail(delay, { duration: left, onTimeout: () => error })
              ),
              {
                onFailure: () => {
                  budget.tokens += cost
                  return failed
                },
                onSuccess: () => {
                  progress.attempt++
                  const gap = provesNoEffect(error) ? undefined : call.onGap?.(error)
                  return Metrics.countRetry(call.operation).pipe(
                    Effect.zipRight(gap === undefined ? Effect.void : restore(gap)),
                    Effect.zipRight(Effect.catchAll(Effect.suspend(once), next))
                  )
                }
              }
            )
          })
        return next(first)
      }),
      Effect.tap(() => {
        repay(spent)
      })
    )
  }

  return Effect.matchEffect(once(), {
    onFailure: (error) =>
      call.once !== true && mayRepeat(call, error, policy)
        ? retrying(error)
        : Effect.fail(admitDoubt(call, error, undefined)),
    onSuccess: (value) => {
      repay(1)
      return Effect.succeed(value)
    }
  })
}

/** What an attempt fails with that was not sent, because its caller's deadline came first. */
const tooLate = (where: Context, millis: number): RequestTimeoutError =>
  new RequestTimeoutError({ ...where, sent: "No", phase: "Headers", timeout: Duration.millis(millis) })

// --- the pipeline -------------------------------------------------------------------------------------------------

const readBaseUrl = (baseUrl: string | URL): Either.Either<string, string> => {
  const text = String(baseUrl).trim()
  if (!URL.canParse(text)) return Either.left("the base URL is not a URL")
  const url = new URL(text)
  if (url.protocol !== "https:" && url.protocol !== "http:") return Either.left("the base URL must be http or https")
  if (url.username !== "" || url.password !== "") return Either.left("the base URL must not hold a user or password")
  if (url.search !== "" || url.hash !== "") return Either.left("the base URL must end with its path")
  return Either.right(url.href.replace(/\/+$/, ""))
}

/**
 * The pipeline over a transport. Its timer and its background work belong to the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<RunPodHttpClient, never, HttpClient.HttpClient | Scope.Scope> =>
  Effect.gen(function* () {
    const transport = yield* HttpClient.HttpClient
    const timer = yield* Timer.make
    const background = yield* Background.make
    // From an environment variable that is not set, it can be `undefined` whatever the types say.
    const key: unknown = Redacted.isRedacted(options.apiKey) ? Redacted.value(options.apiKey) : options.apiKey
    const apiKey = typeof key === "string" ? key.trim() : ""
    const baseUrl = readBaseUrl(options.baseUrl ?? defaults.baseUrl)
    const requestTimeout = Duration.toMillis(options.requestTimeout ?? defaults.requestTimeout)
    const policy = options.retry ?? defaults.retry
    const parseJson = options.parseJson ?? defaults.parseJson
    const limits = options.limits ?? defaults.limits
    const limiter = RequestLimiter.make(limits)
    const budget: Budget = { size: policy.budget, tokens: policy.budget }
    const scrubKey = makeScrub([apiKey])
    const wire = options.transformClient === undefined ? wireOf(transport) : undefined
    // Our own span says all there is to say, and the vendor gets no trace headers.
    const client = (options.transformClient ?? ((client) => client))(
      HttpClient.withTracerDisabledWhen(transport, () => true)
    )
    const headers = {
      accept: "application/json",
      // Without it a server may compress as it likes, and not every transport can undo that.
      "accept-encoding": "identity",
      authorization: `Bearer ${apiKey}`,
      "user-agent": userAgent
    }
    const wireHeaders = Object.entries(headers).flat()
    const wireHeadersOfBody = [...wireHeaders, "content-type", "application/json"]
    const { origin, pathname } = new URL(Either.getOrElse(baseUrl, () => defaults.baseUrl))
    const basePath = pathname.replace(/\/+$/, "")

    const refuse = (where: Context): RunPodError | undefined => {
      if (Either.isLeft(baseUrl)) return new BadRequestError({ ...where, detail: baseUrl.left })
      if (apiKey === "") return new AuthenticationError({ ...where, detail: "the API key is empty" })
      if (!/^[\x21-\x7e]+$/.test(apiKey)) {
        return new AuthenticationError({ ...where, detail: "the API key holds characters that no key has" })
      }
      return undefined
    }

    const patienceOf = (call: Request): number => {
      const hold = call.wait ?? defaultHold[call.operation]
      if (hold !== undefined) return hold + holdGrace
      // Within a grace there must be time for a second attempt.
      return call.grace === undefined ? requestTimeout : Math.min(requestTimeout, call.grace / 2)
    }

    const pathWithQuery = (call: Request, where: Context): string => {
      const query = call.wait === undefined ? call.query : `wait=${call.wait}`
      return `${basePath}${where.path}${query === undefined ? "" : `?${query}`}`
    }

    const requestOf = (call: Request, where: Context): HttpClientRequest.HttpClientRequest =>
      HttpClientRequest.make(operations[call.operation].method)(`${origin}${pathWithQuery(call, where)}`, {
        headers,
        body: call.body === undefined ? HttpBody.empty : HttpBody.uint8Array(call.body, "application/json")
      })

    const wireRequestOf = (call: Request, where: Context): WireRequest => ({
      method: operations[call.operation].method,
      origin,
      path: pathWithQuery(call, where),
      headers: call.body === undefined ? wireHeaders : wireHeadersOfBody,
      body: call.body ?? null,
      isHeld: call.wait !== undefined || defaultHold[call.operation] !== undefined
    })

    /** A permit, unless the caller gives up first, or the gate opens only after the deadline. */
    const acquire = (
      lane: RequestLimiter.Lane,
      where: Context,
      { deadline, limit }: Progress,
      restore: Restore
    ): Effect.Effect<RequestLimiter.Permit, RunPodError> => {
      if (deadline === Infinity) return lane.acquireWith(restore)
      const now = timer.now()
      const left = deadline - now
      const closedFor = lane.opensAt() - now
      if (closedFor > 0 && closedFor >= left) {
        return Effect.fail(new RateLimitedError({ ...where, retryAfter: Duration.millis(closedFor) }))
      }
      if (left <= 0) return Effect.fail(tooLate(where, 0))
      if (limit === Infinity) return lane.acquireWith(restore)
      return Effect.flatMap(lane.acquireBefore(restore, { timer, deadline: limit }), (permit) =>
        permit === undefined ? Effect.fail(tooLate(where, limit - now)) : Effect.succeed(permit)
      )
    }

    /** What an exchange came to. */
    const settle = <A>(
      call: Call<A>,
      where: Context,
      permit: RequestLimiter.Permit,
      scrub: Scrub,
      span: Tracer.Span,
      reply: Reply
    ): Effect.Effect<A, RunPodError> => {
      span.attribute("http.response.status_code", reply.status)
      const read = (asked: Duration.Duration | undefined): Either.Either<A, RunPodError> => {
        const value = interpret(call, where, reply, asked, parseJson, scrub)
        if (Either.isRight(value) && call.jobId === undefined && !isOfBatch(call.operation)) {
          const jobId = Job.idOf(value.right)
          if (jobId !== undefined) span.attribute("runpod.job_id", scrub(jobId))
        }
        return value
      }
      if (reply.status === 429) {
        return Effect.clockWith((clock) => {
          const asked = retryAfterOf(reply.retryAfter, clock.unsafeCurrentTimeMillis())
          return Effect.zipRight(
            permit.throttled(asked),
            Effect.zipRight(Metrics.countThrottle(call.operation), read(asked))
          )
        })
      }
      return Effect.zipRight(
        permit.accepted,
        reply.retryAfter === undefined
          ? read(undefined)
          : Effect.clockWith((clock) => read(retryAfterOf(reply.retryAfter, clock.unsafeCurrentTimeMillis())))
      )
    }

    /** One attempt with its permit. */
    const exchange = <A>(
      call: Call<A>,
      where: Context,
      permit: RequestLimiter.Permit,
      progress: Progress,
      scrub: Scrub,
      span: Tracer.Span,
      restore: Restore
    ): Effect.Effect<A, RunPodError> => {
      const { onOrphan, onPermit, onRefused } = call
      if (progress.deadline !== Infinity && progress.deadline <= timer.now()) {
        return Effect.zipRight(permit.release, Effect.fail(tooLate(where, 0)))
      }
      if (call.grace !== undefined && progress.attempt === 1) {
        progress.deadline = Math.min(progress.deadline, timer.now() + call.grace)
      }
      span.attribute("runpod.attempt", progress.attempt)
      const terms = () => ({
        where,
        patience: patienceOf(call),
        deadline: progress.deadline,
        timer,
        scrub,
        release: permit.release
      })
      const ended = (under: Exchange, exit: Exit.Exit<Reply, RunPodError>): Effect.Effect<A, RunPodError> => {
        const value = Effect.zipRight(
          under.release,
          Exit.isSuccess(exit) ? settle(call, where, permit, scrub, span, exit.value) : Effect.failCause(exit.cause)
        )
        return onRefused === undefined
          ? value
          : Effect.tapError(value, (error) => (provesNoEffect(error) ? onRefused(error) : Effect.void))
      }
      const follow = (under: Exchange): Effect.Effect<A, RunPodError> =>
        Effect.matchCauseEffect(restore(under.end), {
          onSuccess: (exit) => ended(under, exit),
          // An interruption: there is nothing else that an end can fail with.
          onFailure: (interruption) =>
            Effect.zipRight(
              onOrphan === undefined
                ? Effect.zipRight(under.abort, under.release)
                : Effect.flatMap(under.end, (exit) => ended(under, exit)).pipe(
                    Effect.mapError((error) => admitDoubt(call, error, undefined)),
                    Effect.exit,
                    Effect.flatMap(onOrphan),
                    background.fork,
                    Effect.flatMap(Fiber.await)
                  ),
              Effect.failCause(interruption)
            )
        })
      const begin = Effect.zipRight(
        Metrics.countRequest(call.operation),
        Effect.suspend(() =>
          wire === undefined
            ? Effect.flatMap(startOnClient(client, requestOf(call, where), terms()), follow)
            : follow(startOnWire(wire, wireRequestOf(call, where), terms()))
        )
      )
      return onPermit === undefined
        ? begin
        : Effect.flatMap(onPermit, (isWanted) => (isWanted ? begin : Effect.zipRight(permit.release, Effect.interrupt)))
    }

    const attempt = <A>(
      call: Call<A>,
      base: Context,
      progress: Progress,
      scrub: Scrub,
      span: Tracer.Span,
      restore: Restore
    ): Effect.Effect<A, RunPodError> => {
      const where = progress.attempt === 1 ? base : { ...base, attempt: progress.attempt }
      const lane = limiter.lane(call.endpointId, call.operation)
      const since = call.grace === undefined || progress.attempt === 1 ? undefined : timer.now()
      return Effect.flatMap(acquire(lane, where, progress, restore), (permit) => {
        if (since !== undefined) progress.deadline = Math.min(progress.limit, progress.deadline + timer.now() - since)
        return exchange(call, where, permit, progress, scrub, span, restore)
      })
    }

    const execute = <A>(call: Call<A>): Effect.Effect<A, RunPodError> =>
      Effect.withFiberRuntime((fiber) => {
        const { batchId, endpointId, jobId, operation } = call
        const where: Mutable<Context> = {
          operation,
          method: operations[operation].method,
          path: isOfBatch(operation) ? batchPathOf(operation, endpointId, call) : pathOf(operation, endpointId, jobId),
          endpointId
        }
        const attributes: Record<string, string> = { "runpod.endpoint_id": endpointId }
        if (jobId !== undefined) attributes["runpod.job_id"] = where.jobId = jobId
        if (batchId !== undefined) attributes["runpod.batch_id"] = where.batchId = batchId
        const refusal = refuse(where)
        if (refusal !== undefined) return Effect.fail(refusal)
        where.attempt = 1
        const secrets = call.secrets ?? []
        const scrub = secrets.length === 0 ? scrubKey : makeScrub([apiKey, ...secrets])
        const limit = fiber.getFiberRef(currentDeadline)
        const progress: Progress = { attempt: 1, limit, deadline: limit }
        return useSpanInMask(
          `RunPod.${operation}`,
          { kind: "client", captureStackTrace: false, attributes },
          (span, restore) =>
            withRetry(call, policy, budget, progress, restore, () =>
              attempt(call, where, progress, scrub, span, restore)
            )
        )
      })

    return {
      execute,
      hasRoom: (endpointId, operation) => limiter.lane(endpointId, operation).isFree,
      background,
      limits,
      scrub: scrubKey
    }
  })
