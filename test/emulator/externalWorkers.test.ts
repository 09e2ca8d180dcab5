import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { get, look, post, read, send, submit } from "./support.js"

const withEndpoint = (options: Emulator.EndpointOptions = {}) =>
  Effect.provide(
    Emulator.layer({ apiKey: "key", endpoints: { e: { externalWorkers: true, ...options }, ordinary: {} } })
  )

/** A worker that asks as RunPod's SDK does: its key without a `Bearer`, its bodies as a form. */
const ask = (path: string) => send("GET", `/v2/e/${path}`, undefined, { authorization: "key" })
const tell = (path: string, body: unknown) =>
  send("POST", `/v2/e/${path}`, body, {
    authorization: "key",
    "content-type": "application/x-www-form-urlencoded"
  })

const take = (workerId = "w1") => ask(`job-take/${workerId}?gpu=none&job_in_progress=0`)
const done = (workerId: string, jobId: string, body: unknown, isStream = false) =>
  tell(`job-done/${workerId}/${jobId}?gpu=none&isStream=${isStream}`, body)
const ping = (workerId: string, query = "") => ask(`ping/${workerId}?gpu=none${query}&runpod_version=1.12.0`)

const chunk = (workerId: string, jobId: string, output: unknown) =>
  tell(`job-stream/${workerId}/${jobId}?gpu=none&isStream=false`, { output })

/** A job that the worker has. */
const taken = (workerId = "w1", body?: object) => Effect.zipLeft(submit("e", body), take(workerId))

const gauges = Effect.map(get("/v2/e/health"), ({ text }): Record<string, number> => JSON.parse(text).workers)

/** Lets time go by while the worker pings as the SDK does, every 10 seconds. */
const pinging = (workerId: string, pings: number, query: string) =>
  Effect.repeatN(Effect.zipRight(TestClock.adjust("10 seconds"), ping(workerId, query)), pings - 1)

describe("a worker that asks for jobs", () => {
  it.effect("is held until there is one, which is then its own", () =>
    Effect.gen(function* () {
      const asking = yield* Effect.fork(take())
      yield* TestClock.adjust("3 seconds")
      const s3Config = { accessId: "id", accessSecret: "secret" }
      const id = yield* submit("e", { input: { n: 1 }, s3Config, webhook: "https://receiver.test/" })
      const { status, text, type } = yield* Fiber.join(asking)
      assert.deepStrictEqual([status, type], [200, "application/json"])
      assert.deepStrictEqual(JSON.parse(text), {
        id,
        input: { n: 1 },
        s3Config,
        delayTime: 0,
        status: "IN_PROGRESS"
      })
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", workerId: "w1", delayTime: 0 })
      assert.strictEqual((yield* look("e", id)).starts, 1)
    }).pipe(withEndpoint())
  )

  it.effect("hears after 10 seconds that there is none", () =>
    Effect.gen(function* () {
      const asking = yield* Effect.fork(take())
      yield* TestClock.adjust("9 seconds")
      assert.isNull(yield* Fiber.poll(asking).pipe(Effect.map((exit) => (exit._tag === "None" ? null : exit))))
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Fiber.join(asking), { status: 204, text: "" })
    }).pipe(withEndpoint())
  )

  it.effect("gets as many as it asks for, in the order of the queue, and no more than there are", () =>
    Effect.gen(function* () {
      const ids = [yield* submit("e"), yield* submit("e"), yield* submit("e")]
      const takeBatch = (size: number) =>
        Effect.map(ask(`job-take-batch/w1?gpu=none&batch_size=${size}&job_in_progress=0`), ({ text }) =>
          JSON.parse(text).map(({ id }: { id: string }) => id)
        )
      assert.deepStrictEqual(yield* takeBatch(2), ids.slice(0, 2))
      assert.deepStrictEqual(yield* takeBatch(5), ids.slice(2))
    }).pipe(withEndpoint())
  )

  it.effect("and left meanwhile leaves the job to the one that has waited as long", () =>
    Effect.gen(function* () {
      const gone = yield* Effect.fork(take("w1"))
      const staying = yield* Effect.fork(take("w2"))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(gone)
      const id = yield* submit("e")
      yield* Fiber.join(staying)
      assert.strictEqual((yield* look("e", id)).workerId, "w2")
    }).pipe(withEndpoint())
  )

  it.effect("waits while as many others have jobs as the endpoint has workers", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const first = yield* taken("w1")
      const second = yield* submit("e")
      const asking = yield* Effect.fork(take("w2"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* look("e", second)).status, "IN_QUEUE")
      yield* done("w1", first, { output: 1 })
      yield* Fiber.join(asking)
      assert.strictEqual((yield* look("e", second)).workerId, "w2")
      const third = yield* submit("e")
      const more = yield* Effect.fork(take("w3"))
      yield* TestClock.adjust("1 second")
      yield* emulator.setWorkers("e", 2)
      yield* Fiber.join(more)
      assert.strictEqual((yield* look("e", third)).workerId, "w3")
    }).pipe(withEndpoint({ workers: 1 }))
  )

  it.effect("must have the key, and ask with the right method", () =>
    Effect.gen(function* () {
      const statusOf = (method: "GET" | "POST", path: string, headers: Record<string, string>) =>
        Effect.map(send(method, path, {}, headers), ({ status }) => status)
      assert.strictEqual(yield* statusOf("GET", "/v2/e/job-take/w1?gpu=none", {}), 401)
      assert.strictEqual(yield* statusOf("GET", "/v2/e/job-take/w1?gpu=none", { authorization: "other" }), 401)
      assert.strictEqual(yield* statusOf("POST", "/v2/e/job-take/w1?gpu=none", { authorization: "key" }), 405)
      assert.strictEqual(yield* statusOf("GET", "/v2/e/job-done/w1/j?gpu=none", { authorization: "key" }), 405)
      assert.strictEqual(
        yield* statusOf("GET", "/v2/ordinary/job-take/w1?gpu=none", { authorization: "key" }),
        404,
        "workers of an endpoint whose workers are emulated"
      )
    }).pipe(withEndpoint())
  )

  it.effect("is counted nowhere that tells of clients", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* taken()
      yield* done("w1", id, { output: 1 })
      assert.deepStrictEqual(
        (yield* emulator.requests).map(({ path }) => path),
        ["/v2/e/run"]
      )
      assert.strictEqual((yield* emulator.counts).total, 1)
    }).pipe(withEndpoint())
  )
})

