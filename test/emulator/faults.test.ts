import * as HttpClientError from "@effect/platform/HttpClientError"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Option, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { unlimited } from "../../src/layers/RateLimits.js"
import { RunPod } from "../../src/services/RunPod.js"
import { get, look, post, read, submit } from "./support.js"

const { Fault } = Emulator

const withFaults = (...faults: ReadonlyArray<Emulator.Fault.Fault>) =>
  Effect.provide(
    Emulator.layer({ endpoints: { a: {}, b: {}, slow: { execution: "5 seconds" } }, faults, limits: unlimited })
  )

const health = get("/v2/a/health")
const run = post("/v2/a/run", { input: { n: 1 } })
const submitted = Effect.flatMap(Emulator.Emulator, (emulator) =>
  Effect.map(emulator.counts, (counts) => counts.submitted)
)
const statuses = (times: number) =>
  Effect.map(Effect.replicateEffect(health, times), (replies) => replies.map(({ status }) => status))

describe("which requests a fault applies to", () => {
  it.effect("`after` spares the first requests, `times` bounds how many it applies to", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* statuses(5), [200, 503, 503, 200, 200])
    }).pipe(withFaults(Fault.serverError({ after: 1, times: 2 })))
  )

  it.effect("`operations` and `endpoints` narrow it", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* get("/v2/b/health")).status, 503)
      assert.strictEqual((yield* health).status, 200)
      assert.strictEqual((yield* get("/v2/b/requests")).status, 200)
    }).pipe(withFaults(Fault.serverError({ operations: ["health"], endpoints: ["b"] })))
  )

  it.effect("`rate` is about the share it applies to, the same requests for the same seed", () =>
    Effect.gen(function* () {
      const once = statuses(400).pipe(withFaults(Fault.serverError({ rate: 0.25 })))
      const first = yield* once
      const applied = first.filter((status) => status === 503).length
      assert.isTrue(applied > 70 && applied < 130, `${applied} of 400`)
      assert.deepStrictEqual(yield* once, first)
    })
  )

  it.effect("the first fault that applies decides the response", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      assert.deepStrictEqual(yield* statuses(3), [503, 429, 200])
      assert.deepStrictEqual((yield* emulator.counts).faults, { ServerError: 1, RateLimited: 1 })
      assert.deepStrictEqual(
        (yield* emulator.requests).map(({ fault }) => fault),
        ["ServerError", "RateLimited", undefined]
      )
    }).pipe(withFaults(Fault.serverError({ times: 1 }), Fault.rateLimited({ times: 1 })))
  )

  it.effect("faults can be replaced while the emulator runs", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      assert.deepStrictEqual(yield* emulator.faults, [])
      const faults = [Fault.serverError({ times: 1 })]
      yield* emulator.setFaults(faults)
      assert.deepStrictEqual(yield* statuses(2), [503, 200])
      yield* emulator.setFaults(faults)
      assert.deepStrictEqual(yield* statuses(2), [503, 200])
      yield* emulator.setFaults([Fault.serverError()])
      yield* emulator.setFaults([])
      assert.deepStrictEqual(yield* statuses(1), [200])
    }).pipe(withFaults())
  )
})

