import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Blob from "../../src/blob/Blob.js"
import * as S3Server from "../support/s3Server.js"
import { leakOf, makeRecorder, printed } from "../support/secrets.js"

const accessKeyId = "AKIAMdJdQz+WnTyLk"
const secretAccessKey = "HbFgRc+LpMcDn/KqZwTvXvRtQm"

const mib = 1024 * 1024

/** What a careless server says: the credentials, as XML and as no XML. */
const careless = (status: number, isXml: boolean): S3Server.Fault => {
  const said = `You sent ${accessKeyId} and ${secretAccessKey}, in base64 ${btoa(secretAccessKey)}, to /k?X-Amz-Signature=UrNsBvQx with AWS4-HMAC-SHA256 SignedHeaders=host, Signature=UrNsBvQx0123456789abcdef`
  const xml = `<Error><Code>Odd${accessKeyId}</Code><Message>${said}</Message></Error>`
  return { _tag: "Answer", status, code: "Odd", body: isXml ? xml : `<html><body>${said}</body>` }
}

const faults: Readonly<Record<string, S3Server.Fault>> = {
  "a reset": { _tag: "Reset" },
  "a cut": { _tag: "Cut", after: 10 },
  "400 as XML": careless(400, true),
  "403 as XML": careless(403, true),
  "404 as XML": careless(404, true),
  "500 as XML": careless(500, true),
  "503 as XML": careless(503, true),
  "200 of no XML": careless(200, false),
  "403 as HTML": careless(403, false),
  "502 as HTML": careless(502, false)
}

it.scopedLive("neither the credentials nor a signature get into errors, logs or spans", () =>
  Effect.gen(function* () {
    for (const [name, fault] of Object.entries(faults)) {
      const isCut = fault._tag === "Cut"
      const s3 = yield* S3Server.serve({
        accessKeyId,
        secretAccessKey,
        hasWeakETags: true,
        fault: ({ method }) => (isCut && method !== "GET" ? undefined : fault)
      })
      const recorder = makeRecorder()
      const options = { accessKeyId, secretAccessKey, maxAttempts: 1, partSize: 5 * mib }
      const layer = Blob.layer({ endpoint: s3.origin, bucket: "data", ...options })
      const exits = yield* Effect.gen(function* () {
        const ref = Blob.ref(Redacted.value(yield* Blob.presign("k")))
        const { head } = yield* Blob.Blob
        const operations: Record<string, Effect.Effect<unknown, Blob.BlobError, Blob.Blob>> = {
          upload: Blob.upload(new Uint8Array(100), { key: "k" }),
          parts: Blob.upload(new Uint8Array(6 * mib), { key: "k" }),
          download: Stream.runDrain(Blob.download(ref)),
          bytes: Blob.bytes("k"),
          head: head("k"),
          remove: Blob.remove("k")
        }
        return yield* Effect.forEach(Object.entries(operations), ([name, operation]) =>
          Effect.map(Effect.exit(Effect.tapErrorCause(operation, Effect.logError)), (exit) => [name, exit] as const)
        )
      }).pipe(Effect.provide(layer), recorder.record)
      const failed = exits.filter(([, exit]) => Exit.isFailure(exit)).length
      assert.isAtLeast(failed, isCut ? 2 : name === "200 of no XML" ? 0 : 6, name)
      for (const [operation, exit] of exits) {
        assert.isUndefined(leakOf(exit), `${operation} after ${name}`)
        assert.notInclude(printed(exit).join(" "), "UrNsBvQx")
        if (Exit.isFailure(exit)) assert.isTrue(Blob.isBlobError(Cause.squash(exit.cause)), String(exit.cause))
      }
      assert.isUndefined(leakOf(recorder.lines), `logs after ${name}`)
      for (const { attributes, events, exit, name: span } of recorder.spans) {
        assert.isUndefined(leakOf([span, [...attributes], events, exit]), `span ${span} after ${name}`)
      }
      assert.isAbove(recorder.spans.length, 0)
    }
  })
)

