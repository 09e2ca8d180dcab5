import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Blob from "../../src/blob/Blob.js"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as S3Server from "../support/s3Server.js"

const credentials = { accessKeyId: "AKIAMdJdQzWnTyLk", secretAccessKey: "HbFgRc+LpMcDn/KqZwTvXvRtQm" }

it.scopedLive("a 12 MB image reaches the handler by its URL, and what the handler stores comes back as bytes", () =>
  Effect.gen(function* () {
    const s3 = yield* S3Server.serve(credentials)
    const image = Buffer.alloc(12_000_000, "a picture, ")
    /** Reads its input without credentials, as a worker does, and stores its output with the `s3Config` of RunPod's SDK. */
    const handler: Emulator.Handler = ({ image }) =>
      Effect.promise(async () => {
        const response = await fetch(String(image))
        const bytes = Buffer.from(await response.arrayBuffer())
        const key = "job-1/out.bin"
        s3.objects.set(key, { body: bytes.subarray(0, 1000), size: 1000, etag: `"o"`, contentType: undefined })
        // As `bucket_upload` of RunPod's SDK names it: unsigned.
        return { size: bytes.byteLength, image: `${s3.origin}/data/${key}` }
      })
    const output = yield* Effect.gen(function* () {
      const endpoint = yield* Endpoint.make("ep", {
        input: Schema.Struct({ image: Blob.Ref, scale: Schema.Number }),
        output: Schema.Struct({ size: Schema.Number, image: Blob.Ref })
      })
      const large = yield* Blob.withUploads(endpoint, { removeAfter: true })
      const output = yield* large.call({ image, scale: 4 }, { policy: { ttl: "2 hours" } })
      assert.strictEqual(output.size, 12_000_000)
      return yield* Blob.bytes(output.image)
    }).pipe(
      Effect.provide(Blob.layer({ endpoint: s3.origin, bucket: "data", ...credentials })),
      Effect.provide(Emulator.layerRunPod({ endpoints: { ep: { handler } } }))
    )
    assert.isTrue(Buffer.from(output).equals(image.subarray(0, 1000)))
    assert.deepStrictEqual([...s3.objects.keys()], ["job-1/out.bin"])
    const read = s3.requests.find(({ method, query }) => method === "GET" && query.has("X-Amz-Signature"))
    assert.strictEqual(read?.query.get("X-Amz-Expires"), "7800")
  })
)

it.scopedLive("a handler that fails with the URL in its message does not bring the signature into the error", () =>
  Effect.gen(function* () {
    const s3 = yield* S3Server.serve(credentials)
    let url = ""
    const handler: Emulator.Handler = (input) => {
      url = String(input["image"])
      return Effect.fail(new Error(`403 Forbidden for url: ${url}`))
    }
    const error = yield* Effect.gen(function* () {
      const input = Schema.Struct({ image: Blob.Ref })
      const large = yield* Blob.withUploads(yield* Endpoint.make("ep", { input, output: Schema.Unknown }))
      return yield* Effect.flip(large.call({ image: new Uint8Array(10) }))
    }).pipe(
      Effect.provide(Blob.layer({ endpoint: s3.origin, bucket: "data", ...credentials })),
      Effect.provide(Emulator.layerRunPod({ endpoints: { ep: { handler } } }))
    )
    assert(error._tag === "JobFailedError")
    const signature = new URL(url).searchParams.get("X-Amz-Signature")!
    assert.match(signature, /^[0-9a-f]{64}$/)
    assert.include(error.message, "403 Forbidden")
    assert.notInclude(JSON.stringify(error) + String(error.stack), signature)
  })
)

it.scopedLive("the s3Config of the layer has what a worker needs", () =>
  Effect.gen(function* () {
    const layer = Blob.layer({ endpoint: "http://s3.test:9000/", bucket: "data", ...credentials })
    const s3Config = yield* Effect.provide(Blob.s3Config, layer)
    assert.deepStrictEqual(
      { ...s3Config, accessId: "", accessSecret: "" },
      { accessId: "", accessSecret: "", bucketName: "data", endpointUrl: "http://s3.test:9000" }
    )
    assert.strictEqual(Redacted.value(s3Config.accessSecret as Redacted.Redacted), credentials.secretAccessKey)
    const error = yield* Effect.flip(
      Effect.provide(
        Blob.s3Config,
        Blob.layer({ endpoint: "http://s3.test", bucket: "data", ...credentials, sessionToken: "temporary" })
      )
    )
    assert.strictEqual(error.reason, "Unsupported")
  })
)
