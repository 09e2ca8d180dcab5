import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { get, post, read, send, submit } from "./support.js"

const json = "application/json"

const layer = Emulator.layer({
  apiKey: Redacted.make("key"),
  endpoints: { echo: {}, paused: { workers: 0 }, slow: { workers: 1, execution: "10 seconds" } }
})

describe("what RunPod refuses", () => {
  const refusals: ReadonlyArray<
    readonly [name: string, request: ReturnType<typeof send>, status: number, body: string]
  > = [
    [
      "no key",
      send("GET", "/v2/echo/health", undefined, {}),
      401,
      `{"status":401,"title":"Unauthorized","detail":"no token provided"}`
    ],
    [
      "an empty bearer",
      send("GET", "/v2/echo/health", undefined, { authorization: "Bearer " }),
      401,
      `{"status":401,"title":"Unauthorized","detail":"no token provided"}`
    ],
    [
      "another key",
      send("GET", "/v2/echo/health", undefined, { authorization: "Bearer other" }),
      401,
      `{"status":401,"title":"Unauthorized","detail":"invalid api key"}`
    ],
    [
      "an unknown endpoint",
      get("/v2/nothing/health"),
      404,
      `{"status":404,"title":"Not Found","detail":"endpoint not found"}`
    ],
    [
      "an unknown job",
      get("/v2/echo/status/nothing"),
      404,
      `{"status":404,"title":"Not Found","detail":"job not found"}`
    ],
    ["an unknown operation", get("/v2/echo/fly"), 404, `{"status":404,"title":"Not Found"}`],
    ["GET for a submit", get("/v2/echo/run"), 405, `{"status":405,"title":"Method Not Allowed"}`],
    [
      "a body that is not JSON",
      post("/v2/echo/run", "{"),
      400,
      `{"status":400,"title":"Bad Request","detail":"bad request: body: invalid json"}`
    ],
    [
      "no input",
      post("/v2/echo/run", {}),
      400,
      `{"status":400,"title":"Bad Request","detail":"bad request: input: is required"}`
    ],
    [
      "an input that is no object",
      post("/v2/echo/run", { input: [1] }),
      400,
      `{"status":400,"title":"Bad Request","detail":"bad request: input: must be a json object"}`
    ],
    [
      "a hold that is too short",
      post("/v2/echo/runsync?wait=999", { input: { n: 1 } }),
      400,
      `{"status":400,"title":"Bad Request","detail":"wait is invalid; must be between 1000 and 300000"}`
    ],
    [
      "a policy out of range",
      post("/v2/echo/run", { input: { n: 1 }, policy: { ttl: 9999 } }),
      400,
      `{"status":400,"title":"Bad Request","detail":"bad request: policy.ttl: must be between 10000 and 604800000"}`
    ],
    [
      "a policy that is no whole number",
      post("/v2/echo/run", { input: { n: 1 }, policy: { executionTimeout: 6000.5 } }),
      400,
      `{"status":400,"title":"Bad Request","detail":"bad request: policy.executionTimeout: must be an integer"}`
    ],
    [
      "more than 10 MiB",
      post("/v2/echo/run", { input: { text: "x".repeat(10 * 1024 * 1024) } }),
      400,
      `{"status":400,"title":"Bad Request","detail":"bad request: body: exceeded max body size of 10MiB"}`
    ],
    [
      "more than 20 MB of a sync submit",
      post("/v2/echo/runsync", { input: { text: "x".repeat(20_000_000) } }),
      400,
      `{"status":400,"title":"Bad Request","detail":"bad request: body: exceeded max body size of 20MB"}`
    ],
    [
      "a submit to a paused endpoint",
      post("/v2/paused/run", { input: { n: 1 } }),
      409,
      `{"status":409,"title":"Conflict","detail":"Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work.","code":"ENDPOINT_PAUSED"}`
    ]
  ]

  for (const [name, request, status, body] of refusals) {
    it.effect(`${name} is answered with ${status}`, () =>
      Effect.gen(function* () {
        const emulator = yield* Emulator.Emulator
        assert.deepStrictEqual(yield* request, { status, type: json, text: body, retryAfter: undefined })
        assert.strictEqual((yield* emulator.counts).submitted, 0)
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("a sync submit takes a body that is too large for an ordinary one", () =>
    Effect.gen(function* () {
      const reply = yield* post("/v2/echo/runsync", { input: { text: "x".repeat(11 * 1024 * 1024) } })
      assert.strictEqual(reply.status, 200)
    }).pipe(Effect.provide(layer))
  )
})

describe("what RunPod answers", () => {
  it.effect("a submit says no more than the id and that it is queued", () =>
    Effect.gen(function* () {
      const { status, text, type } = yield* post("/v2/echo/run", { input: { n: 1 } })
      assert.strictEqual(status, 200)
      assert.strictEqual(type, json)
      assert.match(
        text,
        /^\{"id":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-u1","status":"IN_QUEUE"\}$/
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("the fields of a job appear as it moves on", () =>
    Effect.gen(function* () {
      const first = yield* submit("slow", { input: { n: 1 } })
      const second = yield* submit("slow", { input: { n: 2 } })
      const { workerId, ...running } = yield* read("slow", first)
      assert.deepStrictEqual(running, { id: first, status: "IN_PROGRESS", delayTime: 0 })
      assert.match(String(workerId), /^[0-9a-z]{14}$/)
      assert.strictEqual((yield* get(`/v2/slow/status/${second}`)).text, `{"id":"${second}","status":"IN_QUEUE"}`)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(
        (yield* get(`/v2/slow/status/${first}`)).text,
        `{"delayTime":0,"executionTime":10000,"id":"${first}","output":{"n":1},"status":"COMPLETED","workerId":"${workerId}"}`
      )
      assert.deepStrictEqual(yield* read("slow", second), {
        id: second,
        status: "IN_PROGRESS",
        delayTime: 10000,
        workerId
      })
    }).pipe(Effect.provide(layer))
  )

  it.effect("reads work as POST, without the /v2 and with ids that are percent-encoded", () =>
    Effect.gen(function* () {
      const id = yield* submit("echo")
      assert.strictEqual((yield* post(`/echo/status/${id}`)).status, 200)
      assert.strictEqual((yield* get(`/echo/status/${id.replace("-", "%2D")}`)).status, 200)
      assert.strictEqual((yield* post(`/v2/echo/status-sync/${id}`)).status, 200)
    }).pipe(Effect.provide(layer))
  )

  it.effect("the list of requests is null while there are none", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* get("/v2/slow/requests")).text, `{"requests":null}`)
      const first = yield* submit("slow")
      const second = yield* submit("slow")
      yield* TestClock.adjust("1 second")
      const { requests } = JSON.parse((yield* get("/v2/slow/requests")).text)
      assert.deepInclude(requests[0], { id: first, status: "IN_PROGRESS", delayTime: 0 })
      assert.deepStrictEqual(requests[1], { id: second, status: "IN_QUEUE", delayTime: 1000, workerId: "" })
    }).pipe(Effect.provide(layer))
  )

  it.effect("health counts jobs and workers", () =>
    Effect.gen(function* () {
      yield* submit("slow")
      yield* submit("slow")
      assert.deepStrictEqual(JSON.parse((yield* get("/v2/slow/health")).text), {
        jobs: { completed: 0, failed: 0, inProgress: 1, inQueue: 1, retried: 0 },
        workers: { idle: 0, initializing: 0, ready: 0, running: 1, throttled: 0, unhealthy: 0 }
      })
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(JSON.parse((yield* get("/v2/slow/health")).text), {
        jobs: { completed: 2, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
        workers: { idle: 1, initializing: 0, ready: 1, running: 0, throttled: 0, unhealthy: 0 }
      })
    }).pipe(Effect.provide(layer))
  )

  it.effect("the same seed hands out the same ids, another one others", () =>
    Effect.gen(function* () {
      const idOf = (seed: number | string) =>
        submit("echo").pipe(Effect.provide(Emulator.layer({ endpoints: { echo: {} }, seed })))
      const [one, again, two, text] = yield* Effect.all([idOf(1), idOf(1), idOf(2), idOf("1")])
      assert.strictEqual(one, again)
      assert.strictEqual(new Set([one, two, text]).size, 3)
    })
  )
})
