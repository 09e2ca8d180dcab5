import { isRetryable, isRunPodError, provesNoEffect } from "effect-runpod/RunPodError"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { CallError } from "../ModelCall.js"
import type { Transport } from "./transport.js"

/** The route had no room or could not be reached, and nothing was started: a job in the queue is no second generation. */
const mayBecomeJob = (error: CallError): boolean => isRunPodError(error) && provesNoEffect(error) && isRetryable(error)

/** The route while a worker is up, else a job. */
export const make = (transports: {
  readonly route: Transport
  readonly job: Transport
  readonly isWarm: Effect.Effect<boolean>
}): Transport => {
  const { isWarm, job, route } = transports
  return {
    request: (path, body) =>
      Effect.if(isWarm, {
        onTrue: () => Effect.catchIf(route.request(path, body), mayBecomeJob, () => job.request(path, body)),
        onFalse: () => job.request(path, body)
      }),
    pieces: (path, body, isWhole) =>
      Stream.unwrap(
        Effect.map(isWarm, (warm) =>
          warm
            ? Stream.catchAll(route.pieces(path, body, isWhole), (error) =>
                mayBecomeJob(error) ? job.pieces(path, body, isWhole) : Stream.fail(error)
              )
            : job.pieces(path, body, isWhole)
        )
      )
  }
}
