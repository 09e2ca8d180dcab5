/**
 * A local RunPod for tests, demos and benchmarks. In memory, `layerRunPod` gives a test the client and the emulator's
 * control in one layer, and `TestClock` drives both. `NodeEmulator.serve` in `effect-runpod/Node` puts it behind a server.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RunPod } from "effect-runpod"
 * import * as Emulator from "effect-runpod/Emulator"
 *
 * const program = Effect.gen(function* () {
 *   const runPod = yield* RunPod.RunPod
 *   const job = yield* runPod.runSync("greeter", { input: { name: "Ada" } })
 *   return job.output // "hello Ada"
 * })
 *
 * export const result = program.pipe(
 *   Effect.provide(
 *     Emulator.layerRunPod({
 *       endpoints: { greeter: { workers: 1, handler: (input) => Effect.succeed(`hello ${input["name"]}`) } }
 *     })
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { FlightError } from "../errors/FlightError.js"
import { defined } from "../internal/text/json.js"
import type { RunPodHttpClient } from "../layers/RunPodHttpClient.js"
import type { JobRuntime } from "../services/JobRuntime.js"
import * as Flight from "../services/Flight.js"
import * as RunPod from "../services/RunPod.js"
import { Webhooks } from "../services/Webhooks.js"
import type { Options, Service } from "./contract.js"
import type { FlightOptions } from "./plans.js"
import * as Core from "./internal/core.js"
import * as Compile from "./internal/flight/compile.js"
import * as Deliveries from "./internal/deliveries.js"
import * as MemoryClient from "./internal/memoryClient.js"

/**
 * @since 0.1.0
 * @category models
 */
export type * from "./contract.js"

/**
 * @since 0.1.0
 * @category models
 */
export type * from "./plans.js"

/**
 * @since 0.1.0
 * @category faults
 */
export * as Fault from "./Fault.js"

/**
 * Ready-made handlers: `Emulator.handler.vllm()`.
 *
 * @since 0.1.0
 * @category handlers
 */
export * as handler from "./Handlers.js"

/**
 * The control of the emulator that a layer of this module runs.
 *
 * @since 0.1.0
 * @category tags
 */
export class Emulator extends Context.Tag("effect-runpod/Emulator")<Emulator, Service>() {}

/**
 * An emulator and the client that reaches it.
 *
 * @since 0.1.0
 * @category models
 */
export interface InMemory extends Service {
  /** Handles every request itself, whatever its origin: a path of `/{endpointId}/…`, with or without `/v2` before it. */
  readonly client: HttpClient.HttpClient
}

/**
 * The world a recording was made in, as options, also for `NodeEmulator.serve`. Another program, or another schedule of polls, meets
 * the same world, with time 0 at the emulator's start:
 *
 * - **Jobs** belong to the submits of their inputs, in the order in which the inputs first came (in the mode `hash`: by the input
 *   itself). Each leaves the queue, shows progress and chunks, ends and can be found as long after its submit as it did. A job that
 *   the client cancelled, or whose end is not in the recording, goes on for ever.
 * - **What left a submit in doubt, or refused it**, belongs to it likewise: it is lost again.
 * - **Other faults** belong to their time, operation and endpoint. Those that several requests met one after another last from the first to
 *   the last of them. One that was met at one moment only waits a minute for a request. A key or an endpoint that was refused is so
 *   until it was seen to be accepted.
 *
 * Deliveries of webhooks are the emulator's own, and there is nothing of the batch API.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFlight = (recording: Flight.Recording, options: FlightOptions = {}): Options =>
  Compile.compile(recording, options)

/**
 * Options of `layerFlight`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LayerFlightOptions
  extends FlightOptions, Pick<RunPodOptions, "apiKey" | "client" | "deliver" | "limits"> {}

/**
 * `layerRunPod` in the world of the last recording of a file. For a recording that was read, write
 * `layerRunPod(fromFlight(recording))`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFlight = (
  file: string,
  { endpoints, inputs, output, ...options }: LayerFlightOptions = {}
): Layer.Layer<RunPod.RunPod | RunPodHttpClient | JobRuntime | Emulator, FlightError, FileSystem.FileSystem> =>
  Layer.unwrapEffect(
    Effect.map(Flight.read(file), (recording) =>
      layerRunPod({ ...options, ...fromFlight(recording, { endpoints, inputs, output }) })
    )
  )

/**
 * Options of `layerRunPod`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunPodOptions extends Options {
  /** Options of the client. Its API key is the emulator's unless one is given here. */
  readonly client?: { readonly [K in keyof RunPod.Options]?: RunPod.Options[K] | undefined } | undefined
}

/**
 * Starts an emulator in memory. Requests run in the fiber that sends them, jobs in fibers of the scope. Webhooks go where
 * `deliver` says, or else to the `Webhooks` service or the `HttpClient` that it is provided with.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<InMemory, never, Scope.Scope> =>
  Effect.gen(function* () {
    const receiver = Option.map(yield* Effect.serviceOption(Webhooks), Deliveries.toReceiver)
    const client = Option.map(yield* Effect.serviceOption(HttpClient.HttpClient), Deliveries.overHttp)
    const toNobody = () => Effect.fail("there is nobody to deliver a webhook to")
    const deliver = Option.getOrElse(Option.firstSomeOf([receiver, client]), () => toNobody)
    const core = yield* Core.make(options, deliver)
    return { ...core.control, client: MemoryClient.make(core) }
  })

/**
 * An emulator in memory, as an `HttpClient` and its control.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<HttpClient.HttpClient | Emulator> =>
  Layer.scopedContext(
    Effect.map(make(options), (emulator) =>
      Context.make(Emulator, emulator).pipe(Context.add(HttpClient.HttpClient, emulator.client))
    )
  )

/**
 * An emulator in memory, in one layer for a test: its control, and all that `RunPod.layer` provides over it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunPod = (
  options: RunPodOptions
): Layer.Layer<RunPod.RunPod | RunPodHttpClient | JobRuntime | Emulator> =>
  Layer.unwrapScoped(
    Effect.map(make(options), (emulator) => {
      const client = Layer.succeed(HttpClient.HttpClient, emulator.client)
      const runPod = RunPod.layer({ apiKey: options.apiKey ?? "local", ...defined(options.client ?? {}) })
      return Layer.merge(Layer.provide(runPod, client), Layer.succeed(Emulator, emulator))
    })
  )
