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
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
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
  SubmitAmbiguousError,
  TransportError
} from "../errors/RunPodError.js"
import * as Background from "../internal/background.js"
import { concatBytes } from "../internal/bytes.js"
import { currentDeadline } from "../internal/deadline.js"
import { excerpt } from "../internal/excerpt.js"
import { isJsonObject } from "../internal/json.js"
import { maxTimerMillis, monotonicMillis } from "../internal/monotonic.js"
import type { Reader } from "../internal/reply.js"
import { makeScrub, type Scrub } from "../internal/scrub.js"
import * as Timer from "../internal/timer.js"
import { safeCause, sentOf } from "../internal/transportCause.js"
import * as ErrorBody from "../schemas/ErrorBody.js"
import * as Job from "../schemas/Job.js"
import { type Operation, operations, pathOf } from "../schemas/Operation.js"
import * as RequestLimiter from "./RequestLimiter.js"
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
  /** How long the operation may take in all, in milliseconds, counted from its first permit. */
  readonly grace?: number | undefined
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
  /** Strikes out the API key. */
  readonly scrub: Scrub
}

/** How long an answer's body may stand still. */
const bodyIdle = 5_000
/** What a held request gets on top of its hold. */
const holdGrace = 10_000
/** How long RunPod holds when it is not told. */
const defaultHold: { readonly [K in Operation]?: number } = { runSync: 90_000, statusSync: 90_000, stream: 10_000 }
/** Results are at most 20 MB; an answer that goes on for ever must not fill the memory. */
const largestAnswer = 256 * 1024 * 1024
/** An error needs no more of its body than this. */
const largestErrorAnswer = 64 * 1024

const userAgent = "effect-runpod/0.1.0"

// --- send ---------------------------------------------------------------------------------------------------------

interface Reply {
  readonly status: number
  readonly text: string
  readonly retryAfter: string | undefined
  readonly isWhole: boolean
}

const readReply = (
  response: HttpClientResponse.HttpClientResponse,
  onBytes: () => void
): Effect.Effect<Reply, HttpClientError.HttpClientError> => {
  onBytes()
  const isError = response.status >= 400
  const largest = isError ? largestErrorAnswer : largestAnswer
  const chunks: Array<Uint8Array> = []
  let size = 0
  return response.stream.pipe(
    Stream.runForEachWhile((chunk) =>
      Effect.sync(() => {
        onBytes()
        chunks.push(chunk)
        size += chunk.byteLength
        return size <= largest
      })
    ),
    Effect.catchIf(
      (error) => error.reason === "EmptyBody",
      () => Effect.void
    ),
    Effect.map(() => ({
      status: response.status,
      text: new TextDecoder().decode(concatBytes(chunks)),
      retryAfter: response.headers["retry-after"],
      isWhole: isError || size <= largest
    }))
  )
}

const send = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  onBytes: () => void
): Effect.Effect<Reply, HttpClientError.HttpClientError> =>
  client.execute(request).pipe(
    Effect.catchIf(
      // A `transformClient` may already have made errors of statuses: the answer is inside.
      (error) => error._tag === "ResponseError" && error.reason === "StatusCode",
      (error) => (error._tag === "ResponseError" ? Effect.succeed(error.response) : Effect.fail(error))
    ),
    Effect.flatMap((response) => readReply(response, onBytes))
  )

const fromTransport = (where: Context, error: HttpClientError.HttpClientError, scrub: Scrub): RunPodError => {
  if (error._tag === "RequestError" && error.reason !== "Transport") {
    return new BadRequestError({ ...where, detail: `the request could not be built: ${scrub(String(error.cause))}` })
  }
  return new TransportError({
    ...where,
    sent: error._tag === "RequestError" ? sentOf(error.cause) : "Maybe",
    cause: safeCause(error.cause ?? error, scrub)
  })
}

// --- attempt deadline ---------------------------------------------------------------------------------------------

/**
 * Starts `send` on a fiber of its own and gives its outcome, at the latest when it has waited too long: `patience` for
 * headers, then `bodyIdle` between bytes, and never beyond `deadline`. The deadlines of all attempts hang on one timer.
 */
