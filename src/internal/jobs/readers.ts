import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import { fromJob, fromUndecodable, type JobError } from "../../errors/JobError.js"
import * as Job from "../../schemas/Job.js"
import type { ProgressJob } from "../../services/JobHandle.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import type { WaitOptions, WatchedJob } from "../../services/WaitOptions.js"
import { issueOf } from "../text/parseIssue.js"
import { makeScrub, type Scrub } from "../text/scrub.js"

/** Reads a value with a schema. */
export type Read<A> = (value: unknown) => Effect.Effect<A, ParseResult.ParseError>

/** How the values of an endpoint's jobs are read. */
export interface Readers<O, P, C> {
  readonly output: Read<O>
  readonly progress: Read<P>
  readonly chunk: Read<C>
}

/** Strikes out the API key and these secrets. */
export const scrubOf = (runtime: JobRuntime, secrets: ReadonlyArray<string> = []): Scrub => {
  if (secrets.length === 0) return runtime.scrub
  const scrubSecrets = makeScrub(secrets)
  return (text) => runtime.scrub(scrubSecrets(text))
}

/** The output of a job that has ended, or the error it ended with. */
export const outputOf = <O>(
  ended: Job.Ended,
  { endpointId, output, scrub }: { readonly endpointId: string; readonly output: Read<O>; readonly scrub: Scrub }
): Effect.Effect<O, JobError> => {
  const error = fromJob(endpointId, ended, scrub)
  return error === undefined
    ? Effect.mapError(output(ended.output), (issue) => fromUndecodable(endpointId, ended, issueOf(issue), scrub))
    : Effect.fail(error)
}

/** The job with its progress, where its schema accepts that. */
export const withProgress = <P>(progress: Read<P>, job: WatchedJob): Effect.Effect<ProgressJob<P>> =>
  Job.isTerminal(job) || job.output === undefined
    ? Effect.succeed(job)
    : Effect.match(progress(job.output), {
        onFailure: () => job,
        onSuccess: (progress) => ({ ...job, progress })
      })

/** Reads progress before `onProgress` gets it. */
export const typed = <P>(
  progress: Read<P>,
  onProgress: WaitOptions<ProgressJob<P>>["onProgress"]
): WaitOptions["onProgress"] =>
  onProgress === undefined ? undefined : (job) => Effect.flatMap(withProgress(progress, job), onProgress)
