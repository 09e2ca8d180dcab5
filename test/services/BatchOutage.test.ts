/** Batches while all submits end in doubt, and while some do. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as TestClock from "effect/TestClock"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import type * as RunPod from "../../src/services/RunPod.js"
import { endpoint, inputs, kindOf } from "../support/batches.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const minute = 60_000

/** RunPod, whose jobs take a second from their submit. `failing` says of a submit, by its number and its time, how it fails. */
const server = (failing: (submit: { readonly n: number; readonly at: number }) => Scripted.Answer | undefined) => {
  let submits = 0
  const rp = Scripted.make(({ at, body, method, url }) => {
    if (method === "POST" && url.includes("/run")) {
      const failure = failing({ n: submits++, at })
      if (failure !== undefined) return failure
      const { input } = JSON.parse(body ?? "") as { readonly input: { readonly n: number } }
      return Scripted.json({ id: `job-${input.n}`, status: "IN_QUEUE" })
    }
    const n = Number(/job-(\d+)/.exec(url)?.[1])
    return Scripted.json({ id: `job-${n}`, status: "COMPLETED", output: { n } })
  }, 100)
  const submitsAt = () => rp.asked.filter(({ method }) => method === "POST").map(({ at }) => at)
  return { ...rp, submitsAt }
}

const unavailable = Scripted.json({ error: "no" }, 503)

/** 503 from the first second on, for three minutes. */
const outage = ({ at }: { readonly at: number }) => (at >= 1_000 && at < 1_000 + 3 * minute ? unavailable : undefined)

const silent = Logger.withMinimumLogLevel(LogLevel.None)

const collect = (
  rp: ReturnType<typeof server>,
  count: number,
  options: Batch.Options<{ readonly n: number }> = {},
  layer: Partial<RunPod.Options> = {}
) =>
  Effect.flatMap(endpoint, (ep) => Batch.collect(ep, inputs(count), options)).pipe(
    Effect.provide(rp.layer(layer)),
    silent,
    (collected) => finish(collected, "1 hour")
  )