const start = (options: {
  readonly send: (onBytes: () => void) => Effect.Effect<Reply, HttpClientError.HttpClientError>
  readonly where: Context
  readonly patience: number
  readonly deadline: number
  readonly timer: Timer.Timer
  readonly scrub: Scrub
  readonly release: Effect.Effect<void>
}) => {
  const { deadline, patience, scrub, timer, where } = options
  const outcome = Deferred.unsafeMake<Reply, RunPodError>(FiberId.none)
  let phase: "Headers" | "Body" = "Headers"
  let since = timer.now()
  let alarm: Timer.Alarm | undefined
  let fiber: Fiber.RuntimeFiber<Reply, HttpClientError.HttpClientError> | undefined
  /** How long the phase may take, from `since`. */
  const limit = () => Math.min(patience, phase === "Headers" ? Infinity : bodyIdle, deadline - since)
  const check = () => {
    if (timer.now() < since + limit()) {
      alarm = timer.set(since + limit(), check)
      return
    }
    const timeout = Duration.millis(Math.max(0, Math.round(limit())))
    Deferred.unsafeDone(outcome, Exit.fail(new RequestTimeoutError({ ...where, sent: "Maybe", phase, timeout })))
    fiber?.unsafeInterruptAsFork(FiberId.none)
  }
  const watch = () => {
    if (alarm !== undefined) timer.clear(alarm)
    alarm = timer.set(since + limit(), check)
  }
  const onBytes = () => {
    since = timer.now()
    if (phase === "Body") return
    phase = "Body"
    watch()
  }
  return Effect.map(
    Effect.forkDaemon(Effect.ensuring(Effect.interruptible(options.send(onBytes)), options.release)),
    (started) => {
      fiber = started
      if (phase === "Headers") watch()
      started.addObserver((exit) => {
        if (alarm !== undefined) timer.clear(alarm)
        Deferred.unsafeDone(
          outcome,
          Exit.mapError(exit, (error) => fromTransport(where, error, scrub))
        )
      })
      return { outcome: Deferred.await(outcome), abort: Fiber.interrupt(started) }
    }
  )
}

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
    json = parseJson(reply.text)
    read = call.read(json)
  } catch {
    const detail = reply.text.trim() === "" ? "the answer is empty" : undefined
    return Either.left(new ServerError({ ...where, status, detail, body: body() }))
  }
  if (Either.isRight(read)) return Either.right(read.right)
  const jobId = where.jobId ?? Job.idOf(json)
  const at = { ...where, status, body: body(), jobId: jobId === undefined ? undefined : scrub(jobId) }
  const isRefusal =
    isJsonObject(json) && json["error"] !== undefined && json["error"] !== null && typeof json["status"] !== "string"
  if (isRefusal && jobId === where.jobId) {
    return Either.left(new BadRequestError({ ...at, detail: ErrorBody.fromText(scrub(reply.text)).detail }))
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
      const { attempt, endpointId, jobId, method, operation, path } = cause
      return new SubmitAmbiguousError({ operation, method, path, endpointId, jobId, attempt, cause })
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
  deadline: number
}

