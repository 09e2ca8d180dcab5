import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { RunPodError } from "../../errors/RunPodError.js"
import type { Limiter, Permit } from "../pace/limiter.js"
import type { Execution } from "./execution.js"
import { interpret, type Reading, readRetryAfter } from "./interpret.js"
import type { Reply } from "./reply.js"

/** The value or the error that an answer stands for; the limiter and the span are told of it. */
export const meaningOf = <A>(
  execution: Execution<A>,
  reply: Reply,
  { limiter, permit }: { readonly limiter: Limiter; readonly permit: Permit },
  reading: Reading & {
    readonly onThrottled: (operation: string) => Effect.Effect<void>
    readonly onSuccess: () => void
  }
): Effect.Effect<A, RunPodError> => {
  const { request, scrub, span, where } = execution
  span.attribute("http.response.status_code", reply.status)
  const read = (retryAfter: Duration.Duration | undefined): Either.Either<A, RunPodError> => {
    const value = interpret(request, { reply, where, retryAfter }, scrub, reading)
    if (Either.isLeft(value)) return value
    reading.onSuccess()
    const jobId = where.jobId === undefined ? request.idOf?.(value.right) : undefined
    if (jobId !== undefined) span.attribute("runpod.job_id", scrub(jobId))
    return value
  }
  if (reply.status !== 429 && reply.retryAfter === undefined) {
    return limiter.isReopening ? Effect.zipRight(limiter.accepted(permit), read(undefined)) : read(undefined)
  }
  return Effect.clockWith((clock) => {
    const retryAfter = readRetryAfter(reply.retryAfter, clock.unsafeCurrentTimeMillis())
    const told =
      reply.status === 429
        ? Effect.zipRight(limiter.throttled(permit, retryAfter), reading.onThrottled(where.operation))
        : limiter.accepted(permit)
    return Effect.zipRight(told, read(retryAfter))
  })
}
