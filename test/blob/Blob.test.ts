import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Blob from "../../src/blob/Blob.js"
import { originOf } from "../support/listening.js"
import * as S3Server from "../support/s3Server.js"

setFlagsFromString("--expose-gc")
/** What nothing refers to any more does not count as held. */
const collectGarbage = runInNewContext("gc") as () => void

const accessKeyId = "AKIAMdJdQzWnTyLk"
const secretAccessKey = "HbFgRc+LpMcDn/KqZwTvXvRtQm"
const mib = 1024 * 1024

/** A server, and a layer of its bucket. */
const setUp = (
  server: Partial<S3Server.Options> = {},
  options: Partial<Blob.Options> = {}
): Effect.Effect<readonly [S3Server.S3Server, Layer.Layer<Blob.Blob, Blob.BlobError>], never, Scope.Scope> =>
  Effect.map(S3Server.serve({ accessKeyId, secretAccessKey, ...server }), (s3) => [
    s3,
    Blob.layer({ endpoint: s3.origin, bucket: "data", accessKeyId, secretAccessKey, ...options })
  ])

const pattern = Uint8Array.from({ length: 65_521 }, (_, n) => (n * 31 + (n >>> 8) * 7) & 255)

/** Bytes of which each part can be told from the next. */
const bytesOf = (size: number): Uint8Array => Buffer.alloc(size).fill(pattern)

const sameBytes = (actual: Uint8Array, expected: Uint8Array) => {
  assert.strictEqual(actual.byteLength, expected.byteLength)
  assert.isTrue(Buffer.from(actual.buffer, actual.byteOffset, actual.byteLength).equals(expected))
}

const once =
  (method: string, fault: S3Server.Fault, times = 1) =>
  (asked: S3Server.Asked, number: number) =>
    asked.method === method && number <= times ? fault : undefined

