/** What a worker returned: a link to somewhere else than the layer's bucket. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { createHash } from "node:crypto"
import * as Http from "node:http"
import * as Blob from "../../src/blob/Blob.js"
import { expiryOf, isPresigned } from "../../src/blob/internal/link.js"
import { originOf } from "../support/listening.js"
import * as S3Server from "../support/s3Server.js"

const credentials = { accessKeyId: "AKIAMdJdQzWnTyLk", secretAccessKey: "HbFgRc+LpMcDn/KqZwTvXvRtQm" }

const object = "an object"
const md5 = createHash("md5").update(object).digest("hex")
const page = "<!doctype html><html><head><title>Log in</title></head></html>"
const html = { "content-type": "text/html", server: "portal/1.0" }
const xml = { "content-type": "application/xml" }
const errorXml = (code: string, message: string, more = "") =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message>${more}</Error>`

type Answer = readonly [status: number, headers: Http.OutgoingHttpHeaders, body: string]

const signature = "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0a1b2"
const presigned = (at = "20240131T235959Z", seconds = 3600) =>
  `?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=${at}&X-Amz-Expires=${seconds}&X-Amz-Signature=${signature}`
const inForce = presigned("20990131T235959Z")

/** A server that gives one answer after the other, the last for ever, but to requests for what nobody has. */
const setUp = (...answers: ReadonlyArray<Answer>) =>
  Effect.gen(function* () {
    const asked: Array<Http.IncomingMessage> = []
    const origin = yield* originOf(
      Http.createServer((request, response) => {
        const [status, headers, body] = answers[Math.min(asked.length, answers.length - 1)]!
        asked.push(request)
        response.writeHead(status, { "content-length": Buffer.byteLength(body), ...headers }).end(body)
      })
    )
    const s3 = yield* S3Server.serve(credentials)
    const layer = (options: Partial<Blob.Options> = {}) =>
      Blob.layer({ endpoint: s3.origin, bucket: "data", ...credentials, origins: [origin], ...options })
    return { asked, origin, layer }
  })

/** What reading a link comes to: its bytes, or the error. */
const read = (link: string, layer: Layer.Layer<Blob.Blob, Blob.BlobError>) =>
  Effect.provide(
    Effect.map(Blob.bytes(link), (bytes) => Buffer.from(bytes).toString()),
    layer
  )

it.scopedLive("no redirect is followed, to another scheme or not; its error has the origin alone", () =>
  Effect.gen(function* () {
    for (const [location, says] of [
      ["http://elsewhere.test/x?token=KqZwTvXv", /leads on to http:\/\/elsewhere\.test: no redirect is followed/],
      ["https://elsewhere.test/x?token=KqZwTvXv", /leads on to https:\/\/elsewhere\.test, by another scheme: no/],
      ["file:///etc/KqZwTvXv", /leads on to file:\/\/, by another scheme: no redirect/],
      ["/other?token=KqZwTvXv", /leads on to http:\/\/127\.0\.0\.1:\d+: no redirect/]
    ] as const) {
      for (const status of [301, 302, 303, 307, 308]) {
        const { asked, layer, origin } = yield* setUp([status, { location }, ""])
        const error = yield* Effect.flip(read(`${origin}/moved`, layer()))
        assert.deepStrictEqual([error.reason, error.status], ["Transport", status])
        assert.match(error.message, says)
        assert.notInclude(error.message, "KqZwTvXv")
        assert.strictEqual(asked.length, 1)
        assert.isUndefined(asked[0]!.headers.authorization)
      }
    }
  })
)

