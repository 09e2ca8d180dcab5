/** What becomes of an upload in parts of which no answer says that it is complete. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Blob from "../../src/blob/Blob.js"
import * as S3Server from "../support/s3Server.js"
import * as Between from "./between.js"

const credentials = { accessKeyId: "AKIAMdJdQzWnTyLk", secretAccessKey: "HbFgRc+LpMcDn/KqZwTvXvRtQm" }

const partSize = 5 * 1024 * 1024

/** Two parts. */
const filledWith = (text: string) => Buffer.alloc(partSize + 1, text)

const page: S3Server.Fault = { _tag: "Answer", status: 200, code: "", body: "<html>a gateway</html>" }
const gone: S3Server.Fault = { _tag: "Answer", status: 404, code: "NoSuchUpload" }
const lost: S3Server.Fault = { _tag: "Lost" }

/** A server, a layer of its bucket, and what lets the next completion go wrong. */
const setUp = (
  fault: S3Server.Fault
): Effect.Effect<
  readonly [S3Server.S3Server, Layer.Layer<Blob.Blob, Blob.BlobError>, () => void],
  never,
  Scope.Scope
> => {
  let isNext = false
  const faultOf = ({ method, query }: S3Server.Asked) => {
    if (!isNext || method !== "POST" || !query.has("uploadId")) return undefined
    isNext = false
    return fault
  }
  return Effect.map(S3Server.serve({ ...credentials, fault: faultOf }), (s3) => [
    s3,
    Blob.layer({ endpoint: s3.origin, bucket: "data", partSize, ...credentials }),
    () => (isNext = true)
  ])
}

it.scopedLive("the object tells of an upload in parts of which no answer says that it is complete", () =>
  Effect.gen(function* () {
    const bytes = filledWith("the new object, ")
    for (const fault of [lost, page]) {
      const [s3, layer, failNext] = yield* setUp(fault)
      failNext()
      const exit = yield* Effect.either(Effect.provide(Blob.upload(bytes), layer))
      assert.deepStrictEqual([s3.objects.size, s3.uploads.size], fault === lost ? [1, 0] : [0, 0])
      if (Either.isRight(exit)) assert.isTrue(s3.objects.get(exit.right.location)!.body.equals(bytes))
      else assert.deepInclude(exit.left, { reason: "Server", operation: "upload" })
    }
  })
)

it.scopedLive("an object of the same size that was there before is not taken for the one that was uploaded", () =>
  Effect.gen(function* () {
    const [bytes, older] = [filledWith("the new object, "), filledWith("the older object")]
    for (const fault of [lost, page, gone]) {
      const [s3, layer, failNext] = yield* setUp(fault)
      yield* Effect.gen(function* () {
        // In parts, too, so that it has a mark of its own.
        yield* Blob.upload(older, { key: "model.bin" })
        failNext()
        const uploaded = yield* Effect.either(Blob.upload(bytes, { key: "model.bin" }))
        assert.strictEqual(uploaded._tag, fault === lost ? "Right" : "Left")
        assert.strictEqual(s3.uploads.size, 0)
        assert.isTrue(s3.objects.get("model.bin")!.body.equals(fault === lost ? bytes : older))
      }).pipe(Effect.provide(layer))
    }
  })
)

/** A layer of a bucket behind a server that changes what the store says of a completion. */
const setUpChanged = (change: (given: Between.Given) => Between.Given) =>
  Effect.gen(function* () {
    const s3 = yield* S3Server.serve(credentials)
    let completions = 0
    const origin = yield* Between.serve(s3.origin, {
      change: ({ method, url = "" }, given) => {
        if (method !== "POST" || !url.includes("uploadId")) return given
        completions++
        return change(given)
      }
    })
    const layer = Blob.layer({ endpoint: origin, bucket: "data", partSize, maxAttempts: 2, ...credentials })
    return { s3, layer, completions: () => completions }
  })

it.scopedLive("an error that comes with status 200, also between spaces, is the store's error", () =>
  Effect.gen(function* () {
    const xmlType = { "content-type": "application/xml" }
    const xml = `<?xml version="1.0" encoding="UTF-8"?>`
    const error = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
    const slow = "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
    for (const body of [
      `${xml}${error}`,
      `${xml}\n   \n  ${error}\n`,
      `   ${xml}  ${error}  `,
      `${error}\r\n\r\n`,
      slow
    ]) {
      const { completions, layer } = yield* setUpChanged((given) => ({
        ...given,
        status: 200,
        headers: xmlType,
        body: Buffer.from(body)
      }))
      const failure = yield* Effect.flip(Effect.provide(Blob.upload(filledWith("an object, ")), layer))
      assert.deepInclude(failure, {
        reason: body === slow ? "Throttled" : "Server",
        code: body === slow ? "SlowDown" : "InternalError",
        status: 200
      })
      assert.isTrue(Blob.isRetryable(failure))
      // As S3 asks for, it is sent again.
      assert.strictEqual(completions(), 2)
    }
  })
)

it.scopedLive("a page in place of the answer is an error only where the object is not there", () =>
  Effect.gen(function* () {
    const headers = { "content-type": "text/html" }
    const { layer, s3 } = yield* setUpChanged((given) => ({
      ...given,
      headers,
      body: Buffer.from("<html>a page</html>")
    }))
    const bytes = filledWith("an object, ")
    const ref = yield* Effect.provide(Blob.upload(bytes), layer)
    assert.isTrue(s3.objects.get(ref.location)!.body.equals(bytes))
  })
)
