/** Batches with webhooks, against the emulator in memory. */
import { assert, describe } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer, Schema } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"

const { Fault } = Emulator

const webhooks = Webhooks.layer({ secret: "a-secret-of-32-characters-for-tests", url: "https://app.example/hooks" })

/** Whole seconds, so that a test's clock has few stops. */
const handler: Emulator.Handler = ({ n }) => Effect.delay(Effect.succeed({ n }), `${1 + (Number(n) % 5)} seconds`)

const provide = (more: Partial<Emulator.RunPodOptions> = {}) =>
  Effect.provide(
    Layer.provideMerge(Emulator.layerRunPod({ endpoints: { ep: { workers: 1000, handler } }, ...more }), webhooks)
  )

const make = Endpoint.make("ep", {
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Struct({ n: Schema.Number })
})

const inputs = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

const collect = (count: number, options: Batch.Options<{ readonly n: number }> = {}) =>
  Effect.flatMap(make, (endpoint) =>
    finish(Batch.collect(endpoint, inputs(count), { webhook: true, ...options }), "1 hour")
  )

const outputsOf = (report: Batch.Report<unknown, unknown>) =>
  report.results.map(({ result }) => (Exit.isSuccess(result) ? result.value : result.cause))

const submitted = Effect.gen(function* () {
  const { counts } = yield* Emulator.Emulator
  return (yield* counts).submitted
})

describe("a batch with webhook: true", () => {
  inVirtualTime("sees each end at once, with one status to confirm it", () =>
    Effect.gen(function* () {
      const report = yield* collect(40)
      assert.deepStrictEqual(outputsOf(report), inputs(40))
      assert.strictEqual(Duration.toMillis(report.wallTime), 5_000)
      const { counts } = yield* Emulator.Emulator
      const { byOperation } = yield* counts
      assert.isAtMost(byOperation.status.total, 55)
      assert.strictEqual(byOperation.statusSync.total, 0)
    }).pipe(provide())
  )

  inVirtualTime("all lost: every result, within 35 s", () =>
    Effect.gen(function* () {
      const report = yield* collect(30)
      assert.deepStrictEqual(outputsOf(report), inputs(30))
      assert.isAtMost(Duration.toMillis(report.wallTime), 40_000)
    }).pipe(provide({ faults: [Fault.webhookLost()] }))
  )

  inVirtualTime("all doubled: every result once", () =>
    Effect.gen(function* () {
      const report = yield* collect(30, { trustWebhook: true })
      assert.deepStrictEqual(outputsOf(report), inputs(30))
      assert.strictEqual(yield* submitted, 30)
    }).pipe(provide({ faults: [Fault.webhookDuplicated({ copies: 3, gap: "1 second" })] }))
  )

  inVirtualTime("30 % lost replies: every result arrives, and none is submitted twice", () =>
    Effect.gen(function* () {
      const report = yield* collect(60)
      assert.deepStrictEqual(outputsOf(report), inputs(60))
      assert.strictEqual(yield* submitted, 60)
    }).pipe(provide({ faults: [Fault.resetAfter({ operations: ["run"], rate: 0.3 })] }))
  )

  inVirtualTime("a lost reply without a webhook is ambiguous, at the item's timeout at the latest", () =>
    Effect.gen(function* () {
      const report = yield* collect(3, { timeout: "20 seconds" })
      assert.strictEqual(report.counts["SubmitAmbiguousError"], 3)
      assert.approximately(Duration.toMillis(report.wallTime), 20_000, 100)
    }).pipe(provide({ faults: [Fault.resetAfter({ operations: ["run"] }), Fault.webhookLost()] }))
  )

  inVirtualTime("a retried job's first webhook does not count for its second run", () =>
    Effect.gen(function* () {
      const failed = new Set<unknown>()
      const flaky: Emulator.Handler = ({ n }) =>
        Effect.suspend(() => {
          if (failed.has(n)) return Effect.delay(Effect.succeed({ n }), "3 seconds")
          failed.add(n)
          return Effect.fail("first")
        })
      const report = yield* collect(5, { retries: 1, trustWebhook: true }).pipe(
        provide({ endpoints: { ep: { workers: 10, handler: flaky } } })
      )
      assert.deepStrictEqual(outputsOf(report), inputs(5))
    })
  )

  inVirtualTime("nor does it when it comes late, while the second run is on", () =>
    Effect.gen(function* () {
      const failed = new Set<unknown>()
      const flaky: Emulator.Handler = ({ n }) =>
        Effect.suspend(() => {
          if (failed.has(n)) return Effect.delay(Effect.succeed({ n }), "1 minute")
          failed.add(n)
          return Effect.fail("first")
        })
      // A poll sees the end before its webhook does, which comes behind the retry.
      const report = yield* collect(5, { retries: 1, trustWebhook: true }).pipe(
        provide({
          endpoints: { ep: { workers: 10, handler: flaky } },
          faults: [Fault.webhookLate({ by: "40 seconds" })]
        })
      )
      assert.deepStrictEqual(outputsOf(report), inputs(5))
    })
  )

  inVirtualTime("without the service every item is refused before anything is sent", () =>
    Effect.gen(function* () {
      const report = yield* collect(3)
      assert.strictEqual(report.counts["BadRequestError"], 3)
      assert.strictEqual(yield* submitted, 0)
    }).pipe(Effect.provide(Emulator.layerRunPod({ endpoints: { ep: {} } })))
  )
})

