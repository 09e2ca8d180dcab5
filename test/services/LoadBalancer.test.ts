/** Load-balancing endpoints: whose an answer is, what is sent again, what is checked first, and sessions. */
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import { LoadBalancer, RetryPolicy, type RunPod, RunPodHttpClient } from "effect-runpod"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { inspect } from "node:util"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const key = "rpa_LOADBALANCERKEY0123456789"

const over = <A, E>(
  transport: ReturnType<typeof Scripted.make>,
  program: (balancer: LoadBalancer.LoadBalancer) => Effect.Effect<A, E>,
  options: Partial<RunPod.Options> = {},
  idOrUrl: string | URL = "abc123"
) =>
  Effect.flatMap(LoadBalancer.make(idOrUrl), program).pipe(
    Effect.provide(transport.layer({ apiKey: key, baseUrl: "https://api.runpod.ai/v2", ...options }))
  )

const noWorker = Scripted.json({ status: 400, title: "Bad Request", detail: "timed out waiting for worker" }, 400)

describe("a load balancer", () => {
  it.effect("sends to the endpoint's own host, with the key, and passes the answer on", () =>
    Effect.gen(function* () {
      const urls: Array<string> = []
      const transport = Scripted.make([Scripted.json({ ok: true }, 201, { "x-app": "1", "set-cookie": "a=b; Path=/" })])
      const seen = over(
        transport,
        (balancer) => balancer.post("/generate?a=1", { body: HttpBody.text(`{"n":1}`, "application/json") }),
        {
          transformClient: HttpClient.mapRequest((request) => {
            urls.push(request.url)
            return request
          })
        }
      )
      const answer = yield* finish(seen)
      assert.deepStrictEqual(urls, ["https://abc123.api.runpod.ai/generate?a=1"])
      assert.strictEqual(transport.asked[0]?.authorization, `Bearer ${key}`)
      assert.strictEqual(transport.asked[0]?.body, `{"n":1}`)
      assert.strictEqual(answer.status, 201)
      assert.strictEqual(answer.headers["x-app"], "1")
      assert.strictEqual(answer.cookies.cookies["a"]?.value, "b")
      assert.deepStrictEqual(yield* answer.json, { ok: true })
    })
  )

  const passedOn: ReadonlyArray<readonly [number, string]> = [
    [400, `{"error":"prompt is required"}`],
    [401, `{"detail":"log in"}`],
    [404, `{"detail":"no such document"}`],
    [422, `{"detail":[{"loc":["body"],"msg":"field required"}]}`],
    [429, `{"detail":"one at a time"}`],
    [500, "Internal Server Error"],
    [502, "<html>bad gateway</html>"],
    [503, `{"status":503,"title":"Busy","detail":"x","type":"about:blank"}`]
  ]
  it.effect.each(passedOn)("%i %s is the program's own answer", ([status, body]) =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status, body }])
      const answer = yield* finish(over(transport, (balancer) => balancer.get("/x")))
      assert.strictEqual(answer.status, status)
      assert.strictEqual(yield* answer.text, body)
      assert.strictEqual(transport.asked.length, 1)
    })
  )

  const refused: ReadonlyArray<readonly [string, number, object]> = [
    ["AuthenticationError", 401, { status: 401, title: "Unauthorized", detail: "invalid api key" }],
    ["EndpointNotFoundError", 404, { status: 404, title: "Not Found", detail: "endpoint not found" }],
    ["BadRequestError", 400, { status: 400, title: "Bad Request", detail: "not allowed for QB API" }],
    ["PayloadTooLargeError", 413, { status: 413, title: "Request Entity Too Large", detail: "exceeded max body size" }],
    ["RateLimitedError", 429, { status: 429, title: "Too Many Requests" }],
    ["NoWorkerError", 400, { status: 400, title: "Bad Request", detail: "no workers available" }],
    ["NoWorkerError", 400, { status: 400, title: "Bad Request", detail: "timed out", code: "worker_timeout" }],
    ["NoWorkerError", 400, { error: "timed out waiting for worker" }],
    ["NoWorkerError", 400, { status: 400, title: "worker_timeout", detail: "the worker had no room in 5 minutes" }],
    ["WorkerGoneError", 404, { status: 404, title: "affinity_worker_gone", detail: "worker w1 is gone" }],
    ["WorkerGoneError", 404, { status: 404, title: "Not Found", code: "affinity_worker_gone" }]
  ]
  it.effect.each(refused)("%s is RunPod's refusal: %i %o", ([tag, status, body]) =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json(body, status)])
      const sent = over(transport, (balancer) => balancer.get("/x"), { retry: RetryPolicy.none })
      const error = yield* Effect.flip(finish(sent))
      assert.strictEqual(error._tag, tag)
      assert.strictEqual(error.endpointId, "abc123")
      assert.strictEqual(error.path, "/x")
    })
  )

  it.effect("a request that no worker took is sent again as the layer's policy says, whatever its method", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([noWorker, noWorker, Scripted.json("done")])
      const answer = yield* finish(over(transport, (balancer) => balancer.post("/x", { body: HttpBody.text("a") })))
      assert.strictEqual(yield* answer.json, "done")
      assert.strictEqual(transport.asked.length, 3)
    })
  )

  it.effect("a POST whose answer is lost is not sent again; a GET is", () =>
    Effect.gen(function* () {
      const lost = Scripted.make(["reset", Scripted.json(1)])
      const error = yield* Effect.flip(
        finish(over(lost, (balancer) => balancer.post("/x", { body: HttpBody.text("a") })))
      )
      assert.strictEqual(error._tag === "TransportError" && error.sent, "Maybe")
      assert.strictEqual(lost.asked.length, 1)
      const read = Scripted.make(["reset", Scripted.json(1)])
      yield* finish(over(read, (balancer) => balancer.get("/x")))
      assert.strictEqual(read.asked.length, 2)
    })
  )

  it.effect("waits 7.5 minutes for the headers, then 5.5 minutes between bytes", () =>
    Effect.gen(function* () {
      const hung = yield* Effect.fork(
        Effect.flip(over(Scripted.make(["hang"]), (balancer) => balancer.post("/x", { body: HttpBody.text("a") })))
      )
      yield* TestClock.adjust("449 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.poll(hung)))
      yield* TestClock.adjust("2 seconds")
      const late = yield* Fiber.join(hung)
      assert.strictEqual(late._tag === "RequestTimeoutError" && late.phase, "Headers")

      const stalled = yield* Effect.fork(
        Effect.flip(over(Scripted.make(["stall"]), (balancer) => Effect.flatMap(balancer.get("/x"), (it) => it.text)))
      )
      yield* TestClock.adjust("331 seconds")
      const cut = yield* Fiber.join(stalled)
      assert.strictEqual(cut._tag === "ResponseError" && (cut.cause as { _tag: string })._tag, "RequestTimeoutError")
    })
  )

  it.effect("a body of more than 30 MB is refused before it is sent, or as soon as a stream is longer", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json(1)])
      const post = (body: HttpBody.HttpBody) =>
        Effect.flip(finish(over(transport, (balancer) => balancer.post("/x", { body }))))
      const whole = yield* post(HttpBody.uint8Array(new Uint8Array(30_000_001)))
      assert.strictEqual(whole._tag === "PayloadTooLargeError" && whole.size, 30_000_001)
      const stated = yield* post(HttpBody.stream(Stream.empty, "text/plain", 40_000_000))
      assert.strictEqual(stated._tag, "PayloadTooLargeError")
      assert.strictEqual(transport.asked.length, 0)
    })
  )

  it.effect("sends to nothing but the endpoint, whatever a request's URL", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json(1)])
      for (const url of [
        "https://evil.test/x",
        "http://abc123.api.runpod.ai/x",
        "https://abc123.api.runpod.ai.evil.test/"
      ]) {
        const error = yield* Effect.flip(finish(over(transport, (balancer) => balancer.get(url))))
        assert.strictEqual(error._tag, "BadRequestError", url)
      }
      assert.strictEqual(transport.asked.length, 0)
      yield* finish(over(transport, (balancer) => balancer.get("//evil.test/x")))
      yield* finish(over(transport, (balancer) => balancer.get("https://abc123.api.runpod.ai/y?z=1")))
      assert.deepStrictEqual(
        transport.asked.map(({ url }) => url),
        ["/evil.test/x", "/y?z=1"]
      )
    })
  )

  it.effect.each(["", "a b", "a/b", "a.b", "ftp://x", "https://u:p@x.test", "https://x.test/?a=1"])(
    "refuses %j in place of an endpoint",
    (idOrUrl) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(finish(over(Scripted.make([]), () => Effect.void, {}, idOrUrl)))
        assert.strictEqual(error._tag, "BadRequestError")
      })
  )

  it.effect("an id needs RunPod's own base URL; a URL needs none", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json(1)])
      const local = { baseUrl: "http://127.0.0.1:1/v2" }
      const error = yield* Effect.flip(finish(over(transport, () => Effect.void, local)))
      assert.include(error.message, "give the URL of the load balancer")
      yield* finish(over(transport, (balancer) => balancer.get("x"), local, "http://127.0.0.1:2/lb/abc/"))
      assert.strictEqual(transport.asked[0]?.url, "/lb/abc/x")
    })
  )

  it.effect("no error shows the key, nor a key that the program has put into a request", () =>
    Effect.gen(function* () {
      const own = "own-secret-0123456789"
      const answers: ReadonlyArray<Scripted.Answer> = [
        "reset",
        noWorker,
        Scripted.json({ status: 401, title: "Unauthorized", detail: `invalid api key ${key}` }, 401),
        { status: 200, stream: Stream.fail(new Error(key)) as never }
      ]
      for (const answer of answers) {
        const transport = Scripted.make([answer])
        const request = HttpClientRequest.bearerToken(HttpClientRequest.post("/x"), own)
        for (const plain of [false, true]) {
          const sent = over(
            transport,
            (balancer): Effect.Effect<string, Error> =>
              plain
                ? Effect.flatMap(RunPodHttpClient.withHttpErrors(balancer).execute(request), (it) => it.text)
                : Effect.flatMap(balancer.execute(request), (it) => it.text),
            { retry: RetryPolicy.none }
          )
          const error = yield* Effect.flip(finish(sent))
          const shown = [String(error), inspect(error, { depth: 9, showHidden: true }), JSON.stringify(error)].join()
          assert.notInclude(shown, key)
          assert.notInclude(shown, own)
        }
        assert.strictEqual(transport.asked[0]?.authorization, `Bearer ${key}`)
      }
    })
  )

  it.effect("`withHttpErrors` keeps the error as the cause of one of `HttpClient`'s", () =>
    Effect.gen(function* () {
      const get = (answer: Scripted.Answer) =>
        Effect.flip(
          finish(
            over(Scripted.make([answer]), (balancer) => RunPodHttpClient.withHttpErrors(balancer).get("/x"), {
              retry: RetryPolicy.none
            })
          )
        )
      const refused = yield* get(noWorker)
      assert.strictEqual(refused._tag === "ResponseError" && refused.response.status, 400)
      assert.include(refused.message, "no worker took the request")
      const lost = yield* get("reset")
      assert.strictEqual(lost._tag === "RequestError" && (lost.cause as { _tag: string })._tag, "TransportError")
    })
  )
})

