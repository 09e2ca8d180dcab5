/** Bytes that are not those which the store tells of: by an ETag that is an MD5, or by a checksum. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import type * as Http from "node:http"
import { crc32 } from "node:zlib"
import * as Blob from "../../src/blob/Blob.js"
import { md5In } from "../../src/blob/internal/etag.js"
import * as S3Server from "../support/s3Server.js"
import * as Between from "./between.js"

const credentials = { accessKeyId: "AKIAMdJdQzWnTyLk", secretAccessKey: "HbFgRc+LpMcDn/KqZwTvXvRtQm" }
const partSize = 5 * 1024 * 1024

const setUp = (change: (request: Http.IncomingMessage, given: Between.Given) => Between.Given, options = {}) =>
  Effect.gen(function* () {
    const s3 = yield* S3Server.serve(credentials)
    const origin = yield* Between.serve(s3.origin, { change })
    const layer = Blob.layer({ endpoint: origin, bucket: "data", ...credentials, partSize, maxAttempts: 1, ...options })
    return { s3, origin, layer }
  })

/** The same bytes but for one in the middle. */
const flipped = (body: Buffer): Buffer => {
  const copy = Buffer.from(body)
  const middle = copy.length >> 1
  copy[middle] = (copy[middle] ?? 0) ^ 1
  return copy
}

const flipOf =
  (method: string) =>
  (request: Http.IncomingMessage, given: Between.Given): Between.Given =>
    request.method === method && given.status < 300 ? { ...given, body: flipped(given.body) } : given

const checksumOf = (body: Buffer) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(body))
  return bytes.toString("base64")
}

const object = Buffer.alloc(300_000, "an object, ")

