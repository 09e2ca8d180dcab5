import type { Endpoint, Health, Job as Wire, JobError, JobHandle, RunPodError } from "effect-runpod"
import * as Schema from "effect/Schema"
import { describe, expectTypeOf, it } from "vitest"
import type { Client, Endpoint as PromiseEndpoint, Job, Outcome } from "effect-runpod/Promise"

/** The library's values, of which these tests need the types alone: nothing of it is loaded. */
declare const promise: typeof import("effect-runpod/Promise")
declare const node: typeof import("effect-runpod/Node")

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
type AnyError = RunPodError.RunPodError | JobError.JobError
type Typed = PromiseEndpoint<Input, Output, string, Progress>

const typed = (client: Client) =>
  client.endpoint("ep", {
    input: Schema.Struct({ prompt: Schema.String, at: Schema.DateFromString }),
    output: Schema.Struct({ steps: Schema.NumberFromString }),
    progress: Schema.Struct({ percent: Schema.Number }),
    chunk: Schema.String
  })

describe("a client without Effect", () => {
  it("is made with options that may be left out, and can be disposed of", () => {
    const made = () => [
      promise.createClient(),
      promise.createClient({ apiKey: "key", requestTimeout: "10 seconds" }),
      node.NodePromise.createClient({ apiKey: "key", http2: true })
    ]
    expectTypeOf(made).returns.toEqualTypeOf<Array<Client>>()
    expectTypeOf<Client>().toExtend<AsyncDisposable>()
  })

  it("takes the types of its endpoint from schemas", () => {
    expectTypeOf(typed).returns.toEqualTypeOf<Typed>()
  })

  it("takes them from the caller where there are no schemas", () => {
    const plain = (client: Client) => client.endpoint("ep")
    expectTypeOf(plain).returns.toEqualTypeOf<PromiseEndpoint<Readonly<Record<string, unknown>>, unknown>>()
    const said = (client: Client) => client.endpoint<Input, Output, string>("ep")
    expectTypeOf(said).returns.toEqualTypeOf<PromiseEndpoint<Input, Output, string>>()
    const half = (client: Client) => client.endpoint("ep", { output: Schema.NumberFromString })
    expectTypeOf(half).returns.toEqualTypeOf<PromiseEndpoint<Readonly<Record<string, unknown>>, number>>()
  })

  it("gives promises and async iterables", () => {
    expectTypeOf<Typed["call"]>().parameter(0).toEqualTypeOf<Input>()
    expectTypeOf<Typed["call"]>().returns.toEqualTypeOf<Promise<Output>>()
    expectTypeOf<Typed["run"]>().returns.toEqualTypeOf<Promise<Job<Output, string, Progress>>>()
    expectTypeOf<Typed["attach"]>().returns.toEqualTypeOf<Job<Output, string, Progress>>()
    expectTypeOf<Typed["stream"]>().returns.toEqualTypeOf<AsyncIterable<string>>()
    expectTypeOf<Typed["batch"]>().returns.toEqualTypeOf<AsyncIterable<Outcome<Input, Output>>>()
    expectTypeOf<Typed["health"]>().returns.toEqualTypeOf<Promise<Health.Health>>()
    expectTypeOf<Job<Output, string>["result"]>().returns.toEqualTypeOf<Promise<Output>>()
    expectTypeOf<Job<Output, string>["status"]>().returns.toEqualTypeOf<Promise<Wire.Job>>()
    expectTypeOf<Job<Output, string>["stream"]>().returns.toEqualTypeOf<AsyncIterable<string>>()
  })

  it("takes callbacks that return promises or nothing, and the options of the services", () => {
    const call = (endpoint: Typed, input: Input, signal: AbortSignal) =>
      endpoint.call(input, {
        signal,
        timeout: "5 minutes",
        policy: { lowPriority: true },
        onProgress: async (job) => {
          expectTypeOf(job).toEqualTypeOf<JobHandle.ProgressJob<Progress>>()
        }
      })
    expectTypeOf(call).returns.toEqualTypeOf<Promise<Output>>()
    type CallOptions = NonNullable<Parameters<Typed["call"]>[1]>
    expectTypeOf<Exclude<keyof Endpoint.CallOptions, keyof CallOptions>>().toEqualTypeOf<"onJob">()
    type StreamOptions = NonNullable<Parameters<Typed["stream"]>[1]>
    expectTypeOf<Exclude<keyof Endpoint.CallStreamOptions, keyof StreamOptions>>().toEqualTypeOf<"onEnd" | "onJob">()
  })

  it("tells outcomes with a value from those with an error", () => {
    const read = (outcome: Outcome<Input, Output>) => {
      if (outcome.ok) expectTypeOf(outcome.value).toEqualTypeOf<Output>()
      else expectTypeOf(outcome.error).toEqualTypeOf<AnyError>()
      return outcome.input
    }
    expectTypeOf(read).returns.toEqualTypeOf<Input>()
  })

  it("refuses another input, and schemas that do not fit the types that were said", () => {
    const refused = (client: Client, endpoint: Typed) => [
      // @ts-expect-error: `at` is missing
      endpoint.call({ prompt: "a fox" }),
      // @ts-expect-error: a schema of another type
      client.endpoint<Input, Output>("ep", { output: Schema.String })
    ]
    expectTypeOf(refused).toBeFunction()
  })
})
