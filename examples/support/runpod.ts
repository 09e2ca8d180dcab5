/**
 * Where the examples run: on RunPod when RUNPOD_API_KEY and RUNPOD_ENDPOINT_ID are set, otherwise on an emulator inside
 * this process. A program of your own needs none of this: it provides `NodeRunPod.layerConfig()`.
 */
import type { RunPod, RunPodHttpClient } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { NodeRunPod } from "effect-runpod/Node"
import { Config, type ConfigError, Effect, Layer } from "effect"

/** The endpoint the examples use. */
export const endpointId = Config.nonEmptyString("RUNPOD_ENDPOINT_ID").pipe(Config.withDefault("emulated"))

/** The model that the examples of language models ask for: RUNPOD_MODEL, as the endpoint's worker serves it. */
export const modelName = Config.nonEmptyString("RUNPOD_MODEL").pipe(Config.withDefault("emulated/model"))

const isRunPod = Config.all([
  Config.nonEmptyString("RUNPOD_API_KEY"),
  Config.nonEmptyString("RUNPOD_ENDPOINT_ID")
]).pipe(
  Config.map(() => true),
  Config.withDefault(false)
)

/** The client; `endpoint` and `faults` say how the emulator behaves in RunPod's place. */
export const runPodOrEmulator = (
  endpoint: Emulator.EndpointOptions,
  options: {
    readonly client?: Omit<RunPod.Options, "apiKey">
    readonly faults?: ReadonlyArray<Emulator.Fault.Fault>
    readonly deliver?: Emulator.Deliver
  } = {}
): Layer.Layer<RunPod.RunPod | RunPodHttpClient.RunPodHttpClient, ConfigError.ConfigError> =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const id = yield* endpointId
      return (yield* isRunPod)
        ? NodeRunPod.layerConfig(options.client)
        : Emulator.layerRunPod({ endpoints: { [id]: endpoint }, ...options })
    })
  )
