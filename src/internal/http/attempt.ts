import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import { RequestTimeoutError, type RunPodError, TransportError } from "../../errors/RunPodError.js"
import { failureOf } from "../effect/cause.js"
import type { Alarm, Timer } from "../pace/timer.js"
import type { Execution } from "./execution.js"
import type { Reply } from "./reply.js"
import { safeCause } from "./transportCause.js"

/**
 * One attempt that is under way, and its deadlines: until the headers, then between bytes, and never beyond that of its caller.
 * It is an alarm of the layer's one timer: a race of fibers would cost more than the rest of a request.
 *
 * When it has ended it points neither to its transport nor to its fiber, or the collector, which finds one old among them,
 * would take all of them for old.
 */
export class Attempt<A extends { readonly status: number } = Reply> implements Alarm {
  /** Whether it can have reached the server. Only some transports know that it has not. */
  sent: "No" | "Maybe" = "Maybe"
  abort: () => void = constVoid
  at = 0
  order = 0
  index = -1
  private phase: "Headers" | "Body" = "Headers"
  private readonly sentAt: number
  private since: number

  constructor(
    protected readonly execution: Execution,
    protected readonly timer: Timer,
    private resume: ((end: Effect.Effect<A, RunPodError>) => void) | undefined
  ) {
    this.since = this.sentAt = timer.now()
    this.setAlarm()
  }

  get isOver(): boolean {
    return this.resume === undefined
  }

  onBytes(): void {
    this.since = this.timer.now()
    if (this.phase === "Body" || this.isOver) return
    this.phase = "Body"
    this.timer.clear(this)
    this.setAlarm()
  }

  /** Its answer is there, with the bytes that came last. */
  succeed(reply: A): void {
    this.end(Effect.succeed(reply), reply.status, this.since)
  }

  fail(error: RunPodError): void {
    this.end(Effect.fail(error), error._tag)
  }

  /** The transport has failed. */
  failWith(cause: unknown): void {
    const { scrub, where } = this.execution
    this.fail(new TransportError({ ...where, sent: this.sent, cause: safeCause(cause, scrub) }))
  }

  /** The fiber has ended that it was sent on. */
  endWith(exit: Exit.Exit<A, RunPodError>): void {
    if (Exit.isSuccess(exit)) this.succeed(exit.value)
    else this.end(exit, failureOf(exit.cause)?._tag ?? "Defect")
  }

  /** Nobody waits for its end any more: stops the transport, too. */
  giveUp(): void {
    const { abort } = this
    if (!this.isOver) this.execution.onEnd("interrupted", this.timer.now() - this.sentAt)
    this.close()
    abort()
  }

  run(): void {
    if (this.timer.now() < this.since + this.limit()) return this.setAlarm()
    const timeout = Duration.millis(Math.max(0, Math.round(this.limit())))
    const { abort, phase, sent } = this
    this.fail(new RequestTimeoutError({ ...this.execution.where, sent, phase, timeout }))
    abort()
  }

  private end(end: Effect.Effect<A, RunPodError>, status: number | string, now = this.timer.now()): void {
    const { resume } = this
    if (resume === undefined) return
    this.execution.onEnd(status, now - this.sentAt)
    this.close()
    resume(end)
  }

  private close(): void {
    this.resume = undefined
    this.abort = constVoid
    this.timer.clear(this)
  }

  private limit(): number {
    const { bodyTimeout, deadline, headersTimeout } = this.execution
    const longest = this.phase === "Headers" ? headersTimeout : bodyTimeout
    return Math.min(longest, deadline - this.since)
  }

  private setAlarm(): void {
    this.at = this.since + this.limit()
    this.timer.add(this)
  }
}
