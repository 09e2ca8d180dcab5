import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Option, Scope, Stream, TestClock } from "effect"
import { Readable } from "node:stream"
import { Agent } from "undici"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import { RunPod } from "../../src/services/RunPod.js"
import { until } from "../support/until.js"

const { Fault } = Emulator

const agent = Effect.acquireRelease(
  Effect.sync(() => new Agent({ headersTimeout: 0, bodyTimeout: 0 })),
  (agent) => Effect.promise(() => agent.destroy())
)

interface Sent {
  readonly method?: "GET" | "POST"
  readonly path: string
  readonly body?: string | Readable
  readonly signal?: AbortSignal
}

/** A plain client of one server. It fails with the transport's error. */
const clientOf = (server: NodeEmulator.Server) =>
  Effect.map(agent, (agent) => {
    const { origin, pathname } = new URL(server.url)
    return ({ body, method = body === undefined ? "GET" : "POST", path, signal }: Sent) =>
      Effect.tryPromise({
        try: async () => {
          const response = await agent.request({
            origin,
            path: `${pathname}${path}`,
            method,
            headers: { authorization: "Bearer key" },
            body: body ?? null,
            signal: signal ?? null
          })
          const text = await response.body.text()
          return { status: response.statusCode, headers: response.headers, text }
        },
        catch: (error) => (error instanceof Error ? error : new Error(String(error)))
      })
  })

const codeOf = (error: unknown): unknown =>
  Reflect.get(Object(error), "code") ?? Reflect.get(Object(Reflect.get(Object(error), "cause")), "code")

const inFlight = (server: NodeEmulator.Server, operation: "runSync" | "statusSync", count: number) =>
  until(Effect.map(server.counts, ({ byOperation }) => byOperation[operation].inFlight === count))

const endpoints: Emulator.Options["endpoints"] = { echo: {}, slow: { execution: "1 minute", workers: 1000 } }

describe("serving", () => {
  it.scoped("answers as it does in memory, to the byte", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints })
      const send = yield* clientOf(server)
      assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+\/v2$/)
      const { headers, status, text } = yield* send({ path: "/echo/status/nothing" })
      assert.strictEqual(status, 404)
      assert.strictEqual(text, `{"status":404,"title":"Not Found","detail":"job not found"}`)
      assert.deepInclude(headers, { "content-type": "application/json", "content-length": String(text.length) })
    })
  )

  it.scoped("a taken port is a typed error that names it", () =>
    Effect.gen(function* () {
      const { url } = yield* NodeEmulator.serve({ endpoints })
      const port = Number(new URL(url).port)
      const error = yield* Effect.flip(NodeEmulator.serve({ endpoints, port }))
      assert.strictEqual(error._tag, "ServeError")
      assert.deepInclude(error, { port, code: "EADDRINUSE" })
      assert.include(error.message, String(port))
    })
  )

  it.scoped("the layer provides the server and the control", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.NodeEmulator
      const emulator = yield* Emulator.Emulator
      const send = yield* clientOf(server)
      yield* send({ path: "/echo/run", body: `{"input":{"n":1}}` })
      assert.strictEqual((yield* emulator.counts).submitted, 1)
    }).pipe(Effect.provide(NodeEmulator.layer({ endpoints })))
  )

  it.scoped("a body that is too large is refused by its length, or while it is read", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints })
      const send = yield* clientOf(server)
      const refusal = `{"status":400,"title":"Bad Request","detail":"bad request: body: exceeded max body size of 10MiB"}`
      const text = `{"input":{"text":"${"x".repeat(10 * 1024 * 1024)}"}}`
      const chunks = async function* () {
        for (let i = 0; i < text.length; i += 65_536) yield Buffer.from(text.slice(i, i + 65_536))
      }
      assert.deepInclude(yield* send({ path: "/echo/run", body: text }), { status: 400, text: refusal })
      assert.deepInclude(yield* send({ path: "/echo/run", body: Readable.from(chunks()) }), {
        status: 400,
        text: refusal
      })
      assert.strictEqual((yield* send({ path: "/echo/health" })).status, 200)
      assert.strictEqual((yield* server.counts).submitted, 0)
    })
  )

  it.scoped("a client that disconnects gives up its hold, and the job goes on", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints })
      const send = yield* clientOf(server)
      const abort = new AbortController()
      const held = yield* Effect.fork(
        Effect.flip(send({ path: "/slow/runsync", body: `{"input":{"n":1}}`, signal: abort.signal }))
      )
      yield* inFlight(server, "runSync", 1)
      abort.abort()
      yield* held
      yield* inFlight(server, "runSync", 0)
      assert.strictEqual((yield* server.counts).abandoned, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* server.jobs("slow"))[0]?.status, "COMPLETED")
    })
  )

  it.scoped("closing the scope closes all connections at once, held ones included", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const server = yield* Scope.extend(NodeEmulator.serve({ endpoints }), scope)
      const send = yield* clientOf(server)
      const held = yield* Effect.fork(Effect.flip(send({ path: "/slow/runsync", body: `{"input":{"n":1}}` })))
      yield* inFlight(server, "runSync", 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(codeOf(yield* held), "UND_ERR_SOCKET")
      assert.strictEqual(codeOf(yield* Effect.flip(send({ path: "/echo/health" }))), "ECONNREFUSED")
    })
  )
})

