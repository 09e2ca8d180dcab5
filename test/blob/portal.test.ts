/** A captive portal, or a proxy with a page of its own, in front of the store: nothing it says counts as stored, read or removed. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import type * as Http from "node:http"
import * as Blob from "../../src/blob/Blob.js"
import * as S3Server from "../support/s3Server.js"
import * as Between from "./between.js"

const credentials = { accessKeyId: "AKIAMdJdQzWnTyLk", secretAccessKey: "HbFgRc+LpMcDn/KqZwTvXvRtQm" }
const partSize = 5 * 1024 * 1024

const page =
  "<!doctype html>\n<html><head><title>Log in to\n Hotel &amp; Bar</title></head><body>Your room?</body></html>"
const md5 = createHash("md5").update(page).digest("hex")
const html = { "content-type": "text/html; charset=utf-8" }
const length = { "content-length": Buffer.byteLength(page) }

/** How a portal can answer whatever it is asked. */
const disguises: Readonly<Record<string, (response: Http.ServerResponse, method?: string) => void>> = {
  "a page": (response) => response.writeHead(200, { ...html, server: "portal/1.0" }).end(page),
  "a page with an ETag and its length": (response) =>
    response.writeHead(200, { ...html, ...length, etag: '"5f3-61a"', server: "portal/1.0" }).end(page),
  "a page whose ETag is its MD5": (response) =>
    response.writeHead(200, { ...html, ...length, etag: `"${md5}"`, server: "portal/1.0" }).end(page),
  "a page of no type, with an ETag": (response) =>
    response.writeHead(200, { ...length, etag: `"${md5}"`, server: "portal/1.0" }).end(page),
  "a page that says it is bytes": (response) =>
    response
      .writeHead(200, { ...length, "content-type": "application/octet-stream", etag: '"1"', server: "portal/1.0" })
      .end(page),
  "JSON with neither": (response) =>
    response.writeHead(200, { "content-type": "application/json", server: "portal/1.0" }).end('{"login":true}'),
  "JSON with an ETag and a length": (response) =>
    response
      .writeHead(200, {
        "content-type": "application/json",
        etag: 'W/"e-1"',
        "content-length": 14,
        server: "portal/1.0"
      })
      .end('{"login":true}'),
  "a page of a CDN": (response) =>
    response.writeHead(200, { ...html, "x-amz-cf-id": "6uLzVVEbSg9Z", server: "portal/1.0" }).end(page),
  "a redirect": (response) =>
    response.writeHead(302, { location: "http://login.test/?from=secret", server: "portal/1.0" }).end(),
  "a refusal with a page": (response) => response.writeHead(403, { ...html, server: "portal/1.0" }).end(page),
  "a proxy that wants a password": (response) => response.writeHead(407, { server: "portal/1.0" }).end(),
  "a network that wants one": (response) => response.writeHead(511, { ...html, server: "portal/1.0" }).end(page)
}

/** A store that has `k`, a portal before it that can be turned on, and a layer that reaches one through the other. */
const setUp = (
  disguise: (response: Http.ServerResponse) => void,
  isAsked: (request: Http.IncomingMessage) => boolean = () => true
) =>
  Effect.gen(function* () {
    const s3 = yield* S3Server.serve(credentials)
    let isOn = false
    const asked: Array<string> = []
    const origin = yield* Between.serve(s3.origin, {
      instead: (request) => {
        if (!isOn || !isAsked(request)) return undefined
        asked.push(`${request.method}`)
        return disguise
      }
    })
    const layer = Blob.layer({ endpoint: origin, bucket: "data", ...credentials, partSize, maxAttempts: 3 })
    return { s3, layer, asked, turnOn: () => (isOn = true) }
  })

const intercepted = (error: Blob.BlobError, name: string) => {
  assert.strictEqual(error.reason, "Intercepted", `${name}: ${error.message}`)
  assert.isFalse(Blob.isRetryable(error))
  assert.include(error.message, `its server is "portal/1.0"`, name)
  assert.match(error.message, /Log in to the network, or check the proxy/)
  assert.isNumber(error.status)
}

for (const [name, disguise] of Object.entries(disguises)) {
  it.scopedLive(`nothing counts that ${name} says`, () =>
    Effect.gen(function* () {
      const { asked, layer, s3, turnOn } = yield* setUp(disguise)
      yield* Effect.gen(function* () {
        const ref = yield* Blob.upload(Buffer.from("an object"), { key: "k" })
        turnOn()
        const { head } = yield* Blob.Blob
        const operations: Readonly<Record<string, Effect.Effect<unknown, Blob.BlobError, Blob.Blob>>> = {
          upload: Blob.upload(Buffer.from("another object"), { key: "k" }),
          parts: Blob.upload(Buffer.alloc(partSize + 1), { key: "k" }),
          bytes: Blob.bytes(ref),
          remove: Blob.remove(ref)
        }
        for (const [operation, effect] of Object.entries(operations)) {
          asked.length = 0
          const error = yield* Effect.flip(effect)
          intercepted(error, `${operation} by ${name}`)
          assert.isAtMost(asked.length, 2, "is sent once, and at most once more to see who is there")
        }
        intercepted(yield* Effect.flip(head(ref)), `head by ${name}`)
        intercepted(yield* Effect.flip(Blob.bytes("k")), `a key by ${name}`)
        assert.strictEqual(s3.objects.get("k")!.body.toString(), "an object")
      }).pipe(Effect.provide(layer))
    })
  )
}

