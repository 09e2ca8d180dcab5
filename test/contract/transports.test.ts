import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as RunPod from "../../src/services/RunPod.js"
import { originOf } from "../support/listening.js"

/** A server that notes what it is asked. */
const serve = (answer: (response: Http.ServerResponse) => void) =>
  Effect.gen(function* () {
    const asked: Array<string> = []
    const server = Http.createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      request.resume().on("end", () => answer(response))
    })
    return { asked, url: yield* originOf(server) }
  })

/** An address that nothing listens on. */
const deadAddress = Effect.scoped(originOf(Net.createServer()))

const transports: Readonly<Record<string, (options: RunPod.Options) => Layer.Layer<RunPod.RunPod>>> = {
  fetch: (options) => Layer.provide(RunPod.layer(options), FetchHttpClient.layer),
  "node:http": (options) => Layer.provide(RunPod.layer(options), NodeHttpClient.layer),
  undici: (options) => NodeRunPod.layer(options),
  "the stock undici": (options) => Layer.provide(RunPod.layer(options), NodeHttpClient.layerUndici)
}

const retry = RetryPolicy.make({ base: "1 millis", cap: "2 millis" })

const ask = <A, E>(
  transport: string,
  url: string,
  use: (runPod: RunPod.Service) => Effect.Effect<A, E>,
  options: Partial<RunPod.Options> = {}
) =>
  Effect.provide(
    Effect.flatMap(RunPod.RunPod, use),
    transports[transport]!({ apiKey: "test-key", baseUrl: `${url}/v2`, retry, ...options })
  )

const submit = (runPod: RunPod.Service) => runPod.run("ep", { input: { n: 1 } })

const job = JSON.stringify({ id: "job-1", status: "IN_QUEUE" })

describe.each(Object.keys(transports))("over %s", (transport) => {
  for (const [name, transformClient] of [
    ["as text", HttpClient.tap((response) => response.text)],
    ["as text, twice", HttpClient.tap((response) => Effect.zip(response.text, response.json))],
    ["as a stream", HttpClient.tap((response) => Stream.runDrain(response.stream))],
    ["as a stream, and only its first bytes", HttpClient.tap((response) => Stream.runHead(response.stream))],
    ["as bytes", HttpClient.tap((response) => response.arrayBuffer)],
    [
      "in parts of its own",
      HttpClient.tap((response) =>
        Effect.zip(response.urlParamsBody, response.formData, { concurrent: true }).pipe(Effect.ignore)
      )
    ]
  ] as const) {
    it.scopedLive(`a transformClient that reads the body ${name} leaves it to the layer, too`, () =>
      Effect.gen(function* () {
        const { asked, url } = yield* serve((response) => response.end(job))
        const { id } = yield* ask(transport, url, submit, { transformClient })
        assert.strictEqual(id, "job-1")
        assert.strictEqual(asked.length, 1)
      })
    )
  }

  it.scopedLive("a transformClient that gives up reading a body leaves it to the layer, too", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((response) => {
        response.write(job.slice(0, 9))
        setTimeout(() => response.end(job.slice(9)), 60)
      })
      const transformClient = HttpClient.tap((response) => Effect.timeoutOption(response.text, "20 millis"))
      assert.strictEqual((yield* ask(transport, url, submit, { transformClient })).id, "job-1")
    })
  )

  it.scopedLive("a transformClient that reads answers without a body does not disturb them", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((response) => response.writeHead(401).end())
      const transformClient = HttpClient.tap((response) => response.text)
      const error = yield* Effect.flip(ask(transport, url, submit, { transformClient }))
      assert.strictEqual(error._tag, "AuthenticationError")
    })
  )

  for (const status of [301, 302, 303, 307, 308]) {
    it.scopedLive(`a submit that is redirected by ${status} to a dead address is sent once, and ambiguous`, () =>
      Effect.gen(function* () {
        const location = `${yield* deadAddress}/v2/ep/run`
        const { asked, url } = yield* serve((response) => response.writeHead(status, { location }).end())
        const error = yield* Effect.flip(ask(transport, url, submit))
        assert.strictEqual(error._tag, "SubmitAmbiguousError")
        assert.include(error.message, `a redirect came, which is not followed (HTTP ${status})`)
        assert.deepStrictEqual(asked, ["POST /v2/ep/run"])
      })
    )

    it.scopedLive(
      `a client of a program's own that follows a ${status} to a dead address makes the submit ambiguous`,
      () =>
        Effect.gen(function* () {
          const location = `${yield* deadAddress}/v2/ep/run`
          const { asked, url } = yield* serve((response) => response.writeHead(status, { location }).end())
          const error = yield* Effect.flip(
            ask(transport, url, submit, { transformClient: HttpClient.followRedirects() })
          )
          assert.strictEqual(error._tag, "SubmitAmbiguousError")
          assert.deepStrictEqual(asked, ["POST /v2/ep/run"])
        })
    )
  }

  it.scopedLive("a redirect is not believed, whatever stands where it leads", () =>
    Effect.gen(function* () {
      const elsewhere = yield* serve((response) => response.end(job))
      const location = `${elsewhere.url}/v2/ep/status/job-1`
      const { asked, url } = yield* serve((response) => response.writeHead(302, { location }).end())
      const error = yield* Effect.flip(ask(transport, url, (runPod) => runPod.status("ep", "job-1")))
      assert.strictEqual(error._tag, "ServerError")
      assert.strictEqual(asked.length, 5)
      assert.deepStrictEqual(elsewhere.asked, [])
    })
  )

  it.scopedLive(
    "a client of a program's own that goes on to a mute address makes the submit ambiguous at its deadline",
    () =>
      Effect.gen(function* () {
        // A TLS client gets as far as the connection, never as far as a request.
        const mute = (yield* originOf(Net.createServer())).replace("http:", "https:")
        const { asked, url } = yield* serve((response) => response.writeHead(307, { location: `${mute}/run` }).end())
        const transformClient = HttpClient.followRedirects()
        const error = yield* Effect.flip(ask(transport, url, submit, { transformClient, requestTimeout: "200 millis" }))
        assert.strictEqual(error._tag, "SubmitAmbiguousError")
        assert.deepStrictEqual(asked, ["POST /v2/ep/run"])
      })
  )

  it.scopedLive("a submit to a dead address was not sent, and is sent again", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(ask(transport, yield* deadAddress, submit))
      assert(error._tag === "TransportError")
      assert.strictEqual(error.sent, "No")
      assert.strictEqual(error.attempt, 5)
    })
  )

  it.scopedLive("a certificate that is not trusted is not tried again, and the error says what to do", () =>
    Effect.gen(function* () {
      const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
      const server = Https.createServer({ cert: fixture("localhost.crt"), key: fixture("localhost.key") })
      const url = (yield* originOf(server)).replace("http://127.0.0.1", "https://localhost")
      const error = yield* Effect.flip(ask(transport, url, submit))
      assert(error._tag === "TransportError")
      assert.deepInclude({ ...error }, { sent: "No", attempt: 1 })
      assert.match(error.message, /no connection could be made \(DEPTH_ZERO_SELF_SIGNED_CERT\).*NODE_EXTRA_CA_CERTS/)
      const wait = Effect.provide(Jobs.settle("ep", "job-1"), transports[transport]!({ apiKey: "k", baseUrl: url }))
      assert.strictEqual((yield* Effect.flip(wait))._tag, "TransportError")
    })
  )

  it.scopedLive("a connection that is refused is told of by its code", () =>
    Effect.gen(function* () {
      const url = (yield* deadAddress).replace("127.0.0.1", "localhost")
      const error = yield* Effect.flip(ask(transport, url, submit))
      assert.match(
        error.message,
        /no connection could be made \(ECONNREFUSED\), and nothing was sent.* Nothing listens there/
      )
    })
  )

  it.scopedLive("an answer with a status that no answer has makes a submit ambiguous", () =>
    Effect.gen(function* () {
      const url = yield* originOf(
        Net.createServer((socket) => {
          socket.on("error", () => undefined)
          socket.once("data", () => socket.end("HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n"))
        })
      )
      const error = yield* Effect.flip(ask(transport, url, submit))
      assert.strictEqual(error._tag, "SubmitAmbiguousError")
    })
  )
})

