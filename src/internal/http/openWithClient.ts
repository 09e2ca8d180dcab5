import type * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import type * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constTrue, constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { RequestTimeoutError, type RunPodError, TransportError } from "../../errors/RunPodError.js"
import type { OpenRequest, OpenResponse } from "../../layers/RunPodHttpClient.js"
import { failureOf } from "../effect/cause.js"
import * as Fibers from "../effect/fiber.js"
import * as HttpErrors from "../effect/httpClientError.js"
import type { Alarm, Timer } from "../pace/timer.js"
import { concatBytes } from "../text/bytes.js"
import type { Execution } from "./execution.js"
import { Inbox, type Source } from "./inbox.js"
import { largestErrorAnswer } from "./reply.js"
import { type ClientAttempt, onFiberOfItsOwn, toRunPodError } from "./sendWithClient.js"

type Pull = Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<HttpErrors.BodyError>>
type Attempt = ClientAttempt<Opened>

/** How long a body may wait for a reader before its connection is closed, in milliseconds. */
const unreadTimeout = 300_000

/** An answer whose headers are there. */
export interface Opened extends Omit<OpenResponse, "stream"> {
  /** Of the body of one that may be an error: enough to read that. */
  readonly beginning: Uint8Array | undefined
  readonly body: OpenBody
}

/** Bodies by their readers: a program can drop an answer, and look at no more than its status. */
const unread = /* @__PURE__ */ new FinalizationRegistry<OpenBody>((body) => body.abort())

/**
 * A body on its way from the attempt's fiber to its reader, and its deadline between bytes, once the attempt has ended. It comes into
 * memory up to a size whether or not it is read, so that a short one leaves its place in flight soon.
 */
export class OpenBody implements Alarm, Source {
  at = 0
  order = 0
  index = -1
  private readonly inbox = new Inbox<RunPodError>(() => this)
  private since: number
  private isPaused = false
  private isOver = false
  private proceed: () => void = constVoid

  constructor(
    private readonly execution: Execution<OpenRequest>,
    private readonly timer: Timer,
    private readonly fiber: Fibers.RuntimeFiber<unknown, unknown>
  ) {
    this.since = timer.now()
  }

  /** Begins its deadline. */
  watch(): void {
    this.restart()
  }

  /** Closes the connection. */
  readonly abort = (): void => Fibers.interruptLater(this.fiber)

  /** What has come, and what comes. It is read once, and closed when nobody can read it any more. */
  get stream(): Stream.Stream<Uint8Array, RunPodError> {
    const reader = { body: this, isRead: false }
    unread.register(reader, this)
    return Stream.suspend(() => {
      const { body } = reader
      if (reader.isRead) return Stream.fail(body.broken(new TypeError("the body has been read already")))
      reader.isRead = true
      return Stream.ensuring(
        Stream.repeatEffectChunkOption(body.inbox.pull),
        Effect.sync(() => reader.body.abort())
      )
    })
  }

  add(bytes: Uint8Array): void {
    this.since = this.timer.now()
    this.inbox.add(bytes)
  }

  readonly pause = (): void => {
    this.isPaused = true
    this.restart()
  }

  readonly resume = (): void => {
    this.isPaused = false
    this.restart()
    this.proceed()
  }

  /** Takes all that comes, as fast as there is room for it. */
  takeFrom(pull: Pull, onBytes: (bytes: Uint8Array) => void): Effect.Effect<void, HttpErrors.BodyError> {
    const room = Effect.async<void>((resume) => {
      this.proceed = () => resume(Effect.void)
      // The fiber may have made room for others before it came here.
      if (!this.isPaused) this.proceed()
    })
    return Effect.whileLoop({
      while: constTrue,
      body: () => (this.isPaused ? Effect.zipRight(room, pull) : pull),
      step: (chunks) => {
        for (const bytes of chunks) {
          onBytes(bytes)
          this.add(bytes)
        }
      }
    }).pipe(Effect.catchAll(Option.match({ onNone: () => Effect.void, onSome: Effect.fail })))
  }

  endWith(exit: Exit.Exit<void, RunPodError>): void {
    if (Exit.isSuccess(exit)) return this.close(Option.none())
    const error = failureOf(exit.cause) ?? this.broken(new Error("the connection was closed before the body's end"))
    this.close(Option.some(error))
  }

