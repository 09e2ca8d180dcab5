import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import { matchCauseEffect } from "../effect/cause.js"
import { nanosOf } from "../pace/monotonic.js"
import type { Where } from "./execution.js"
import type { Caller } from "./requestOptions.js"

const spanOptions: Tracer.SpanOptions = { kind: "client", captureStackTrace: false }

/** The span of a request: `Effect.useSpan` in half the steps, for what does not look at the span in its context. */
export const useRequestSpan = <A, E>(
  where: Where,
  { clock, isTimed }: Pick<Caller, "clock" | "isTimed">,
  use: (span: Tracer.Span) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.makeSpan(`RunPod.${where.operation}`, spanOptions), (span) => {
      const { batchId, endpointId, jobId } = where
      if (endpointId !== undefined) span.attribute("runpod.endpoint_id", endpointId)
      if (jobId !== undefined) span.attribute("runpod.job_id", jobId)
      if (batchId !== undefined) span.attribute("runpod.batch_id", batchId)
      const end = (exit: Exit.Exit<A, E>): Effect.Effect<A, E> => {
        if (span.status._tag !== "Ended") span.end(isTimed ? nanosOf(clock) : 0n, exit)
        return exit
      }
      return matchCauseEffect(
        restore(use(span)),
        (cause) => end(Exit.failCause(cause)),
        (value) => end(Exit.succeed(value))
      )
    })
  )
