import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Ref, Stream, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import { get, post, send } from "./support.js"

const { Fault } = Emulator

const emulated = (endpoint: Emulator.EndpointOptions, options?: Omit<Emulator.Options, "endpoints">) =>
  Effect.provide(Emulator.layer({ ...options, endpoints: { llm: endpoint } }))

const path = "/v2/llm/openai/v1/chat/completions"

/** The answer with its body unread. */
const open = (body: unknown) =>
  Effect.flatMap(HttpClient.HttpClient, (client) =>
    client.execute(
      HttpClientRequest.post(`https://api.runpod.ai${path}`, {
        headers: { authorization: "Bearer key" },
        body: HttpBody.text(JSON.stringify(body))
      })
    )
  )

const onlyJob = Effect.gen(function* () {
  const emulator = yield* Emulator.Emulator
  const [job, ...others] = yield* emulator.jobs("llm")
  assert(job !== undefined && others.length === 0)
  return job
})

/** "a", "b" and "c", a second apart. */
const letters = Stream.make("a", "b", "c").pipe(
  Stream.mapEffect((letter) => Effect.delay(Effect.succeed(letter), 1000))
)

describe("the OpenAI route", () => {
  it.effect("makes a job of any method and path, and answers with its output", () =>
    Effect.gen(function* () {
      const posted = yield* post(path, { model: "m", n: 1 })
      assert.deepInclude(posted, { status: 200, type: "application/json" })
      assert.deepStrictEqual(JSON.parse(posted.text), {
        openai_route: "/v1/chat/completions",
        openai_input: { model: "m", n: 1 }
      })
      assert.deepStrictEqual(JSON.parse((yield* get("/v2/llm/openai/v1/models")).text), { openai_route: "/v1/models" })
      const put = yield* send("PUT", "/llm/openai/a%20b/?x=1", { n: 2 })
      assert.deepStrictEqual(JSON.parse(put.text), { openai_route: "/a%20b/", openai_input: { n: 2 } })
      const emulator = yield* Emulator.Emulator
      assert.deepStrictEqual(
        (yield* emulator.jobs("llm")).map(({ operation, status }) => [operation, status]),
        Array.from({ length: 3 }, () => ["openai", "COMPLETED"])
      )
    }).pipe(emulated({}))
  )

  it.effect("unwraps the only chunk of a handler that yields, and gives more of them as an array", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* post(path, {})).text, '{"only":1}')
    }).pipe(
      emulated({ handler: () => Stream.make({ only: 1 }) }),
      Effect.zipRight(
        Effect.gen(function* () {
          assert.strictEqual((yield* post(path, {})).text, '["a",[1]]')
        }).pipe(emulated({ handler: () => Stream.make("a", [1]) }))
      )
    )
  )

  it.effect("gives an array that an Effect returned as it is, and the chunks of one that does not aggregate", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* post(path, {})).text, "[1]")
    }).pipe(
      emulated({ handler: () => Effect.succeed([1]) }),
      Effect.zipRight(
        Effect.gen(function* () {
          assert.strictEqual((yield* post(path, {})).text, '["a",2]')
        }).pipe(emulated({ handler: () => Stream.make("a", 2), aggregateStream: false }))
      )
    )
  )

  it.effect("answers 500 with the job's error when it fails", () =>
    Effect.gen(function* () {
      const { status, text } = yield* post(path, {})
      assert.strictEqual(status, 500)
      assert.include(JSON.parse(text).detail, "out of memory")
    }).pipe(emulated({ handler: () => Effect.fail(new Error("out of memory")) }))
  )

  it.effect("holds the answer through a cold start, and counts its jobs as /health does", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(post(path, { n: 1 }))
      yield* TestClock.adjust("89 seconds")
      assert.deepInclude(JSON.parse((yield* get("/v2/llm/health")).text), {
        jobs: { completed: 0, failed: 0, inProgress: 0, inQueue: 1, retried: 0 }
      })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
      assert.deepInclude(yield* onlyJob, { delayTime: 90_000, status: "COMPLETED" })
    }).pipe(emulated({ coldStart: "90 seconds" }))
  )

  for (const stream of [false, true]) {
    it.effect(`gives up after 100 seconds with a page of HTML while the job goes on (stream: ${stream})`, () =>
      Effect.gen(function* () {
        const fiber = yield* Effect.fork(post(path, { stream }))
        yield* TestClock.adjust("99999 millis")
        assert.strictEqual((yield* Fiber.poll(fiber))._tag, "None")
        yield* TestClock.adjust("1 millis")
        const reply = yield* Fiber.join(fiber)
        assert.deepInclude(reply, { status: 524, type: "text/html; charset=UTF-8" })
        assert.strictEqual((yield* onlyJob).status, "IN_PROGRESS")
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* onlyJob).status, "COMPLETED")
      }).pipe(emulated({ handler: () => Stream.fromEffect(Effect.delay(Effect.succeed("late"), "2 minutes")) }))
    )
  }

  it.effect("does not cancel the job of a client that leaves", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(post(path, {}))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      const emulator = yield* Emulator.Emulator
      assert.strictEqual((yield* emulator.counts).abandoned, 1)
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* onlyJob, { status: "COMPLETED", cancels: 0 })
    }).pipe(emulated({ handler: () => Effect.delay(Effect.succeed(1), "10 seconds") }))
  )

  it.effect("refuses what the platform refuses: the key, the endpoint, a pause, a body", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        (yield* send("POST", path, {}, {})).text,
        '{"status":401,"title":"Unauthorized","detail":"no token provided"}'
      )
      assert.include((yield* post("/v2/other/openai/v1/models", {})).text, "endpoint not found")
      assert.deepInclude(yield* post(path, "{"), { status: 400 })
      assert.include((yield* post(path, JSON.stringify({ text: "x".repeat(20_000_000) }))).text, "20MB")
      const emulator = yield* Emulator.Emulator
      yield* emulator.setWorkers("llm", 0)
      const { status, text } = yield* post(path, {})
      assert.strictEqual(status, 409)
      assert.include(text, "ENDPOINT_PAUSED")
    }).pipe(emulated({}))
  )

  it.effect("has the limits of /runsync, for itself: requests in flight", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const held = yield* Effect.fork(
        Effect.all(
          Array.from({ length: 4 }, () => post(path, { n: 1 })),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* post(path, {})).status, 429)
      assert.strictEqual((yield* post("/v2/llm/run", { input: { n: 1 } })).status, 200)
      assert.deepInclude((yield* emulator.counts).byOperation.openai, { total: 5, inFlight: 4, maxInFlight: 4 })
      yield* TestClock.adjust("100 seconds")
      assert.deepStrictEqual(new Set((yield* Fiber.join(held)).map(({ status }) => status)), new Set([524]))
      assert.strictEqual((yield* emulator.counts).byOperation.openai.inFlight, 0)
    }).pipe(emulated({ execution: "1 hour" }, { limits: RateLimits.make({ runSync: { concurrency: 4 } }) }))
  )

  it.effect("has the limits of /runsync, for itself: requests in 10 seconds", () =>
    Effect.gen(function* () {
      const statuses = Effect.map(Effect.all(Array.from({ length: 4 }, () => post(path, { n: 1 }))), (replies) =>
        replies.map(({ status }) => status)
      )
      assert.deepStrictEqual(yield* statuses, [200, 200, 200, 429])
      assert.strictEqual((yield* post("/v2/llm/runsync", { input: { n: 1 } })).status, 200)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* statuses, [200, 200, 200, 429])
    }).pipe(emulated({}, { limits: RateLimits.make({ runSync: { limit: 3, window: "10 seconds" } }) }))
  )
})

