import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { identity } from "effect/Function"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { BatchJournalError } from "../../errors/BatchError.js"
import { original } from "../../internal/effect/cause.js"
import * as Batch from "../../services/Batch.js"
import * as BatchJournal from "../../services/BatchJournal.js"
import * as Endpoints from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import type * as RunPod from "../../services/RunPod.js"
import type { BatchOptions, Client, Endpoint, Job, Outcome } from "../Promise.js"
import { Runner } from "./runner.js"

/** Without a schema any value passes, as what the caller says it is. */
const orAnything = <A, E>(schema: Schema.Schema<A, E> | undefined): Schema.Schema<A, E> =>
  schema ?? (Schema.Unknown as Schema.Schema<A, E>)

const effectOf = <A>(callback: ((value: A) => void | PromiseLike<void>) | undefined) =>
  callback && ((value: A) => Effect.promise(async () => callback(value)))

const inputsOf = <I>(inputs: Iterable<I> | AsyncIterable<I>): Batch.Inputs<I, unknown> =>
  Symbol.asyncIterator in inputs ? Stream.fromAsyncIterable<I, unknown>(inputs, identity) : inputs

const openJournal = (journal: NonNullable<BatchOptions<never>["journal"]>) =>
  Effect.gen(function* () {
    const { path, ...options } = typeof journal === "string" ? { path: journal } : journal
    const files = yield* Effect.serviceOption(FileSystem.FileSystem)
    if (files._tag === "Some") {
      return yield* Effect.provideService(BatchJournal.file(path, options), FileSystem.FileSystem, files.value)
    }
    const detail = "this client has no file system for it: make the client with NodePromise.createClient"
    return yield* Effect.fail(new BatchJournalError({ reason: "Io", detail, file: path }))
  })

const outcomeOf = <I, O>({ result, ...rest }: Batch.Outcome<I, O>): Effect.Effect<Outcome<I, O>> =>
  Effect.map(
    Effect.either(result),
    Either.match({
      onLeft: (error) => ({ ...rest, ok: false, error: original(error) }),
      onRight: (value) => ({ ...rest, ok: true, value })
    })
  )

/** What an effect gives the first time. */
const once = <A, R>(effect: Effect.Effect<A, never, R>): Effect.Effect<A, never, R> => {
  let known: { readonly value: A } | undefined
  return Effect.suspend(() =>
    known === undefined
      ? Effect.map(effect, (value) => {
          known ??= { value }
          return known.value
        })
      : Effect.succeed(known.value)
  )
}

/** What is known of a job without asking, its handle, and what runs its methods. */
interface JobSource<O, C, P> extends Pick<Job<O, C, P>, "id" | "endpointId"> {
  readonly handle: Effect.Effect<JobHandle<O, P, C>, never, RunPod.RunPod>
  readonly runner: Runner<RunPod.RunPod>
}

const jobOf = <O, C, P>({ endpointId, handle, id, runner }: JobSource<O, C, P>): Job<O, C, P> => {
  const run = <A>(use: (handle: JobHandle<O, P, C>) => Effect.Effect<A, unknown>, signal: AbortSignal | undefined) =>
    runner.run(Effect.flatMap(handle, use), signal)
  return {
    id,
    endpointId,
    status: ({ signal } = {}) => run((job) => job.status, signal),
    result: ({ onProgress, signal, ...options } = {}) =>
      run((job) => job.result({ ...options, onProgress: effectOf(onProgress) }), signal),
    cancel: ({ signal } = {}) => run((job) => job.cancel, signal),
    retry: ({ signal } = {}) => run((job) => job.retry, signal),
    stream: ({ onGap, signal, ...options } = {}) => {
      const chunks = Effect.map(handle, (job) => job.stream({ ...options, onGap: effectOf(onGap) }))
      return runner.iterate(Stream.unwrap(chunks), signal)
    }
  }
}

const endpointOf = <I, O, C, P>(
  runner: Runner<RunPod.RunPod>,
  made: Effect.Effect<Endpoints.MadeEndpoint<I, O, P, C>, never, RunPod.RunPod>,
  endpointId: string
): Endpoint<I, O, C, P> => {
  const endpoint = once(made)
  const run = <A>(
    use: (endpoint: Endpoints.MadeEndpoint<I, O, P, C>) => Effect.Effect<A, unknown>,
    signal: AbortSignal | undefined
  ) => runner.run(Effect.flatMap(endpoint, use), signal)
  const iterate = <A>(
    use: (endpoint: Endpoints.MadeEndpoint<I, O, P, C>) => Stream.Stream<A, unknown>,
    signal: AbortSignal | undefined
  ) => runner.iterate(Stream.unwrap(Effect.map(endpoint, use)), signal)
  return {
    id: endpointId,
    call: (input, { onProgress, signal, ...options } = {}) =>
      run((endpoint) => endpoint.call(input, { ...options, onProgress: effectOf(onProgress) }), signal),
    run: async (input, { signal, ...options } = {}) => {
      const handle = await run((endpoint) => endpoint.run(input, options), signal)
      return jobOf({ id: handle.id, endpointId, handle: Effect.succeed(handle), runner })
    },
    attach: (id, known) =>
      jobOf({ id, endpointId, handle: once(Effect.map(endpoint, (made) => made.attach(id, known))), runner }),
    stream: (input, { onGap, signal, ...options } = {}) =>
      iterate((endpoint) => endpoint.callStream(input, { ...options, onGap: effectOf(onGap) }), signal),
    batch: (inputs, { journal, signal, ...options } = {}) =>
      iterate((endpoint) => {
        const opened = journal === undefined ? Effect.succeed(undefined) : openJournal(journal)
        const outcomes = Effect.map(opened, (journal) => Batch.run(endpoint, inputsOf(inputs), { ...options, journal }))
        return Stream.mapEffect(Stream.unwrapScoped(outcomes), outcomeOf)
      }, signal),
    health: ({ signal } = {}) => run((endpoint) => endpoint.health, signal)
  }
}

export const make = (layer: Layer.Layer<RunPod.RunPod, unknown>): Client => {
  const runner = new Runner(layer)
  const close = () => runner.close()
  return {
    endpoint: (id, { chunk, input, output, progress } = {}) => {
      const schemas = { input: orAnything(input), output: orAnything(output), progress, chunk }
      return endpointOf(runner, Endpoints.make(id, schemas), id)
    },
    close,
    [Symbol.asyncDispose]: close
  }
}