it.scopedLive(
  "a password or a query in what names a blob does not get into errors, whether or not it may be fetched",
  () =>
    Effect.gen(function* () {
      const options = { endpoint: "http://127.0.0.1:9", bucket: "data", accessKeyId, secretAccessKey, maxAttempts: 1 }
      for (const origins of [[], ["http://localhost:9"]]) {
        const layer = Blob.layer({ ...options, origins })
        for (const [name, reason] of [
          ["http://user:KqZwTv@localhost:9/x", origins.length === 0 ? "ForeignUrl" : "BadRequest"],
          ["http://KqZwTv@localhost:9/x?token=XvRtQm", origins.length === 0 ? "ForeignUrl" : "BadRequest"],
          ["http://localhost:9/x?token=XvRtQm", origins.length === 0 ? "ForeignUrl" : "Transport"],
          ["http://user:KqZwTv@localhost:99999/x?token=XvRtQm", "BadRequest"],
          ["http://user:KqZ#KqZwTv@localhost:99999/x", "BadRequest"],
          ["ftp://user:KqZwTv@localhost/x?token=XvRtQm", "BadRequest"],
          ["s3://user:KqZwTv@other/x?token=XvRtQm", "ForeignUrl"]
        ] as const) {
          const recorder = makeRecorder()
          const read = Effect.exit(Effect.tapErrorCause(Blob.bytes(name), Effect.logError))
          const exit = yield* recorder.record(Effect.provide(read, layer))
          assert(Exit.isFailure(exit))
          const error = Cause.squash(exit.cause)
          assert(Blob.isBlobError(error), String(error))
          assert.strictEqual(error.reason, reason, name)
          assert.isUndefined(
            leakOf([exit, recorder.lines, ...recorder.spans.map((span) => [...span.attributes])]),
            name
          )
          const uploaded = yield* Effect.flip(Effect.provide(Blob.upload(new Uint8Array(1), { key: name }), layer))
          assert.isUndefined(leakOf(uploaded), name)
        }
      }
    })
)

it.scopedLive("what a store says is told by its reason, status and code", () =>
  Effect.gen(function* () {
    const reasonOf = (status: number, code: string) =>
      Effect.gen(function* () {
        const fault: S3Server.Fault = { _tag: "Answer", status, code }
        const s3 = yield* S3Server.serve({ accessKeyId, secretAccessKey, fault: () => fault })
        const layer = Blob.layer({ endpoint: s3.origin, bucket: "data", accessKeyId, secretAccessKey, maxAttempts: 1 })
        const error = yield* Effect.flip(Effect.provide(Blob.upload(new Uint8Array(1)), layer))
        assert.deepStrictEqual([error.status, error.code], [status, code])
        return error.reason
      })
    assert.strictEqual(yield* reasonOf(403, "AccessDenied"), "AccessDenied")
    assert.strictEqual(yield* reasonOf(403, "SignatureDoesNotMatch"), "AccessDenied")
    assert.strictEqual(yield* reasonOf(400, "ExpiredToken"), "AccessDenied")
    assert.strictEqual(yield* reasonOf(404, "NoSuchBucket"), "NotFound")
    assert.strictEqual(yield* reasonOf(400, "EntityTooLarge"), "TooLarge")
    assert.strictEqual(yield* reasonOf(503, "SlowDown"), "Throttled")
    assert.strictEqual(yield* reasonOf(500, "InternalError"), "Server")
    assert.strictEqual(yield* reasonOf(400, "InvalidRequest"), "BadRequest")
  })
)

it.scopedLive("a wrong secret, a key that is not there and a server that is not there are different errors", () =>
  Effect.gen(function* () {
    const s3 = yield* S3Server.serve({ accessKeyId, secretAccessKey })
    const right = { endpoint: s3.origin, bucket: "data", accessKeyId, secretAccessKey, maxAttempts: 1 }
    const bytes = (options: Blob.Options) => Effect.flip(Effect.provide(Blob.bytes("k"), Blob.layer(options)))
    const wrong = yield* bytes({ ...right, secretAccessKey: `${secretAccessKey}x` })
    assert.deepStrictEqual([wrong.reason, wrong.status, wrong.code], ["AccessDenied", 403, "SignatureDoesNotMatch"])
    const absent = yield* bytes(right)
    assert.deepStrictEqual([absent.reason, absent.status, absent.code], ["NotFound", 404, "NoSuchKey"])
    assert.isFalse(Blob.isRetryable(absent))
    const nobody = yield* bytes({ ...right, endpoint: "http://127.0.0.1:9" })
    assert.deepStrictEqual([nobody.reason, nobody.code], ["Transport", "ECONNREFUSED"])
    assert.isTrue(Blob.isRetryable(nobody))
    assert.match(
      absent.message,
      /^download of k in bucket data: NotFound \(HTTP 404, NoSuchKey\)\. It is NoSuchKey\. Check the bucket and the key/
    )
  })
)
