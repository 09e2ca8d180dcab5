import * as Flight from "effect-runpod/Flight"
import { NodeRunPod } from "effect-runpod/Node"
import * as RateLimits from "effect-runpod/RateLimits"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import process from "node:process"
import { KeyError } from "./errors.js"
import { textOf } from "./input.js"

/** How the client is reached. */
export interface Access {
  readonly keyFile: string | undefined
}

/** A command that can record what it sends and gets. */
export interface Recorded extends Access {
  /** The file that a recording is added to. */
  readonly record: string | undefined
}

/** The API key, from a file or from the environment: never from an argument, which every process of the machine can read. */
export const keyOf = Effect.fnUntraced(function* ({ keyFile }: Access) {
  const text = keyFile === undefined ? process.env["RUNPOD_API_KEY"] : yield* textOf(keyFile)
  const key = text?.trim() ?? ""
  if (key !== "") return Redacted.make(key)
  const where = keyFile === undefined ? "RUNPOD_API_KEY is not set" : `${keyFile === "-" ? "stdin" : keyFile} is empty`
  return yield* new KeyError({
    message: `There is no API key: ${where}. Make one in the RunPod console, and set RUNPOD_API_KEY or give --key-file.`
  })
})

/** The base URL that is asked instead of RunPod's, such as an emulator's. */
export const baseUrlOf = (): string | undefined => {
  const url = process.env["RUNPOD_BASE_URL"]
  return url === undefined || url === "" ? undefined : url
}

/** As documented, with few submits on their way at once: each of them is in doubt when the process is killed. */
const limits = RateLimits.make({ run: { concurrency: 20 } })

/** The services of `effect-runpod` with a key, over the network. */
export const layerWith = (apiKey: Redacted.Redacted) => NodeRunPod.layer({ apiKey, baseUrl: baseUrlOf(), limits })

/** The services of `effect-runpod`, over the network. */
export const layer = (access: Access) => Layer.unwrapEffect(Effect.map(keyOf(access), layerWith))

/** A client with a recording of what goes over the wire, where that was asked for. */
export const recorded = <A, E, R>(client: Layer.Layer<A, E, R>, record: string | undefined) =>
  record === undefined ? client : Layer.provide(client, Flight.layer(record))

/** As `layer`, with a recording where that was asked for. */
export const layerRecorded = (access: Recorded) => recorded(layer(access), access.record)