describe("uploads", () => {
  it.scopedLive("bytes that fit a part go in one signed request, with their type, under the prefix", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp()
      const ref = yield* Effect.provide(
        Blob.upload(bytesOf(1000), { name: "a cat.png", contentType: "image/png" }),
        layer
      )
      assert.match(ref.location, /^runpod\/[0-9a-f]{32}\/a cat\.png$/)
      assert.strictEqual(ref.size, 1000)
      assert.deepStrictEqual(
        s3.requests.map(({ method }) => method),
        ["PUT"]
      )
      // The server compares it with what has come.
      assert.match(String(s3.requests[0]?.headers["x-amz-content-sha256"]), /^[0-9a-f]{64}$/)
      const stored = s3.objects.get(ref.location)!
      assert.strictEqual(stored.contentType, "image/png")
      sameBytes(stored.body, bytesOf(1000))
    })
  )

  it.scopedLive("what is larger than a part goes in parts and comes back the same", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp()
      const bytes = bytesOf(17 * mib)
      const back = yield* Effect.provide(
        Effect.flatMap(Blob.upload(bytes), (ref) => Blob.bytes(ref)),
        layer
      )
      sameBytes(back, bytes)
      assert.strictEqual(s3.requests.filter(({ query }) => query.has("partNumber")).length, 3)
      assert.strictEqual(s3.uploads.size, 0)
    })
  )

  it.scopedLive("a stream is stored as it is, in parts of `partSize`", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp({}, { partSize: 5 * mib })
      for (const size of [0, 5 * mib + 1]) {
        const bytes = bytesOf(size)
        const count = Math.ceil(size / 700_001)
        const pieces = Stream.map(Stream.fromIterable(Array.from({ length: count }, (_, n) => n)), (n) =>
          bytes.subarray(n * 700_001, (n + 1) * 700_001)
        )
        const ref = yield* Effect.provide(Blob.upload(pieces), layer)
        assert.strictEqual(ref.size, size)
        sameBytes(s3.objects.get(ref.location)!.body, bytes)
      }
    })
  )

  it.scopedLive("of a stream only some parts are in memory, and of its download only some pieces", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp({ discards: true }, { partSize: 5 * mib, concurrency: 2 })
      let [most, count] = [0, 0]
      const held = () => {
        collectGarbage()
        return process.memoryUsage().arrayBuffers
      }
      const measureEach = (times: number) =>
        Effect.sync(() => {
          if (++count % times === 0) most = Math.max(most, held())
        })
      const before = held()
      const source = Stream.take(Stream.repeatEffect(measureEach(16)), 64).pipe(
        Stream.mapEffect(() => Effect.sync(() => new Uint8Array(mib)))
      )
      const ref = yield* Effect.provide(Blob.upload(source), layer)
      assert.strictEqual(ref.size, 64 * mib)
      assert.strictEqual(s3.objects.get(ref.location)!.size, 64 * mib)
      const uploaded = (most - before) / mib
      most = 0
      const size = yield* Blob.download(`zeros/${64 * mib}`).pipe(
        Stream.tap(() => measureEach(512)),
        Stream.runFold(0, (size, piece) => size + piece.byteLength),
        Effect.provide(layer)
      )
      assert.strictEqual(size, 64 * mib)
      const downloaded = (most - before) / mib
      // Of 64: five parts of 5 MiB, what is on its way, and what other tests of this process hold meanwhile.
      assert.isBelow(uploaded, 56)
      assert.isBelow(downloaded, 56)
    })
  )

  it.scopedLive("what a SlowDown and a reset refuse is sent again", () =>
    Effect.gen(function* () {
      const slow = { _tag: "Answer", status: 503, code: "SlowDown" } as const
      const [s3, layer] = yield* setUp({
        fault: ({ method }, number) =>
          method !== "PUT" ? undefined : number === 1 ? slow : number === 2 ? { _tag: "Reset" } : undefined
      })
      const ref = yield* Effect.provide(Blob.upload(bytesOf(1000)), layer)
      assert.strictEqual(s3.requests.length, 3)
      sameBytes(s3.objects.get(ref.location)!.body, bytesOf(1000))
    })
  )

  it.scopedLive("an interrupted upload in parts is aborted before the interruption is over", () =>
    Effect.gen(function* () {
      const reached = yield* Deferred.make<void>()
      const [s3, layer] = yield* setUp({
        fault: ({ query }) => {
          if (query.get("partNumber") !== "3") return undefined
          Deferred.unsafeDone(reached, Exit.void)
          return { _tag: "Silence" }
        }
      })
      const fiber = yield* Effect.fork(Effect.provide(Blob.upload(bytesOf(17 * mib)), layer))
      yield* Deferred.await(reached)
      assert.strictEqual(s3.uploads.size, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(s3.uploads.size, 0)
      assert.strictEqual(s3.objects.size, 0)
    })
  )

  it.scopedLive("a stream that fails, fails the upload with its own error, and leaves no parts", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp()
      const source = Stream.concat(Stream.make(bytesOf(9 * mib)), Stream.fail("the disk is gone" as const))
      const error = yield* Effect.flip(Effect.provide(Blob.upload(source), layer))
      assert.strictEqual(error, "the disk is gone")
      assert.deepStrictEqual([s3.uploads.size, s3.objects.size], [0, 0])
      assert.strictEqual(s3.requests.at(-1)?.method, "DELETE")
    })
  )
})

