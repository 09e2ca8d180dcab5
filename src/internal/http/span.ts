import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import { matchCauseEffect } from "../effect/cause.js"
import { nanosOf } from "../pace/monotonic.js"
import type { Where } from "./execution.js"
import type { Caller } from "./requestOptions.js"

const spanOptions: Tracer.SpanOptions = { kind: "client", captureStackTrace: false }

/** In place of a span where there is no tracer that would show it. */
const unseen: Tracer.Span = {
  _tag: "Span",
  name: "",
  spanId: "",
  traceId: "",
  parent: Option.none(),
  context: Context.empty(),
  status: { _tag: "Started", startTime: 0n },
  attributes: new Map(),
  links: [],
  sampled: false,
  kind: "client",
  end: constVoid,
  attribute: constVoid,
  event: constVoid,
  addLinks: constVoid
}

/** The span of a request: `Effect.useSpan` in half the steps, for what does not look at the span in its context. */
export const useRequestSpan = <A, E>(
  where: Where,
  { clock, isTimed, isTraced }: Pick<Caller, "clock" | "isTimed" | "isTraced">,
  use: (span: Tracer.Span) => Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  if (!isTraced) return use(unseen)
  return Effect.uninterruptibleMask((restore) =>
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
}
