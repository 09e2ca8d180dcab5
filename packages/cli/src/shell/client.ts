import { FileSystem } from "@effect/platform/FileSystem"
import { NodeRunPod } from "effect-runpod/Node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import process from "node:process"
import { KeyError } from "./errors.js"

/** How the client is reached. */
export interface Access {
  readonly keyFile: string | undefined
}

/** The API key, from a file or from the environment: never from an argument, which every process of the machine can read. */
export const keyOf = Effect.fnUntraced(function* ({ keyFile }: Access) {
  const fs = yield* FileSystem
  const text =
    keyFile === undefined
      ? process.env["RUNPOD_API_KEY"]
      : yield* Effect.mapError(
          fs.readFileString(keyFile === "-" ? "/dev/stdin" : keyFile),
          ({ message }) => new KeyError({ message: `The file of the API key cannot be read: ${message}` })
        )
  const key = text?.trim() ?? ""
  if (key !== "") return Redacted.make(key)
  const where = keyFile === undefined ? "RUNPOD_API_KEY is not set" : `${keyFile} is empty`
  return yield* new KeyError({
    message: `There is no API key: ${where}. Make one in the RunPod console, and set RUNPOD_API_KEY or give --key-file.`
  })
})

/** The base URL that is asked instead of RunPod's, such as an emulator's. */
export const baseUrlOf = (): string | undefined => {
  const url = process.env["RUNPOD_BASE_URL"]
  return url === undefined || url === "" ? undefined : url
}

/** The services of `effect-runpod`, over the network. */
export const layer = (access: Access) =>
  Layer.unwrapEffect(Effect.map(keyOf(access), (apiKey) => NodeRunPod.layer({ apiKey, baseUrl: baseUrlOf() })))