describe("faults that answer", () => {
  it.effect("429 with Retry-After in seconds or as a date", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 0, 2, 3, 4, 5))
      assert.strictEqual((yield* health).retryAfter, "2")
      assert.strictEqual((yield* health).retryAfter, "Fri, 02 Jan 2026 03:05:05 GMT")
      assert.strictEqual((yield* health).retryAfter, undefined)
    }).pipe(
      withFaults(
        Fault.rateLimited({ retryAfter: "1500 millis", times: 1 }),
        Fault.rateLimited({ retryAfter: "1 minute", as: "date", times: 1 }),
        Fault.rateLimited()
      )
    )
  )

  const answers: ReadonlyArray<
    readonly [name: string, fault: Emulator.Fault.Fault, status: number, type: string | undefined, text: RegExp]
  > = [
    [
      "5xx with JSON",
      Fault.serverError({ status: 500 }),
      500,
      "application/json",
      /^\{"status":500,"title":"Internal Server Error"\}$/
    ],
    ["5xx with HTML", Fault.serverError({ body: "html" }), 503, "text/html; charset=UTF-8", /^<!DOCTYPE html>/],
    [
      "5xx with text",
      Fault.serverError({ status: 502, body: "text" }),
      502,
      "text/plain; charset=UTF-8",
      /^error code: 502$/
    ],
    ["5xx without a body", Fault.serverError({ body: "empty" }), 503, undefined, /^$/],
    ["HTML on 200", Fault.htmlOk(), 200, "text/html; charset=UTF-8", /^<!DOCTYPE html>/],
    ["nothing on 200", Fault.emptyOk(), 200, undefined, /^$/],
    ["a paused endpoint", Fault.paused(), 409, "application/json", /"code":"ENDPOINT_PAUSED"/]
  ]
  for (const [name, fault, status, type, text] of answers) {
    it.effect(`${name}, and no job is started`, () =>
      Effect.gen(function* () {
        const reply = yield* run
        assert.deepStrictEqual([reply.status, reply.type], [status, type])
        assert.match(reply.text, text)
        assert.strictEqual(yield* submitted, 0)
      }).pipe(withFaults(fault))
    )
  }

  it.effect("`processed` starts the job before its answer is lost", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* run).status, 503)
      assert.strictEqual((yield* run).text, "")
      assert.strictEqual(yield* submitted, 2)
    }).pipe(withFaults(Fault.serverError({ processed: true, times: 1 }), Fault.emptyOk({ processed: true })))
  )

  it.effect("a paused endpoint still answers reads of its jobs", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* health).status, 200)
    }).pipe(withFaults(Fault.paused()))
  )

  it.effect("half of the JSON in a whole response", () =>
    Effect.gen(function* () {
      const { status, text } = yield* run
      assert.strictEqual(status, 200)
      assert.match(text, /^\{"id":"/)
      assert.throws(() => JSON.parse(text))
      assert.strictEqual(yield* submitted, 1)
    }).pipe(withFaults(Fault.truncated()))
  )

  it.effect("a job that cannot be seen while it is young", () =>
    Effect.gen(function* () {
      const id = yield* submit("a")
      assert.strictEqual(
        (yield* get(`/v2/a/status/${id}`)).text,
        `{"status":404,"title":"Not Found","detail":"job not found"}`
      )
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* read("a", id))["status"], "COMPLETED")
    }).pipe(withFaults(Fault.notVisibleYet({ for: "2 seconds" })))
  )

  it.effect("a late answer to a request that was acted on at once", () =>
    Effect.gen(function* () {
      const late = yield* Effect.fork(run)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* submitted, 1)
      assert.isTrue(Option.isNone(yield* Fiber.poll(late)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* late).status, 200)
    }).pipe(withFaults(Fault.delay({ by: "3 seconds" })))
  )
})

describe("faults that do not answer", () => {
  const code = (error: unknown) =>
    error instanceof HttpClientError.RequestError && error.reason === "Transport"
      ? Reflect.get(Object(error.cause), "code")
      : error

  it.effect("a reset before the request is looked at starts nothing", () =>
    Effect.gen(function* () {
      assert.strictEqual(code(yield* Effect.flip(run)), "ECONNRESET")
      assert.strictEqual(yield* submitted, 0)
    }).pipe(withFaults(Fault.resetBefore()))
  )

  it.effect("a reset after it was acted on leaves a job behind", () =>
    Effect.gen(function* () {
      assert.strictEqual(code(yield* Effect.flip(run)), "ECONNRESET")
      assert.strictEqual(yield* submitted, 1)
    }).pipe(withFaults(Fault.resetAfter()))
  )

  for (const processed of [false, true]) {
    it.effect(`no answer at all, the request ${processed ? "" : "not "}acted on`, () =>
      Effect.gen(function* () {
        const hung = yield* Effect.fork(run)
        yield* TestClock.adjust("1 hour")
        assert.isTrue(Option.isNone(yield* Fiber.poll(hung)))
        assert.strictEqual(yield* submitted, processed ? 1 : 0)
        yield* Fiber.interrupt(hung)
        const emulator = yield* Emulator.Emulator
        assert.deepInclude((yield* emulator.counts).byOperation.run, { inFlight: 0, byStatus: {} })
      }).pipe(withFaults(Fault.hang({ processed })))
    )
  }

  it.effect("a body that stops in the middle and never ends", () =>
    Effect.gen(function* () {
      const stalled = yield* Effect.fork(run)
      yield* TestClock.adjust("1 hour")
      assert.isTrue(Option.isNone(yield* Fiber.poll(stalled)))
      assert.strictEqual(yield* submitted, 1)
    }).pipe(withFaults(Fault.stall()))
  )

  it.effect("a body that is cut off", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(run)
      assert.isTrue(error instanceof HttpClientError.ResponseError && error.reason === "Decode")
      assert.strictEqual(yield* submitted, 1)
    }).pipe(withFaults(Fault.cutBody()))
  )
})