it.scopedLive("a link that has expired says so, and since when", () =>
  Effect.gen(function* () {
    const said = errorXml("AccessDenied", "Request has expired", "<Expires>2024-02-01T00:59:59Z</Expires>")
    const cases: ReadonlyArray<readonly [query: string, answer: Answer, says: RegExp]> = [
      [presigned(), [403, xml, said], /The link has expired at 2024-02-01T00:59:59Z\./],
      [presigned(), [403, xml, errorXml("AccessDenied", "Access Denied")], /expired at 2024-02-01T00:59:59Z/],
      [presigned(), [401, xml, ""], /expired at 2024-02-01T00:59:59Z/],
      ["?key=1", [403, xml, said], /expired at 2024-02-01T00:59:59Z/],
      ["?key=1", [400, xml, errorXml("ExpiredToken", "The provided token has expired.")], /The link has expired\./],
      [inForce, [403, xml, said], /as the store says, though it was signed until 2099-02-01T00:59:59Z/],
      ["?Expires=1706745599&Signature=abc&Key-Pair-Id=K", [403, html, page], /expired at 2024-01-31T23:59:59Z/],
      ["?sv=2023&se=2024-01-31T23%3A59%3A59Z&sig=abc", [403, xml, errorXml("AuthenticationFailed", "x")], /2024-01-31/],
      // With the status of success, too.
      [presigned(), [200, xml, said], /expired at 2024-02-01T00:59:59Z/],
      [presigned(), [200, { ...xml, etag: `W/"1"` }, said], /expired at 2024-02-01T00:59:59Z/],
      ["", [200, xml, said], /expired at 2024-02-01T00:59:59Z/]
    ]
    for (const [query, answer, says] of cases) {
      const { layer, origin } = yield* setUp(answer)
      const error = yield* Effect.flip(read(`${origin}/out.png${query}`, layer()))
      assert.deepStrictEqual([error.reason, error.status], ["Expired", answer[0]], `${query}: ${error.message}`)
      assert.match(error.message, says)
      assert.match(error.message, /Have it signed anew/)
      assert.notInclude(error.message, signature)
      assert.isFalse(Blob.isRetryable(error))
    }
  })
)

it.scoped("whether it has expired is a matter of Effect's clock; a refusal before that is one", () =>
  Effect.gen(function* () {
    const { layer, origin } = yield* setUp([403, xml, errorXml("AccessDenied", "Access Denied")])
    const reason = Effect.map(Effect.flip(read(`${origin}/out.png${presigned()}`, layer())), ({ reason }) => reason)
    yield* TestClock.setTime(Date.parse("2024-02-01T00:59:58Z"))
    assert.strictEqual(yield* reason, "AccessDenied")
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* reason, "Expired")
  })
)

it.scopedLive(
  "an error of the store in place of the bytes is no data, streamed or not, and no more of it is read",
  () =>
    Effect.gen(function* () {
      const { layer, origin } = yield* setUp([200, xml, errorXml("NoSuchKey", "The key does not exist.")])
      for (const query of ["", inForce]) {
        const error = yield* Effect.flip(read(`${origin}/x${query}`, layer()))
        assert.deepStrictEqual([error.reason, error.code, error.status], ["NotFound", "NoSuchKey", 200])
        assert.include(error.message, "The key does not exist.")
        const pieces: Array<Uint8Array> = []
        const streamed = Stream.runForEach(Blob.download(`${origin}/x${query}`), (piece) =>
          Effect.sync(() => pieces.push(piece))
        )
        assert.strictEqual((yield* Effect.flip(Effect.provide(streamed, layer()))).reason, "NotFound")
        assert.strictEqual(pieces.length, 0)
      }
    })
)

it.scopedLive("the body of a refusal is read no further than it says something, and is not waited for", () =>
  Effect.gen(function* () {
    const ended: Array<boolean> = []
    const origin = yield* originOf(
      Http.createServer((_, response) => {
        response.writeHead(403, xml)
        const more = () => {
          while (response.write("<!-- a long excuse -->".repeat(1000))) if (response.destroyed) return
          response.once("drain", more)
        }
        more()
        response.on("close", () => ended.push(response.writableEnded))
      })
    )
    const { layer } = yield* setUp([200, {}, ""])
    const error = yield* Effect.flip(read(`${origin}/x`, layer({ origins: [origin] })))
    assert.deepStrictEqual([error.reason, error.status], ["AccessDenied", 403])
    yield* Effect.sleep("200 millis")
    assert.deepStrictEqual(ended, [false])
  })
)

