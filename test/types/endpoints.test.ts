import type { Endpoint, Job, JobError, JobHandle, JobId, RunPod, RunPodError } from "effect-runpod"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { describe, expectTypeOf, it } from "vitest"

/** The library's values, of which these tests need the types alone: nothing of it is loaded. */
declare const core: typeof import("effect-runpod")

const make = () =>
  core.Endpoint.make("ep", {
    input: Schema.Struct({ prompt: Schema.String, at: Schema.DateFromString }),
    output: Schema.Struct({ steps: Schema.NumberFromString }),
    progress: Schema.Struct({ percent: Schema.Number }),
    chunk: Schema.String
  })
const makeWithDefaults = () =>
  core.Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Boolean })

interface Input {
  readonly prompt: string
  readonly at: Date
}
interface Output {
  readonly steps: number
}
interface Progress {
  readonly percent: number
}
type Handle = JobHandle.JobHandle<Output, Progress, string>
type Full = Endpoint.Endpoint<Input, Output, Progress, string>
type Made = Endpoint.MadeEndpoint<Input, Output, Progress, string>
type AnyError = RunPodError.RunPodError | JobError.JobError

describe("Endpoint.make", () => {
  it("infers input, output, progress and chunk from its schemas, needs RunPod alone, and cannot fail", () => {
    expectTypeOf(make).returns.toEqualTypeOf<Effect.Effect<Made, never, RunPod.RunPod>>()
    expectTypeOf<Made>().toExtend<Full>()
  })

  it("takes progress and chunks for unknown without their schemas", () => {
    expectTypeOf(makeWithDefaults).returns.toEqualTypeOf<
      Effect.Effect<Endpoint.MadeEndpoint<{ readonly n: number }, boolean>, never, RunPod.RunPod>
    >()
  })

  it("refuses schemas that need services", () => {
    class Service extends Effect.Tag("Service")<Service, string>() {}
    const needy = Schema.transformOrFail(Schema.String, Schema.String, {
      decode: () => Service,
      encode: () => Service
    })
    const refused = () =>
      // @ts-expect-error: nobody could provide the service later
      core.Endpoint.make("ep", { input: Schema.Struct({ needy }), output: Schema.Boolean })
    expectTypeOf(refused).toBeFunction()
  })
})

describe("the methods of an endpoint", () => {
  it("take the input's type, and give the output's", () => {
    expectTypeOf<Full["call"]>().parameter(0).toEqualTypeOf<Input>()
    expectTypeOf<Full["call"]>().returns.toEqualTypeOf<Effect.Effect<Output, AnyError>>()
    expectTypeOf<Full["runSync"]>().returns.toEqualTypeOf<Effect.Effect<Output, AnyError>>()
    expectTypeOf<Full["run"]>().returns.toEqualTypeOf<Effect.Effect<Handle, RunPodError.RunPodError>>()
    expectTypeOf<Made["callStream"]>().parameter(0).toEqualTypeOf<Input>()
    expectTypeOf<Made["callStream"]>().returns.toEqualTypeOf<Stream.Stream<string, AnyError>>()
    expectTypeOf<Full["attach"]>().returns.toEqualTypeOf<Handle>()
  })

  it("show the progress to `onProgress` with its type", () => {
    const call = (endpoint: Full, input: Input) =>
      endpoint.call(input, {
        onProgress: (job) => {
          expectTypeOf(job.progress).toEqualTypeOf<Progress | undefined>()
          return Effect.void
        }
      })
    expectTypeOf(call).returns.toEqualTypeOf<Effect.Effect<Output, AnyError>>()
  })

  it("refuse another input", () => {
    const call = (endpoint: Full) =>
      // @ts-expect-error: `at` is missing
      endpoint.call({ prompt: "a fox" })
    expectTypeOf(call).toBeFunction()
  })
})

describe("a handle", () => {
  it("gives its endpoint's types", () => {
    expectTypeOf<Handle["id"]>().toEqualTypeOf<JobId.JobId>()
    expectTypeOf<Handle["result"]>().returns.toEqualTypeOf<Effect.Effect<Output, AnyError>>()
    expectTypeOf<Handle["watch"]>().returns.toEqualTypeOf<
      Stream.Stream<JobHandle.ProgressJob<Progress>, RunPodError.RunPodError | JobError.WaitTimeoutError>
    >()
    expectTypeOf<Handle["settle"]>().returns.toEqualTypeOf<
      Effect.Effect<Job.TerminalJob, RunPodError.RunPodError | JobError.WaitTimeoutError>
    >()
    expectTypeOf<Handle["stream"]>().returns.toEqualTypeOf<Stream.Stream<string, AnyError>>()
    expectTypeOf<Handle["cancel"]>().toEqualTypeOf<Effect.Effect<Job.Job, RunPodError.RunPodError>>()
  })
})

describe("errors", () => {
  it("are narrowed by their tag", () => {
    const handled = (endpoint: Full, input: Input) =>
      endpoint.call(input).pipe(
        Effect.catchTag("JobFailedError", (error) => {
          expectTypeOf(error).toEqualTypeOf<JobError.JobFailedError>()
          expectTypeOf(error.reason).toEqualTypeOf<"ExecutionTimeout" | "RetriesExhausted" | "Handler">()
          return Effect.succeed(undefined)
        }),
        Effect.catchTags({
          SubmitAmbiguousError: ({ cause }) => {
            expectTypeOf(cause).toEqualTypeOf<RunPodError.AmbiguityCause | undefined>()
            return Effect.succeed(undefined)
          },
          WaitTimeoutError: ({ cancel }) => {
            expectTypeOf(cancel).toEqualTypeOf<"No" | "Pending" | "Sent">()
            return Effect.succeed(undefined)
          }
        })
      )
    type Left = Exclude<
      AnyError,
      JobError.JobFailedError | RunPodError.SubmitAmbiguousError | JobError.WaitTimeoutError
    >
    expectTypeOf(handled).returns.toEqualTypeOf<Effect.Effect<Output | undefined, Left>>()
  })

  it("of one family are told from others by its guard", () => {
    const which = (error: AnyError) =>
      Effect.fail(error).pipe(Effect.catchIf(core.RunPodError.isRunPodError, (caught) => Effect.succeed(caught)))
    expectTypeOf(which).returns.toEqualTypeOf<Effect.Effect<RunPodError.RunPodError, JobError.JobError>>()
  })

  it("have been handled when every tag of both families is", () => {
    type Tag = AnyError["_tag"]
    type Handlers = { readonly [K in Tag]: (error: Extract<AnyError, { readonly _tag: K }>) => Effect.Effect<null> }
    const handled = (endpoint: Full, input: Input, tags: Handlers) => Effect.catchTags(endpoint.call(input), tags)
    expectTypeOf(handled).returns.toEqualTypeOf<Effect.Effect<Output | null>>()
  })
})
