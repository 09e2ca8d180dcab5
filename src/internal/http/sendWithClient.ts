import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import type * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { constTrue, identity } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { BadRequestError, type RunPodError, TransportError } from "../../errors/RunPodError.js"
import { mapFailures } from "../effect/cause.js"
import * as Fibers from "../effect/fiber.js"
import * as FiberRefs from "../effect/fiberRef.js"
import * as HttpErrors from "../effect/httpClientError.js"
import type { Timer } from "../pace/timer.js"
import { Attempt } from "./attempt.js"
import { withRepeatableBody } from "./bufferedBody.js"
import type { Execution } from "./execution.js"
import { type Reply, ReplyCollector } from "./reply.js"
import { safeCause, safeDefect, sentOf } from "./transportCause.js"

/** An attempt over an `HttpClient`, which may send several requests for it: a program's own client can follow redirects, or retry. */
export class ClientAttempt<A extends { readonly status: number } = Reply> extends Attempt<A> {
  /** Where the bodies of its answers are open. */
  scope: Scope.Scope | undefined
  private requests = 0
  /** Whatever becomes of the request that is under way, another may have reached a server. */
  private isInDoubt = false

  onRequest(): void {
    if (++this.requests > 1) this.onAnswer()
  }

  onAnswer(): void {
    this.isInDoubt = true
    this.sent = "Maybe"
  }

  /** The transport knows that it has no connection yet. */
  onConnecting(): void {
    if (!this.isInDoubt) this.sent = "No"
  }

  onConnected(): void {
    this.sent = "Maybe"
  }

  sentBefore(cause: unknown): "No" | "Maybe" {
    return this.sent === "Maybe" && !this.isInDoubt ? sentOf(cause) : this.sent
  }
}

/** What of an attempt the transport tells, or is told. */
type Sending = Pick<ClientAttempt, "onRequest" | "onAnswer" | "onConnecting" | "onConnected" | "scope">

/** The attempt that a request is made for, so that what sends it can say how far it has come. */
export const currentAttempt = FiberRefs.make<Sending | undefined>("currentAttempt", undefined)

/** `fetch` gives a redirect as it is: it would send a submit once more, to wherever an answer says. */
const followNone = FiberRefs.updateContext((context) => {
  const init = Context.getOption(context, FetchHttpClient.RequestInit)
  return Context.add(context, FetchHttpClient.RequestInit, { ...Option.getOrUndefined(init), redirect: "manual" })
})

/**
 * A transport as it lies below all that a program puts around it: it makes no spans, since our own say all there is to say and the
 * vendor gets no trace headers, it follows no redirects, and it tells the attempt of each request.
 */
export const watched = (
  transport: HttpClient.HttpClient,
  { isRead }: { /** Whether a program's client may read answers before they come to us. */ readonly isRead: boolean }
): HttpClient.HttpClient => {
  // The context beside its request is the one that `fetch` reads: with the options that its layer was given.
  const plain = HttpClient.mapRequestEffect(HttpClient.withTracerDisabledWhen(transport, constTrue), (request) =>
    Effect.as(followNone, request)
  )
  return HttpClient.makeWith<HttpErrors.HttpError, never, HttpErrors.HttpError, never>(
    Effect.flatMap((request) =>
      Fibers.withFiber<HttpClientResponse.HttpClientResponse, HttpErrors.HttpError>((fiber) => {
        const attempt = FiberRefs.valueIn(fiber, currentAttempt)
        attempt?.onRequest()
        const answer = Effect.mapInputContext(plain.execute(request), identity<Context.Context<never>>)
        return Effect.map(answer, (response) => {
          attempt?.onAnswer()
          return isRead && attempt?.scope !== undefined ? withRepeatableBody(response, attempt.scope) : response
        })
      })
    ),
    Effect.succeed
  )
}

const readReply = (response: HttpClientResponse.HttpClientResponse, attempt: ClientAttempt) => {
  attempt.onBytes()
  const body = new ReplyCollector(response.status, response.headers["retry-after"])
  let isWanted = true
  const step = (chunks: Chunk.Chunk<Uint8Array>) => {
    attempt.onBytes()
    for (const bytes of chunks) isWanted &&= body.add(bytes)
  }
  // `Stream.runForEachWhile` in a third of its time: 46 instead of 158 µs.
  return Stream.toPull(response.stream).pipe(
    Effect.flatMap((pull) => Effect.whileLoop({ while: () => isWanted, body: () => pull, step })),
    Effect.catchAll(Option.match({ onNone: () => Effect.void, onSome: Effect.fail })),
    HttpErrors.acceptNoBody,
    Effect.map(() => body.toReply())
  )
}

