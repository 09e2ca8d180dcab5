/** Waits for a job that stays in the queue: why, as far as `/health` tells. */
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { WaitTimeoutError } from "../../src/errors/JobError.js"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import type * as RunPod from "../../src/services/RunPod.js"
import type { WatchedJob } from "../../src/services/WaitOptions.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

const endpoint = Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })
const queued = json({ id: "job-1", status: "IN_QUEUE" })
const completed = json({ status: "COMPLETED", output: 1 })
const throttled = json({ jobs: { inQueue: 1 }, workers: { ready: 0, running: 0, throttled: 2 } })
const busy = json({ jobs: { inQueue: 4 }, workers: { ready: 0, running: 2, throttled: 0 } })

/** A transport with a job that stays in the queue until `end`. */
const server = (health: (asked: Scripted.Asked) => Scripted.Answer, end = Infinity) => {
  const t = Scripted.make(
    (asked) =>
      asked.url.endsWith("/health")
        ? health(asked)
        : asked.at >= end && !asked.url.endsWith("/run")
          ? completed
          : queued,
    ({ at, url }) => (url.includes("wait=") ? Math.min(end - at, Number(url.split("wait=")[1])) : 0)
  )
  return { ...t, health: () => t.asked.filter(({ url }) => url.endsWith("/health")) }
}

const progress = (t: ReturnType<typeof server>, options: Endpoint.CallOptions = {}) =>
  Effect.gen(function* () {
    const seen: Array<readonly [status: string, reason: string | undefined]> = []
    const onProgress = (job: WatchedJob) => Effect.sync(() => void seen.push([job.status, job.diagnosis?.reason]))
    const call = Effect.flatMap(endpoint, (ep) => ep.call({ n: 1 }, { onProgress, ...options }))
    yield* finish(Effect.exit(Effect.provide(call, t.layer())))
    return seen
  })

const timedOut = (effect: Effect.Effect<unknown, unknown, RunPod.RunPod>, t: ReturnType<typeof server>) =>
  Effect.map(finish(Effect.flip(Effect.provide(effect, t.layer()))), (error) => error as WaitTimeoutError)

