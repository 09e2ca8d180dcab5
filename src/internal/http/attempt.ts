import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { type Context, RequestTimeoutError, type RunPodError, TransportError } from "../../errors/RunPodError.js"
import type { Alarm, Timer } from "../pace/timer.js"
import type { Scrub } from "../text/scrub.js"
import type { Reply } from "./reply.js"
import { safeCause } from "./transportCause.js"

/** What an attempt is given. */
export interface Options {
  readonly where: Context
  /** How long it may take until the answer's headers, in milliseconds. */
  readonly headersTimeout: number
  /** When it is over in any case, on the monotonic clock. */
  readonly deadline: number
  readonly timer: Timer
  readonly scrub: Scrub
}

/** How long an answer's body may stand still, in milliseconds. */
const bodyTimeout = 5_000

/**
 * One attempt that is under way, and its deadlines: until the headers, then between bytes, and never beyond that of its caller.
 * They are alarms of the layer's one timer: a race of fibers would cost more than the rest of a request.
 *
 * When it has ended it points to nothing of its transport: undici's handler keeps its request, and that later ones, so that the
 * collector would take them all for old.
 */
export class Attempt {
  /** Whether it can have reached the server. Only some transports know that it has not. */
  sent: "No" | "Maybe" = "Maybe"
  /** Stops the transport. */
  abort: () => void = constVoid
  private phase: "Headers" | "Body" = "Headers"
  private since: number
  private alarm: Alarm | undefined
  private resume: ((end: Effect.Effect<Reply, RunPodError>) => void) | undefined

  constructor(
    private readonly options: Options,
    resume: (end: Effect.Effect<Reply, RunPodError>) => void
  ) {
    this.resume = resume
    this.since = options.timer.now()
    this.setAlarm()
  }

  get isOver(): boolean {
    return this.resume === undefined
  }

  onBytes(): void {
    this.since = this.options.timer.now()
    if (this.phase === "Body" || this.isOver) return
    this.phase = "Body"
    this.clearAlarm()
    this.setAlarm()
  }

  end(end: Effect.Effect<Reply, RunPodError>): void {
    const { resume } = this
    if (resume === undefined) return
    this.close()
    resume(end)
  }

  /** The transport failed. */
  fail(cause: unknown): void {
    const { scrub, where } = this.options
    this.end(Effect.fail(new TransportError({ ...where, sent: this.sent, cause: safeCause(cause, scrub) })))
  }

  /** Nobody waits for its end any more. */
  close(): void {
    this.resume = undefined
    this.abort = constVoid
    this.clearAlarm()
  }

  /** How long the phase may take, from `since`. */
  private limit(): number {
    const { deadline, headersTimeout } = this.options
    const longest = this.phase === "Headers" ? headersTimeout : Math.min(headersTimeout, bodyTimeout)
    return Math.min(longest, deadline - this.since)
  }

  private readonly onAlarm = (): void => {
    const { timer, where } = this.options
    if (timer.now() < this.since + this.limit()) {
      this.setAlarm()
      return
    }
    const timeout = Duration.millis(Math.max(0, Math.round(this.limit())))
    const { abort, phase, sent } = this
    this.end(Effect.fail(new RequestTimeoutError({ ...where, sent, phase, timeout })))
    abort()
  }

  private setAlarm(): void {
    this.alarm = this.options.timer.set(this.since + this.limit(), this.onAlarm)
  }

  private clearAlarm(): void {
    if (this.alarm !== undefined) this.options.timer.clear(this.alarm)
    this.alarm = undefined
  }
}