describe("downloads", () => {
  it.scopedLive("one that is cut goes on where it was, by a range of the same ETag", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp({ fault: once("GET", { _tag: "Cut", after: 300_000 }, 3) })
      const bytes = bytesOf(1_000_000)
      const back = yield* Effect.provide(
        Effect.flatMap(Blob.upload(bytes), (ref) => Blob.bytes(ref)),
        layer
      )
      sameBytes(back, bytes)
      const gets = s3.requests.filter(({ method }) => method === "GET")
      assert.strictEqual(gets.length, 4)
      assert.isUndefined(gets[0]!.headers.range)
      for (const { headers } of gets.slice(1)) {
        assert.match(headers.range!, /^bytes=\d+-$/)
        assert.strictEqual(headers["if-match"], [...s3.objects.values()][0]!.etag)
      }
    })
  )

  it.scopedLive("a part that begins elsewhere than was asked is not taken", () =>
    Effect.gen(function* () {
      const [, layer] = yield* setUp({
        fault: ({ method }, number) =>
          method !== "GET" ? undefined : number === 1 ? { _tag: "Cut", after: 300_000 } : { _tag: "Shifted" }
      })
      const read = Effect.flatMap(Blob.upload(bytesOf(1_000_000)), (ref) => Blob.bytes(ref))
      assert.deepInclude(yield* Effect.flip(Effect.provide(read, layer)), { reason: "Incomplete" })
    })
  )

  it.scopedLive("one that stalls goes on after `idleTimeout`", () =>
    Effect.gen(function* () {
      const options = { idleTimeout: "200 millis" } as const
      const [, layer] = yield* setUp({ fault: once("GET", { _tag: "Stall", after: 300_000 }) }, options)
      const bytes = bytesOf(1_000_000)
      sameBytes(
        yield* Effect.provide(
          Effect.flatMap(Blob.upload(bytes), (ref) => Blob.bytes(ref)),
          layer
        ),
        bytes
      )
    })
  )

  it.scopedLive("an object that was replaced meanwhile is an error, not a mixture of both", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp({ fault: once("GET", { _tag: "Cut", after: 300_000 }) })
      const error = yield* Effect.gen(function* () {
        const ref = yield* Blob.upload(bytesOf(1_000_000), { key: "mine" })
        const replace = Effect.sync(() => {
          const stored = s3.objects.get("mine")!
          s3.objects.set("mine", { ...stored, etag: `"another"` })
        })
        return yield* Effect.flip(Stream.runDrain(Stream.tap(Blob.download(ref), () => replace)))
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual([error.reason, error.status], ["Changed", 412])
    })
  )

  it.scopedLive("a reader that has enough closes the connection", () =>
    Effect.gen(function* () {
      const [, layer] = yield* setUp()
      const first = yield* Blob.download(`zeros/${512 * mib}`).pipe(
        Stream.take(1),
        Stream.runCollect,
        Effect.provide(layer)
      )
      assert.strictEqual(Chunk.size(first), 1)
    })
  )

  it.scopedLive("`bytes` takes no more than `maxSize`", () =>
    Effect.gen(function* () {
      const [, layer] = yield* setUp()
      const error = yield* Effect.flip(Effect.provide(Blob.bytes(`zeros/${4 * mib}`, { maxSize: mib }), layer))
      assert.strictEqual(error.reason, "TooLarge")
    })
  )
})

