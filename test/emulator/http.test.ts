import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream, TestClock } from "effect"
import { Readable } from "node:stream"
import { Agent, type Dispatcher } from "undici"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import { until } from "../support/until.js"

const { Fault } = Emulator

const agent = Effect.acquireRelease(
  Effect.sync(() => new Agent({ headersTimeout: 0, bodyTimeout: 0 })),
  (agent) => Effect.promise(() => agent.destroy())
)

interface Sent {
  readonly method?: Dispatcher.HttpMethod
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array | Readable
}

/** The answer to one request, its body unread. */
const open = (url: string, { body, headers, method = "POST" }: Sent = {}) =>
  Effect.flatMap(agent, (agent) => {
    const { origin, pathname, search } = new URL(url)
    const all = { authorization: "Bearer key", ...headers }
    return Effect.promise(() =>
      agent.request({ origin, path: pathname + search, method, headers: all, body: body ?? null })
    )
  })

const read = ({ body }: Dispatcher.ResponseData) => Effect.tryPromise(() => body.text())

/** What has come of the body so far. */
const reader = ({ body }: Dispatcher.ResponseData): (() => string) => {
  let text = ""
  body.on("data", (bytes: Buffer) => (text += bytes.toString("utf8")))
  return () => text
}

const letters = Stream.make("a", "b", "c").pipe(
  Stream.mapEffect((letter) => Effect.delay(Effect.succeed(letter), 1000))
)

const serve = (options: Partial<NodeEmulator.ServeOptions> = {}) =>
  Effect.map(NodeEmulator.serve({ endpoints: { llm: { handler: () => letters } }, ...options }), (server) => ({
    ...server,
    route: `${server.url}/llm/openai/v1/chat/completions`
  }))

const body = '{"stream":true}'

describe("the OpenAI route over HTTP", () => {
  it.scoped("sends each piece when it is there", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const opening = yield* Effect.fork(open(server.route, { body }))
      yield* until(Effect.map(server.counts, ({ submitted }) => submitted === 1))
      yield* TestClock.adjust("1 second")
      const response = yield* Fiber.join(opening)
      assert.strictEqual(response.statusCode, 200)
      assert.deepInclude(response.headers, { "content-type": "text/event-stream", "transfer-encoding": "chunked" })
      const seen = reader(response)
      for (const expected of ["a", "ab", "abc"]) {
        yield* until(Effect.sync(() => seen() !== "" && seen().length >= expected.length))
        assert.strictEqual(seen(), expected)
        yield* TestClock.adjust("1 second")
      }
      yield* until(Effect.map(server.counts, ({ byOperation }) => byOperation.openai.inFlight === 0))
      assert.deepInclude((yield* server.requests)[0], { took: 3000, abandoned: false })
    })
  )

  it.scoped("goes on with the job of a client that leaves", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const opening = yield* Effect.fork(open(server.route, { body }))
      yield* until(Effect.map(server.counts, ({ submitted }) => submitted === 1))
      yield* TestClock.adjust("1 second")
      const response = yield* Fiber.join(opening)
      response.body.on("error", () => undefined).destroy()
      yield* until(Effect.map(server.counts, ({ abandoned }) => abandoned === 1))
      assert.strictEqual((yield* server.counts).byOperation.openai.inFlight, 0)
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude((yield* server.jobs("llm"))[0], { status: "COMPLETED", cancels: 0, output: ["a", "b", "c"] })
    })
  )

  for (const [fault, text] of [
    [Fault.cutBody({ afterBytes: 2 }), undefined],
    [Fault.truncated({ afterBytes: 2 }), "ab"]
  ] as const) {
    it.scoped(`${fault._tag} ends a stream in the middle`, () =>
      Effect.gen(function* () {
        const server = yield* serve({ faults: [fault] })
        const opening = yield* Effect.fork(Effect.flatMap(open(server.route, { body }), read))
        yield* until(Effect.map(server.counts, ({ submitted }) => submitted === 1))
        yield* TestClock.adjust("3 seconds")
        const result = yield* Effect.either(Fiber.join(opening))
        assert.strictEqual(result._tag === "Right" ? result.right : undefined, text)
      })
    )
  }

  it.scoped("answers 524 after 100 seconds", () =>
    Effect.gen(function* () {
      const server = yield* serve({ endpoints: { llm: { execution: "2 minutes" } } })
      const opening = yield* Effect.fork(open(server.route, { body: "{}" }))
      yield* until(Effect.map(server.counts, ({ submitted }) => submitted === 1))
      yield* TestClock.adjust("100 seconds")
      const response = yield* Fiber.join(opening)
      assert.strictEqual(response.statusCode, 524)
      assert.include(yield* read(response), "<html>")
    })
  )
})