describe("faults of jobs", () => {
  it.effect("a job loses its output, the next keeps it", () =>
    Effect.gen(function* () {
      const [lost, kept] = [yield* submit("a"), yield* submit("a")]
      assert.notProperty(yield* read("a", lost), "output")
      assert.strictEqual((yield* read("a", lost))["status"], "COMPLETED")
      assert.deepInclude(yield* read("a", kept), { output: { n: 1 } })
    }).pipe(withFaults(Fault.outputMissing({ times: 1 })))
  )

  it.effect("a finished job stays IN_PROGRESS for ever, its worker free again", () =>
    Effect.gen(function* () {
      const id = yield* submit("slow")
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* read("slow", id), {
        status: "IN_PROGRESS",
        delayTime: 0,
        executionTime: 5000,
        output: "step 9"
      })
      assert.include((yield* get("/v2/slow/health")).text, `"inProgress":0`)
      assert.strictEqual((yield* look("slow", id)).finishedAt, 5000)
      const held = yield* Effect.fork(get(`/v2/slow/status-sync/${id}?wait=1000`))
      yield* TestClock.adjust("1 second")
      assert.include((yield* held).text, `"status":"IN_PROGRESS"`)
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual((yield* get(`/v2/slow/status/${id}`)).status, 404)
    }).pipe(withFaults(Fault.lateProgress({ value: "step 9" })))
  )
})

describe("our client against the faults", () => {
  const withClient = (...faults: ReadonlyArray<Emulator.Fault.Fault>) =>
    Effect.provide(Emulator.layerRunPod({ endpoints: { a: {} }, faults }))

  const outcomes: ReadonlyArray<readonly [fault: Emulator.Fault.Fault, tag: string, submitted: number]> = [
    [Fault.resetBefore(), "SubmitAmbiguousError", 0],
    [Fault.resetAfter(), "SubmitAmbiguousError", 1],
    [Fault.stall(), "SubmitAmbiguousError", 1],
    [Fault.hang(), "SubmitAmbiguousError", 0],
    [Fault.cutBody(), "SubmitAmbiguousError", 1],
    [Fault.truncated(), "SubmitAmbiguousError", 1],
    [Fault.htmlOk(), "SubmitAmbiguousError", 0],
    [Fault.emptyOk(), "SubmitAmbiguousError", 0],
    [Fault.serverError(), "SubmitAmbiguousError", 0],
    [Fault.paused(), "EndpointPausedError", 0],
    [Fault.rateLimited({ retryAfter: Duration.hours(1) }), "RateLimitedError", 0]
  ]
  for (const [fault, tag, count] of outcomes) {
    it.effect(`${fault._tag} of a submit is ${tag}`, () =>
      Effect.gen(function* () {
        const runPod = yield* RunPod
        const running = yield* Effect.fork(Effect.flip(runPod.run("a", { input: { n: 1 } })))
        yield* TestClock.adjust("1 day")
        assert.strictEqual((yield* running)._tag, tag)
        assert.strictEqual(yield* submitted, count)
      }).pipe(withClient(fault))
    )
  }
})
