/** Waits that a webhook tells of their job's end. */
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Poll from "../../src/internal/jobs/poll.js"
import { decode, type Wait } from "../../src/internal/jobs/waitPolicy.js"
import type { Ended } from "../../src/internal/jobs/webhookEnd.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import type * as Job from "../../src/schemas/Job.js"
import { JobId } from "../../src/schemas/JobId.js"
import * as RunPod from "../../src/services/RunPod.js"
import type { WaitOptions } from "../../src/services/WaitOptions.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"
import * as VirtualTime from "../support/virtualTime.js"

const { json } = Scripted
const running = json({ status: "IN_PROGRESS" })
const completed = json({ status: "COMPLETED", output: 3 })

const waitFor = (ended: Ended, options: WaitOptions = {}, jobId = "a") =>
  Effect.gen(function* () {
    const job = {
      runPod: yield* RunPod.RunPod,
      runtime: yield* RunPod.jobRuntime,
      scrub: (text: string) => text,
      endpointId: "ep",
      jobId
    }
    const { onProgress } = options
    const wait: Wait = { job, settings: decode(options), ended, onProgress }
    return wait
  })

const settle = (ended: Ended, options?: WaitOptions) => Effect.flatMap(waitFor(ended, options), Poll.settle)

const webhookAfter = (millis: number) => Effect.as(Effect.sleep(millis), undefined)

const gaps = (times: ReadonlyArray<number>) => times.slice(1).map((at, index) => at - times[index]!)