const echo: Emulator.App = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const bytes = new Uint8Array(yield* request.arrayBuffer)
  const response = HttpServerResponse.uint8Array(bytes, {
    status: 201,
    contentType: "image/png",
    headers: { "x-method": request.method, "x-url": request.url, "x-own": request.headers["x-own"] ?? "" }
  })
  return response.pipe(HttpServerResponse.unsafeSetCookie("a", "1"), HttpServerResponse.unsafeSetCookie("b", "2"))
})

describe("a load-balancing endpoint over HTTP", () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => index % 256)

  for (const [name, of] of [
    ["bytes", { body: bytes }],
    ["chunks", { body: Readable.from([Buffer.from(bytes.subarray(0, 7)), Buffer.from(bytes.subarray(7))]) }]
  ] as const) {
    it.scoped(`passes requests and answers on: ${name}`, () =>
      Effect.gen(function* () {
        const server = yield* serve({ loadBalancers: { "my-lb": { app: echo } } })
        const { body, headers, statusCode } = yield* open(`${server.loadBalancerUrl("my-lb")}/any/path?q=1`, {
          ...of,
          method: "PATCH",
          headers: { "x-own": "own" }
        })
        assert.strictEqual(statusCode, 201)
        assert.deepInclude(headers, {
          "content-type": "image/png",
          "x-method": "PATCH",
          "x-url": "/any/path?q=1",
          "x-own": "own"
        })
        assert.deepStrictEqual(headers["set-cookie"], ["a=1", "b=2"])
        assert.isString(headers["x-runpod-worker-id"])
        assert.deepStrictEqual(new Uint8Array(yield* Effect.promise(() => body.arrayBuffer())), bytes)
      })
    )
  }

  it.scoped("is found by its host, too", () =>
    Effect.gen(function* () {
      const server = yield* serve({ loadBalancers: { mylb: { app: echo } } })
      const { headers } = yield* open(`${new URL(server.url).origin}/found`, {
        headers: { host: "mylb.api.runpod.ai" },
        body: ""
      })
      assert.strictEqual(headers["x-url"], "/found")
    })
  )

  it.scoped("produces an answer only as fast as it is read, and stops when its reader leaves", () =>
    Effect.gen(function* () {
      let produced = 0
      let ended = 0
      const app = Effect.sync(() =>
        HttpServerResponse.stream(
          Stream.ensuring(
            Stream.repeatEffect(Effect.sync(() => (produced++, new Uint8Array(65_536)))),
            Effect.sync(() => ended++)
          )
        )
      )
      const server = yield* serve({ loadBalancers: { lb: { app } } })
      const { body } = yield* open(server.loadBalancerUrl("lb"), { method: "GET" })
      // What sockets and buffers hold is full when no more comes for a while.
      let before = -1
      yield* until(
        Effect.promise(
          () => new Promise<boolean>((resolve) => setTimeout(() => resolve(before === (before = produced)), 50))
        )
      )
      assert.isAbove(produced, 0)
      assert.isBelow(produced, 500)
      let received = 0
      yield* Effect.promise(
        () =>
          new Promise<void>((resolve) => {
            body.on("data", (bytes: Buffer) => {
              received += bytes.byteLength
              if (received > 65_536 * (before + 200)) resolve()
            })
          })
      )
      assert.isAbove(produced, before + 100)
      body.on("error", () => undefined).destroy()
      yield* until(Effect.sync(() => ended === 1))
      assert.deepInclude((yield* server.loadBalancer("lb")).workers[0], { requests: 0 })
      assert.strictEqual((yield* server.counts).abandoned, 1)
    })
  )

  it.scoped("breaks off when its worker is killed", () =>
    Effect.gen(function* () {
      const app = HttpRouter.empty.pipe(
        HttpRouter.get(
          "/stream",
          Effect.sync(() => HttpServerResponse.stream(Stream.concat(Stream.make(new Uint8Array(3)), Stream.never)))
        ),
        HttpRouter.get("/never", Effect.never)
      )
      const server = yield* serve({ loadBalancers: { lb: { app } } })
      const streaming = yield* open(`${server.loadBalancerUrl("lb")}/stream`, { method: "GET" })
      const id = String(streaming.headers["x-runpod-worker-id"])
      const held = yield* Effect.fork(open(`${server.loadBalancerUrl("lb")}/never`, { method: "GET" }))
      yield* until(Effect.map(server.loadBalancer("lb"), ({ workers }) => workers[0]?.requests === 2))
      assert.isTrue(yield* server.killWorker("lb", id))
      assert.strictEqual((yield* Effect.either(read(streaming)))._tag, "Left")
      assert.strictEqual((yield* Fiber.join(held)).statusCode, 502)
      const gone = yield* open(server.loadBalancerUrl("lb"), {
        method: "GET",
        headers: { "x-runpod-worker-id": `strict ${id}` }
      })
      assert.strictEqual(gone.statusCode, 404)
      assert.include(yield* read(gone), "affinity_worker_gone")
    })
  )
})