describe("the body of an answer", () => {
  const slots = { limit: { limit: Infinity, window: "1 second", concurrency: 1 } } as const
  const two = (
    transport: ReturnType<typeof Scripted.make>,
    first: (stream: Stream.Stream<Uint8Array, unknown>) => Effect.Effect<unknown, unknown>
  ) =>
    Effect.flatMap(LoadBalancer.make("abc123", slots), (balancer) =>
      Effect.gen(function* () {
        const answer = yield* balancer.get("/1")
        const second = yield* Effect.fork(Effect.flatMap(balancer.get("/2"), (it) => it.text))
        yield* first(answer.stream)
        yield* Fiber.join(second)
      })
    ).pipe(Effect.provide(transport.layer({ apiKey: key, baseUrl: "https://api.runpod.ai/v2" })))

  it.effect("comes as it does, not when it is whole", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status: 200, stream: Scripted.drip("abc", "10 seconds") }])
      const chunks: Array<string> = []
      const reading = yield* Effect.fork(
        over(transport, (balancer) =>
          Effect.flatMap(balancer.get("/s"), (answer) =>
            Stream.runForEach(Stream.decodeText(answer.stream), (text) => Effect.sync(() => chunks.push(text)))
          )
        )
      )
      yield* TestClock.adjust("21 seconds")
      assert.deepStrictEqual(chunks, ["a", "b"])
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(reading)
      assert.deepStrictEqual(chunks, ["a", "b", "c"])
    })
  )

  it.effect("keeps its place in flight until it ends", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status: 200, stream: Scripted.drip("abc", "10 seconds") }, Scripted.json(2)])
      yield* finish(two(transport, Stream.runDrain))
      assert.deepStrictEqual(transport.times(), [0, 30_000])
    })
  )

  it.effect("gives it back when its reader leaves, and when it is short and nobody reads it", () =>
    Effect.gen(function* () {
      const left = Scripted.make([
        { status: 200, stream: Stream.concat(Stream.make(Uint8Array.of(1)), Stream.never) },
        Scripted.json(2)
      ])
      yield* finish(two(left, (stream) => Stream.runDrain(Stream.take(stream, 1))))
      assert.deepStrictEqual(left.times(), [0, 0])
      const unread = Scripted.make([Scripted.json(1), Scripted.json(2)])
      yield* finish(two(unread, () => Effect.void))
      assert.deepStrictEqual(unread.times(), [0, 0])
    })
  )

  it.effect("that is long and read by nobody is closed after 5 minutes", () =>
    Effect.gen(function* () {
      const endless = Stream.repeatEffect(Effect.succeed(new Uint8Array(64 * 1024)))
      const transport = Scripted.make([{ status: 200, stream: endless }, Scripted.json(2)])
      yield* finish(two(transport, () => Effect.void))
      assert.deepStrictEqual(transport.times(), [0, 300_000])
    })
  )

  it.live("that a program drops is closed when it is collected", () =>
    Effect.gen(function* () {
      setFlagsFromString("--expose-gc")
      const collect = runInNewContext("gc") as () => void
      const transport = Scripted.make([{ status: 200, stream: Stream.never }, Scripted.json(2)])
      yield* Effect.flatMap(LoadBalancer.make("abc123", slots), (balancer) =>
        Effect.gen(function* () {
          yield* Effect.asVoid(balancer.get("/1"))
          const second = yield* Effect.fork(balancer.get("/2"))
          for (let n = 0; n < 20 && second.unsafePoll() === null; n++) {
            collect()
            yield* Effect.sleep("5 millis")
          }
          assert.strictEqual(transport.asked.length, 2)
          yield* Fiber.interrupt(second)
        })
      ).pipe(Effect.provide(transport.layer({ apiKey: key, baseUrl: "https://api.runpod.ai/v2" })))
    })
  )

  it.effect("is taken no further ahead of its reader than 256 KiB", () =>
    Effect.gen(function* () {
      let pulled = 0
      const stream = Stream.repeatEffect(Effect.sync(() => (pulled++, new Uint8Array(1024))))
      const transport = Scripted.make([{ status: 200, stream }])
      const reading = over(transport, (balancer) =>
        Effect.flatMap(balancer.get("/s"), (answer) => Stream.runCollect(Stream.take(answer.stream, 1000)))
      )
      assert.strictEqual(Chunk.size(yield* finish(reading)), 1000)
      assert.isBelow(pulled, 1000 + 2 * 257)
    })
  )

  it.effect("can be read whole as often as wanted, and an error in it keeps its cause", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json({ a: 1 })])
      const answer = yield* finish(over(transport, (balancer) => balancer.get("/x")))
      assert.deepStrictEqual(yield* answer.json, { a: 1 })
      assert.strictEqual(yield* answer.text, `{"a":1}`)
    })
  )
})