describe("an outage of submits", () => {
  it.effect("puts few inputs in doubt, is probed at growing intervals, and the rest is submitted after it", () =>
    Effect.gen(function* () {
      const rp = server(outage)
      const { counts } = yield* collect(rp, 300, { concurrency: 20 })
      const inDoubt = counts["SubmitAmbiguousError"] ?? 0
      assert.isAtLeast(inDoubt, 10)
      // Ten, those in flight then, and a dozen probes.
      assert.isAtMost(inDoubt, 10 + 20 + 15)
      assert.strictEqual(counts["Completed"], 300 - inDoubt)
      const probes = rp.submitsAt().filter((at) => at > 2_000 && at < 1_000 + 3 * minute)
      assert.isAtLeast(probes.length, 8)
      assert.isAtMost(probes.length, 15)
      // Never two at once, and no further apart than half a minute.
      const gaps = probes.slice(1).map((at, i) => at - (probes[i] ?? 0))
      assert.isTrue(gaps.every((gap) => gap >= 500 && gap <= 30_500))
      const first = rp.submitsAt().find((at) => at >= 1_000 + 3 * minute) ?? Infinity
      assert.isAtMost(first, 1_000 + 3 * minute + 30_500)
    })
  )

  it.effect("is not met by those either that stood in line for the limits when it was noticed", () =>
    Effect.gen(function* () {
      const rp = server(({ at }) => (at < minute ? unavailable : undefined))
      const limits = RateLimits.make({ run: { limit: 10, window: "1 second", concurrency: 5 } })
      const { counts } = yield* collect(rp, 120, { concurrency: 100 }, { limits })
      const inDoubt = counts["SubmitAmbiguousError"] ?? 0
      assert.isAtMost(inDoubt, 10 + 5 + 10)
      assert.strictEqual(counts["Completed"], 120 - inDoubt)
    })
  )

  it.effect("notes no intent of what was not sent, and a later run asks for nothing but what is in doubt", () =>
    Effect.gen(function* () {
      const rp = server(outage)
      const journal = yield* BatchJournal.memory
      const first = yield* collect(rp, 200, { concurrency: 20, deadline: "1 minute", journal })
      const inDoubt = first.counts["SubmitAmbiguousError"] ?? 0
      assert.strictEqual(first.stopped, "Deadline")
      const second = yield* collect(
        server(() => undefined),
        200,
        { journal }
      )
      assert.strictEqual(second.counts["SubmitAmbiguousError"], inDoubt)
      assert.strictEqual(second.completed, 200 - inDoubt)
    })
  )

  it.effect("lasts no longer than the batch may: deadline, failures and an interruption end it", () =>
    Effect.gen(function* () {
      const always = () => unavailable
      const stopped = yield* collect(server(always), 200, { concurrency: 20, deadline: "90 seconds" })
      assert.strictEqual(stopped.stopped, "Deadline")
      assert.isAtMost(Duration.toMillis(stopped.wallTime), 90_200)
      const failed = yield* collect(server(always), 200, { concurrency: 20, maxFailures: 25 })
      assert.strictEqual(failed.stopped, "Failures")
      assert.isAtMost(failed.results.length, 26)
      const rp = server(always)
      const running = Effect.flatMap(endpoint, (ep) => Batch.collect(ep, inputs(200), { concurrency: 20 }))
      const fiber = yield* Effect.fork(running.pipe(Effect.provide(rp.layer()), silent))
      yield* TestClock.adjust("2 minutes")
      const exit = yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.isInterrupted(exit))
      assert.isAtMost(rp.asked.length, 10 + 20 + 15)
    })
  )

  it.effect("says so once", () =>
    Effect.gen(function* () {
      const said: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void said.push(String(message)))
      const rp = server(outage)
      const collected = Effect.flatMap(endpoint, (ep) => Batch.collect(ep, inputs(150), { concurrency: 20 }))
      yield* finish(
        collected.pipe(Effect.provide(rp.layer()), Effect.provide(Logger.replace(Logger.defaultLogger, logger))),
        "1 hour"
      )
      assert.strictEqual(said.length, 1)
      assert.include(said[0], "The last 10 submits on endpoint ep are in doubt (ServerError)")
    })
  )

  it.effect("is waited out by Batch.submit, too", () =>
    Effect.gen(function* () {
      const rp = server(({ at }) => (at < 3 * minute ? unavailable : undefined))
      const submitted = Effect.flatMap(endpoint, (ep) => Batch.submit(ep, inputs(200), { concurrency: 10 }))
      const submissions = yield* finish(submitted.pipe(Effect.provide(rp.layer()), silent), "1 hour")
      const inDoubt = submissions.filter(({ result }) => Exit.isFailure(result)).length
      assert.isAtLeast(inDoubt, 10)
      assert.isAtMost(inDoubt, 10 + 10 + 15)
      assert.strictEqual(submissions.length, 200)
    })
  )

  it.effect("is no reason for Batch.submit to wait where all would fail alike", () =>
    Effect.gen(function* () {
      const rp = server(({ n }) => (n < 15 ? unavailable : Scripted.json({ error: "Unauthorized" }, 401)))
      const submitted = Effect.flatMap(endpoint, (ep) => Batch.submit(ep, inputs(200), { concurrency: 10 }))
      const submissions = yield* finish(submitted.pipe(Effect.provide(rp.layer()), silent), "10 minutes")
      assert.isAtMost(rp.asked.length, 20)
      assert.strictEqual(submissions.length, 200)
    })
  )
})

describe("submits that fail now and then", () => {
  it.effect("slow a batch by nothing that can be noticed: each fifth, by chance", () =>
    Effect.gen(function* () {
      // A generator of our own, so that the answers are the same in each run.
      let seed = 7
      const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647
      const [faulty, sound] = [server(() => (random() < 0.2 ? unavailable : undefined)), server(() => undefined)]
      const [withFaults, without] = [yield* collect(faulty, 300), yield* collect(sound, 300)]
      assert.closeTo(withFaults.counts["SubmitAmbiguousError"] ?? 0, 60, 25)
      assert.strictEqual(withFaults.results.map(kindOf).length, 300)
      assert.isAtMost((faulty.submitsAt().at(-1) ?? 0) - (sound.submitsAt().at(-1) ?? 0), 1_000)
      assert.strictEqual(without.completed, 300)
    })
  )

  it.effect("and one that RunPod refuses for its input counts as answered", () =>
    Effect.gen(function* () {
      const refused = Scripted.json({ error: "bad input" }, 400)
      const rp = server(({ n }) => (n % 8 === 7 ? refused : unavailable))
      const { counts } = yield* collect(rp, 80, { concurrency: 1 })
      assert.deepStrictEqual(counts, { SubmitAmbiguousError: 70, BadRequestError: 10 })
      assert.isAtMost(rp.submitsAt().at(-1) ?? Infinity, 20_000)
    })
  )
})