describe("what a worker reports", () => {
  const reports: ReadonlyArray<readonly [says: string, body: unknown, isStream: boolean, job: object, absent: string]> =
    [
      ["an output", { output: { n: 1 } }, false, { status: "COMPLETED", output: { n: 1 } }, "error"],
      ["an output of null", { output: null }, false, { status: "COMPLETED", output: null }, "error"],
      ["nothing", {}, false, { status: "COMPLETED" }, "output"],
      ["an error", { error: "no" }, false, { status: "FAILED", error: "no" }, "output"],
      ["an error and more", { error: "no", output: { at: 1 } }, false, { status: "FAILED", output: { at: 1 } }, "x"],
      ["no error", { error: "", output: 1 }, false, { status: "COMPLETED", output: 1 }, "error"],
      ["an aggregated stream", { output: [1, 2] }, true, { status: "COMPLETED", output: [1, 2] }, "error"],
      ["a stream that is not aggregated", { output: [] }, true, { status: "COMPLETED" }, "output"],
      ["an empty list", { output: [] }, false, { status: "COMPLETED", output: [] }, "error"]
    ]
  for (const [says, body, isStream, job, absent] of reports) {
    it.effect(`${says} is how the job ends`, () =>
      Effect.gen(function* () {
        const id = yield* taken()
        yield* TestClock.adjust("2 seconds")
        assert.deepInclude(yield* done("w1", id, body, isStream), { status: 200 })
        const read1 = yield* read("e", id)
        assert.deepInclude(read1, { ...job, executionTime: 2000 })
        assert.notProperty(read1, absent)
      }).pipe(withEndpoint())
    )
  }

  it.effect("numbers come to the client as the worker wrote them", () =>
    Effect.gen(function* () {
      const id = yield* taken()
      yield* done("w1", id, `{"output": {"seed": 12345678901234567890, "loss": 1.0}}`)
      assert.include((yield* get(`/v2/e/status/${id}`)).text, `"output":{"seed": 12345678901234567890, "loss": 1.0}`)
    }).pipe(withEndpoint())
  )

  it.effect("a result that is no JSON or too large is refused, and the job is COMPLETED without it", () =>
    Effect.gen(function* () {
      const unreadable = yield* taken()
      assert.strictEqual((yield* done("w1", unreadable, `{"output": NaN}`)).status, 400)
      const large = yield* taken()
      assert.strictEqual((yield* done("w1", large, { output: "x".repeat(10 * 1024 * 1024) })).status, 400)
      for (const id of [unreadable, large]) {
        assert.deepInclude(yield* look("e", id), { status: "COMPLETED" })
        assert.notProperty(yield* read("e", id), "output")
      }
    }).pipe(withEndpoint())
  )

  it.effect("progress is the output as long as the job runs", () =>
    Effect.gen(function* () {
      const id = yield* taken()
      yield* done("w1", id, { status: "IN_PROGRESS", output: { percent: 50 } })
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", output: { percent: 50 } })
      yield* done("w1", id, { output: "all" })
      yield* done("w1", id, { status: "IN_PROGRESS", output: { percent: 75 } })
      assert.deepInclude(yield* read("e", id), { status: "COMPLETED", output: "all" })
    }).pipe(withEndpoint())
  )

  it.effect("chunks go to who streams, once and in their order", () =>
    Effect.gen(function* () {
      const id = yield* taken()
      const reader = yield* Effect.fork(get(`/v2/e/stream/${id}`))
      yield* TestClock.adjust("1 second")
      yield* chunk("w1", id, "a")
      assert.deepStrictEqual(JSON.parse((yield* Fiber.join(reader)).text), {
        status: "IN_PROGRESS",
        stream: [{ output: "a" }]
      })
      yield* chunk("w1", id, { b: 2 })
      yield* chunk("w1", id, null)
      assert.deepStrictEqual(JSON.parse((yield* get(`/v2/e/stream/${id}`)).text).stream, [
        { output: { b: 2 } },
        { output: null }
      ])
      assert.strictEqual((yield* tell(`job-stream/w1/${id}?gpu=none&isStream=false`, { other: 1 })).status, 400)
    }).pipe(withEndpoint())
  )

  it.effect("a held client has the result at once", () =>
    Effect.gen(function* () {
      const client = yield* Effect.fork(post("/v2/e/runsync", { input: { n: 1 } }))
      yield* Effect.yieldNow()
      const { id } = JSON.parse((yield* take()).text)
      yield* done("w1", id, { output: 2 })
      assert.deepInclude(JSON.parse((yield* Fiber.join(client)).text), { id, status: "COMPLETED", output: 2 })
    }).pipe(withEndpoint())
  )

  it.effect("about a job that is not there is a 404", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* done("w1", "nothing", { output: 1 })).status, 404)
    }).pipe(withEndpoint())
  )
})

