/**
 * An input of 40 MB, which is more than RunPod takes: it is uploaded to a bucket, and the job is sent its URL. The bucket is one in memory
 * here, and the worker an emulated one; with a bucket of your own it is `Blob.layerConfig()`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import * as Blob from "effect-runpod/Blob"
import * as Emulator from "effect-runpod/Emulator"
import { Console, Effect, Layer, Schema, Stream } from "effect"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make("inverter", {
    input: Schema.Struct({ image: Blob.Ref }),
    output: Schema.Struct({ image: Blob.Ref, size: Schema.Number })
  })
  const image = new Uint8Array(40_000_000).fill(1)

  // Part of it, as it stands, is refused.
  const inline = yield* Endpoint.make("inverter", {
    input: Schema.Struct({ image: Schema.Uint8ArrayFromBase64 }),
    output: Schema.Unknown
  })
  yield* Console.log(`inline: ${(yield* Effect.flip(inline.call({ image: image.subarray(0, 11_000_000) })))._tag}`)

  const large = yield* Blob.withUploads(endpoint, { removeAfter: true })
  const output = yield* large.call(
    { image: new Blob.Upload({ bytes: image, name: "image.raw" }) },
    { timeout: "1 minute" }
  )
  yield* Console.log(`the handler read ${output.size} bytes`)

  const inverted = yield* Stream.runFold(Blob.download(output.image), { size: 0, first: 0 }, ({ size }, bytes) => ({
    size: size + bytes.byteLength,
    first: bytes[0] ?? 0
  }))
  yield* Console.log(`its output has ${inverted.size} bytes, each of them ${inverted.first}`)

  const missing = yield* Effect.flip(Blob.bytes("runpod/not-there"))
  yield* Console.log(missing.message)
})

// The worker reads its input by the URL, and stores its output in the same bucket.
const runPod = Layer.unwrapEffect(
  Effect.map(Blob.Blob, (blob) =>
    Emulator.layerRunPod({
      endpoints: {
        inverter: {
          handler: (input) =>
            Effect.gen(function* () {
              const image = yield* blob.bytes(String(input["image"]))
              const { location } = yield* blob.upload(image.map((byte) => 255 - byte))
              return { image: location, size: image.byteLength }
            })
        }
      }
    })
  )
)

program.pipe(Effect.provide(Layer.provideMerge(runPod, Blob.layerMemory())), NodeRuntime.runMain)