describe("a job that stays in the queue", () => {
  it.effect(
    "is diagnosed after 30 s on an endpoint that is not known, once the reason is known and when it changes",
    () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at < 70_000 ? throttled : busy), 120_000)
        assert.deepStrictEqual(yield* progress(t), [
          ["IN_QUEUE", undefined],
          ["IN_QUEUE", "Throttled"],
          ["IN_QUEUE", "Busy"],
          ["COMPLETED", undefined]
        ])
        assert.isAtLeast(t.health()[0]!.at, 30_000)
        assert.isAtMost(t.health()[0]!.at, 36_000)
      })
  )

  it.effect("is diagnosed at three times the usual delay, where that is known", () =>
    Effect.gen(function* () {
      let runs = 0
      const layer = Scripted.make((asked) => {
        if (asked.url.endsWith("/run")) return ++runs <= 3 ? queued : json({ id: "job-2", status: "IN_QUEUE" })
        if (asked.url.endsWith("/health")) return throttled
        if (asked.url.includes("job-1"))
          return json({ status: "COMPLETED", delayTime: 2_000, executionTime: 9, output: 1 })
        return asked.at >= 60_000 ? completed : json({ status: "IN_QUEUE" })
      })
      const program = Effect.flatMap(endpoint, (ep) =>
        Effect.zipRight(Effect.replicateEffect(ep.call({ n: 1 }), 3), ep.call({ n: 1 }, { hold: false }))
      )
      yield* finish(Effect.provide(program, layer.layer()))
      const asked = layer.asked.filter(({ url }) => url.endsWith("/health"))
      assert.isAtLeast(asked[0]!.at, 6_000)
      assert.isAtMost(asked[0]!.at, 12_000)
    })
  )

  it.effect("is diagnosed when the caller says, or never", () =>
    Effect.gen(function* () {
      const soon = server(() => throttled, 120_000)
      yield* progress(soon, { diagnoseAfter: 1 })
      assert.isAtMost(soon.health()[0]!.at, 16_000)
      const never = server(() => throttled, 300_000)
      yield* progress(never, { diagnoseAfter: Infinity })
      assert.deepStrictEqual(never.health(), [])
    })
  )

  it.effect("is not diagnosed once it runs", () =>
    Effect.gen(function* () {
      const t = Scripted.make((asked) =>
        asked.url.endsWith("/run") ? queued : asked.at >= 200_000 ? completed : json({ status: "IN_PROGRESS" })
      )
      yield* finish(
        Effect.provide(
          Effect.flatMap(endpoint, (ep) => ep.call({ n: 1 }, { hold: false })),
          t.layer()
        )
      )
      assert.isFalse(t.asked.some(({ url }) => url.endsWith("/health")))
    })
  )

  it.effect("tells its reader through watch, too", () =>
    Effect.gen(function* () {
      const t = server(() => throttled, 90_000)
      const jobs = yield* finish(
        Effect.provide(
          Effect.flatMap(endpoint, (ep) => Effect.flatMap(ep.run({ n: 1 }), (job) => Stream.runCollect(job.watch()))),
          t.layer()
        )
      )
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(jobs).map((job) => job.diagnosis?.reason),
        [undefined, "Throttled", undefined]
      )
    })
  )

  describe("in a WaitTimeoutError", () => {
    it.effect("a held wait says why its job is in the queue, exactly at its deadline", () =>
      Effect.gen(function* () {
        const t = server(() => throttled)
        const call = Effect.flatMap(endpoint, (ep) => ep.call({ n: 1 }, { timeout: "2 minutes" }))
        const error = yield* timedOut(call, t)
        assert.strictEqual(error._tag, "WaitTimeoutError")
        assert.strictEqual(Duration.toMillis(error.elapsed), 120_000)
        assert.strictEqual(error.lastStatus, "IN_QUEUE")
        assert.strictEqual(error.diagnosis?.reason, "Throttled")
        assert.include(error.message, "no such GPU free")
      })
    )

    it.effect("it says nothing of a job that was not in the queue for unusually long", () =>
      Effect.gen(function* () {
        const t = server(() => throttled)
        const call = Effect.flatMap(endpoint, (ep) => ep.call({ n: 1 }, { timeout: "20 seconds", hold: false }))
        const error = yield* timedOut(call, t)
        assert.strictEqual(error.lastStatus, "IN_QUEUE")
        assert.isUndefined(error.diagnosis)
        assert.deepStrictEqual(t.health(), [])
      })
    )

    it.effect("it names an endpoint that was paused", () =>
      Effect.gen(function* () {
        const t = server(() => json({ status: 409, title: "Conflict", code: "ENDPOINT_PAUSED" }, 409))
        const error = yield* timedOut(Jobs.settle("ep", "job-1", { timeout: "1 minute" }), t)
        assert.strictEqual(error.diagnosis?.reason, "Paused")
      })
    )
  })

  describe("/health", () => {
    it.effect("is asked at most once in 15 s for all waits of a layer on an endpoint", () =>
      Effect.gen(function* () {
        const t = server(() => throttled)
        const waits = Effect.forEach(
          Array.from({ length: 12 }, (_, n) => `job-${n}`),
          (id) => Effect.exit(Jobs.settle("ep", id, { hold: false, timeout: "5 minutes" })),
          { concurrency: "unbounded" }
        )
        yield* finish(Effect.provide(waits, t.layer()))
        const times = t.health().map(({ at }) => at)
        assert.isAtLeast(times.length, 5)
        for (const [index, at] of times.slice(1).entries()) assert.isAtLeast(at - times[index]!, 15_000)
      })
    )

    it.effect("is asked for each endpoint by itself", () =>
      Effect.gen(function* () {
        const t = server(() => throttled)
        const waits = Effect.forEach(
          ["a", "b"],
          (id) => Effect.exit(Jobs.settle(id, "job-1", { hold: false, timeout: "40 seconds" })),
          { concurrency: "unbounded" }
        )
        yield* finish(Effect.provide(waits, t.layer()))
        assert.sameMembers(
          t.health().map(({ url }) => url),
          ["/v2/a/health", "/v2/b/health"]
        )
      })
    )

    const failures: Record<string, Scripted.Answer> = {
      "a 500": { status: 500, body: "" },
      "a 401": { status: 401, body: "" },
      HTML: { status: 200, body: "<html></html>" },
      "a reset": "reset",
      "no answer": "hang"
    }
    for (const [name, failure] of Object.entries(failures)) {
      it.effect(`does not disturb the wait, nor is it asked again before its time: ${name}`, () =>
        Effect.gen(function* () {
          const t = server(() => failure, 200_000)
          const poll = { initial: "5 seconds", interval: "5 seconds", ageShare: 0 } as const
          const call = Effect.flatMap(endpoint, (ep) => ep.call({ n: 1 }, { poll }))
          assert.strictEqual(yield* finish(Effect.provide(call, t.layer())), 1)
          const polls = t.asked.filter(({ url }) => url.includes("/status/")).map(({ at }) => at)
          for (const [index, at] of polls.slice(1).entries()) assert.isAtMost(at - polls[index]!, 5_000)
          const times = t.health().map(({ at }) => at)
          assert.isAtLeast(times.length, 5)
          for (const [index, at] of times.slice(1).entries()) assert.isAtLeast(at - times[index]!, 15_000)
        })
      )
    }
  })

  it.effect("is diagnosed from what the emulator says", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const ep = yield* endpoint
        yield* Effect.fork(ep.call({ n: 1 }))
        yield* Effect.sleep("1 second")
        return yield* Effect.flip(ep.call({ n: 2 }, { timeout: "90 seconds" }))
      })
      const layer = Emulator.layerRunPod({ endpoints: { ep: { workers: 1, execution: "10 minutes" } } })
      const error = yield* finish(Effect.provide(program, layer))
      assert(error._tag === "WaitTimeoutError")
      assert.strictEqual(error.diagnosis?.reason, "Busy")
      assert.strictEqual(error.diagnosis?.jobsInQueue, 1)
    })
  )
})
