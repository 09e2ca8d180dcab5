import type { Batch, BatchError, BatchJournal, Endpoint, JobError, JobHandle, JobId, RunPodError } from "effect-runpod"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { describe, expectTypeOf, it } from "vitest"

/** The library's values, of which these tests need the types alone: nothing of it is loaded. */
declare const core: typeof import("effect-runpod")

type Full = Endpoint.Endpoint<string, { readonly url: string }, number, boolean>
type Handle = JobHandle.JobHandle<{ readonly url: string }, number, boolean>
type ItemError = RunPodError.RunPodError | JobError.JobError
class InputError extends Error {
  readonly _tag = "InputError"
}

declare const inputs: Stream.Stream<string, InputError>

describe("Batch", () => {
  it("run gives outcomes with the input's and the output's type, and fails with what is nobody's outcome", () => {
    const run = (endpoint: Full) => core.Batch.run(endpoint, ["a"], { concurrency: 2 })
    expectTypeOf(run).returns.toEqualTypeOf<
      Stream.Stream<
        Batch.Outcome<string, { readonly url: string }>,
        | Batch.FatalError
        | RunPodError.ServerError
        | RunPodError.DecodeError
        | RunPodError.BadRequestError
        | BatchError.BatchJournalError
        | BatchError.BatchStoppedError
      >
    >()
    expectTypeOf<Batch.Outcome<string, { readonly url: string }>["result"]>().toEqualTypeOf<
      Exit.Exit<{ readonly url: string }, ItemError>
    >()
  })

  it("run fails with the errors of its inputs as well", () => {
    const run = (endpoint: Full) => core.Batch.run(endpoint, inputs)
    expectTypeOf(run).returns.toEqualTypeOf<
      Stream.Stream<
        Batch.Outcome<string, { readonly url: string }>,
        | Batch.FatalError
        | RunPodError.ServerError
        | RunPodError.DecodeError
        | RunPodError.BadRequestError
        | BatchError.BatchJournalError
        | BatchError.BatchStoppedError
        | InputError
      >
    >()
  })

  it("collect gives a report, and does not fail for having been stopped", () => {
    const collect = (endpoint: Full) => core.Batch.collect(endpoint, ["a"])
    expectTypeOf(collect).returns.toEqualTypeOf<
      Effect.Effect<
        Batch.Report<string, { readonly url: string }>,
        | Batch.FatalError
        | RunPodError.ServerError
        | RunPodError.DecodeError
        | RunPodError.BadRequestError
        | BatchError.BatchJournalError
      >
    >()
  })

  it("a tracker comes with options and without, and `onFailed` gets the error of a job", () => {
    expectTypeOf<typeof core.Batch.tracker>().toExtend<Effect.Effect<Batch.Tracker>>()
    expectTypeOf<typeof core.Batch.tracker>().returns.toEqualTypeOf<Effect.Effect<Batch.Tracker>>()
    type Choice = Exclude<Batch.Options<string>["onFailed"], string | undefined>
    expectTypeOf<Choice>().toEqualTypeOf<(error: JobError.JobError) => boolean>()
  })

  it("submit gives a handle or an error for each input, and cannot fail but by its inputs", () => {
    const submit = (endpoint: Full) => core.Batch.submit(endpoint, ["a"])
    const submitAll = (endpoint: Full) => core.Batch.submit(endpoint, inputs)
    type Submissions = ReadonlyArray<Batch.Submission<string, { readonly url: string }, number, boolean>>
    expectTypeOf(submit).returns.toEqualTypeOf<Effect.Effect<Submissions>>()
    expectTypeOf(submitAll).returns.toEqualTypeOf<Effect.Effect<Submissions, InputError>>()
    expectTypeOf<Submissions[number]["result"]>().toEqualTypeOf<Exit.Exit<Handle, RunPodError.RunPodError>>()
  })

  it("wait takes ids and handles, and gives outputs", () => {
    const wait = (endpoint: Full, handle: Handle) => core.Batch.wait(endpoint, ["job-1", handle], { timeout: "1 hour" })
    type Outcomes = ReadonlyArray<Batch.WaitOutcome<{ readonly url: string }>>
    expectTypeOf(wait).returns.toEqualTypeOf<Effect.Effect<Outcomes, Batch.FatalError>>()
    expectTypeOf<Outcomes[number]["jobId"]>().toEqualTypeOf<JobId.JobId>()
  })

  it("refuses inputs of another type", () => {
    const run = (endpoint: Full) =>
      // @ts-expect-error: numbers are no strings
      core.Batch.run(endpoint, [1])
    expectTypeOf(run).toBeFunction()
  })

  it("takes what Exit tells of an outcome", () => {
    const urlOf = ({ result }: Batch.Outcome<string, { readonly url: string }>) =>
      Exit.isSuccess(result) ? result.value : result.cause
    expectTypeOf(urlOf).returns.exclude<{ readonly url: string }>().toHaveProperty("_tag")
  })
})

describe("BatchJournal", () => {
  it("of a file needs a file system and a scope", () => {
    const file = () => core.BatchJournal.file("batch.journal")
    expectTypeOf(file).returns.toEqualTypeOf<
      Effect.Effect<BatchJournal.BatchJournal, BatchError.BatchJournalError, FileSystem.FileSystem | Scope.Scope>
    >()
  })
})
