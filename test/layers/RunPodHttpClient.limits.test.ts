import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import type * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import { anyJob, call, good, job, type Operation, operations, status, text } from "../support/pipeline.js"
import * as Scripted from "../support/scripted.js"

/** When each of so many requests of an operation was made, all of them asked for at once. */
const timesOf = (
  operation: Operation,
  count: number,
  limits: RateLimits.RateLimits,
  latency: Parameters<typeof Scripted.make>[1] = 0
) =>
  Effect.gen(function* () {
    const transport = Scripted.make([good[operation]], latency)
    const all = Effect.forEach(Array.from({ length: count }), () => call(operation), { concurrency: "unbounded" })
    yield* finish(Effect.provide(all, transport.layer({ limits })))
    return transport.times()
  })

/** How many of the times are which, in order. */
const tally = (times: ReadonlyArray<number>): ReadonlyArray<readonly [at: number, count: number]> => {
  const counts = new Map<number, number>()
  for (const at of times) counts.set(at, (counts.get(at) ?? 0) + 1)
  return [...counts].sort(([a], [b]) => a - b)
}

describe("RunPodHttpClient: limits", () => {
  describe("the window", () => {
    const limits = RateLimits.make({ status: { limit: 3, window: "10 seconds", concurrency: Infinity } })

    it.effect("admits its limit at once and the same again when the first leave it", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(tally(yield* timesOf("status", 8, limits)), [
          [0, 3],
          [10_000, 3],
          [20_000, 2]
        ])
      })
    )

    it.effect("slides: each request makes room a whole window after its own start", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([job])
        const later = (seconds: number) => Effect.delay(status(), `${seconds} seconds`)
        const all = Effect.all([0, 4, 9, 9, 9, 9].map(later), { concurrency: "unbounded" })
        yield* finish(Effect.provide(all, transport.layer({ limits })))
        assert.deepStrictEqual(transport.times(), [0, 4_000, 9_000, 10_000, 14_000, 19_000])
      })
    )

    it.effect("counts a request from its answer on, since it may have arrived as late as that", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(tally(yield* timesOf("status", 6, limits, "800 millis")), [
          [0, 3],
          [10_800, 3]
        ])
      })
    )

    it.effect("counts one whose answer may be held from its start on", () =>
      Effect.gen(function* () {
        const { runSync } = RateLimits.make({ runSync: { limit: 3, window: "10 seconds" } }).operations
        const held = { ...limits, operations: { ...limits.operations, runSync } }
        assert.deepStrictEqual(tally(yield* timesOf("runSync", 6, held, "3 seconds")), [
          [0, 3],
          [10_000, 3]
        ])
      })
    )

    it.effect("counts every attempt", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(503), text(503), text(503), job])
        const retry = RetryPolicy.make({ jitter: "none", base: "1 second", factor: 1 })
        yield* finish(Effect.provide(status(), transport.layer({ limits, retry })))
        assert.deepStrictEqual(transport.times(), [0, 1_000, 2_000, 10_000])
      })
    )

    it.effect("has room for what its endpoint and operation have, others have their own", () =>
      Effect.gen(function* () {
        const transport = Scripted.make(({ url }) => (url.endsWith("health") ? good.health : job))
        const some = [status("a"), status("a"), status("a"), status("a"), status("b"), call("health", "a")]
        yield* finish(Effect.provide(Effect.all(some, { concurrency: "unbounded" }), transport.layer({ limits })))
        assert.deepStrictEqual(tally(transport.times()), [
          [0, 5],
          [10_000, 1]
        ])
      })
    )
  })

  describe("the requests in flight", () => {
    const limits = RateLimits.make({ status: { limit: Infinity, concurrency: 2 } })

    it.effect("are no more than the limit, until their answers have come", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(tally(yield* timesOf("status", 5, limits, "3 seconds")), [
          [0, 2],
          [3_000, 2],
          [6_000, 1]
        ])
      })
    )

    it.effect("are sent in the order they were asked for", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([anyJob], "1 second")
        const names = Array.from({ length: 9 }, (_, i) => `job-${i}`)
        const all = Effect.forEach(names, (name) => status("ep", name), { concurrency: "unbounded" })
        yield* finish(Effect.provide(all, transport.layer({ limits })))
        assert.deepStrictEqual(
          transport.asked.map(({ url }) => url.split("/").at(-1)),
          names
        )
      })
    )

    it.effect("keep their place while the body comes, and give it back while a retry waits", () =>
      Effect.gen(function* () {
        const one = RateLimits.make({ status: { limit: Infinity, concurrency: 1 } })
        const slow = { status: 503, stream: Scripted.drip("wait", "1 second") }
        const transport = Scripted.make([slow, anyJob])
        const retry = RetryPolicy.make({ jitter: "none", base: "5 seconds" })
        const two = Effect.all([status("ep", "a"), status("ep", "b")], { concurrency: "unbounded" })
        yield* finish(Effect.provide(two, transport.layer({ limits: one, retry })))
        assert.deepStrictEqual(
          transport.asked.map(({ at, url }) => [url.split("/").at(-1), at]),
          [
            ["a", 0],
            ["b", 4_000],
            ["a", 9_000]
          ]
        )
      })
    )
  })

  describe("the documented ones, the default", () => {
    // By RunPod's table, with windows 0.2 % longer, and 2 % where answers may be held.
    const table: ReadonlyArray<readonly [Operation, count: number, second: number]> = [
      ["stream", 2_000, 10_200],
      ["cancel", 100, 10_020],
      ["purgeQueue", 2, 10_020],
      ["requests", 10, 10_020]
    ]

    for (const [operation, limit, next] of table) {
      it.effect(`let ${limit} of ${operation} through in ${next / 1000} seconds`, () =>
        Effect.gen(function* () {
          const times = yield* timesOf(operation, limit + 1, RateLimits.documented)
          assert.deepStrictEqual(tally(times), [
            [0, limit],
            [next, 1]
          ])
        })
      )
    }

    it.effect("let so many of an operation be in flight", () =>
      Effect.gen(function* () {
        for (const [operation, limit] of [
          ["requests", 2],
          ["cancel", 20],
          ["run", 200]
        ] as const) {
          const times = yield* timesOf(operation, limit + 1, RateLimits.documented, "1 second")
          const start = times[0] ?? 0
          const expected = [
            [start, limit],
            [start + 1_000, 1]
          ] as const
          assert.deepStrictEqual(tally(times), expected, operation)
        }
      })
    )

    it.effect("do not limit retry and health", () =>
      Effect.gen(function* () {
        for (const operation of ["retry", "health"] as const) {
          const times = yield* timesOf(operation, 60, RateLimits.documented, "1 second")
          assert.strictEqual(new Set(times).size, 1, operation)
        }
      })
    )
  })

  it.effect("`uniform` is one window over all endpoints and operations, and says nothing of requests in flight", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(({ url }) => {
        const path = url.split("/")[3] ?? ""
        return path === "health" ? good.health : path === "purge-queue" ? good.purgeQueue : job
      }, "1 minute")
      const limits = RateLimits.uniform({ limit: 4, window: "60 seconds" })
      const once = [status("a"), status("b"), call("run", "a"), call("health", "c"), call("purgeQueue", "a")]
      const all = Effect.all([...once, ...once], { concurrency: "unbounded" })
      yield* finish(Effect.provide(all, transport.layer({ limits, requestTimeout: "2 minutes" })))
      assert.deepStrictEqual(tally(transport.times()), [
        [0, 4],
        [60_000, 4],
        [120_000, 2]
      ])
    })
  )

  describe("`unlimited`", () => {
    it.effect("sends everything at once", () =>
      Effect.gen(function* () {
        const names = operations.flatMap((operation) => Array.from({ length: 20 }, () => operation))
        const transport = Scripted.make(({ url }) => (url.includes("/stream/") ? good.stream : job), "1 second")
        const all = Effect.forEach(names, (name) => Effect.exit(call(name)), { concurrency: "unbounded" })
        yield* finish(Effect.provide(all, transport.layer({ limits: RateLimits.unlimited })))
        assert.deepStrictEqual(tally(transport.times()), [[0, 200]])
      })
    )

    it.effect("keeps the gate of a 429", () =>
      Effect.gen(function* () {
        const transport = Scripted.make(({ at }) => (at === 0 ? text(429, { "retry-after": "7" }) : job))
        const all: ReadonlyArray<Effect.Effect<unknown, unknown, RunPod.RunPod>> = [
          status(),
          Effect.delay(status(), "1 second"),
          Effect.delay(status(), "2 seconds")
        ]
        yield* finish(
          Effect.provide(
            Effect.all(all, { concurrency: "unbounded" }),
            transport.layer({ limits: RateLimits.unlimited })
          )
        )
        assert.deepStrictEqual(transport.times(), [0, 7_000, 7_000, 7_000])
      })
    )
  })
})