describe("faults on the wire", () => {
  const submit: Sent = { path: "/echo/run", body: `{"input":{"n":1}}` }

  const broken: ReadonlyArray<readonly [fault: Emulator.Fault.Fault, code: string, submitted: number]> = [
    [Fault.resetBefore(), "ECONNRESET", 0],
    [Fault.resetAfter(), "ECONNRESET", 1],
    [Fault.cutBody(), "UND_ERR_SOCKET", 1]
  ]
  for (const [fault, code, submitted] of broken) {
    it.scoped(`${fault._tag} breaks the connection`, () =>
      Effect.gen(function* () {
        const server = yield* NodeEmulator.serve({ endpoints, faults: [fault] })
        const send = yield* clientOf(server)
        const error = yield* Effect.flip(send(submit))
        assert.strictEqual(codeOf(error), code)
        assert.strictEqual((yield* server.counts).submitted, submitted)
        yield* server.setFaults([])
        assert.strictEqual((yield* send(submit)).status, 200)
      })
    )
  }

  it.scoped("Stall sends the headers and a part of the body, and keeps the connection open", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints, faults: [Fault.stall({ afterBytes: 10 })] })
      const { origin, pathname } = new URL(server.url)
      const client = yield* agent
      const response = yield* Effect.promise(() =>
        client.request({
          origin,
          path: `${pathname}/echo/health`,
          method: "GET",
          headers: { authorization: "Bearer key" }
        })
      )
      assert.strictEqual(response.statusCode, 200)
      assert.isAbove(Number(response.headers["content-length"]), 10)
      const chunks = response.body[Symbol.asyncIterator]()
      const first = yield* Effect.promise(() => chunks.next())
      assert.strictEqual(String(first.value), `{"jobs":{"`)
      const more = yield* Effect.fork(
        Effect.promise(() =>
          chunks.next().then(
            () => "more",
            () => "broken"
          )
        )
      )
      yield* TestClock.adjust("1 hour")
      assert.isNull(more.unsafePoll())
    })
  )

  it.scopedLive("Stall is never complete, not when all of the body is sent, and not when there is none", () =>
    Effect.gen(function* () {
      const limits = RateLimits.make({ purgeQueue: { limit: 1 } })
      const server = yield* NodeEmulator.serve({ endpoints, limits })
      const send = yield* clientOf(server)
      const isAnswered = (sent: Sent) => Effect.map(Effect.timeoutOption(send(sent), "300 millis"), Option.isSome)
      const purge: Sent = { path: "/echo/purge-queue", body: "" }
      assert.isTrue(yield* isAnswered(purge))
      yield* server.setFaults([Fault.stall({ afterBytes: 1_000_000 })])
      assert.isFalse(yield* isAnswered(submit))
      yield* server.setFaults([Fault.stall()])
      assert.isFalse(yield* isAnswered(purge))
      assert.strictEqual((yield* server.counts).rateLimited, 1)
    })
  )

  it.scoped("Truncated is a complete response with broken JSON", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints, faults: [Fault.truncated()] })
      const send = yield* clientOf(server)
      const { headers, status, text } = yield* send(submit)
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-length"], String(text.length))
      assert.throws(() => JSON.parse(text))
    })
  )

  it.scoped("Hang answers nothing, and the connection is the client's to close", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints, faults: [Fault.hang()] })
      const send = yield* clientOf(server)
      const abort = new AbortController()
      const hung = yield* Effect.fork(Effect.exit(send({ ...submit, signal: abort.signal })))
      yield* until(Effect.map(server.counts, ({ total }) => total === 1))
      yield* TestClock.adjust("1 hour")
      assert.isNull(hung.unsafePoll())
      abort.abort()
      assert.isTrue(Exit.isFailure(yield* hung))
      yield* until(Effect.map(server.counts, ({ abandoned }) => abandoned === 1))
    })
  )
})