describe("an answer that streams", () => {
  it.effect("passes chunks on as they come: texts as they are, other values as JSON", () =>
    Effect.gen(function* () {
      const opened = yield* Effect.fork(open({ stream: true }))
      yield* TestClock.adjust("1 second")
      const response = yield* Fiber.join(opened)
      assert.strictEqual(response.headers["content-type"], "text/event-stream")
      assert.notProperty(response.headers, "content-length")
      const seen = yield* Ref.make("")
      const decoder = new TextDecoder()
      const reading = yield* Effect.fork(
        Stream.runForEach(response.stream, (bytes) => Ref.update(seen, (text) => text + decoder.decode(bytes)))
      )
      for (const expected of ['data: "é"\n\n', 'data: "é"\n\n{"n":2}', 'data: "é"\n\n{"n":2}null']) {
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* Ref.get(seen), expected)
        yield* TestClock.adjust("999 millis")
      }
      yield* Fiber.join(reading)
      const emulator = yield* Emulator.Emulator
      const [record] = yield* emulator.requests
      assert.deepInclude(record, { operation: "openai", status: 200, took: 3000, abandoned: false })
    }).pipe(
      emulated({
        handler: () =>
          Stream.make('data: "é"\n\n', { n: 2 }, null).pipe(
            Stream.mapEffect((chunk) => Effect.delay(Effect.succeed(chunk), 1000))
          )
      })
    )
  )

  it.effect("is an ordinary one where the job ends without a chunk", () =>
    Effect.gen(function* () {
      assert.deepInclude(yield* post(path, { stream: true }), { status: 200, type: "application/json", text: "7" })
    }).pipe(emulated({ handler: () => Effect.succeed(7) }))
  )

  it.effect("just ends when the job fails in the middle", () =>
    Effect.gen(function* () {
      const reading = yield* Effect.fork(post(path, { stream: true }))
      yield* TestClock.adjust("3 seconds")
      assert.deepInclude(yield* Fiber.join(reading), { status: 200, text: "abc" })
      assert.strictEqual((yield* onlyJob).status, "FAILED")
    }).pipe(emulated({ handler: () => Stream.concat(letters, Stream.fail("boom")) }))
  )

  it.effect("is abandoned by a reader who leaves, and its job goes on", () =>
    Effect.gen(function* () {
      const reading = yield* Effect.fork(post(path, { stream: true }))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.interrupt(reading)
      const emulator = yield* Emulator.Emulator
      const { abandoned, byOperation } = yield* emulator.counts
      assert.strictEqual(abandoned, 1)
      assert.strictEqual(byOperation.openai.inFlight, 0)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* onlyJob).status, "COMPLETED")
    }).pipe(emulated({ handler: () => letters }))
  )

  const cuts: ReadonlyArray<readonly [name: string, fault: Emulator.Fault.Fault, seen: string]> = [
    ["truncated after its first piece", Fault.truncated(), "a"],
    ["truncated after so many bytes", Fault.truncated({ afterBytes: 2 }), "ab"],
    ["truncated inside a piece", Fault.truncated({ afterBytes: 0 }), ""]
  ]
  for (const [name, fault, seen] of cuts) {
    it.effect(`can be ${name}`, () =>
      Effect.gen(function* () {
        const reading = yield* Effect.fork(post(path, { stream: true }))
        yield* TestClock.adjust("5 seconds")
        assert.deepInclude(yield* Fiber.join(reading), { status: 200, text: seen })
      }).pipe(emulated({ handler: () => letters }, { faults: [fault] }))
    )
  }

  it.effect("can be cut off", () =>
    Effect.gen(function* () {
      const reading = yield* Effect.fork(Effect.flip(post(path, { stream: true })))
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(reading)
      assert.strictEqual(error._tag, "ResponseError")
      const emulator = yield* Emulator.Emulator
      assert.deepInclude((yield* emulator.requests)[0], { fault: "CutBody", abandoned: false, took: 2000 })
      assert.strictEqual((yield* onlyJob).status, "COMPLETED")
    }).pipe(
      emulated({ handler: () => letters }, { faults: [Fault.cutBody({ operations: ["openai"], afterBytes: 2 })] })
    )
  )

  it.effect("can stall", () =>
    Effect.gen(function* () {
      const reading = yield* Effect.fork(post(path, { stream: true }))
      yield* TestClock.adjust("1 hour")
      assert.isTrue((yield* Fiber.poll(reading))._tag === "None")
      yield* Fiber.interrupt(reading)
    }).pipe(emulated({ handler: () => letters }, { faults: [Fault.stall()] }))
  )

  for (const fault of [
    Fault.rateLimited(),
    Fault.serverError({ processed: true }),
    Fault.emptyOk(),
    Fault.htmlOk(),
    Fault.paused()
  ]) {
    it.effect(`${fault._tag} applies to the route`, () =>
      Effect.gen(function* () {
        const reading = yield* Effect.fork(post(path, { stream: true }))
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(reading)
        const emulator = yield* Emulator.Emulator
        const { byOperation, faults, submitted } = yield* emulator.counts
        assert.deepStrictEqual(faults, { [fault._tag]: 1 })
        assert.strictEqual(submitted, "processed" in fault ? 1 : 0)
        assert.strictEqual(byOperation.openai.inFlight, 0)
      }).pipe(emulated({ handler: () => letters }, { faults: [fault] }))
    )
  }

  for (const [fault, submitted] of [
    [Fault.resetBefore(), 0],
    [Fault.resetAfter(), 1]
  ] as const) {
    it.effect(`${fault._tag} applies to the route`, () =>
      Effect.gen(function* () {
        const reading = yield* Effect.fork(Effect.flip(post(path, { stream: true })))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* Fiber.join(reading))._tag, "RequestError")
        const emulator = yield* Emulator.Emulator
        assert.strictEqual((yield* emulator.counts).submitted, submitted)
        assert.strictEqual((yield* emulator.counts).byOperation.openai.inFlight, 0)
      }).pipe(emulated({ handler: () => letters }, { faults: [fault] }))
    )
  }
})
