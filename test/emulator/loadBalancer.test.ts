import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Ref, Stream, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { ask, emulated, hello, open, slow, text } from "./loadBalancerSupport.js"
import { get, post } from "./support.js"

describe("a load-balancing endpoint", () => {
  it.effect("shows its app method, path, query, headers and body, and passes its answer on unchanged", () =>
    Effect.gen(function* () {
      const {
        headers,
        status,
        text: body,
        worker
      } = yield* ask("/a%20b/c?x=1&y=é", {
        method: "PUT",
        headers: { "x-own": "1" },
        body: "posted"
      })
      assert.strictEqual(status, 418)
      assert.strictEqual(headers["x-answer"], "2")
      assert.strictEqual(headers["content-type"], "application/json")
      assert.deepStrictEqual(JSON.parse(body), {
        method: "PUT",
        url: "/a%20b/c?x=1&y=%C3%A9",
        own: "1",
        host: "lb.api.runpod.ai",
        body: "posted"
      })
      assert.match(worker ?? "", /^[a-z0-9]{14}$/)
      const emulator = yield* Emulator.Emulator
      const [record] = yield* emulator.requests
      assert.deepInclude(record, {
        operation: "loadBalancer",
        endpointId: "lb",
        path: "/a%20b/c",
        workerId: worker,
        status: 418
      })
      assert.strictEqual((yield* emulator.counts).byOperation.loadBalancer.byStatus[418], 1)
    }).pipe(
      emulated({
        app: Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          const { headers, method, url } = request
          const body = yield* request.text
          return yield* HttpServerResponse.json(
            {
              method,
              url,
              own: headers["x-own"],
              host: new URL("http://" + (headers["host"] ?? "lb.api.runpod.ai")).host,
              body
            },
            { status: 418, headers: { "x-answer": "2" } }
          )
        })
      })
    )
  )

  it.effect("shows an app that is a web handler the same", () =>
    Effect.gen(function* () {
      const form = "multipart/form-data; boundary=b"
      const { status, text: body } = yield* ask("/form?x=1", {
        method: "POST",
        headers: { "x-own": "1", cookie: "a=1; b=2", "content-type": form },
        body: '--b\r\ncontent-disposition: form-data; name="n"\r\n\r\nvalue\r\n--b--\r\n'
      })
      assert.strictEqual(status, 201)
      assert.deepStrictEqual(JSON.parse(body), {
        method: "POST",
        url: "http://lb.api.runpod.ai/form?x=1",
        own: "1",
        cookie: "a=1; b=2",
        type: form,
        n: "value"
      })
    }).pipe(
      emulated({
        app: HttpApp.fromWebHandler(async (request) => {
          const { headers, method, url } = request
          const type = headers.get("content-type")
          const n = (await request.formData()).get("n")
          return Response.json(
            { method, url, own: headers.get("x-own"), cookie: headers.get("cookie"), type, n },
            { status: 201 }
          )
        })
      })
    )
  )

  it.effect("aborts the request of a web handler when its worker is killed or its client leaves", () => {
    const aborted: Array<string> = []
    return Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const answered = yield* ask("/answered")
      const leaving = yield* Effect.fork(ask("/left"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(leaving)
      assert.deepStrictEqual(aborted, ["/left"])
      const killed = yield* Effect.fork(ask("/killed"))
      yield* TestClock.adjust("1 second")
      yield* emulator.killWorker("lb", answered.worker ?? "")
      assert.strictEqual((yield* Fiber.join(killed)).status, 502)
      assert.deepStrictEqual(aborted, ["/left", "/killed"])
    }).pipe(
      emulated({
        workers: 1,
        app: HttpApp.fromWebHandler(({ signal, url }) => {
          const { pathname } = new URL(url)
          signal.addEventListener("abort", () => aborted.push(pathname))
          return pathname === "/answered" ? Promise.resolve(new Response("ok")) : new Promise(() => undefined)
        })
      })
    )
  })

  it.effect("is reached below /lb as well, and its app's routes and failures are answers as a server makes them", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("https://anywhere.test/lb/lb/found?x=1")).text, "found")
      assert.strictEqual((yield* ask("https://anywhere.test/lb/lb")).status, 404)
      assert.strictEqual((yield* ask("/missing")).status, 404)
      assert.strictEqual((yield* ask("/dies")).status, 500)
      const { headers, status, text: page } = yield* ask("/cookies", { method: "HEAD" })
      assert.deepStrictEqual([status, page], [200, ""])
      assert.include(headers["set-cookie"], "a=1")
    }).pipe(
      emulated({
        app: HttpRouter.empty.pipe(
          HttpRouter.get("/found", Effect.succeed(text("found"))),
          HttpRouter.get("/dies", Effect.dieMessage("boom")),
          HttpRouter.all("/cookies", HttpServerResponse.setCookie(text("ok"), "a", "1"))
        )
      })
    )
  )

  it.effect("answers 500 where the app cannot be made, and takes a health check that throws as unhealthy", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("/")).status, 500)
    }).pipe(
      emulated({
        app: () => {
          throw new Error("no app")
        }
      }),
      Effect.zipRight(
        Effect.gen(function* () {
          const emulator = yield* Emulator.Emulator
          const asking = yield* Effect.fork(ask("/"))
          yield* TestClock.adjust("2 seconds")
          const statuses = (yield* emulator.loadBalancer("lb")).workers.map(({ status }) => status)
          assert.deepStrictEqual(statuses, ["unhealthy"])
          yield* TestClock.adjust("2 minutes")
          assert.strictEqual((yield* Fiber.join(asking)).status, 400)
        }).pipe(
          emulated({
            app: hello,
            workers: 1,
            ping: () => {
              throw new Error("no ping")
            }
          })
        )
      )
    )
  )

  it.effect("checks the key at the edge", () =>
    Effect.gen(function* () {
      const { status, text: body } = yield* ask("/", { headers: { authorization: "" } })
      assert.deepStrictEqual(
        [status, body],
        [401, '{"status":401,"title":"Unauthorized","detail":"no token provided"}']
      )
      assert.include((yield* ask("/", { headers: { authorization: "Bearer other" } })).text, "invalid api key")
    }).pipe(emulated({ app: hello }, { apiKey: "key" }))
  )

  it.effect("has no jobs, and a queue endpoint has no app", () =>
    Effect.gen(function* () {
      assert.include((yield* post("/v2/lb/run", { input: {} })).text, "not allowed for QB API")
      assert.strictEqual((yield* get("/v2/lb/openai/v1/models")).status, 400)
      assert.include((yield* ask("https://queue.api.runpod.ai/")).text, "not allowed for LB API")
      assert.include((yield* ask("https://nobody.api.runpod.ai/")).text, "endpoint not found")
      assert.deepStrictEqual(JSON.parse((yield* get("/v2/lb/health")).text), {
        jobs: { completed: 0, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
        workers: { idle: 1, initializing: 0, ready: 1, running: 0, throttled: 1, unhealthy: 0 }
      })
    }).pipe(emulated({ app: hello, workers: { max: 3, min: 1, throttled: 1 } }))
  )

  it.effect("waits for a cold start, and starts as many workers as the requests need", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const fiber = yield* Effect.fork(Effect.all([ask("/"), ask("/"), ask("/"), ask("/")], { concurrency: 4 }))
      yield* TestClock.adjust("29 seconds")
      const { waiting, workers } = yield* emulator.loadBalancer("lb")
      assert.strictEqual(waiting, 4)
      assert.deepStrictEqual(
        workers.map(({ status }) => status),
        ["initializing", "initializing"]
      )
      yield* TestClock.adjust("1 second")
      const ids = new Set((yield* Fiber.join(fiber)).map(({ worker }) => worker))
      assert.strictEqual(ids.size, 2)
      assert.strictEqual((yield* emulator.counts).coldStarts, 2)
      yield* TestClock.adjust("5 seconds")
      assert.lengthOf((yield* emulator.loadBalancer("lb")).workers, 0)
    }).pipe(emulated({ app: hello, coldStart: "30 seconds", concurrency: 2 }))
  )

  it.effect("refuses after 2 minutes without a worker, and at once where there can be none", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(ask("/"))
      yield* TestClock.adjust("119999 millis")
      assert.strictEqual((yield* Fiber.poll(fiber))._tag, "None")
      yield* TestClock.adjust("1 millis")
      const reply = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        [reply.status, reply.text, reply.worker],
        [400, '{"status":400,"title":"Bad Request","detail":"timed out waiting for worker"}', undefined]
      )
      const emulator = yield* Emulator.Emulator
      yield* emulator.setWorkers("lb", 0)
      assert.include((yield* ask("/")).text, "no workers available")
    }).pipe(emulated({ app: hello, coldStart: "3 minutes" }))
  )

  it.effect("lets requests over its workers' concurrency wait", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.fork(ask("/")))
      yield* TestClock.adjust("9 seconds")
      assert.deepInclude(yield* emulator.loadBalancer("lb"), { waiting: 1 })
      yield* TestClock.adjust("1 seconds")
      assert.deepInclude(yield* emulator.loadBalancer("lb"), { waiting: 0 })
      yield* TestClock.adjust("10 seconds")
      assert.isTrue((yield* Effect.forEach(fibers, Fiber.join)).every(({ status }) => status === 200))
    }).pipe(emulated({ app: slow("10 seconds"), workers: 1, concurrency: 2 }))
  )

  it.effect("gives a request to the worker that has the fewest", () =>
    Effect.gen(function* () {
      const fibers = yield* Effect.forEach([1, 2, 3, 4], () => Effect.fork(ask("/")))
      yield* TestClock.adjust("1 second")
      const { workers } = yield* (yield* Emulator.Emulator).loadBalancer("lb")
      assert.deepStrictEqual(
        workers.map(({ requests }) => requests),
        [2, 2]
      )
      yield* Effect.forEach(fibers, Fiber.interrupt)
    }).pipe(emulated({ app: slow("10 seconds"), workers: { max: 2, min: 2 } }))
  )

  it.effect("runs what its app does with an answer before it goes out", () =>
    Effect.gen(function* () {
      const { headers, status } = yield* ask("/")
      assert.strictEqual(headers["x-late"], "1")
      assert.strictEqual(status, 200)
    }).pipe(
      emulated({
        app: Effect.zipRight(
          HttpApp.appendPreResponseHandler((_, response) =>
            Effect.succeed(HttpServerResponse.setHeader(response, "x-late", "1"))
          ),
          hello
        )
      })
    )
  )

  it.effect("cuts what takes longer than 5.5 minutes: with a 524, or in the middle", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(ask("/slow"))
      const streaming = yield* Effect.fork(Effect.flip(ask("/stream")))
      yield* TestClock.adjust("329 seconds")
      const emulator = yield* Emulator.Emulator
      assert.deepStrictEqual(
        (yield* emulator.loadBalancer("lb")).workers.map(({ requests }) => requests),
        [2]
      )
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).status, 524)
      assert.strictEqual((yield* Fiber.join(streaming))._tag, "ResponseError")
      assert.strictEqual((yield* emulator.counts).byOperation.loadBalancer.byStatus[200], 1)
    }).pipe(
      emulated({
        app: HttpRouter.empty.pipe(
          HttpRouter.get("/slow", slow("400 seconds")),
          HttpRouter.get(
            "/stream",
            Effect.sync(() => HttpServerResponse.stream(Stream.concat(Stream.make(new Uint8Array(3)), Stream.never)))
          )
        )
      })
    )
  )

  it.effect("takes bodies of 30 MB, and no larger ones", () =>
    Effect.gen(function* () {
      const post = (body: Uint8Array) => ask("/", { method: "POST", body })
      assert.strictEqual((yield* post(new Uint8Array(30_000_000))).text, "30000000")
      assert.strictEqual((yield* post(new Uint8Array(30_000_001))).status, 400)
      const error = yield* Effect.flip(ask("/", { method: "POST", body: "large" }))
      assert.strictEqual(error._tag, "ResponseError")
    }).pipe(
      emulated({
        app: Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          const body = yield* request.arrayBuffer
          return body.byteLength === 5
            ? HttpServerResponse.uint8Array(new Uint8Array(30_000_001))
            : text(String(body.byteLength))
        })
      })
    )
  )
})

