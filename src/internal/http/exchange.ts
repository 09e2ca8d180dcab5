import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import { constVoid } from "effect/Function"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  BadRequestError,
  type Context,
  RequestTimeoutError,
  type RunPodError,
  TransportError
} from "../../errors/RunPodError.js"
import { concatBytes } from "../text/bytes.js"
import type { Scrub } from "../text/scrub.js"
import type { Alarm, Timer } from "../pace/timer.js"
import { safeCause, safeDefects, sentOf } from "./transportCause.js"
import { BodyKey, isWired, type Wire, type WireCall, type WireRequest } from "./dispatcher.js"

/** An answer, its whole body read. */
export interface Reply {
  readonly status: number
  readonly text: string
  readonly retryAfter: string | undefined
  /** Whether the body was small enough to be read to its end. */
  readonly isWhole: boolean
}

/** One attempt that is under way. */
export interface Exchange {
  /** How it ends, at the latest when it has waited too long. */
  readonly end: Effect.Effect<Exit.Exit<Reply, RunPodError>>
  /** Gives it up. */
  readonly abort: Effect.Effect<void>
  /** To be run when it has ended or was given up: gives back what it holds, unless its transport does that itself. */
  readonly release: Effect.Effect<void>
}

/** What an attempt is given. */
export interface Terms {
  readonly where: Context
  /** How long it may take until the answer's headers, in milliseconds. */
  readonly patience: number
  /** When it is over in any case, on the monotonic clock. */
  readonly deadline: number
  readonly timer: Timer
  readonly scrub: Scrub
  /** Gives the permit back. */
  readonly release: Effect.Effect<void>
}

/** How long an answer's body may stand still. */
const bodyIdle = 5_000
/** Results are at most 20 MB; an answer that goes on for ever must not fill the memory. */
export const largestAnswer = 256 * 1024 * 1024
/** An error needs no more of its body than this. */
const largestErrorAnswer = 64 * 1024

const decoder = new TextDecoder()

/** Gathers a body, up to a size, and decodes it once. */
class Gathering {
  private readonly chunks: Array<Uint8Array> = []
  private readonly isError: boolean
  private left: number

  constructor(
    private readonly status: number,
    private readonly retryAfter: string | undefined
  ) {
    this.isError = status >= 400
    this.left = this.isError ? largestErrorAnswer : largestAnswer
  }

  /** Whether more of it is wanted. */
  add(chunk: Uint8Array): boolean {
    this.chunks.push(chunk)
    this.left -= chunk.byteLength
    return this.left >= 0
  }

  toReply(): Reply {
    return {
      status: this.status,
      text: decoder.decode(concatBytes(this.chunks)),
      retryAfter: this.retryAfter,
      isWhole: this.isError || this.left >= 0
    }
  }
}

/**
 * The state of an attempt, and its deadlines: `patience` for the headers, then `bodyIdle` between bytes, and never beyond
 * `deadline`. They hang on one timer: a race of fibers would cost more than the rest of a request.
 */
export class Attempt implements Exchange {
  /** Whether it can have reached the server. Only some transports know that it has not. */
  sent: "No" | "Maybe" = "Maybe"
  /** Stops the transport. */
  giveUp: () => void = constVoid
  abort: Effect.Effect<void> = Effect.sync(() => this.giveUp())
  release: Effect.Effect<void> = Effect.void
  private phase: "Headers" | "Body" = "Headers"
  private since: number
  private alarm: Alarm | undefined
  private exit: Exit.Exit<Reply, RunPodError> | undefined
  /** One fiber at a time waits for the end. */
  private reader: ((exit: Effect.Effect<Exit.Exit<Reply, RunPodError>>) => void) | undefined

  constructor(readonly terms: Terms) {
    this.since = terms.timer.now()
    this.watch()
  }

  readonly end = Effect.async<Exit.Exit<Reply, RunPodError>>((resume) => {
    if (this.exit !== undefined) {
      resume(Effect.succeed(this.exit))
      return
    }
    this.reader = resume
    return Effect.sync(() => {
      this.reader = undefined
    })
  })

  onBytes(): void {
    this.since = this.terms.timer.now()
    if (this.phase === "Body" || this.exit !== undefined) return
    this.phase = "Body"
    this.watch()
  }

  finish(exit: Exit.Exit<Reply, RunPodError>): void {
    if (this.exit !== undefined) return
    this.exit = exit
    this.unwatch()
    this.reader?.(Effect.succeed(exit))
  }

  fail(cause: unknown): void {
    const { scrub, where } = this.terms
    this.finish(Exit.fail(new TransportError({ ...where, sent: this.sent, cause: safeCause(cause, scrub) })))
  }