type Response = HttpClientResponse.HttpClientResponse

const execute = <A extends { readonly status: number }>(
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  attempt: ClientAttempt<A>,
  onHeaders: (response: Response, attempt: ClientAttempt<A>) => Effect.Effect<A, HttpErrors.BodyError, Scope.Scope>
) =>
  Effect.scope.pipe(
    Effect.flatMap((scope) => {
      attempt.scope = scope
      return HttpErrors.acceptAnyStatus(client.execute(request))
    }),
    Effect.flatMap((response) => onHeaders(response, attempt)),
    Effect.scoped,
    (answered) => FiberRefs.provide(answered, currentAttempt, attempt)
  )

export const toRunPodError = (
  error: HttpErrors.HttpError,
  attempt: Pick<ClientAttempt, "sent" | "sentBefore">,
  { scrub, where }: Pick<Execution, "scrub" | "where">
) => {
  const cause = HttpErrors.causeOf(error)
  const stage = HttpErrors.stageOf(error)
  if (stage === "Build") {
    return new BadRequestError({ ...where, detail: `the request could not be built: ${scrub(String(cause))}` })
  }
  return new TransportError({
    ...where,
    sent: stage === "Send" ? attempt.sentBefore(cause) : attempt.sent,
    cause: safeCause(cause ?? error, scrub)
  })
}

/**
 * Sends a request over any `HttpClient`, on a fiber of its own, since only a fiber can be given up. An interruption waits for the
 * fiber's end; a deadline does not, and its place in flight stays taken until then.
 */
export const sendWithClient = (
  request: HttpClientRequest.HttpClientRequest,
  execution: Execution,
  client: HttpClient.HttpClient,
  timer: Timer
): Effect.Effect<Reply, RunPodError> => onFiberOfItsOwn(request, execution, { client, timer, onHeaders: readReply })

/** Sends a request on a fiber that goes on until `onHeaders` has ended, though the attempt may have succeeded before. */
export const onFiberOfItsOwn = <A extends { readonly status: number }>(
  request: HttpClientRequest.HttpClientRequest,
  execution: Execution,
  {
    client,
    onHeaders,
    timer
  }: {
    readonly client: HttpClient.HttpClient
    readonly timer: Timer
    readonly onHeaders: (
      response: Response,
      attempt: ClientAttempt<A>
    ) => Effect.Effect<A, HttpErrors.BodyError, Scope.Scope>
  }
): Effect.Effect<A, RunPodError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<A, RunPodError>()
      const attempt = new ClientAttempt<A>(execution, timer, (ended) => Deferred.unsafeDone(end, ended))
      // Effect logs the failure of a fiber as it is: with the request, and the key in it.
      const silently = Effect.withUnhandledErrorLogLevel(Option.none())
      const fiber = yield* silently(
        Effect.forkDaemon(Effect.interruptible(execute(client, request, attempt, onHeaders)))
      )
      if (!attempt.isOver) attempt.abort = () => Fibers.interruptLater(fiber)
      Fibers.onEnd(fiber, (exit) =>
        attempt.endWith(
          mapFailures(exit, {
            onFail: (error) => toRunPodError(error, attempt, execution),
            onDie: (defect) => safeDefect(defect, execution.scrub)
          })
        )
      )
      const keepPlaceUntilItEnds = Effect.when(
        Effect.flatMap(execution.limiter.keepPlace, ({ release }) =>
          Effect.forkDaemon(Effect.zipRight(Fiber.await(fiber), release))
        ),
        () => Fibers.isRunning(fiber)
      )
      return yield* Effect.onInterrupt(restore(Deferred.await(end)), () =>
        Effect.suspend(() => {
          attempt.giveUp()
          // Also when its answer has come this very moment, and what passes that on.
          Fibers.interruptLater(fiber)
          return Fiber.await(fiber)
        })
      ).pipe(Effect.tapErrorTag("RequestTimeoutError", () => keepPlaceUntilItEnds))
    })
  )