it.scopedLive("the error says who answered, by title, server and type", () =>
  Effect.gen(function* () {
    const { layer, turnOn } = yield* setUp(disguises["a page"]!)
    turnOn()
    const error = yield* Effect.flip(Effect.provide(Blob.upload(Buffer.from("x"), { key: "k" }), layer))
    assert.strictEqual(
      error.message,
      "upload of k in bucket data: Intercepted (HTTP 200). An HTML page came from something else than the store: " +
        'its title is "Log in to Hotel & Bar", its type is "text/html; charset=utf-8", its server is "portal/1.0". ' +
        "Log in to the network, or check the proxy and the endpoint's address; then try again."
    )
    const { layer: redirecting, turnOn: redirect } = yield* setUp(disguises["a redirect"]!)
    redirect()
    const moved = yield* Effect.flip(Effect.provide(Blob.bytes("k"), redirecting))
    assert.include(moved.message, 'it leads to "http://login.test"')
    assert.notInclude(moved.message, "secret")
  })
)

it.scopedLive("a portal that comes up in the middle of an upload in parts does not complete it", () =>
  Effect.gen(function* () {
    const at: Readonly<Record<string, (request: Http.IncomingMessage) => boolean>> = {
      "a part": ({ url = "" }) => url.includes("partNumber=2"),
      "its completion": ({ method, url = "" }) => method === "POST" && url.includes("uploadId"),
      "its completion, and all after it": ({ method, url = "" }) =>
        (method === "POST" && url.includes("uploadId")) || method === "HEAD" || method === "GET"
    }
    for (const [name, isAsked] of Object.entries(at)) {
      for (const disguise of Object.values(disguises)) {
        const { layer, s3, turnOn } = yield* setUp(disguise, isAsked)
        turnOn()
        const error = yield* Effect.flip(Effect.provide(Blob.upload(Buffer.alloc(partSize + 1, name)), layer))
        intercepted(error, name)
        assert.deepStrictEqual([s3.objects.size, s3.uploads.size], [0, 0])
      }
    }
  })
)

it.scopedLive(
  "a store whose ETags are no MD5s, and which sends no headers of its own, is asked whether it is there",
  () =>
    Effect.gen(function* () {
      const s3 = yield* S3Server.serve(credentials)
      const origin = yield* Between.serve(s3.origin, {
        change: (request, given) => ({
          ...given,
          headers: {
            ...given.headers,
            ...(request.method === "PUT" ? { etag: '"0x8D4BCC2E4835CD0"' } : {}),
            ...(request.method === "DELETE" ? { "content-length": "0" } : {})
          },
          status: request.method === "DELETE" ? 200 : given.status
        })
      })
      yield* Effect.gen(function* () {
        const ref = yield* Blob.upload(Buffer.from("<html>an object</html>"), { key: "k", contentType: "text/html" })
        assert.strictEqual(Buffer.from(yield* Blob.bytes(ref)).toString(), "<html>an object</html>")
        const { head } = yield* Blob.Blob
        assert.strictEqual((yield* head(ref)).contentType, "text/html")
        yield* Blob.remove(ref)
        assert.strictEqual(s3.objects.size, 0)
        const probes = s3.requests.filter(({ key }) => key === "effect-runpod/no-such-object")
        assert.strictEqual(probes.length, 4)
      }).pipe(Effect.provide(Blob.layer({ endpoint: origin, bucket: "data", ...credentials })))
    })
)

it.scopedLive("an answer that only a store gives counts: the MD5 of what was sent, or headers of its own", () =>
  Effect.gen(function* () {
    const s3 = yield* S3Server.serve(credentials)
    const marked = { "x-amz-request-id": "656c76696e6727732072657175657374" }
    const cases: ReadonlyArray<Http.OutgoingHttpHeaders> = [
      // Some servers call HTML what they know no type of.
      { "content-type": "text/html" },
      { etag: '"a-different-etag"', ...marked },
      { etag: `"${md5}"`, "x-amz-server-side-encryption": "aws:kms", ...marked }
    ]
    for (const headers of cases) {
      const origin = yield* Between.serve(s3.origin, {
        change: (_, given) => ({ ...given, headers: { ...given.headers, ...headers } })
      })
      const layer = Blob.layer({ endpoint: origin, bucket: "data", ...credentials, partSize })
      for (const size of headers["etag"] === undefined ? [10, partSize + 1] : [10]) {
        const { size: stored } = yield* Effect.provide(Blob.upload(Buffer.alloc(size), { key: "k" }), layer)
        assert.strictEqual(stored, size)
      }
    }
  })
)

it.scopedLive("what the user's client has in its chain stays as it is", () =>
  Effect.gen(function* () {
    const { S3Client } = yield* Effect.promise(() => import("@aws-sdk/client-s3"))
    const s3 = yield* S3Server.serve(credentials)
    const client = new S3Client({
      endpoint: s3.origin,
      region: "us-east-1",
      forcePathStyle: true,
      credentials,
      cacheMiddleware: true
    })
    const chain = client.middlewareStack.identify().join()
    const layer = Blob.layerClient({ client, bucket: "data", endpoint: s3.origin })
    const size = Effect.flatMap(Blob.upload(Buffer.from("x")), (ref) => Blob.bytes(ref))
    for (let n = 0; n < 2; n++) assert.strictEqual((yield* Effect.provide(size, layer)).byteLength, 1)
    assert.strictEqual(client.middlewareStack.identify().join(), chain)
    client.destroy()
  })
)
