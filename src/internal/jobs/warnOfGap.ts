import * as Effect from "effect/Effect"
import type { RunPodError } from "../../errors/RunPodError.js"

/** Says that chunks of a stream may be lost. */
export const warnOfGap = (endpointId: string, jobId: string, error: RunPodError) =>
  Effect.logWarning("An answer of the stream was lost, and chunks may be lost with it").pipe(
    Effect.annotateLogs({ endpointId, jobId, error: error._tag })
  )
