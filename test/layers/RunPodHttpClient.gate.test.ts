import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"
import { anyJob, good, job, request, status, text } from "../support/pipeline.js"

const exact = RetryPolicy.make({ jitter: "none", maxAttempts: 4 })

const unlimited = { limits: RateLimits.unlimited }

describe("RunPodHttpClient: the gate of a 429", () => {
  const program = <A, E>(
    transport: ReturnType<typeof Scripted.make>,
    effect: Effect.Effect<A, E, RunPod.RunPod>,
    options: Partial<RunPod.Options> = {}
  ) => finish(Effect.provide(effect, transport.layer({ ...unlimited, retry: exact, ...options })))

  for (const [throttleBase, times] of [
    ["100 millis", [0, 1_000, 3_000]],
    ["1 second", [0, 1_000, 3_000]],
    ["4 seconds", [0, 4_000, 12_000]]
  ] as const) {
    it.effect(`overlaps a backoff of ${throttleBase}: the later of both counts, not their sum`, () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(429), text(429), job])
        yield* program(transport, status(), { retry: RetryPolicy.make({ jitter: "none", throttleBase }) })
        assert.deepStrictEqual(transport.times(), [...times])
      })
    )
  }

  it.effect("stays closed longer each time: 1 second, doubled up to a minute, and 1 second again once it is open", () =>
    Effect.gen(function* () {
      const refusals = 9
      let count = 0
      const transport = Scripted.make(() => (count++ < refusals || count === 20 ? text(429) : job))
      const retry = RetryPolicy.make({ jitter: "none", throttleBase: 1, cap: 1, maxAttempts: 20 })
      const one = status()
      // The gate opens fully with its ninth answer: 1, 2, 4, … 256 requests in flight, and then all.
      const more = Effect.forEach(Array.from({ length: 10 }), () => status())
      yield* program(transport, Effect.zipRight(one, more), { retry })
      const at = [0, 1, 3, 7, 15, 31, 63, 123, 183, 243].map((seconds) => seconds * 1_000)
      assert.deepStrictEqual(transport.times().slice(0, 10), at)
      assert.deepStrictEqual([...new Set(transport.times().slice(10))], [243_000, 244_000])
    })
  )

  it.effect("does not stay closed longer for refusals with good answers between them", () =>
    Effect.gen(function* () {
      let count = 0
      const transport = Scripted.make(() => (count++ % 2 === 0 ? text(429) : job))
      const retry = RetryPolicy.make({ jitter: "none", throttleBase: 1, cap: 1 })
      yield* program(
        transport,
        Effect.forEach([1, 2, 3, 4], () => status()),
        { retry }
      )
      assert.deepStrictEqual(transport.times(), [0, 1_000, 1_000, 2_000, 2_000, 3_000, 3_000, 4_000])
    })
  )

  it.effect("delays only its own endpoint and operation", () =>
    Effect.gen(function* () {
      let refusals = 0
      const transport = Scripted.make((asked) => {
        const isOurs = asked.url === "/v2/ep/status/job-1" && refusals++ === 0
        if (isOurs) return text(429, { "retry-after": "10" })
        return asked.url.includes("health") ? good.health : asked.url.includes("/run") ? job : anyJob
      })
      const others = Effect.gen(function* () {
        const runPod = yield* RunPod.RunPod
        yield* Effect.sleep("1 second")
        yield* runPod.status("ep2", "job-1")
        yield* runPod.statusSync("ep", "job-1")
        yield* runPod.run("ep", request)
        yield* runPod.health("ep")
        yield* runPod.status("ep", "job-2")
      })
      yield* program(transport, Effect.all([status(), others], { concurrency: "unbounded" }))
      assert.deepStrictEqual(
        transport.asked.map(({ at, url }) => [url, at]),
        [
          ["/v2/ep/status/job-1", 0],
          ["/v2/ep2/status/job-1", 1_000],
          ["/v2/ep/status-sync/job-1", 1_000],
          ["/v2/ep/run", 1_000],
          ["/v2/ep/health", 1_000],
          // First come, first served: job-2 stood in line while job-1 waited for its retry.
          ["/v2/ep/status/job-2", 10_000],
          ["/v2/ep/status/job-1", 10_000]
        ]
      )
    })
  )

  it.effect("holds back all requests of its key, also those that waited in line before", () =>
    Effect.gen(function* () {
      const transport = Scripted.make((asked) => (asked.at === 0 ? text(429, { "retry-after": "7" }) : anyJob), 100)
      const limits = RateLimits.make({ status: { concurrency: 1 } })
      yield* program(
        transport,
        Effect.forEach(["a", "b", "c"], (jobId) => status("ep", jobId), { concurrency: "unbounded" }),
        { limits }
      )
      assert.strictEqual(transport.times()[0], 0)
      assert.isTrue(
        transport
          .times()
          .slice(1)
          .every((at) => at >= 7_100)
      )
    })
  )

  it.effect("opens slowly: one request, then twice as many with every answer", () =>
    Effect.gen(function* () {
      const transport = Scripted.make((asked) => (asked.at === 0 ? text(429, { "retry-after": "10" }) : anyJob), 1_000)
      const jobs = Array.from({ length: 12 }, (_, i) => `job-${i}`)
      const later = Effect.delay(
        Effect.forEach(jobs, (id) => status("ep", id), { concurrency: "unbounded" }),
        2_000
      )
      yield* program(transport, Effect.all([status(), later], { concurrency: 2 }))
      // The first answer came at 1 second.
      const counts = [11_000, 12_000, 13_000, 14_000].map(
        (at) => transport.times().filter((time) => time === at).length
      )
      assert.deepStrictEqual(counts, [1, 2, 8, 2])
    })
  )

  it.effect("several answers 429 to requests sent together close it once", () =>
    Effect.gen(function* () {
      const transport = Scripted.make((asked) => (asked.at === 0 ? text(429) : anyJob))
      const three = Effect.forEach(["a", "b", "c"], (jobId) => status("ep", jobId), { concurrency: "unbounded" })
      yield* program(transport, three)
      assert.deepStrictEqual(transport.times(), [0, 0, 0, 1_000, 1_000, 1_000])
    })
  )

  it.effect("a failed attempt that proves nothing to it leaves it as it is", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([text(429, { "retry-after": "2" }), "reset", job, job])
      yield* program(transport, Effect.zipRight(status(), status()))
      assert.deepStrictEqual(transport.times(), [0, 2_000, 2_500, 2_500])
    })
  )
})