it.scopedLive("bytes of the right number but another MD5 than their ETag are Corrupt, and are not read again", () =>
  Effect.gen(function* () {
    const { layer, s3 } = yield* setUp(flipOf("GET"))
    const error = yield* Effect.flip(
      Effect.provide(
        Effect.flatMap(Blob.upload(object), (ref) => Blob.bytes(ref)),
        layer
      )
    )
    assert.deepInclude(error, { reason: "Corrupt", operation: "download" })
    assert.match(error.message, /another MD5 than the store's ETag tells of.*`verifyETag` to false/)
    assert.isFalse(Blob.isRetryable(error))
    assert.strictEqual(s3.requests.filter(({ method }) => method === "GET").length, 1)
  })
)

it.scopedLive("so are those of a read that was cut and resumed, together", () =>
  Effect.gen(function* () {
    const cut: S3Server.Fault = { _tag: "Cut", after: 100_000 }
    const s3 = yield* S3Server.serve({
      ...credentials,
      fault: ({ method }, number) => (method === "GET" && number === 1 ? cut : undefined)
    })
    const layer = Blob.layer({ endpoint: s3.origin, bucket: "data", ...credentials })
    yield* Effect.gen(function* () {
      const ref = yield* Blob.upload(object)
      assert.isTrue(Buffer.from(yield* Blob.bytes(ref)).equals(object))
      assert.strictEqual(s3.requests.filter(({ method }) => method === "GET").length, 2)
      const stored = s3.objects.get(ref.location)!
      const other = yield* Blob.upload(object)
      s3.objects.set(other.location, { ...stored, body: flipped(object) })
      assert.strictEqual((yield* Effect.flip(Blob.bytes(other))).reason, "Corrupt")
    }).pipe(Effect.provide(layer))
  })
)

it.scopedLive("an upload whose ETag is another MD5 is not stored, in one request or in parts", () =>
  Effect.gen(function* () {
    const marked = { "x-amz-request-id": "4442587FB7D0A2F9" }
    const etag = `"${createHash("md5").update("other bytes").digest("hex")}"`
    const { layer } = yield* setUp(({ method }, given) =>
      method === "PUT" ? { ...given, headers: { ...given.headers, ...marked, etag } } : given
    )
    for (const size of [10, partSize + 1]) {
      const error = yield* Effect.flip(Effect.provide(Blob.upload(Buffer.alloc(size)), layer))
      assert.deepInclude(error, { reason: "Corrupt", operation: "upload" })
    }
  })
)

it.scopedLive("with `verifyETag: false` an ETag may be any 32 digits", () =>
  Effect.gen(function* () {
    const etag = `"${"0123456789abcdef".repeat(2)}"`
    const change = (_: Http.IncomingMessage, given: Between.Given) =>
      given.status < 300 ? { ...given, headers: { ...given.headers, etag, "x-amz-request-id": "1" } } : given
    for (const verifyETag of [true, false]) {
      const { layer } = yield* setUp(change, { verifyETag })
      const read = Effect.flatMap(Blob.upload(object), (ref) => Blob.bytes(ref))
      const end = yield* Effect.either(Effect.provide(read, layer))
      assert.strictEqual(end._tag, verifyETag ? "Left" : "Right")
    }
  })
)

it.scopedLive("an answer without an ETag, or one whose ETag is missing, has stored nothing", () =>
  Effect.gen(function* () {
    for (const marked of [{}, { "x-amz-request-id": "4442587FB7D0A2F9" }]) {
      const { layer } = yield* setUp(({ method }, given) => {
        const { etag: _, ...headers } = given.headers
        return method === "PUT" ? { ...given, headers: { ...headers, ...marked } } : given
      })
      for (const size of [10, partSize + 1]) {
        const error = yield* Effect.flip(Effect.provide(Blob.upload(Buffer.alloc(size)), layer))
        assert.strictEqual(error.reason, "x-amz-request-id" in marked ? "Server" : "Intercepted")
      }
    }
  })
)

it.scopedLive("the checksum of an object is asked for, and other bytes are Corrupt, whatever the ETag", () =>
  Effect.gen(function* () {
    const asked: Array<unknown> = []
    const { layer } = yield* setUp(({ headers, method }, given) => {
      if (method !== "GET") return given
      asked.push(headers["x-amz-checksum-mode"])
      const checksum = { "x-amz-checksum-crc32": checksumOf(given.body), etag: '"of parts-2"' }
      const body = headers["range"] === undefined && asked.length > 1 ? flipped(given.body) : given.body
      return { ...given, headers: { ...given.headers, ...checksum }, body }
    })
    yield* Effect.gen(function* () {
      const ref = yield* Blob.upload(object)
      assert.isTrue(Buffer.from(yield* Blob.bytes(ref)).equals(object))
      const error = yield* Effect.flip(Blob.bytes(ref))
      assert.deepInclude(error, { reason: "Corrupt", operation: "download" })
      assert.match(error.message, /another checksum than the store tells of/)
      assert.deepStrictEqual(asked, ["ENABLED", "ENABLED"])
    }).pipe(Effect.provide(layer))
  })
)

it.scopedLive("a store that refuses to be asked for one is asked without, and not again", () =>
  Effect.gen(function* () {
    const asked: Array<unknown> = []
    const refusal = "<Error><Code>InvalidArgument</Code><Message>Unsupported header</Message></Error>"
    const { layer } = yield* setUp(({ headers, method }, given) => {
      if (method !== "GET") return given
      asked.push(headers["x-amz-checksum-mode"])
      if (headers["x-amz-checksum-mode"] === undefined) return given
      return { status: 400, headers: { "content-type": "application/xml" }, body: Buffer.from(refusal) }
    })
    yield* Effect.gen(function* () {
      const ref = yield* Blob.upload(object)
      for (let n = 0; n < 2; n++) assert.isTrue(Buffer.from(yield* Blob.bytes(ref)).equals(object))
      assert.deepStrictEqual(asked, ["ENABLED", undefined, undefined])
    }).pipe(Effect.provide(layer))
  })
)

it.scopedLive("a checksum that the client cannot compute is no error", () =>
  Effect.gen(function* () {
    const { layer } = yield* setUp(({ method }, given) =>
      method === "GET"
        ? {
            ...given,
            headers: { ...given.headers, "x-amz-checksum-xxhash64": "AAAAAAAAAAA=", "x-amz-checksum-sha512": "eA==" }
          }
        : given
    )
    const read = Effect.flatMap(Blob.upload(object), (ref) => Blob.bytes(ref))
    assert.isTrue(Buffer.from(yield* Effect.provide(read, layer)).equals(object))
  })
)

it("an ETag is an MD5 where S3 documents it: not of parts, and not encrypted with another key", () => {
  const etag = `"${"0123456789ABCDEF".repeat(2)}"`
  assert.strictEqual(md5In({ etag }), "0123456789abcdef".repeat(2))
  assert.isDefined(md5In({ etag, "x-amz-server-side-encryption": "AES256" }))
  for (const headers of [
    {},
    { etag: '"0123456789abcdef0123456789abcdef-2"' },
    { etag: '"0x8D4BCC2E4835CD0"' },
    { etag, "x-amz-server-side-encryption": "aws:kms" },
    { etag, "x-amz-server-side-encryption": "aws:kms:dsse" },
    { etag, "x-amz-server-side-encryption-customer-algorithm": "AES256" },
    { etag, "x-goog-encryption-kms-key-name": "k" },
    { etag, "x-amz-storage-class": "EXPRESS_ONEZONE" }
  ]) {
    assert.isUndefined(md5In(headers), JSON.stringify(headers))
  }
})
