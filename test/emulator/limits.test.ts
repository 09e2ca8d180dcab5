import { assert, describe, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import { RunPod } from "../../src/services/RunPod.js"
import { get, post, submit } from "./support.js"

const statuses = (request: ReturnType<typeof get>, times: number) =>
  Effect.map(Effect.replicateEffect(request, times), (replies) => replies.map(({ status }) => status))

describe("the documented limits", () => {
  it.effect("two purges in any ten seconds, and a refusal costs nothing", () =>
    Effect.gen(function* () {
      const purge = post("/v2/a/purge-queue")
      assert.strictEqual((yield* purge).status, 200)
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(yield* statuses(purge, 3), [200, 429, 429])
      yield* TestClock.adjust("3999 millis")
      assert.strictEqual((yield* purge).status, 429)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* statuses(purge, 2), [200, 429])
    }).pipe(Effect.provide(Emulator.layer({ endpoints: { a: {} } })))
  )

  it.effect("a 429 has neither body nor Retry-After", () =>
    Effect.gen(function* () {
      yield* statuses(post("/v2/a/purge-queue"), 2)
      assert.deepStrictEqual(yield* post("/v2/a/purge-queue"), {
        status: 429,
        type: undefined,
        text: "",
        retryAfter: undefined
      })
    }).pipe(Effect.provide(Emulator.layer({ endpoints: { a: {} } })))
  )

  it.effect("they hold for each endpoint and each operation by itself", () =>
    Effect.gen(function* () {
      yield* statuses(post("/v2/a/purge-queue"), 3)
      assert.strictEqual((yield* post("/v2/b/purge-queue")).status, 200)
      assert.strictEqual((yield* get("/v2/a/health")).status, 200)
    }).pipe(Effect.provide(Emulator.layer({ endpoints: { a: {}, b: {} } })))
  )

  it.effect("held requests are in flight as long as they are held", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* submit("a")
      const hold = get(`/v2/a/status-sync/${id}?wait=5000`)
      yield* Effect.forkAll(Array.from({ length: 400 }, () => hold))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* hold).status, 429)
      assert.deepInclude((yield* emulator.counts).byOperation.statusSync, { inFlight: 400, maxInFlight: 400 })
      yield* TestClock.adjust("4 seconds")
      const { byOperation, rateLimited } = yield* emulator.counts
      assert.deepInclude(byOperation.statusSync, { inFlight: 0, byStatus: { 200: 400, 429: 1 } })
      assert.strictEqual(rateLimited, 1)
      yield* Effect.fork(hold)
    }).pipe(Effect.provide(Emulator.layer({ endpoints: { a: { execution: "1 hour" } } })))
  )
})

describe("other limits", () => {
  it.effect("an overall window counts all endpoints and operations together", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* statuses(get("/v2/a/health"), 2), [200, 200])
      assert.deepStrictEqual(yield* statuses(get("/v2/b/requests"), 2), [200, 429])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* get("/v2/a/health")).status, 200)
    }).pipe(
      Effect.provide(
        Emulator.layer({
          endpoints: { a: {}, b: {} },
          limits: RateLimits.uniform({ limit: 3, window: "1 minute" })
        })
      )
    )
  )

  it.effect("unlimited lets everything through", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* statuses(post("/v2/a/purge-queue"), 5), [200, 200, 200, 200, 200])
    }).pipe(Effect.provide(Emulator.layer({ endpoints: { a: {} }, limits: RateLimits.unlimited })))
  )

  it.effect("our client stays within the documented ones by itself", () =>
    Effect.gen(function* () {
      const runPod = yield* RunPod
      const emulator = yield* Emulator.Emulator
      const purges = yield* Effect.fork(Effect.replicateEffect(runPod.purgeQueue("a"), 5))
      yield* TestClock.adjust("30 seconds")
      yield* purges
      assert.strictEqual((yield* emulator.counts).rateLimited, 0)
    }).pipe(Effect.provide(Emulator.layerRunPod({ endpoints: { a: {} } })))
  )
})
