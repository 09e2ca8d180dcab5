import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { BadRequestError, type RunPodError, TransportError } from "../../errors/RunPodError.js"
import type { Limiter } from "../pace/limiter.js"
import type { Timer } from "../pace/timer.js"
import { Attempt } from "./attempt.js"
import type { Execution } from "./execution.js"
import { type Reply, ReplyCollector } from "./reply.js"
import { safeCause, safeDefects, sentOf } from "./transportCause.js"

/** The attempt a transport works for, so that one that knows can say whether it has been sent. */
export const currentAttempt: FiberRef.FiberRef<Pick<Attempt, "sent"> | undefined> = globalValue(
  "effect-runpod/currentAttempt",
  () => FiberRef.unsafeMake<Pick<Attempt, "sent"> | undefined>(undefined)
)

const readReply = (
  response: HttpClientResponse.HttpClientResponse,
  attempt: Attempt
): Effect.Effect<Reply, HttpClientError.HttpClientError> => {
  attempt.onBytes()
  const body = new ReplyCollector(response.status, response.headers["retry-after"])
  return response.stream.pipe(
    Stream.runForEachWhile((chunk) =>
      Effect.sync(() => {
        attempt.onBytes()
        return body.add(chunk)
      })
    ),
    Effect.catchIf(
      (error) => error.reason === "EmptyBody",
      () => Effect.void
    ),
    Effect.map(() => body.toReply())
  )
}

const execute = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  attempt: Attempt
): Effect.Effect<Reply, HttpClientError.HttpClientError> =>
  client.execute(request).pipe(
    Effect.catchIf(
      // A `transformClient` may already have made errors of statuses: the answer is inside.
      (error) => error._tag === "ResponseError" && error.reason === "StatusCode",
      (error) => (error._tag === "ResponseError" ? Effect.succeed(error.response) : Effect.fail(error))
    ),
    Effect.flatMap((response) => readReply(response, attempt)),
    Effect.locally(currentAttempt, attempt)
  )

const toRunPodError = (
  error: HttpClientError.HttpClientError,
  { sent }: Attempt,
  { scrub, where }: Execution<unknown>
): RunPodError => {
  if (error._tag === "RequestError" && error.reason !== "Transport") {
    return new BadRequestError({ ...where, detail: `the request could not be built: ${scrub(String(error.cause))}` })
  }
  return new TransportError({
    ...where,
    sent: sent === "Maybe" && error._tag === "RequestError" ? sentOf(error.cause) : sent,
    cause: safeCause(error.cause ?? error, scrub)
  })
}

/** What a request over a client goes through. */
export interface Options {
  readonly client: HttpClient.HttpClient
  readonly timer: Timer
  readonly limiter: Limiter
}

/**
 * Sends a request over any `HttpClient`, on a fiber of its own, since only a fiber can be given up at a deadline. Interrupting
 * it interrupts that fiber and waits for its end; at a deadline it ends at once, and its place in flight stays taken until
 * the fiber has ended.
 */
export const sendWithClient = (
  request: HttpClientRequest.HttpClientRequest,
  execution: Execution<unknown>,
  { client, limiter, timer }: Options
): Effect.Effect<Reply, RunPodError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<Reply, RunPodError>()
      const attempt = new Attempt(execution, timer, (ended) => Deferred.unsafeDone(end, ended))
      // Effect logs the failure of a fiber as it is: with the request, and the key in it.
      const silently = Effect.withUnhandledErrorLogLevel(Option.none())
      const fiber = yield* silently(Effect.forkDaemon(Effect.interruptible(execute(client, request, attempt))))
      if (!attempt.isOver) attempt.abort = () => fiber.unsafeInterruptAsFork(FiberId.none)
      fiber.addObserver((exit) =>
        attempt.end(
          Exit.mapErrorCause(exit, (cause) =>
            safeDefects(
              Cause.map(cause, (error) => toRunPodError(error, attempt, execution)),
              execution.scrub
            )
          )
        )
      )
      const keepPlaceUntilItEnds = Effect.suspend(() =>
        fiber.unsafePoll() === null
          ? Effect.flatMap(limiter.keepPlace, ({ release }) =>
              Effect.forkDaemon(Effect.zipRight(Fiber.await(fiber), release))
            )
          : Effect.void
      )
      return yield* Effect.onInterrupt(restore(Deferred.await(end)), () =>
        Effect.suspend(() => {
          attempt.giveUp()
          return Fiber.await(fiber)
        })
      ).pipe(Effect.tapErrorTag("RequestTimeoutError", () => keepPlaceUntilItEnds))
    })
  )