  /** How long the phase may take, from `since`. */
  private limit(): number {
    const { deadline, patience } = this.terms
    return Math.min(patience, this.phase === "Headers" ? Infinity : bodyIdle, deadline - this.since)
  }

  private readonly check = (): void => {
    const { timer, where } = this.terms
    if (timer.now() < this.since + this.limit()) {
      this.watch()
      return
    }
    const timeout = Duration.millis(Math.max(0, Math.round(this.limit())))
    this.finish(Exit.fail(new RequestTimeoutError({ ...where, sent: this.sent, phase: this.phase, timeout })))
    this.giveUp()
  }

  private watch(): void {
    this.unwatch()
    this.alarm = this.terms.timer.set(this.since + this.limit(), this.check)
  }

  private unwatch(): void {
    if (this.alarm !== undefined) this.terms.timer.clear(this.alarm)
  }
}

// --- over a wire --------------------------------------------------------------------------------------------------

/** Starts an attempt without a fiber of its own. */
export const startOnWire = (wire: Wire, request: WireRequest, terms: Terms): Exchange => {
  const attempt = new Attempt(terms)
  attempt.sent = "No"
  attempt.release = terms.release
  let body: Gathering | undefined
  const complete = () => {
    if (body !== undefined) attempt.finish(Exit.succeed(body.toReply()))
  }
  const call: WireCall = wire.send(request, {
    onConnected: () => {
      attempt.sent = "Maybe"
    },
    onHead: (status, headers) => {
      const retryAfter = headers["retry-after"]
      body = new Gathering(status, typeof retryAfter === "string" ? retryAfter : retryAfter?.[0])
      attempt.onBytes()
    },
    onData: (bytes) => {
      attempt.onBytes()
      if (body?.add(bytes) === false) {
        complete()
        attempt.giveUp()
      }
    },
    onEnd: complete,
    onError: (cause) => attempt.fail(cause)
  })
  attempt.giveUp = call.abort
  return attempt
}

// --- over any client ----------------------------------------------------------------------------------------------

/** The attempt a transport works for, so that one that knows can say whether it has been sent. */
export const currentAttempt: FiberRef.FiberRef<Attempt | undefined> = globalValue("effect-runpod/currentAttempt", () =>
  FiberRef.unsafeMake<Attempt | undefined>(undefined)
)

const readReply = (
  response: HttpClientResponse.HttpClientResponse,
  attempt: Attempt
): Effect.Effect<Reply, HttpClientError.HttpClientError> => {
  attempt.onBytes()
  const body = new Gathering(response.status, response.headers["retry-after"])
  const add = (chunk: Uint8Array): boolean => {
    attempt.onBytes()
    return body.add(chunk)
  }
  if (isWired(response)) {
    const { close, pull } = response[BodyKey]
    const read: Effect.Effect<Reply, HttpClientError.HttpClientError> = Effect.flatMap(pull, (chunks) => {
      if (chunks?.every(add) === true) return read
      return Effect.map(chunks === undefined ? Effect.void : close, () => body.toReply())
    })
    return read
  }
  return response.stream.pipe(
    Stream.runForEachWhile((chunk) => Effect.sync(() => add(chunk))),
    Effect.catchIf(
      (error) => error.reason === "EmptyBody",
      () => Effect.void
    ),
    Effect.map(() => body.toReply())
  )
}

const send = (
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

const fromTransport = (
  { sent, terms: { scrub, where } }: Attempt,
  error: HttpClientError.HttpClientError
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

/** Starts an attempt on a fiber of its own, which goes on when its starter is interrupted. */
export const startOnClient = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  terms: Terms
): Effect.Effect<Exchange> =>
  Effect.suspend(() => {
    const attempt = new Attempt(terms)
    // A transport that is slow to give up keeps its permit until it has.
    const sending = Effect.ensuring(Effect.interruptible(send(client, request, attempt)), terms.release)
    // Effect logs the failure of a fiber as it is: with the request, and the key in it.
    const silently = Effect.withUnhandledErrorLogLevel(Option.none())
    return Effect.map(silently(Effect.forkDaemon(sending)), (fiber) => {
      attempt.giveUp = () => fiber.unsafeInterruptAsFork(FiberId.none)
      attempt.abort = Fiber.interrupt(fiber)
      fiber.addObserver((exit) =>
        attempt.finish(
          Exit.mapErrorCause(exit, (cause) =>
            safeDefects(
              Cause.map(cause, (error) => fromTransport(attempt, error)),
              terms.scrub
            )
          )
        )
      )
      return attempt
    })
  })