const withRetry = <A>(
  call: Call<A>,
  policy: RetryPolicy,
  budget: Budget,
  progress: Progress,
  once: Effect.Effect<A, RunPodError>
): Effect.Effect<A, RunPodError> =>
  Effect.suspend(() => {
    let spent = 0
    let doubt: RunPodError | undefined
    const repay = Effect.sync(() => {
      budget.tokens = Math.min(budget.size, budget.tokens + Math.max(spent, 1))
    })
    const retrying = Effect.zipWith(
      Schedule.driver(policy.schedule),
      Schedule.driver(policy.whilePaused ?? Schedule.stop),
      (ordinary, paused) => {
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
              left === Infinity ? delay : Effect.timeoutFail(delay, { duration: left, onTimeout: () => error }),
              {
                onFailure: () => {
                  budget.tokens += cost
                  return failed
                },
                onSuccess: () => {
                  progress.attempt++
                  const gap = provesNoEffect(error) ? undefined : call.onGap?.(error)
                  return Metrics.countRetry(call.operation).pipe(
                    Effect.zipRight(gap ?? Effect.void),
                    Effect.zipRight(Effect.catchAll(once, next))
                  )
                }
              }
            )
          })
        return next
      }
    )

    return once.pipe(
      Effect.catchAll((error) =>
        call.once !== true && mayRepeat(call, error, policy)
          ? Effect.flatMap(retrying, (next) => next(error))
          : Effect.fail(admitDoubt(call, error, undefined))
      ),
      Effect.zipLeft(repay)
    )
  })

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
    const limiter = RequestLimiter.make(options.limits ?? defaults.limits)
    const budget: Budget = { size: policy.budget, tokens: policy.budget }
    const scrubKey = makeScrub([apiKey])
    // Our own span says all there is to say, and the vendor gets no trace headers.
    const client = (options.transformClient ?? ((client) => client))(
      HttpClient.withTracerDisabledWhen(transport, () => true)
    )
    const headers = { accept: "application/json", authorization: `Bearer ${apiKey}`, "user-agent": userAgent }

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

    const requestOf = (call: Request, where: Context): HttpClientRequest.HttpClientRequest => {
      const query = call.wait === undefined ? "" : `?wait=${call.wait}`
      const url = `${Either.getOrThrow(baseUrl)}${where.path}${query}`
      return operations[call.operation].method === "GET"
        ? HttpClientRequest.get(url, { headers })
        : HttpClientRequest.post(url, {
            headers,
            body: call.body === undefined ? HttpBody.empty : HttpBody.uint8Array(call.body, "application/json")
          })
    }

    /** A permit, unless the caller's deadline comes first. Run it inside a mask, so that no permit is lost. */
    const permitWithin = (
      lane: RequestLimiter.Lane,
      where: Context,
      left: number,
      restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
    ): Effect.Effect<RequestLimiter.Permit, RunPodError> => {
      const closedFor = lane.opensAt() - timer.now()
      if (closedFor > 0 && closedFor >= left) {
        return Effect.fail(new RateLimitedError({ ...where, retryAfter: Duration.millis(closedFor) }))
      }
      if (left <= 0) return Effect.fail(tooLate(where, 0))
      // A race of fibers costs more than the rest of a request: none when there is a permit at once. The fiber must not
      // yield before it has that.
      const atOnce = Effect.withMaxOpsBeforeYield(
        Effect.flatMap(lane.isFree, (isFree) =>
          isFree ? Effect.asSome(lane.acquireWith(restore)) : Effect.succeedNone
        ),
        Infinity
      )
      const inLine = Effect.suspend(() => {
        let permit: RequestLimiter.Permit | undefined
        const acquire = Effect.uninterruptibleMask((restore) =>
          Effect.map(lane.acquireWith(restore), (acquired) => (permit = acquired))
        )
        const timed = Effect.timeoutFail(acquire, { duration: left, onTimeout: () => tooLate(where, left) })
        // A permit that came together with the deadline or an interruption belongs to nobody.
        return Effect.onError(restore(timed), () => permit?.release ?? Effect.void)
      })
      return Effect.flatMap(atOnce, Option.match({ onSome: Effect.succeed, onNone: () => inLine }))
    }

    const attempt = <A>(call: Call<A>, base: Context, progress: Progress, scrub: Scrub, span: Tracer.Span) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const where = { ...base, attempt: progress.attempt }
          const left = progress.deadline - timer.now()
          const lane = limiter.lane(call.endpointId, call.operation)
          const permit = yield* left === Infinity ? lane.acquireWith(restore) : permitWithin(lane, where, left, restore)
          if (timer.now() >= progress.deadline) {
            yield* permit.release
            return yield* tooLate(where, left)
          }
          if (call.grace !== undefined && progress.attempt === 1) {
            progress.deadline = Math.min(progress.deadline, timer.now() + call.grace)
          }
          yield* Metrics.countRequest(call.operation)
          span.attribute("runpod.attempt", progress.attempt)
          const request = requestOf(call, where)
          const started = yield* start({
            send: (onBytes) => send(client, request, onBytes),
            where,
            patience: patienceOf(call),
            deadline: progress.deadline,
            timer,
            scrub,
            release: permit.release
          })
          const end = Effect.flatMap(started.outcome, (reply) =>
            Effect.gen(function* () {
              span.attribute("http.response.status_code", reply.status)
              const asked = retryAfterOf(reply.retryAfter, yield* Clock.currentTimeMillis)
              if (reply.status === 429) {
                yield* permit.throttled(asked)
                yield* Metrics.countThrottle(call.operation)
              } else {
                yield* permit.accepted
              }
              const value = yield* interpret(call, where, reply, asked, parseJson, scrub)
              const jobId = call.jobId === undefined ? Job.idOf(value) : undefined
              if (jobId !== undefined) span.attribute("runpod.job_id", scrub(jobId))
              return value
            })
          )
          const orphan = call.onOrphan
          return yield* Effect.onInterrupt(restore(end), () =>
            orphan === undefined
              ? Effect.asVoid(started.abort)
              : Effect.mapError(end, (error) => admitDoubt(call, error, undefined)).pipe(
                  Effect.exit,
                  Effect.flatMap(orphan),
                  background.fork,
                  Effect.flatMap(Fiber.await),
                  Effect.asVoid
                )
          )
        })
      )

    const execute = <A>(call: Call<A>): Effect.Effect<A, RunPodError> =>
      Effect.flatMap(FiberRef.get(currentDeadline), (deadline) => {
        const where: Context = {
          operation: call.operation,
          method: operations[call.operation].method,
          path: pathOf(call.operation, call.endpointId, call.jobId),
          endpointId: call.endpointId,
          ...(call.jobId === undefined ? {} : { jobId: call.jobId })
        }
        const refusal = refuse(where)
        if (refusal !== undefined) return Effect.fail(refusal)
        const secrets = call.secrets ?? []
        const scrub = secrets.length === 0 ? scrubKey : makeScrub([apiKey, ...secrets])
        const progress: Progress = { attempt: 1, deadline }
        return Effect.useSpan(
          `RunPod.${call.operation}`,
          {
            kind: "client",
            captureStackTrace: false,
            attributes: {
              "runpod.endpoint_id": call.endpointId,
              ...(call.jobId === undefined ? {} : { "runpod.job_id": call.jobId })
            }
          },
          (span) =>
            withRetry(
              call,
              policy,
              budget,
              progress,
              Effect.suspend(() => attempt(call, where, progress, scrub, span))
            )
        )
      })

    return {
      execute,
      hasRoom: (endpointId, operation) => limiter.lane(endpointId, operation).isFree,
      background,
      scrub: scrubKey
    }
  })
