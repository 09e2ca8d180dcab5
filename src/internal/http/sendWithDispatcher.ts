import * as Effect from "effect/Effect"
import type { RunPodError } from "../../errors/RunPodError.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"
import type { Timer } from "../pace/timer.js"
import { Attempt } from "./attempt.js"
import { type Execution, keptTooLong } from "./execution.js"
import { type Reply, ReplyCollector } from "./reply.js"

class DispatchedAttempt extends Attempt implements Dispatcher.Handler {
  override sent: "No" | "Maybe" = "No"
  private body: ReplyCollector | undefined

  /** In a process that was stopped it gets its connection long after it was handed over. */
  onConnected(): void {
    if (this.timer.now() >= this.at) return this.run()
    if (!this.execution.isStale) {
      this.sent = "Maybe"
      return
    }
    const { abort } = this
    this.failWith(new Error(keptTooLong))
    abort()
  }

  onHead(status: number, headers: Parameters<Dispatcher.Handler["onHead"]>[1]): void {
    const retryAfter = headers["retry-after"]
    this.body = new ReplyCollector(status, typeof retryAfter === "string" ? retryAfter : retryAfter?.[0])
    this.onBytes()
  }

  onData(bytes: Uint8Array): void {
    this.onBytes()
    if (this.body?.add(bytes) !== false) return
    const { abort } = this
    this.onEnd()
    abort()
  }

  onEnd(): void {
    if (this.body !== undefined && !this.isOver) this.succeed(this.body.toReply())
  }

  onError(cause: unknown): void {
    this.failWith(cause)
  }
}

/** Sends a request, without a fiber of its own. When it is interrupted, its execution gives the attempt up. */
export const sendWithDispatcher = (
  dispatcher: Dispatcher.Service,
  request: Dispatcher.Request,
  execution: Execution,
  timer: Timer
): Effect.Effect<Reply, RunPodError> =>
  Effect.async((resume) => {
    const attempt = new DispatchedAttempt(execution, timer, resume)
    execution.current = attempt
    const { abort } = dispatcher.dispatch(request, attempt)
    if (attempt.isOver) abort()
    else attempt.abort = abort
  })