describe("a job that its worker does not report", () => {
  it.effect("is another's after 45 seconds, and FAILED when that one is silent, too", () =>
    Effect.gen(function* () {
      const id = yield* taken("w1")
      yield* TestClock.adjust("44 seconds")
      assert.deepInclude(yield* look("e", id), { status: "IN_PROGRESS", workerId: "w1", retries: 0 })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* look("e", id), { status: "IN_QUEUE", retries: 1 })
      yield* take("w2")
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", workerId: "w2" })
      yield* TestClock.adjust("45 seconds")
      assert.deepInclude(yield* read("e", id), { status: "FAILED", error: "job timed out after 1 retries" })
      assert.include((yield* get("/v2/e/health")).text, `"retried":1`)
    }).pipe(withEndpoint())
  )

  it.effect("is not lost while pings name it; pings that name others do not count", () =>
    Effect.gen(function* () {
      const id = yield* taken("w1")
      yield* pinging("w1", 30, `&job_id=other,${id}`)
      assert.deepInclude(yield* look("e", id), { status: "IN_PROGRESS", retries: 0 })
      yield* pinging("w1", 5, "&job_id=other")
      assert.deepInclude(yield* look("e", id), { status: "IN_QUEUE", retries: 1 })
    }).pipe(withEndpoint())
  )

  it.effect("is not lost while there are chunks or progress, and `lostAfter` says how long that lasts", () =>
    Effect.gen(function* () {
      const id = yield* taken("w1")
      yield* TestClock.adjust("9 seconds")
      yield* done("w1", id, { status: "IN_PROGRESS", output: 1 })
      yield* TestClock.adjust("9 seconds")
      yield* chunk("w1", id, 1)
      yield* TestClock.adjust("9 seconds")
      assert.deepInclude(yield* look("e", id), { status: "IN_PROGRESS", retries: 0 })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* look("e", id), { status: "IN_QUEUE", retries: 1 })
    }).pipe(withEndpoint({ externalWorkers: { lostAfter: "10 seconds" } }))
  )

  it.effect("and reports it when another has it changes nothing", () =>
    Effect.gen(function* () {
      const id = yield* taken("w1")
      yield* TestClock.adjust("45 seconds")
      yield* take("w2")
      assert.strictEqual((yield* done("w1", id, { output: "late" })).status, 200)
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", workerId: "w2" })
      yield* done("w2", id, { output: "right" })
      assert.deepInclude(yield* read("e", id), { status: "COMPLETED", output: "right" })
    }).pipe(withEndpoint())
  )

  it.effect("has nothing left of what the first worker gave: neither progress nor chunks", () =>
    Effect.gen(function* () {
      const id = yield* taken("w1")
      yield* done("w1", id, { status: "IN_PROGRESS", output: 50 })
      yield* chunk("w1", id, "first")
      yield* TestClock.adjust("45 seconds")
      assert.deepInclude(yield* look("e", id), { status: "IN_QUEUE", chunks: 0 })
      assert.notProperty(yield* read("e", id), "output")
      yield* take("w2")
      yield* chunk("w2", id, "second")
      yield* done("w2", id, { output: ["second"] }, true)
      assert.deepStrictEqual(JSON.parse((yield* get(`/v2/e/stream/${id}`)).text).stream, [{ output: "second" }])
    }).pipe(withEndpoint())
  )

  it.effect("for its input is empty, and RunPod leaves that out, is FAILED after 90 seconds", () =>
    Effect.gen(function* () {
      const id = yield* submit("e", { input: {} })
      assert.notProperty(JSON.parse((yield* take()).text), "input")
      yield* pinging("w1", 5, "")
      yield* take()
      yield* pinging("w1", 5, "")
      assert.deepInclude(yield* look("e", id), { status: "FAILED", error: "job timed out after 1 retries", starts: 0 })
    }).pipe(withEndpoint())
  )
})