describe("what names a blob", () => {
  it.scopedLive(
    "is its key, its URL with or without a signature, or an s3: URL; all are read with the layer's key",
    () =>
      Effect.gen(function* () {
        const [s3, layer] = yield* setUp()
        yield* Effect.gen(function* () {
          const ref = yield* Blob.upload(bytesOf(10), { key: "out/ü #1.png" })
          const url = new URL(Redacted.value(ref.url))
          const names = [ref, ref.location, url, url.origin + url.pathname, "s3://data/out/ü #1.png"]
          for (const name of names) sameBytes(yield* Blob.bytes(name), bytesOf(10))
          const unsigned = s3.requests.filter(({ headers, method }) => method === "GET" && !headers.authorization)
          assert.strictEqual(unsigned.length, 0)
        }).pipe(Effect.provide(layer))
      })
  )

  it.scopedLive(
    "a URL of elsewhere is fetched only from origins that are named, without credentials and redirects",
    () =>
      Effect.gen(function* () {
        const seen: Array<Http.IncomingHttpHeaders> = []
        const elsewhere = yield* originOf(
          Http.createServer(({ headers, url }, response) => {
            seen.push(headers)
            if (url === "/moved") response.writeHead(302, { location: "/file" }).end()
            else response.writeHead(200, { etag: `"1"` }).end("hello")
          })
        )
        const [, refusing] = yield* setUp()
        const refused = yield* Effect.flip(Effect.provide(Blob.bytes(`${elsewhere}/file?sig=KqZwTvXv`), refusing))
        assert.strictEqual(refused.reason, "ForeignUrl")
        assert.notInclude(refused.message, "KqZwTvXv")
        assert.strictEqual(seen.length, 0)

        const [, allowing] = yield* setUp({}, { origins: [elsewhere] })
        const bytes = yield* Effect.provide(Blob.bytes(`${elsewhere}/file?sig=KqZwTvXv`), allowing)
        assert.strictEqual(Buffer.from(bytes).toString(), "hello")
        assert.isUndefined(seen[0]!.authorization)
        assert.isUndefined(seen[0]!["traceparent"])
        const moved = yield* Effect.flip(Effect.provide(Blob.bytes(`${elsewhere}/moved`), allowing))
        assert.strictEqual(moved.reason, "Transport")
      })
  )

  it.scopedLive("a signed URL can be read by anybody, until it has expired, and stored to if it is one for PUT", () =>
    Effect.gen(function* () {
      const [s3, layer] = yield* setUp()
      yield* Effect.gen(function* () {
        const ref = yield* Blob.upload(bytesOf(10), { expires: "1 hour" })
        const url = new URL(Redacted.value(ref.url))
        assert.strictEqual(url.searchParams.get("X-Amz-Expires"), "3600")
        const get = yield* Effect.promise(() => fetch(url))
        assert.strictEqual(get.status, 200)
        url.searchParams.set("X-Amz-Expires", "7200")
        assert.strictEqual((yield* Effect.promise(() => fetch(url))).status, 403)

        const put = Redacted.value(yield* Blob.presign("theirs.bin", { method: "PUT", expires: "1 minute" }))
        assert.strictEqual((yield* Effect.promise(() => fetch(put, { method: "PUT", body: "x" }))).status, 200)
        assert.strictEqual(s3.objects.get("theirs.bin")!.size, 1)
        const tooLong = yield* Effect.flip(Blob.presign("theirs.bin", { expires: "8 days" }))
        assert.strictEqual(tooLong.reason, "BadRequest")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scopedLive("on a network volume is a path of the workers, and nothing is signed", () =>
    Effect.gen(function* () {
      const s3 = yield* S3Server.serve({ accessKeyId, secretAccessKey, bucket: "vol1", region: "EU-RO-1" })
      const layer = Blob.layerNetworkVolume({
        volumeId: "vol1",
        datacenter: "EU-RO-1",
        endpoint: s3.origin,
        accessKeyId,
        secretAccessKey
      })
      yield* Effect.gen(function* () {
        const ref = yield* Blob.upload(bytesOf(10), { name: "a.png" })
        assert.match(Redacted.value(ref.url), /^\/runpod-volume\/runpod\/[0-9a-f]{32}\/a\.png$/)
        sameBytes(yield* Blob.bytes(Redacted.value(ref.url)), bytesOf(10))
        assert.strictEqual((yield* Effect.flip(Blob.presign(ref))).reason, "Unsupported")
        yield* Blob.remove(ref)
        assert.strictEqual(s3.objects.size, 0)
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("options", () => {
  it.effect("that cannot be meant are refused with what is wrong, before anything is sent", () =>
    Effect.gen(function* () {
      const right = { endpoint: "http://127.0.0.1:9", bucket: "data", accessKeyId, secretAccessKey }
      const wrong: ReadonlyArray<readonly [Partial<Blob.Options>, RegExp]> = [
        [{ endpoint: "s3.test" }, /`endpoint` must be an absolute/],
        [
          { endpoint: `https://${accessKeyId}:${secretAccessKey.replaceAll("/", "%2F")}@s3.test` },
          /neither a user nor/
        ],
        [{ bucket: "" }, /bucket's name/],
        [{ bucket: "a/b" }, /bucket's name/],
        [{ secretAccessKey: " " }, /must not be empty/],
        [{ partSize: 1000 }, /`partSize`.*5 MiB/],
        [{ concurrency: 0 }, /`concurrency`/],
        [{ maxAttempts: 0 }, /`maxAttempts`/],
        [{ prefix: "/in" }, /`prefix`/],
        [{ origins: ["cdn"] }, /`origins`/]
      ]
      for (const [options, says] of wrong) {
        const error = yield* Effect.flip(Effect.scoped(Blob.make({ ...right, ...options })))
        assert.strictEqual(error.reason, "BadRequest")
        assert.match(error.message, says)
        assert.notInclude(error.message, accessKeyId)
      }
    })
  )

  it.scopedLive("come from the variables that RunPod's workers have; one that is empty is missing", () =>
    Effect.gen(function* () {
      const [s3] = yield* setUp({ region: "eu-test-1" })
      const variables = {
        BUCKET_ENDPOINT_URL: s3.origin,
        BUCKET_NAME: "data",
        BUCKET_ACCESS_KEY_ID: accessKeyId,
        BUCKET_SECRET_ACCESS_KEY: secretAccessKey,
        BUCKET_REGION: "eu-test-1"
      }
      const uploaded = (variables: Record<string, string>) =>
        Blob.upload(bytesOf(3), { key: "k" }).pipe(
          Effect.provide(Blob.layerConfig({ prefix: "x/" })),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))
        )
      assert.strictEqual((yield* uploaded(variables)).size, 3)
      const missing = yield* Effect.flip(uploaded({ ...variables, BUCKET_SECRET_ACCESS_KEY: "" }))
      assert.include(String(missing), "BUCKET_SECRET_ACCESS_KEY")
    })
  )
})
