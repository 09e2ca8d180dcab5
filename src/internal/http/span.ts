import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import type { Context } from "../../errors/RunPodError.js"
import { nanosOf } from "../pace/monotonic.js"

/** What a span needs of its fiber. */
export interface Timing {
  readonly clock: Clock.Clock
  readonly isTimed: boolean
}

/**
 * `Effect.useSpan` for what does not look at the span in its context, in half the steps: its clock is read once, and its end is
 * no effect.
 */
export const useSpan = <A, E>(
  name: string,
  options: Tracer.SpanOptions,
  { clock, isTimed }: Timing,
  use: (span: Tracer.Span) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.makeSpan(name, options), (span) => {
      const end = (exit: Exit.Exit<A, E>): Effect.Effect<A, E> => {
        if (span.status._tag !== "Ended") span.end(isTimed ? nanosOf(clock) : 0n, exit)
        return exit
      }
      return Effect.matchCauseEffect(restore(use(span)), {
        onFailure: (cause) => end(Exit.failCause(cause)),
        onSuccess: (value) => end(Exit.succeed(value))
      })
    })
  )

/** Of the span of a request. */
export const spanOptions = ({ batchId, endpointId, jobId }: Context): Tracer.SpanOptions => {
  const attributes: Record<string, string> = {}
  if (endpointId !== undefined) attributes["runpod.endpoint_id"] = endpointId
  if (jobId !== undefined) attributes["runpod.job_id"] = jobId
  if (batchId !== undefined) attributes["runpod.batch_id"] = batchId
  return { kind: "client", captureStackTrace: false, attributes }
}