describe("a job that is taken from its worker", () => {
  const awaitStops = ask("job-stop/w1?gpu=none")

  it.effect("is one that the worker is told to stop, and what it reports afterwards changes nothing", () =>
    Effect.gen(function* () {
      const id = yield* taken()
      const stops = yield* Effect.fork(awaitStops)
      yield* TestClock.adjust("1 second")
      yield* post(`/v2/e/cancel/${id}`)
      assert.deepStrictEqual(JSON.parse((yield* Fiber.join(stops)).text), { jobsToStop: [id] })
      assert.strictEqual((yield* done("w1", id, { output: 1 })).status, 200)
      assert.deepInclude(yield* read("e", id), { status: "CANCELLED" })
      const more = yield* Effect.fork(awaitStops)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(more)).status, 204)
    }).pipe(withEndpoint())
  )

  it.effect("is not one whose end the worker has reported, or that it lost", () =>
    Effect.gen(function* () {
      const reported = yield* taken()
      yield* done("w1", reported, { output: 1 })
      const lost = yield* taken()
      yield* TestClock.adjust("45 seconds")
      assert.strictEqual((yield* look("e", lost)).status, "IN_QUEUE")
      const stops = yield* Effect.fork(awaitStops)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(stops)).status, 204)
    }).pipe(withEndpoint())
  )

  it.effect("at its executionTimeout is FAILED, however often it is reported", () =>
    Effect.gen(function* () {
      const id = yield* taken("w1", { input: { n: 1 }, policy: { executionTimeout: 60_000 } })
      yield* pinging("w1", 7, `&job_id=${id}`)
      assert.deepInclude(yield* read("e", id), { status: "FAILED", error: "executionTimeout exceeded" })
      assert.deepStrictEqual(JSON.parse((yield* awaitStops).text), { jobsToStop: [id] })
    }).pipe(withEndpoint())
  )

  it.effect("a result that comes after the executionTimeout is too late", () =>
    Effect.gen(function* () {
      const id = yield* taken("w1", { input: { n: 1 }, policy: { executionTimeout: 5_000 } })
      yield* TestClock.adjust(5_001)
      yield* done("w1", id, { output: 1 })
      yield* TestClock.adjust("4 seconds")
      assert.deepInclude(yield* look("e", id), { status: "FAILED", error: "executionTimeout exceeded" })
    }).pipe(withEndpoint())
  )

  it.effect("and queued again may come back to the worker that was told to stop it", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* taken()
      yield* emulator.end("e", id, { status: "TIMED_OUT" })
      yield* post(`/v2/e/retry/${id}`)
      yield* take()
      const stops = yield* Effect.fork(awaitStops)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(stops)).status, 204)
      yield* done("w1", id, { output: 1 })
      assert.deepInclude(yield* look("e", id), { status: "COMPLETED", starts: 2 })
    }).pipe(withEndpoint())
  )
})

