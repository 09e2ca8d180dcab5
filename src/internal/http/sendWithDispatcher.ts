import * as Effect from "effect/Effect"
import type { RunPodError } from "../../errors/RunPodError.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"
import { Attempt, type Options } from "./attempt.js"
import { type Reply, ReplyCollector } from "./reply.js"

/** Feeds an attempt with what a dispatcher tells. */
class AttemptHandler implements Dispatcher.Handler {
  private body: ReplyCollector | undefined

  constructor(private readonly attempt: Attempt) {}

  onConnected(): void {
    this.attempt.sent = "Maybe"
  }

  onHead(status: number, headers: Parameters<Dispatcher.Handler["onHead"]>[1]): void {
    const retryAfter = headers["retry-after"]
    this.body = new ReplyCollector(status, typeof retryAfter === "string" ? retryAfter : retryAfter?.[0])
    this.attempt.onBytes()
  }

  onData(bytes: Uint8Array): void {
    this.attempt.onBytes()
    if (this.body?.add(bytes) !== false) return
    const { abort } = this.attempt
    this.onEnd()
    abort()
  }

  onEnd(): void {
    if (this.body !== undefined && !this.attempt.isOver) this.attempt.end(Effect.succeed(this.body.toReply()))
  }

  onError(cause: unknown): void {
    this.attempt.fail(cause)
  }
}

/** Sends a request, without a fiber of its own. Interrupting it closes the connection. */
export const sendWithDispatcher = (
  dispatcher: Dispatcher.Service,
  request: Dispatcher.Request,
  options: Options
): Effect.Effect<Reply, RunPodError> =>
  Effect.async((resume) => {
    const attempt = new Attempt(options, resume)
    attempt.sent = "No"
    const { abort } = dispatcher.dispatch(request, new AttemptHandler(attempt))
    if (!attempt.isOver) attempt.abort = abort
    return Effect.sync(() => {
      const { abort } = attempt
      attempt.close()
      abort()
    })
  })
