import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import { type JobError, fromJob, OutputDecodeError, WaitTimeoutError } from "../../errors/JobError.js"
import { provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import type { StreamChunk } from "../../schemas/StreamChunk.js"
import type { StreamOptions } from "../../services/JobHandle.js"
import { recurring } from "../effect/schedule.js"
import { type Backoff, delayAfter } from "../pace/backoff.js"
import { sleepUntil } from "../pace/monotonic.js"
import { excerpt } from "../text/excerpt.js"
import { issueOf } from "../text/parseIssue.js"
import { type Scrub, scrubValue } from "../text/scrub.js"
import { isNotVisibleYet, type JobRef } from "./jobRef.js"
import { settle } from "./poll.js"
import { isDefinite } from "./pollPace.js"
import { decode, policyOf } from "./waitPolicy.js"

/** Reads a value with a schema. */
export type Read<A> = (value: unknown) => Effect.Effect<A, ParseResult.ParseError>

/** Says that chunks of a stream may be lost. */
export const warnOfGap = (endpointId: string, jobId: string, error: RunPodError) =>
  Effect.logWarning("An answer of the stream was lost, and chunks may be lost with it").pipe(
    Effect.annotateLogs({ endpointId, jobId, error: error._tag })
  )

const betweenStreams: Backoff = { base: 250, cap: 5_000, jitter: "none" }

/** The chunks through every fault that passes: RunPod keeps what was not read, so a new stream reads on. */
const chunksOf = (job: JobRef, { onGap, wait }: StreamOptions): Stream.Stream<StreamChunk, RunPodError> => {
  const { endpointId, jobId, runPod } = job
  const report = onGap ?? ((error: RunPodError) => warnOfGap(endpointId, jobId, error))
  const passes = (error: RunPodError) =>
    Effect.map(Effect.clock, (clock) => isNotVisibleYet(job, error, clock) || !isDefinite(error))
  return runPod.stream(endpointId, jobId, { onGap: report, wait }).pipe(
    Stream.tapError((error) => (provesNoEffect(error) ? Effect.void : report(error))),
    Stream.retry(recurring({ delay: (_, tries) => delayAfter(betweenStreams, tries), while: passes }))
  )
}

/** Fails at the end of the job's life, or of the caller's patience. */
const failLate = (job: JobRef, { timeout }: StreamOptions) =>
  Effect.clockWith((clock) => {
    const { endpointId, jobId } = job
    const { deadline, startedAt } = policyOf({ job, settings: decode({ timeout }) }, clock)
    const elapsed = Duration.millis(Math.max(0, Math.round(deadline - startedAt)))
    const error = new WaitTimeoutError({ endpointId, jobId, elapsed, cancel: "No" })
    return Effect.zipRight(sleepUntil(deadline), Effect.fail(error))
  })

/** The chunks of a job, and then the error of one that is not COMPLETED. */
export const stream = <C>(
  job: JobRef,
  readers: { readonly chunk: Read<C>; readonly scrub: Scrub },
  options: StreamOptions
): Stream.Stream<C, RunPodError | JobError> => {
  const { endpointId, jobId } = job
  const { chunk: readChunk, scrub } = readers
  const chunks = Stream.mapEffect(chunksOf(job, options), (chunk) =>
    Effect.mapError(
      readChunk(chunk.output),
      (issue) =>
        new OutputDecodeError({
          endpointId,
          jobId,
          issue: excerpt(scrub(issueOf(issue))),
          output: scrubValue(chunk.output, scrub)
        })
    )
  )
  // The stream does not say why a job ended: one look at its status does.
  const end = Effect.flatMap(settle({ job, settings: decode({ poll: { initial: 0 } }) }), (ended) => {
    const error = ended.status === "COMPLETED" ? undefined : fromJob(endpointId, ended, scrub)
    return error === undefined ? Effect.void : Effect.fail(error)
  })
  return Stream.interruptWhen(Stream.concat(chunks, Stream.drain(Stream.fromEffect(end))), failLate(job, options))
}
