import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import type * as Tracer from "effect/Tracer"
import type { Restore } from "../pace/mask.js"

/** `Effect.useSpan` and `Effect.uninterruptibleMask` in one, for half the steps. */
export const useSpanInMask = <A, E>(
  name: string,
  options: Tracer.SpanOptions,
  use: (span: Tracer.Span, restore: Restore) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.makeSpan(name, options), (span) => {
      const end = (exit: Exit.Exit<A, E>): Effect.Effect<A, E> =>
        Effect.withFiberRuntime((fiber) =>
          Effect.clockWith((clock) => {
            const isTimed = fiber.getFiberRef(FiberRef.currentTracerTimingEnabled)
            if (span.status._tag !== "Ended") span.end(isTimed ? clock.unsafeCurrentTimeNanos() : 0n, exit)
            return exit
          })
        )
      return Effect.matchCauseEffect(use(span, restore), {
        onFailure: (cause) => end(Exit.failCause(cause)),
        onSuccess: (value) => end(Exit.succeed(value))
      })
    })
  )
