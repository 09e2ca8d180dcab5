import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import { matchCauseEffect, failureOf } from "../effect/cause.js"
import { errorTypeOf, unseen } from "../telemetry/tracing.js"
import type { Where } from "./execution.js"
import type { Caller } from "./requestOptions.js"
import type { Address } from "./server.js"

const spanOptions: Tracer.SpanOptions = { kind: "client", captureStackTrace: false }

/**
 * The span of a request: `Effect.useSpan` in half the steps, for what does not look at the span in its context. Names and
 * attributes are those of OpenTelemetry's stable HTTP conventions, and RunPod's own.
 */
export const useRequestSpan = <A, E>(
  where: Where,
  { address, caller }: { readonly address: Address; readonly caller: Caller },
  use: (span: Tracer.Span) => Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  if (!caller.isTraced) return use(unseen)
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.makeSpan(`RunPod.${where.operation}`, spanOptions), (span) => {
      const { batchId, endpointId, jobId } = where
      span.attribute("http.request.method", where.method)
      span.attribute("server.address", address.host)
      span.attribute("server.port", address.port)
      span.attribute("url.full", address.base + where.path)
      if (endpointId !== undefined) span.attribute("runpod.endpoint_id", endpointId)
      if (jobId !== undefined) span.attribute("runpod.job_id", jobId)
      if (batchId !== undefined) span.attribute("runpod.batch_id", batchId)
      return matchCauseEffect(
        restore(use(span)),
        (cause) => {
          const error = failureOf(cause)
          if (error !== undefined) span.attribute("error.type", errorTypeOf(error))
          caller.end(span, Exit.failCause(cause))
          return Effect.failCause(cause)
        },
        (value) => {
          caller.end(span, Exit.void)
          return Effect.succeed(value)
        }
      )
    })
  )
}