describe("the gauges of workers", () => {
  it.effect("follow what each worker does", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      assert.deepInclude(yield* gauges, { idle: 0, ready: 0, initializing: 0 })
      yield* ping("w1")
      assert.deepInclude(yield* gauges, { idle: 0, initializing: 1 })
      const asking = yield* Effect.fork(take())
      yield* Effect.yieldNow()
      assert.deepInclude(yield* gauges, { idle: 1, ready: 1, initializing: 0, running: 0 })
      const id = yield* submit("e")
      yield* Fiber.join(asking)
      assert.deepInclude(yield* gauges, { idle: 0, running: 1 })
      yield* done("w1", id, { output: 1 })
      assert.deepInclude(yield* gauges, { idle: 1, running: 0 })
      assert.strictEqual((yield* emulator.counts).coldStarts, 1)
    }).pipe(withEndpoint())
  )

  it.effect("forget a worker of which nothing was heard for 45 seconds, but not one whose request is held", () =>
    Effect.gen(function* () {
      yield* ping("w1")
      yield* Effect.fork(take("w2"))
      yield* TestClock.adjust("44 seconds")
      assert.deepInclude(yield* gauges, { initializing: 1, idle: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* gauges, { initializing: 0, idle: 1 })
      yield* TestClock.adjust("15 seconds")
      assert.deepInclude(yield* gauges, { idle: 1 })
      // The held request ended a minute after it came.
      yield* TestClock.adjust("45 seconds")
      assert.deepInclude(yield* gauges, { idle: 0 })
    }).pipe(withEndpoint({ externalWorkers: { hold: "1 minute" } }))
  )

  it.effect("count a worker that says it cannot work as unhealthy, until it asks for a job", () =>
    Effect.gen(function* () {
      yield* ping("w1", "&status=unhealthy&check=gpu&reason=none")
      assert.deepInclude(yield* gauges, { unhealthy: 2, initializing: 0, idle: 0 })
      yield* Effect.fork(take())
      yield* Effect.yieldNow()
      assert.deepInclude(yield* gauges, { unhealthy: 1, idle: 1 })
    }).pipe(withEndpoint({ workers: { max: 3, unhealthy: 1 } }))
  )

  it.effect("count no worker that nobody has started, however many are to be warm", () =>
    Effect.gen(function* () {
      assert.deepInclude(yield* gauges, { idle: 0, ready: 0, initializing: 0 })
      yield* taken()
      assert.deepInclude(yield* gauges, { idle: 0, running: 1 })
    }).pipe(withEndpoint({ workers: { max: 3, min: 2 } }))
  )

  it.effect("lose a worker that wants to be replaced with its job's end", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* taken()
      yield* done("w1", id, { output: 1, stopPod: true })
      assert.deepInclude(yield* gauges, { idle: 0, running: 0 })
      yield* taken()
      assert.deepInclude(yield* gauges, { running: 1 })
      assert.strictEqual((yield* emulator.counts).coldStarts, 2)
    }).pipe(withEndpoint())
  )

  it.effect(
    "lose it with its last job, and until then it is given no further one, also where it was asking before",
    () =>
      Effect.gen(function* () {
        const first = yield* taken()
        const second = yield* taken()
        const asking = yield* Effect.fork(take())
        yield* TestClock.adjust("1 second")
        yield* done("w1", first, { output: 1, stopPod: true })
        assert.deepInclude(yield* gauges, { running: 1 })
        const next = yield* submit("e")
        const askingAgain = yield* Effect.fork(take())
        yield* TestClock.adjust("1 second")
        yield* done("w1", second, { output: 2 })
        assert.deepInclude(yield* gauges, { idle: 0, running: 0 })
        yield* TestClock.adjust("10 seconds")
        for (const request of [asking, askingAgain]) assert.strictEqual((yield* Fiber.join(request)).status, 204)
        assert.deepInclude(yield* look("e", next), { status: "IN_QUEUE", starts: 0 })
        yield* take()
        yield* done("w1", next, { output: 3 })
        assert.deepInclude(yield* read("e", next), { status: "COMPLETED", output: 3 })
      }).pipe(withEndpoint())
  )

  it.effect("lose it also with the end of a job that it has no longer", () =>
    Effect.gen(function* () {
      const id = yield* taken()
      yield* post(`/v2/e/cancel/${id}`)
      assert.deepInclude(yield* gauges, { idle: 1 })
      yield* done("w1", id, { output: 1, stopPod: true })
      assert.deepInclude(yield* gauges, { idle: 0 })
    }).pipe(withEndpoint())
  )
})