it.scopedLive("a page in place of a signed object, or one of the store's, is Intercepted, and says who answered", () =>
  Effect.gen(function* () {
    const cases: ReadonlyArray<Answer> = [
      [200, html, page],
      [200, { ...html, etag: '"5f3-61a"' }, page],
      [200, { ...html, etag: `"${createHash("md5").update(page).digest("hex")}"` }, page],
      [200, { server: "portal/1.0", etag: '"1"' }, page],
      [200, { server: "portal/1.0", "content-type": "image/png", etag: '"1"' }, page],
      [200, { server: "portal/1.0", "content-type": "application/json" }, '{"title":"Log in"}'],
      [403, html, page],
      [302, { server: "portal/1.0", location: "http://login.test/?KqZwTvXv" }, ""],
      [511, html, page]
    ]
    for (const answer of cases) {
      const { layer, origin } = yield* setUp(answer)
      // Another bucket of the store is of its origin.
      for (const [link, options] of [
        [`${origin}/x${inForce}`, {}],
        [`${origin}/11-25/x`, { endpoint: origin, origins: [] }]
      ] as const) {
        const error = yield* Effect.flip(read(link, layer(options)))
        assert.deepStrictEqual([error.reason, error.status], ["Intercepted", answer[0]], error.message)
        assert.include(error.message, `its server is "portal/1.0"`)
        assert.notInclude(error.message, "KqZwTvXv")
        assert.isFalse(Blob.isRetryable(error))
      }
    }
  })
)

it.scopedLive("of elsewhere, a page is data like any other, and an ETag may be anything", () =>
  Effect.gen(function* () {
    const { layer, origin } = yield* setUp([200, { ...html, etag: `"${md5}"` }, page])
    assert.strictEqual(yield* read(`${origin}/index.html`, layer()), page)
  })
)

it.scopedLive("a signed object that is a page is read, where a store is there or its headers are", () =>
  Effect.gen(function* () {
    const noSuch: Answer = [403, xml, errorXml("AccessDenied", "Access Denied")]
    for (const answer of [
      [200, { ...html, etag: '"1"', "x-amz-request-id": "1" }, page],
      [200, { ...html, etag: '"1"' }, page]
    ] satisfies ReadonlyArray<Answer>) {
      const { asked, layer, origin } = yield* setUp(answer, noSuch)
      assert.strictEqual(yield* read(`${origin}/x${inForce}`, layer()), page)
      // What is asked for to see who is there is unsigned.
      assert.deepStrictEqual(
        asked.slice(1).map(({ url }) => url),
        "x-amz-request-id" in answer[1] ? [] : ["/x.no-such-object"]
      )
    }
  })
)

it.scopedLive("the bytes of a signed link are compared with its length and its ETag", () =>
  Effect.gen(function* () {
    const right = { "content-type": "image/png", etag: `"${md5}"` }
    const { layer, origin } = yield* setUp([200, right, object])
    assert.strictEqual(yield* read(`${origin}/x${inForce}`, layer()), object)
    const other = yield* setUp([200, right, "no object"])
    const error = yield* Effect.flip(read(`${other.origin}/x${inForce}`, other.layer()))
    assert.deepInclude(error, { reason: "Corrupt", operation: "download" })
    assert.strictEqual(yield* read(`${other.origin}/x${inForce}`, other.layer({ verifyETag: false })), "no object")
    assert.strictEqual(yield* read(`${other.origin}/x`, other.layer()), "no object")
  })
)

it("who has signed a link, and until when, is read from its query", () => {
  const at = (query: string) => expiryOf(new URL(`https://s3.test/x?${query}`))
  assert.strictEqual(at("X-Amz-Date=20240131T235959Z&X-Amz-Expires=3600"), Date.parse("2024-02-01T00:59:59Z"))
  assert.strictEqual(at("X-Goog-Date=20240131T235959Z&X-Goog-Expires=60"), Date.parse("2024-02-01T00:00:59Z"))
  assert.strictEqual(at("Expires=1706745599&Signature=x"), Date.parse("2024-01-31T23:59:59Z"))
  assert.strictEqual(at("sv=1&se=2024-01-31T23:59:59Z&sig=x"), Date.parse("2024-01-31T23:59:59Z"))
  for (const query of ["", "X-Amz-Date=today&X-Amz-Expires=60", "Expires=soon", "se=2024-01-31", "X-Amz-Expires=60"]) {
    assert.isUndefined(at(query), query)
  }
  for (const query of ["X-Amz-Signature=x", "X-Goog-Signature=x", "AWSAccessKeyId=x&Signature=x", "sv=1&se=1&sig=x"]) {
    assert.isTrue(isPresigned(new URL(`https://s3.test/x?${query}`)), query)
  }
  for (const query of ["", "sig=x", "Signature=x&Key-Pair-Id=x", "token=X-Amz-Signature"]) {
    assert.isFalse(isPresigned(new URL(`https://s3.test/x?${query}`)), query)
  }
})