describe("over fetch", () => {
  /** A `fetch` that notes the options it is called with. */
  const spy = () => {
    const seen: Array<RequestInit | undefined> = []
    const fetch: typeof globalThis.fetch = (_, init) => {
      seen.push(init)
      return Promise.resolve(new Response(job))
    }
    return { seen, layer: Layer.succeed(FetchHttpClient.Fetch, fetch) }
  }
  const given = Layer.succeed(FetchHttpClient.RequestInit, { credentials: "include", cache: "no-store" })
  const options = { apiKey: "test-key", baseUrl: "https://runpod.test/v2" }

  const clients: ReadonlyArray<readonly [name: string, RunPod.Options["transformClient"]]> = [
    ["", undefined],
    [" under a client that follows redirects", HttpClient.followRedirects()],
    [
      " under a client that decides when to send",
      HttpClient.transform((answer) => Effect.zipRight(Effect.yieldNow(), answer))
    ]
  ]
  for (const [name, transformClient] of clients) {
    it.effect(`no redirect is followed, and what the program set beside it is kept${name}`, () =>
      Effect.gen(function* () {
        const { layer, seen } = spy()
        const http = Layer.provide(FetchHttpClient.layer, Layer.merge(layer, given))
        yield* Effect.provide(
          Effect.flatMap(RunPod.RunPod, submit),
          Layer.provide(RunPod.layer({ ...options, transformClient }), http)
        )
        assert.strictEqual(seen.length, 1)
        assert.deepInclude(seen[0], { redirect: "manual", credentials: "include", cache: "no-store", method: "POST" })
      })
    )
  }

  it.effect("the program's own requests beside those to RunPod follow redirects as before", () =>
    Effect.gen(function* () {
      const { layer, seen } = spy()
      const http = Layer.provide(FetchHttpClient.layer, layer)
      const own = Effect.provide(HttpClient.get("https://elsewhere.test/"), http)
      const transformClient = HttpClient.tap(() => own)
      yield* Effect.provide(
        Effect.flatMap(RunPod.RunPod, submit),
        Layer.provide(RunPod.layer({ ...options, transformClient }), http)
      )
      assert.deepStrictEqual(
        seen.map((init) => init?.redirect),
        ["manual", undefined]
      )
    })
  )
})