  run(): void {
    const limit = this.limit()
    if (this.timer.now() < this.since + limit) return this.setAlarm()
    const { isPaused } = this
    const timeout = Duration.millis(limit)
    this.close(
      Option.some(
        isPaused
          ? this.broken(new Error(`nobody has read the answer for ${Duration.format(timeout)}`))
          : new RequestTimeoutError({ ...this.execution.where, sent: "Maybe", phase: "Body", timeout })
      )
    )
    this.abort()
  }

  private broken(cause: Error): TransportError {
    return new TransportError({ ...this.execution.where, sent: "Maybe", cause })
  }

  private close(end: Option.Option<RunPodError>): void {
    if (this.isOver) return
    this.isOver = true
    this.timer.clear(this)
    this.inbox.close(end)
  }

  private limit(): number {
    return this.isPaused ? unreadTimeout : this.execution.request.idleTimeout
  }

  private restart(): void {
    this.since = this.timer.now()
    if (this.isOver) return
    this.timer.clear(this)
    this.setAlarm()
  }

  private setAlarm(): void {
    this.at = this.since + this.limit()
    this.timer.add(this)
  }
}

const isSuccess = (status: number): boolean => status >= 200 && status < 300

const passOn =
  (execution: Execution<OpenRequest>, timer: Timer) =>
  (response: HttpClientResponse.HttpClientResponse, attempt: Attempt) =>
    Effect.gen(function* () {
      attempt.onBytes()
      const { cookies, headers, status } = response
      const pull = yield* Stream.toPull(HttpErrors.streamOrNothing(response.stream))
      if (attempt.isOver) return yield* Effect.interrupt
      // Its place in flight is taken until its body ends.
      yield* Effect.acquireRelease(execution.limiter.keepPlace, ({ release }) => release)
      const body = yield* Fibers.withFiber<OpenBody>((fiber) =>
        Effect.sync(() => new OpenBody(execution, timer, fiber))
      )
      execution.current = { giveUp: body.abort }
      const give = (beginning: Uint8Array | undefined) => {
        attempt.succeed({ status, headers, cookies, beginning, body })
        body.watch()
      }
      const errorWait = isSuccess(status) ? 0 : (execution.request.errorWait?.({ status, headers }) ?? Infinity)
      const read: Array<Uint8Array> = []
      let left = largestErrorAnswer
      const onBytes = (bytes: Uint8Array) => {
        if (attempt.isOver) return
        attempt.onBytes()
        read.push(bytes)
        left -= bytes.byteLength
        if (left <= 0) give(concatBytes(read))
      }
      if (errorWait === 0) give(undefined)
      else if (errorWait !== Infinity) {
        const alarm = timer.set(timer.now() + errorWait, () => give(undefined))
        yield* Effect.addFinalizer(() => Effect.sync(() => timer.clear(alarm)))
      }
      yield* Effect.onExit(body.takeFrom(pull, onBytes), (exit) =>
        Effect.sync(() => body.endWith(Exit.mapError(exit, (error) => toRunPodError(error, attempt, execution))))
      )
      return { status, headers, cookies, beginning: concatBytes(read), body }
    })

/** Whether a body may be one that can be read once, which no stream tells of itself. */
export const isReadOnce = (body: HttpBody.HttpBody | undefined): boolean => {
  if (body?._tag !== "Raw") return body?._tag === "Stream"
  const { body: raw } = body
  return typeof raw === "object" && raw !== null && ("getReader" in raw || Symbol.asyncIterator in raw)
}

/**
 * Sends a request, and gives its answer as soon as its headers are there. Interrupting what waits for it aborts the request; afterwards
 * it is its reader's, and closed when that leaves.
 */
export const openWithClient = (
  request: HttpClientRequest.HttpClientRequest,
  execution: Execution<OpenRequest>,
  client: HttpClient.HttpClient,
  timer: Timer
): Effect.Effect<Opened, RunPodError> =>
  onFiberOfItsOwn<Opened>(request, execution, { client, timer, onHeaders: passOn(execution, timer) })