describe("a session", () => {
  const worker = (id: string, body: unknown = null) => Scripted.json(body, 200, { "x-runpod-worker-id": id })
  const workersAsked = (transport: ReturnType<typeof Scripted.make>) =>
    transport.asked.map(({ headers }) => headers["x-runpod-worker-id"])

  it.effect("is bound to the worker that answers first, which the requests meanwhile wait for", () =>
    Effect.gen(function* () {
      let n = 0
      const transport = Scripted.make(() => worker(`w${++n}`), "1 second")
      const session = over(transport, (balancer) =>
        Effect.gen(function* () {
          const session = yield* balancer.session()
          assert.isTrue(Option.isNone(yield* session.workerId))
          const requests = [session.get("/a"), session.get("/b"), session.get("/c")]
          const [took] = yield* Effect.timed(Effect.all(requests, { concurrency: 3 }))
          // The two that waited go on together.
          assert.strictEqual(Duration.toSeconds(took), 2)
          assert.deepStrictEqual(yield* session.workerId, Option.some("w1"))
        })
      )
      yield* finish(session)
      assert.deepStrictEqual(workersAsked(transport), [undefined, "strict w1", "strict w1"])
    })
  )

  it.effect("says how it is bound, and may name its worker from the beginning", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(() => worker("other"))
      const get = (options: LoadBalancer.SessionOptions) =>
        over(transport, (balancer) => Effect.flatMap(balancer.session(options), (session) => session.get("/a")))
      yield* finish(get({ workerId: "w7" }))
      yield* finish(get({ workerId: "w7", affinity: "prefer" }))
      yield* finish(get({ workerId: "w7", affinity: "strict-resume" }))
      assert.deepStrictEqual(workersAsked(transport), ["strict w7", "w7", "strict-resume w7"])
    })
  )

  it.effect("fails when its worker is gone, and names it", () =>
    Effect.gen(function* () {
      const gone = Scripted.json({ status: 404, title: "Not Found", detail: "affinity_worker_gone" }, 404)
      const transport = Scripted.make([worker("w1"), gone])
      const error = yield* Effect.flip(
        finish(
          over(transport, (balancer) =>
            Effect.flatMap(balancer.session(), (session) => Effect.zipRight(session.get("/a"), session.get("/b")))
          )
        )
      )
      assert.strictEqual(error._tag === "WorkerGoneError" && error.workerId, "w1")
      assert.strictEqual(transport.asked.length, 2)
    })
  )

  it.effect("whose first request fails is bound by the next", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(["reset", worker("w2"), worker("w3")])
      yield* finish(
        over(transport, (balancer) =>
          Effect.gen(function* () {
            const session = yield* balancer.session()
            yield* Effect.ignore(session.post("/a", { body: HttpBody.empty }))
            yield* session.get("/b")
            yield* session.get("/c")
          })
        )
      )
      assert.deepStrictEqual(workersAsked(transport), [undefined, undefined, "strict w2"])
    })
  )
})