/** "a" and "b", a second apart; `closed` counts the ends of what the app has acquired. */
const streaming = (closed: Ref.Ref<number>): Emulator.App =>
  Effect.gen(function* () {
    yield* Effect.addFinalizer(() => Ref.update(closed, (n) => n + 1))
    const pieces = Stream.mapEffect(Stream.make("a", "b"), (piece) => Effect.delay(Effect.succeed(piece), 1000))
    return HttpServerResponse.stream(Stream.encodeText(pieces), { contentType: "text/event-stream" })
  })

describe("an answer that streams", () => {
  it.effect("comes as the app gives it, and occupies its worker until it has gone out", () =>
    Effect.gen(function* () {
      const closed = yield* Ref.make(0)
      yield* Effect.gen(function* () {
        const emulator = yield* Emulator.Emulator
        const response = yield* open("/")
        assert.deepInclude((yield* emulator.loadBalancer("lb")).workers[0], { requests: 1 })
        const seen = yield* Ref.make("")
        const decoder = new TextDecoder()
        const reading = yield* Effect.fork(
          Stream.runForEach(response.stream, (bytes) => Ref.update(seen, (all) => all + decoder.decode(bytes)))
        )
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Ref.get(seen), "a")
        assert.strictEqual(yield* Ref.get(closed), 0)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Ref.get(seen), "ab")
        yield* Fiber.join(reading)
        assert.strictEqual(yield* Ref.get(closed), 1)
        assert.deepInclude((yield* emulator.loadBalancer("lb")).workers[0], { requests: 0 })
        assert.deepInclude((yield* emulator.requests)[0], { took: 2000, abandoned: false })
      }).pipe(emulated({ app: streaming(closed), concurrency: 1 }))
    })
  )

  it.effect("ends in the app when its reader leaves", () =>
    Effect.gen(function* () {
      const closed = yield* Ref.make(0)
      yield* Effect.gen(function* () {
        const emulator = yield* Emulator.Emulator
        const reading = yield* Effect.fork(ask("/"))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(reading)
        assert.deepInclude((yield* emulator.loadBalancer("lb")).workers[0], { requests: 0 })
        assert.deepInclude((yield* emulator.requests)[0], { status: 200, abandoned: true })
        assert.strictEqual((yield* emulator.counts).byOperation.loadBalancer.maxInFlight, 1)
        assert.strictEqual(yield* Ref.get(closed), 1)
      }).pipe(emulated({ app: streaming(closed) }))
    })
  )
})

describe("faults", () => {
  const { Fault } = Emulator
  for (const fault of [
    Fault.resetAfter({ operations: ["loadBalancer"] }),
    Fault.cutBody(),
    Fault.serverError({ processed: true })
  ]) {
    it.effect(`${fault._tag} applies to a load balancer, whose worker is free again`, () =>
      Effect.gen(function* () {
        yield* Effect.exit(ask("/"))
        const emulator = yield* Emulator.Emulator
        assert.deepStrictEqual((yield* emulator.counts).faults, { [fault._tag]: 1 })
        assert.deepInclude((yield* emulator.loadBalancer("lb")).workers[0], { requests: 0 })
      }).pipe(
        emulated(
          { app: Effect.sync(() => HttpServerResponse.stream(Stream.make(new Uint8Array(3)))) },
          { faults: [fault] }
        )
      )
    )
  }
})