describe("NodeRunPod against a server", () => {
  it.scopedLive("submits, waits, streams and cancels over its own transport", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({
        apiKey: "key",
        endpoints: { ...endpoints, words: { handler: () => Stream.make("a", "b", "c") } }
      })
      yield* Effect.gen(function* () {
        const runPod = yield* RunPod
        const done = yield* runPod.runSync("echo", { input: { n: 1 } })
        assert.deepStrictEqual([done.status, done.output], ["COMPLETED", { n: 1 }])
        const words = yield* runPod.run("words", { input: { n: 1 } })
        const chunks = yield* Stream.runCollect(runPod.stream("words", words.id))
        assert.deepStrictEqual(
          Array.from(chunks, ({ output }) => output),
          ["a", "b", "c"]
        )
        const slow = yield* runPod.run("slow", { input: { n: 1 } })
        assert.strictEqual((yield* runPod.cancel("slow", slow.id)).status, "CANCELLED")
      }).pipe(Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: server.url })))
    })
  )

  it.scopedLive("held requests do not starve ordinary ones", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints, limits: RateLimits.unlimited })
      yield* Effect.gen(function* () {
        const runPod = yield* RunPod
        const { id } = yield* runPod.run("slow", { input: { n: 1 } })
        yield* Effect.forkScoped(
          Effect.forEach(Array.from({ length: 300 }), () => runPod.statusSync("slow", id), {
            concurrency: "unbounded",
            discard: true
          })
        )
        yield* inFlight(server, "statusSync", 300)
        assert.strictEqual((yield* runPod.status("slow", id)).status, "IN_PROGRESS")
      }).pipe(
        Effect.scoped,
        Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: server.url, limits: RateLimits.unlimited }))
      )
    })
  )
})

describe("pages of other origins", () => {
  const origin = "http://localhost:5173"

  const ask = (agent: Agent, url: string, method: "OPTIONS" | "GET" | "POST", headers: Record<string, string> = {}) =>
    Effect.promise(async () => {
      const to = new URL(url)
      const body = method === "POST" ? `{"input":{"n":1}}` : null
      const response = await agent.request({
        origin: to.origin,
        path: to.pathname,
        method,
        headers: { origin, ...headers },
        body
      })
      await response.body.dump()
      return response
    })

  const preflight = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,user-agent"
  }
  const readable = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "retry-after, x-runpod-worker-id"
  }

  it.scoped("may ask a server on loopback: the preflight allows the key, and is no request to RunPod", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({ endpoints })
      const client = yield* agent
      const { headers, statusCode } = yield* ask(client, `${server.url}/echo/run`, "OPTIONS", preflight)
      assert.strictEqual(statusCode, 204)
      assert.deepInclude(headers, {
        ...readable,
        "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": "authorization,content-type,user-agent"
      })
      assert.notProperty(headers, "access-control-allow-private-network")
      const privately = { ...preflight, "access-control-request-private-network": "true" }
      const allowed = yield* ask(client, `${server.url}/echo/run`, "OPTIONS", privately)
      assert.deepInclude(allowed.headers, { "access-control-allow-private-network": "true" })
      assert.deepStrictEqual(yield* server.requests, [])
    })
  )

  it.scoped("may read answers of every status, and how long to wait", () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({
        endpoints,
        faults: [
          Fault.serverError({ operations: ["health"] }),
          Fault.rateLimited({ operations: ["requests"], retryAfter: "7 seconds" })
        ]
      })
      const client = yield* agent
      const key = { authorization: "Bearer key" }
      const paths = [
        ["POST", "/echo/run", 200, key],
        ["GET", "/echo/status/none", 404, key],
        ["GET", "/echo/requests", 429, key],
        ["GET", "/echo/health", 503, key],
        ["GET", "/echo/health", 503, {}],
        ["GET", "/nothing/here", 401, {}]
      ] as const
      for (const [method, path, status, headers] of paths) {
        const response = yield* ask(client, server.url + path, method, headers)
        assert.strictEqual(response.statusCode, status, path)
        assert.deepInclude(response.headers, readable, path)
        if (status === 429) assert.strictEqual(response.headers["retry-after"], "7")
      }
    })
  )

  it.scoped("may not ask a server that other machines reach, or that says so, unless an option allows it", () =>
    Effect.gen(function* () {
      const client = yield* agent
      const closed = [
        { endpoints, host: "0.0.0.0" },
        { endpoints, cors: false }
      ]
      for (const options of closed) {
        const { url } = yield* NodeEmulator.serve(options)
        const { headers, statusCode } = yield* ask(client, `${url}/echo/run`, "OPTIONS", {
          ...preflight,
          authorization: "Bearer key"
        })
        assert.strictEqual(statusCode, 405)
        assert.notProperty(headers, "access-control-allow-origin")
      }
      const { url } = yield* NodeEmulator.serve({ endpoints, host: "0.0.0.0", cors: true })
      assert.strictEqual((yield* ask(client, `${url}/echo/run`, "OPTIONS", preflight)).statusCode, 204)
    })
  )
})
