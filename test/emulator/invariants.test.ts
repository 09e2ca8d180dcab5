import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Core from "../../src/emulator/internal/core.js"
import { unlimited } from "../../src/layers/RateLimits.js"
import { get, post } from "./support.js"

const endpoints: Emulator.Options["endpoints"] = {
  model: { workers: 2, coldStart: { min: 0, max: 2000 }, execution: { min: 0, max: 8000 }, idleTimeout: "1 second" },
  handler: {
    workers: 3,
    concurrency: 2,
    coldStart: "1 second",
    handler: ({ n }, job) => {
      if (Number(n) % 5 === 0) return Effect.fail(new Error("fifth"))
      if (Number(n) % 5 === 1) return Stream.schedule(Stream.range(0, 4), Schedule.spaced("700 millis"))
      return Effect.zipRight(
        job.progress("half"),
        // An interruption takes it 500 ms.
        Effect.onInterrupt(Effect.delay(Effect.succeed({ n }), "3 seconds"), () => Effect.sleep("500 millis"))
      )
    }
  }
}

const step = FastCheck.oneof(
  { weight: 5, arbitrary: FastCheck.record({ do: FastCheck.constant("run" as const), n: FastCheck.nat(99) }) },
  { weight: 1, arbitrary: FastCheck.record({ do: FastCheck.constant("empty" as const), n: FastCheck.nat(99) }) },
  { weight: 1, arbitrary: FastCheck.record({ do: FastCheck.constant("shortLived" as const), n: FastCheck.nat(99) }) },
  { weight: 1, arbitrary: FastCheck.record({ do: FastCheck.constant("limited" as const), n: FastCheck.nat(99) }) },
  { weight: 2, arbitrary: FastCheck.record({ do: FastCheck.constant("cancel" as const), n: FastCheck.nat(99) }) },
  { weight: 2, arbitrary: FastCheck.record({ do: FastCheck.constant("retry" as const), n: FastCheck.nat(99) }) },
  { weight: 1, arbitrary: FastCheck.record({ do: FastCheck.constant("end" as const), n: FastCheck.nat(99) }) },
  { weight: 1, arbitrary: FastCheck.record({ do: FastCheck.constant("purge" as const), n: FastCheck.nat(99) }) },
  { weight: 1, arbitrary: FastCheck.record({ do: FastCheck.constant("workers" as const), n: FastCheck.nat(4) }) },
  { weight: 1, arbitrary: FastCheck.record({ do: FastCheck.constant("batch" as const), n: FastCheck.nat(5) }) },
  { weight: 4, arbitrary: FastCheck.record({ do: FastCheck.constant("wait" as const), n: FastCheck.nat(9000) }) }
)

type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never

const json = (reply: ReturnType<typeof get>) => Effect.map(reply, ({ text }) => JSON.parse(text))

const take = (endpointId: string, { do: name, n }: Step, ids: Array<string>) =>
  Effect.gen(function* () {
    const emulator = yield* Emulator.Emulator
    const id = ids[n % Math.max(1, ids.length)] ?? "none"
    const run = (body: object) => Effect.map(json(post(`/${endpointId}/run`, body)), (job) => ids.push(job.id))
    switch (name) {
      case "run":
        return yield* run({ input: { n }, policy: { lowPriority: n % 7 === 0 } })
      case "empty":
        return yield* run({ input: {} })
      case "shortLived":
        return yield* run({ input: { n }, policy: { ttl: 10_000 } })
      case "limited":
        return yield* run({ input: { n }, policy: { executionTimeout: 5000 } })
      case "cancel":
      case "retry":
        return yield* post(`/${endpointId}/${name}/${id}`)
      case "end":
        return yield* emulator.end(endpointId, id, { status: "TIMED_OUT" })
      case "purge":
        return yield* post(`/${endpointId}/purge-queue`)
      case "workers":
        return yield* emulator.setWorkers(endpointId, { max: n + 1, min: n >> 1, throttled: n % 2 })
      case "batch": {
        const batch = yield* json(
          post(
            `/${endpointId}/batch`,
            Array.from({ length: n }, (_, i) => ({ input: { n: i } }))
          )
        )
        if (typeof batch.id === "string") yield* post(`/${endpointId}/batch/${batch.id}/finalize`)
        return
      }
      case "wait":
        return yield* TestClock.adjust(n)
    }
  })