describe("a wait that listens for its job's webhook", () => {
  it.effect("does not hold, and polls at most 30 s apart", () =>
    Effect.gen(function* () {
      for (let run = 0; run < 10; run++) {
        const began = yield* Clock.currentTimeMillis
        const t = Scripted.make(({ at }) => (at - began >= 300_000 ? completed : running))
        yield* finish(Effect.provide(settle(Effect.never), t.layer()))
        const [first = Infinity] = t.times()
        assert.isAtMost(first - began, 30_000)
        assert.isAtMost(t.times().at(-1)! - began, 330_000)
        for (const gap of gaps(t.times())) assert.isTrue(gap >= 28_000 && gap <= 30_000, `gap ${gap}`)
        assert.isTrue(t.asked.every(({ url }) => url === "/v2/ep/status/a"))
      }
    })
  )

  it.effect("polls as soon as the webhook comes, and ends when RunPod confirms it", () =>
    Effect.gen(function* () {
      const t = Scripted.make(({ at }) => (at >= 40_500 ? completed : running))
      const job = yield* finish(Effect.provide(settle(webhookAfter(40_500)), t.layer()))
      assert.strictEqual(job.status, "COMPLETED")
      assert.strictEqual(t.times().at(-1), 40_500)
      assert.strictEqual(t.asked.at(-1)?.url, "/v2/ep/status/a")
    })
  )

  it.effect("goes on at the plain pace when the webhook was early", () =>
    Effect.gen(function* () {
      const t = Scripted.make(({ at }) => (at >= 25_000 ? completed : running))
      yield* finish(Effect.provide(settle(webhookAfter(50)), t.layer()))
      assert.strictEqual(t.times()[0], 50)
      for (const gap of gaps(t.times())) assert.isTrue(gap >= 5_800 && gap <= 6_000, `gap ${gap}`)
      assert.isAtMost(t.times().at(-1)!, 31_000)
    })
  )

  it.effect("goes on at the plain pace when what it listens to breaks", () =>
    Effect.gen(function* () {
      const t = Scripted.make(({ at }) => (at >= 25_000 ? completed : running))
      yield* finish(Effect.provide(settle(Effect.die("broken")), t.layer()))
      assert.isAtMost(t.times().at(-1)!, 31_000)
    })
  )

  it.effect("outlives a fault of the poll that the webhook causes", () =>
    Effect.gen(function* () {
      const t = Scripted.make(({ at }) => (at < 1_200 ? { status: 503, body: "" } : completed))
      yield* finish(Effect.provide(settle(webhookAfter(1_000)), t.layer()))
      assert.isAtMost(t.times().at(-1)!, 2_000)
    })
  )

  it.effect("takes a job as its end without asking", () =>
    Effect.gen(function* () {
      const t = Scripted.make(() => running)
      const id = JobId.make("a")
      const ended: Job.TerminalJob = { id, status: "FAILED", error: "no memory", raw: {} }
      const job = yield* finish(Effect.provide(settle(Effect.delay(Effect.succeed(ended), 10)), t.layer()))
      assert.strictEqual(job, ended)
      assert.deepStrictEqual(t.times(), [])
    })
  )

  it.effect("holds when it is told to, and sees the end by either", () =>
    Effect.gen(function* () {
      const t = Scripted.make([running, completed], "10 seconds")
      yield* finish(Effect.provide(settle(Effect.never, { hold: "10 seconds" }), t.layer()))
      assert.strictEqual(t.asked[0]?.url, "/v2/ep/status-sync/a?wait=10000")
    })
  )

  it.effect("keeps to a poll policy, and still ends its pause when the webhook comes", () =>
    Effect.gen(function* () {
      const t = Scripted.make(({ at }) => (at >= 9_000 ? completed : running))
      const poll = { initial: "4 seconds", interval: "4 seconds" } as const
      yield* finish(Effect.provide(settle(webhookAfter(9_000), { poll }), t.layer()))
      assert.strictEqual(t.times()[0], 4_000)
      assert.strictEqual(t.times().at(-1), 9_000)
      assert.strictEqual(t.times().length, 3)
    })
  )

  it.effect("polls at the progress interval while progress is wanted", () =>
    Effect.gen(function* () {
      const t = Scripted.make(({ at }) => (at >= 60_000 ? completed : running))
      yield* finish(Effect.provide(settle(Effect.never, { onProgress: () => Effect.void }), t.layer()))
      for (const gap of gaps(t.times())) assert.isAtMost(gap, 6_000)
    })
  )

  it.effect("does nothing more when the webhook comes again or late", () =>
    Effect.gen(function* () {
      const webhook = yield* Deferred.make<undefined>()
      const t = Scripted.make(() => completed)
      yield* finish(Effect.provide(settle(Deferred.await(webhook), { poll: { initial: 0 } }), t.layer()))
      assert.strictEqual(t.asked.length, 1)
      yield* Deferred.succeed(webhook, undefined)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(t.asked.length, 1)
    })
  )

  it.live("with all webhooks lost, 5,000 of them under the documented limits see each end within 35 s", () =>
    Effect.gen(function* () {
      // A tenth of the waits under a tenth of the limit: the same in a tenth of the time.
      const { limit, ...documented } = RateLimits.documented.operations.status
      const limits = RateLimits.make({ status: { ...documented, limit: limit / 10 } })
      const random = Random.make("lost")
      const ends = new Map<string, number>()
      const t = Scripted.make(({ at, url }) => (at >= (ends.get(url.split("/").at(-1)!) ?? 0) ? completed : running))
      let worst = 0
      const wait = (jobId: string) =>
        Effect.gen(function* () {
          yield* Poll.settle(yield* waitFor(Effect.never, {}, jobId))
          worst = Math.max(worst, (yield* Clock.currentTimeMillis) - ends.get(jobId)!)
        })
      const all = Effect.gen(function* () {
        for (let n = 0; n < 500; n++) ends.set(`job-${n}`, yield* Random.nextIntBetween(30_000, 90_000))
        yield* Effect.forEach(ends.keys(), wait, { concurrency: "unbounded", discard: true })
      })
      yield* VirtualTime.run(Effect.provide(Effect.withRandom(all, random), t.layer({ limits })))
      assert.isAtMost(worst, 35_000)
      assert.isAtMost(t.asked.length, 500 * 4.5)
    })
  )

  describe("stops listening", () => {
    const counting = () => {
      const counts = { runs: 0, open: 0 }
      const ended: Ended = Effect.acquireUseRelease(
        Effect.sync(() => {
          counts.runs++
          counts.open++
        }),
        () => Effect.never,
        () => Effect.sync(() => counts.open--)
      )
      return { counts, ended }
    }

    it.effect("when it has ended", () =>
      Effect.gen(function* () {
        const { counts, ended } = counting()
        const t = Scripted.make((_) => (t.asked.length >= 4 ? completed : running))
        // The fiber that waited goes on: it is not its end that stops what it started.
        const after = Effect.map(settle(ended), () => ({ ...counts }))
        assert.deepStrictEqual(yield* finish(Effect.provide(after, t.layer())), { runs: 1, open: 0 })
      })
    )

    it.effect("when it is interrupted", () =>
      Effect.gen(function* () {
        const { counts, ended } = counting()
        const t = Scripted.make(() => running)
        const fiber = yield* Effect.fork(Effect.provide(settle(ended), t.layer()))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(counts, { runs: 1, open: 1 })
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(counts, { runs: 1, open: 0 })
      })
    )

    it.effect("when its reader stops", () =>
      Effect.gen(function* () {
        const { counts, ended } = counting()
        const t = Scripted.make(() => running)
        const jobs = Stream.unwrap(Effect.map(waitFor(ended), Poll.watch))
        const seen = Effect.map(Stream.runCollect(Stream.take(jobs, 1)), (jobs) => [Chunk.size(jobs), { ...counts }])
        assert.deepStrictEqual(yield* finish(Effect.provide(seen, t.layer())), [1, { runs: 1, open: 0 }])
      })
    )
  })
})
