import * as Effect from "effect/Effect"
import { provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import type { AttemptObserver } from "../../layers/RunPodHttpClient.js"

/** Sends an attempt, if it has an observer only when that wants it to be sent, and tells it when that had no effect. */
export const observe = <A>(
  send: Effect.Effect<A, RunPodError>,
  observer: AttemptObserver | undefined
): Effect.Effect<A, RunPodError> => {
  if (observer === undefined) return send
  const { onRefused, onSend } = observer
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(onSend, (isWanted) =>
      isWanted
        ? Effect.tapError(restore(send), (error) => (provesNoEffect(error) ? onRefused : Effect.void))
        : Effect.interrupt
    )
  )
}