/** What holds at any moment: health counts the jobs there are, and the fields of a job fit its status. */
const check = (endpointId: string) =>
  Effect.gen(function* () {
    const emulator = yield* Emulator.Emulator
    const jobs = yield* emulator.jobs(endpointId)
    const health = yield* json(get(`/${endpointId}/health`))
    const count = (status: string) => jobs.filter((job) => job.status === status).length
    assert.strictEqual(health.jobs.inQueue, count("IN_QUEUE"))
    // The handler of a cancelled job may still be ending, and counts until then.
    assert.isAtLeast(health.jobs.inProgress, count("IN_PROGRESS"))
    for (const job of jobs) {
      const isEnded = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"].includes(job.status)
      assert.strictEqual(job.finishedAt !== undefined, isEnded, job.status)
      assert.strictEqual(job.executionTime !== undefined, isEnded && job.startedAt !== undefined)
      assert.strictEqual(job.delayTime !== undefined, job.startedAt !== undefined)
      assert.strictEqual(job.workerId !== undefined, job.startedAt !== undefined)
      if (job.status === "IN_QUEUE") assert.isUndefined(job.startedAt)
      if (job.status === "COMPLETED") assert.isUndefined(job.error)
    }
  })

describe("whatever is done to an endpoint", () => {
  for (const endpointId of Object.keys(endpoints)) {
    it.effect.prop(
      `health and the jobs agree, and in the end every job has ended and every worker is free: ${endpointId}`,
      { steps: FastCheck.array(step, { maxLength: 40, size: "max" }) },
      ({ steps }) =>
        Effect.gen(function* () {
          const emulator = yield* Emulator.Emulator
          const ids: Array<string> = []
          for (const next of steps) {
            yield* take(endpointId, next, ids)
            yield* check(endpointId)
          }
          yield* emulator.setWorkers(endpointId, 2)
          yield* TestClock.adjust("20 minutes")
          yield* check(endpointId)
          const { jobs, workers } = yield* json(get(`/${endpointId}/health`))
          assert.deepInclude(jobs, { inQueue: 0, inProgress: 0 })
          assert.deepStrictEqual(workers, {
            idle: 0,
            initializing: 0,
            ready: 0,
            running: 0,
            throttled: 0,
            unhealthy: 0
          })
          yield* TestClock.adjust("31 minutes")
          assert.deepStrictEqual(yield* emulator.jobs(endpointId), [])
        }).pipe(Effect.provide(Emulator.layer({ endpoints, limits: unlimited }))),
      { fastCheck: { numRuns: 12 } }
    )
  }
})

describe("whatever is sent", () => {
  const segment = FastCheck.oneof(
    FastCheck.constantFrom(
      "v2",
      "model",
      "handler",
      "run",
      "runsync",
      "status",
      "stream",
      "batch",
      "requests",
      "cancel"
    ),
    FastCheck.constantFrom("finalize", "health", "retry", "purge-queue", "", ".", "..", "%", "%2", "%00", "a%2Fb"),
    FastCheck.webSegment()
  )
  const endpointId = FastCheck.constantFrom("model", "handler")
  const target = FastCheck.oneof(
    FastCheck.array(segment, { maxLength: 6 }),
    FastCheck.tuple(endpointId, FastCheck.constantFrom("run", "runsync", "batch", "requests", "health", "purge-queue")),
    FastCheck.tuple(endpointId, FastCheck.constantFrom("status", "status-sync", "stream", "cancel", "retry"), segment),
    FastCheck.tuple(endpointId, FastCheck.constant("batch"), segment, FastCheck.constantFrom("requests", "finalize"))
  )
  const query = FastCheck.oneof(
    FastCheck.constantFrom("wait=1000", "wait=0", "wait=", "offset=1&limit=1", "limit=99999999999", "offset=-1", "%%%"),
    FastCheck.webQueryParameters()
  )
  const value = FastCheck.jsonValue({ depthSize: "small" })
  const body = FastCheck.oneof(
    FastCheck.string(),
    value.map((json) => JSON.stringify(json)),
    FastCheck.record(
      { input: value, policy: value, webhook: value, s3Config: value, requests: FastCheck.array(value), name: value },
      { requiredKeys: [] }
    ).map((json) => JSON.stringify(json)),
    FastCheck.array(FastCheck.record({ input: FastCheck.dictionary(FastCheck.string(), value), policy: value })).map(
      (json) => JSON.stringify(json)
    )
  )

  it.scoped.prop(
    "is answered, in JSON or with an empty body, with a status that RunPod has",
    {
      method: FastCheck.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH"),
      segments: target,
      query,
      body
    },
    ({ body, method, query, segments }) =>
      Effect.gen(function* () {
        const core = yield* Core.make({ endpoints, limits: unlimited }, () => Effect.succeed(200))
        const answering = yield* Effect.fork(
          core.handle({
            method,
            target: `/${segments.join("/")}?${query}`,
            host: "anywhere.test",
            headers: {},
            authorization: "Bearer key",
            readBody: () => Effect.succeed(body),
            readBytes: () => Effect.succeed(new TextEncoder().encode(body))
          })
        )
        yield* TestClock.adjust("5 minutes")
        const transmission = yield* answering
        assert(transmission._tag === "Whole")
        const { response } = transmission
        assert.include([200, 204, 400, 404, 405], response.status)
        assert(typeof response.body === "string")
        if (response.body !== "") assert.isObject(JSON.parse(response.body))
      }),
    { fastCheck: { numRuns: 80 } }
  )
})
