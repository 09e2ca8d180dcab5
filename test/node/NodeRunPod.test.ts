import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Schedule, type Scope, Stream } from "effect"
import { execFile } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Http2 from "node:http2"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import { RunPod } from "../../src/services/RunPod.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import { program } from "../support/program.js"
import { listening, originOf } from "../support/listening.js"

const serve = (listener: Http.RequestListener) => originOf(Http.createServer(listener))

const bodyOf = async (request: AsyncIterable<Uint8Array>): Promise<string> => {
  const chunks: Array<Uint8Array> = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

const job = JSON.stringify({ id: "a", status: "IN_QUEUE" })

describe("NodeRunPod.layerHttpClient", () => {
  const scopedClient = <A, E>(use: (client: HttpClient.HttpClient) => Effect.Effect<A, E, Scope.Scope>) =>
    Effect.scoped(Effect.flatMap(HttpClient.HttpClient, use)).pipe(Effect.provide(NodeRunPod.layerHttpClient()))

  it.scopedLive("reads a body in every way that a response can be read, more than once", () =>
    Effect.gen(function* () {
      const url = yield* serve((_, response) => {
        response.setHeader("set-cookie", ["a=1", "b=2"])
        response.setHeader("x-kind", "job")
        response.end('{"a":1}')
      })
      yield* scopedClient((client) =>
        Effect.gen(function* () {
          const response = yield* client.get(`${url}/x`)
          assert.strictEqual(response.status, 200)
          assert.strictEqual(response.headers["x-kind"], "job")
          assert.deepStrictEqual(Object.keys(response.cookies.cookies), ["a", "b"])
          assert.strictEqual(yield* response.text, '{"a":1}')
          assert.deepStrictEqual(yield* response.json, { a: 1 })
          assert.strictEqual((yield* response.arrayBuffer).byteLength, 7)
          const streamed = yield* client.get(`${url}/y`)
          for (const { stream } of [response, streamed]) {
            const chunks = yield* Stream.runCollect(stream)
            assert.strictEqual(Buffer.concat(Chunk.toReadonlyArray(chunks)).toString(), '{"a":1}')
          }
          const error = yield* Effect.flip(streamed.text)
          assert.strictEqual(error._tag, "ResponseError")
          assert.instanceOf(error.cause, TypeError)
          assert.notInclude(JSON.stringify(response), "undefined")
        })
      )
    })
  )

  it.scopedLive("reads forms", () =>
    Effect.gen(function* () {
      const url = yield* serve((_, response) => {
        response.setHeader("content-type", "application/x-www-form-urlencoded")
        response.end("a=1&b=two")
      })
      yield* scopedClient((client) =>
        Effect.gen(function* () {
          const response = yield* client.get(url)
          assert.deepStrictEqual(yield* response.urlParamsBody, [
            ["a", "1"],
            ["b", "two"]
          ])
          assert.strictEqual((yield* response.formData).get("b"), "two")
        })
      )
    })
  )

  const form = new FormData()
  form.set("name", "value")
  const bodies: ReadonlyArray<readonly [string, HttpBody.HttpBody, string | RegExp]> = [
    ["nothing", HttpBody.empty, ""],
    ["text", HttpBody.text("héllo"), "héllo"],
    ["bytes", HttpBody.uint8Array(new TextEncoder().encode("bytes")), "bytes"],
    ["a part of a larger buffer", HttpBody.uint8Array(new TextEncoder().encode("xbytesx").subarray(1, 6)), "bytes"],
    ["a raw string", HttpBody.raw("raw"), "raw"],
    ["a form", HttpBody.formData(form), /name="name"\r\n\r\nvalue/],
    ["a stream", HttpBody.stream(Stream.make("a", "b", "c").pipe(Stream.encodeText)), "abc"]
  ]
  for (const [name, body, expected] of bodies) {
    it.scopedLive(`sends ${name}`, () =>
      Effect.gen(function* () {
        const url = yield* serve((request, response) => void bodyOf(request).then((text) => response.end(text)))
        const text = yield* scopedClient((client) =>
          Effect.flatMap(client.execute(HttpClientRequest.post(url, { body })), (response) => response.text)
        )
        if (typeof expected === "string") assert.strictEqual(text, expected)
        else assert.match(text, expected)
      })
    )
  }

  it.scopedLive("keeps url parameters, queries and headers, and drops the hash, like the stock client", () =>
    Effect.gen(function* () {
      const url = yield* serve((request, response) =>
        response.end(JSON.stringify([request.url, request.headers["x-a"]]))
      )
      const request = HttpClientRequest.get(`${url}/p?a=1#x`).pipe(
        HttpClientRequest.setUrlParams({ b: "ü &" }),
        HttpClientRequest.setHeader("x-a", "1")
      )
      const ask = (client: HttpClient.HttpClient) =>
        Effect.flatMap(client.execute(request), (response) => response.json)
      const expected = yield* Effect.provide(Effect.flatMap(HttpClient.HttpClient, ask), FetchHttpClient.layer)
      assert.deepStrictEqual(yield* scopedClient(ask), expected)
    })
  )

  it.scopedLive("works under combinators: a retry after a 503, and a filter of statuses", () =>
    Effect.gen(function* () {
      let asked = 0
      const url = yield* serve((_, response) => {
        response.statusCode = ++asked < 3 ? 503 : 200
        response.end("x".repeat(100_000))
      })
      const text = yield* scopedClient((client) =>
        client
          .pipe(HttpClient.filterStatusOk, HttpClient.retryTransient({ times: 5 }))
          .get(url)
          .pipe(Effect.flatMap((response) => response.text))
      )
      assert.strictEqual(text.length, 100_000)
      assert.strictEqual(asked, 3)
    })
  )

  it.scopedLive("what is not a URL, or not to be sent, is a RequestError", () =>
    scopedClient((client) =>
      Effect.gen(function* () {
        const invalid = yield* Effect.flip(client.get("not a url"))
        assert.strictEqual(invalid._tag === "RequestError" && invalid.reason, "InvalidUrl")
        const raw = yield* Effect.flip(
          client.execute(HttpClientRequest.post("http://127.0.0.1:1", { body: HttpBody.raw({}) }))
        )
        assert.strictEqual(raw._tag === "RequestError" && raw.reason, "Encode")
        const refused = yield* Effect.flip(client.get("http://127.0.0.1:1"))
        assert.strictEqual(refused._tag === "RequestError" && refused.reason, "Transport")
      })
    )
  )

  it.scopedLive("a body that is not read is not taken off the wire, and is there when it is", () =>
    Effect.gen(function* () {
      const size = 32 * 1024 * 1024
      let socket: Net.Socket | null = null
      const url = yield* serve((_, response) => {
        socket = response.socket
        response.end(Buffer.alloc(size, "x"))
      })
      yield* scopedClient((client) =>
        Effect.gen(function* () {
          const response = yield* client.get(url)
          // Until nothing moves any more.
          let before = -1
          yield* Effect.sleep("20 millis").pipe(
            Effect.repeat({
              until: () => {
                const now = Number(socket?.writableLength)
                const stands = now === before
                before = now
                return stands
              }
            })
          )
          assert.isAbove(before, size / 2, "bytes wait at the server")
          const read = yield* Stream.runFold(response.stream, 0, (sum, chunk) => sum + chunk.byteLength)
          assert.strictEqual(read, size)
        })
      )
    })
  )

  it.scopedLive("an interruption closes the connection, before the answer and within it", () =>
    Effect.gen(function* () {
      const closed: Array<string> = []
      const asked = new Set<string>()
      const url = yield* serve((request, response) => {
        asked.add(request.url ?? "")
        response.on("close", () => closed.push(request.url ?? ""))
        if (request.url === "/body") response.write("some")
      })
      const until = (condition: () => boolean) => Effect.sleep("2 millis").pipe(Effect.repeat({ until: condition }))
      yield* scopedClient((client) =>
        Effect.gen(function* () {
          const head = yield* Effect.fork(client.get(`${url}/head`))
          const body = yield* Effect.fork(Effect.flatMap(client.get(`${url}/body`), (response) => response.text))
          yield* until(() => asked.size === 2)
          yield* Fiber.interruptAll([head, body])
          yield* until(() => closed.length === 2)
        })
      )
      assert.sameMembers(closed, ["/head", "/body"])
    })
  )

  it.scopedLive("answers without a body have none, and any status is passed on", () =>
    Effect.gen(function* () {
      const url = yield* serve((request, response) => {
        response.statusCode = Number(request.url?.slice(1))
        response.end()
      })
      yield* scopedClient((client) =>
        Effect.gen(function* () {
          for (const status of [204, 205, 304, 599, 600, 999]) {
            const response = yield* client.get(`${url}/${status}`)
            assert.strictEqual(response.status, status)
            assert.strictEqual(yield* response.text, "")
          }
        })
      )
    })
  )

  it.scopedLive("an answer that breaks off is a ResponseError of its reader", () =>
    Effect.gen(function* () {
      const url = yield* serve((_, response) => {
        response.setHeader("content-length", 100)
        response.write("some")
        setImmediate(() => response.socket?.resetAndDestroy())
      })
      const error = yield* scopedClient((client) =>
        Effect.flatMap(client.get(url), (response) => Effect.flip(response.text))
      )
      assert.strictEqual(error._tag, "ResponseError")
      assert.include(["ECONNRESET", "UND_ERR_SOCKET"], Reflect.get(Object(error.cause), "code"))
    })
  )
})

describe("NodeRunPod.layer", () => {
  const ask = <A, E>(
    baseUrl: string,
    use: (runpod: typeof RunPod.Service) => Effect.Effect<A, E>,
    options: Partial<NodeRunPod.Options> = {}
  ) =>
    Effect.flatMap(RunPod, use).pipe(
      Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl, retry: RetryPolicy.none, ...options }))
    )

  /** Accepts connections and says nothing: a TLS client never gets as far as a request. */
  const mute = Effect.map(listening(Net.createServer()), (port) => `https://127.0.0.1:${port}/v2`)

  const clients: Readonly<Record<string, Partial<NodeRunPod.Options>>> = {
    "on the wire": {},
    "through transformClient": { transformClient: (client) => client }
  }
  it.scopedLive("a transformClient that reads the body leaves it to the layer, too", () =>
    Effect.gen(function* () {
      const url = yield* serve((_, response) => response.end(job))
      const bodies: Array<string> = []
      const { id } = yield* ask(`${url}/v2`, (runpod) => runpod.run("ep", { input: { n: 1 } }), {
        transformClient: HttpClient.tap((response) => Effect.map(response.text, (text) => bodies.push(text)))
      })
      assert.strictEqual(id, "a")
      assert.deepStrictEqual(bodies, [job])
    })
  )

  for (const [name, options] of Object.entries(clients)) {
    it.scopedLive(`${name}, a submit that never got a connection is not ambiguous at its deadline`, () =>
      Effect.gen(function* () {
        const baseUrl = yield* mute
        const error = yield* Effect.flip(
          ask(baseUrl, (runpod) => runpod.run("ep", { input: { n: 1 } }), { ...options, requestTimeout: "100 millis" })
        )
        assert.strictEqual(error._tag, "RequestTimeoutError")
        assert.strictEqual(error._tag === "RequestTimeoutError" && error.sent, "No")
      })
    )

    it.scopedLive(`${name}, a submit that was written is ambiguous when no answer comes`, () =>
      Effect.gen(function* () {
        const url = yield* serve((request) => void request.resume())
        const error = yield* Effect.flip(
          ask(`${url}/v2`, (runpod) => runpod.run("ep", { input: { n: 1 } }), {
            ...options,
            requestTimeout: "100 millis"
          })
        )
        assert.strictEqual(error._tag, "SubmitAmbiguousError")
      })
    )

    it.scopedLive(`${name}, the key and the body arrive, attempt by attempt`, () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const url = yield* serve((request, response) => {
          void bodyOf(request).then((body) => {
            seen.push(`${request.method} ${request.url} ${request.headers.authorization} ${body}`)
            response.statusCode = seen.length === 1 ? 429 : 200
            response.setHeader("retry-after", "0")
            response.end(job)
          })
        })
        const submitted = yield* ask(`${url}/base/v2/`, (runpod) => runpod.run("ep", { input: { n: "é" } }), {
          ...options,
          retry: RetryPolicy.fromSchedule(Schedule.recurs(1))
        })
        assert.strictEqual(submitted.id, "a")
        assert.deepStrictEqual(seen, Array(2).fill('POST /base/v2/ep/run Bearer key {"input":{"n":"é"}}'))
      })
    )
  }

  it.scopedLive("a connection that the server closed when idle is not written to", () =>
    Effect.gen(function* () {
      let connections = 0
      const server = Http.createServer((request, response) => {
        request.resume()
        response.end(job)
        // After the answer has been flushed, as a server does that is tired of waiting.
        response.on("finish", () => setImmediate(() => request.socket.end()))
      })
      server.on("connection", () => connections++)
      const port = yield* listening(server)
      yield* ask(`http://127.0.0.1:${port}/v2`, (runpod) =>
        Effect.repeatN(Effect.zipRight(runpod.run("ep", { input: { n: 1 } }), Effect.sleep("5 millis")), 19)
      )
      assert.strictEqual(connections, 20)
    })
  )

  it.scopedLive("a connection is used again, and held requests have others", () =>
    Effect.gen(function* () {
      const ports = new Map<string, Set<number | undefined>>()
      const url = yield* serve((request, response) => {
        const kind = request.url?.includes("status-sync") === true ? "held" : "plain"
        ports.set(kind, (ports.get(kind) ?? new Set()).add(request.socket.remotePort))
        response.end(job)
      })
      yield* ask(`${url}/v2`, (runpod) =>
        Effect.repeatN(Effect.zip(runpod.status("ep", "a"), runpod.statusSync("ep", "a")), 4)
      )
      const [plain, held] = [ports.get("plain") ?? new Set(), ports.get("held") ?? new Set()]
      assert.strictEqual(plain.size, 1)
      assert.strictEqual(held.size, 1)
      assert.notDeepEqual(plain, held)
    })
  )

  it.scopedLive("closing the layer closes its connections", () =>
    Effect.gen(function* () {
      const server = Http.createServer((_, response) => {
        response.end(job)
      })
      const port = yield* listening(server)
      yield* ask(`http://127.0.0.1:${port}/v2`, (runpod) => runpod.status("ep", "a"))
      const count = Effect.async<number>((resume) => {
        server.getConnections((_, open) => resume(Effect.succeed(open)))
      })
      yield* Effect.repeat(Effect.zipRight(Effect.sleep("2 millis"), count), { until: (open) => open === 0 })
    })
  )

  it.scopedLive("speaks HTTP/2 where it is wanted and offered", () =>
    Effect.gen(function* () {
      const read = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
      const versions: Array<string> = []
      const server = Http2.createSecureServer(
        { key: read("localhost.key"), cert: read("localhost.crt"), allowHTTP1: true },
        (request, response) => {
          versions.push(request.httpVersion)
          request.resume()
          response.end(job)
        }
      )
      const port = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          server.listen(0, "127.0.0.1")
          await once(server, "listening")
          const address = server.address()
          return address !== null && typeof address === "object" ? address.port : 0
        }),
        () => Effect.sync(() => void server.close())
      )
      const output = yield* Effect.async<string, Error>((resume) => {
        execFile(
          process.execPath,
          [program("http2Client"), `https://localhost:${port}/v2`],
          {
            env: {
              ...process.env,
              NODE_EXTRA_CA_CERTS: fileURLToPath(new URL("../fixtures/localhost.crt", import.meta.url))
            }
          },
          (error, stdout) => resume(error === null ? Effect.succeed(stdout) : Effect.fail(error))
        )
      })
      assert.deepStrictEqual(JSON.parse(output), ["IN_QUEUE", "IN_QUEUE", "IN_QUEUE"])
      assert.deepStrictEqual(versions, ["2.0", "2.0", "2.0"])
    })
  )
})