describe("Batch.wait with webhook: true", () => {
  const waitFor = Effect.gen(function* () {
    const endpoint = yield* make
    const jobs = yield* Effect.forEach(inputs(10), (input) => endpoint.run(input, { webhook: true }))
    const outcomes = Batch.wait(endpoint, [...jobs.slice(0, 5), ...jobs.slice(5).map(({ id }) => id)], {
      webhook: true
    })
    return yield* finish(Effect.timed(outcomes))
  })

  inVirtualTime("sees each end at once", () =>
    Effect.gen(function* () {
      const [took, outcomes] = yield* waitFor
      assert.strictEqual(Duration.toMillis(took), 5_000)
      assert.deepStrictEqual(
        outcomes.map(({ result }) => Exit.getOrElse(result, () => undefined)),
        inputs(10)
      )
    }).pipe(provide())
  )

  inVirtualTime("all lost: within 35 s", () =>
    Effect.gen(function* () {
      const [took] = yield* waitFor
      assert.isAtMost(Duration.toMillis(took), 40_000)
    }).pipe(provide({ faults: [Fault.webhookLost()] }))
  )
})

describe("a journal that knows intents without ids", () => {
  /** A run whose first submits are accepted and never answered, and that is stopped meanwhile. */
  const broken = (journal: BatchJournal.BatchJournal) =>
    Effect.gen(function* () {
      const endpoint = yield* make
      const run = yield* Effect.fork(Batch.collect(endpoint, inputs(4), { webhook: true, journal }))
      yield* VirtualTime.advance("100 millis")
      const stop = yield* Effect.fork(Fiber.interrupt(run))
      yield* VirtualTime.advance("1 minute")
      yield* Fiber.join(stop)
      assert.strictEqual(yield* submitted, 4)
      const states = yield* Effect.forEach(inputs(4), (_, n) => journal.find(String(n)))
      assert.deepStrictEqual(
        states.map((state) => (state._tag === "Some" ? state.value._tag : "None")),
        ["Intent", "Intent", "Submitted", "Submitted"]
      )
    })

  const faults = [Fault.hang({ operations: ["run"], processed: true, times: 2 })]

  inVirtualTime("settles them by their webhooks, in the next run", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* broken(journal)
      const report = yield* collect(4, { journal })
      assert.deepStrictEqual(outputsOf(report), inputs(4))
      assert.strictEqual(yield* submitted, 4)
    }).pipe(provide({ faults }))
  )

  inVirtualTime("settles them so before it would submit them again", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* broken(journal)
      const report = yield* collect(4, { journal, onAmbiguous: "resubmit" })
      assert.deepStrictEqual(outputsOf(report), inputs(4))
      assert.strictEqual(yield* submitted, 4)
    }).pipe(provide({ faults }))
  )

  inVirtualTime("reports them after adoptWithin when no webhook comes", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* broken(journal)
      const report = yield* collect(4, { journal, adoptWithin: "2 minutes" })
      assert.strictEqual(report.counts["SubmitAmbiguousError"], 2)
      assert.strictEqual(report.completed, 2)
      assert.strictEqual(yield* submitted, 4)
    }).pipe(provide({ faults: [...faults, Fault.webhookLost()] }))
  )
})
