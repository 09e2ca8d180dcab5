/** What batches cost, and the budget of a batch. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Emulator from "../../src/emulator/Emulator.js"
import * as Cost from "../../src/layers/Cost.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import { counts, emulated, endpoint, inputs, type Numbered } from "../support/batches.js"
import * as VirtualTime from "../support/virtualTime.js"

/** A cent a second. */
const rates = Cost.rates({ L4: { flex: 0.01 } })
const cost = (options: Partial<Cost.Options> = {}) => Cost.layer({ rates, gpu: "L4", ...options })

type Run = Parameters<typeof emulated>[0]
const on = (emulator: Run, options?: Partial<Cost.Options>, faults: Emulator.RunPodOptions["faults"] = []) =>
  Layer.merge(emulated(emulator, { faults }), cost(options))

const near = (actual: number | undefined, expected: number) => assert.approximately(actual ?? NaN, expected, 1e-9)
const collect = (count: number, options?: Batch.Options<Numbered>, from = 0) =>
  Effect.flatMap(endpoint, (ep) => Batch.collect(ep, inputs(count, from), options))
/** A handler that takes a second, or as many as an input says, and fails for some. */
const seconds =
  (takes: (n: number) => number, fails: (n: number) => boolean = () => false): Emulator.Handler =>
  (input) => {
    const n = Number(input["n"])
    const end = fails(n) ? Effect.fail(new Error("CUDA out of memory")) : Effect.succeed({ n })
    return Effect.delay(end, Duration.seconds(takes(n)))
  }

describe("the report of a batch", () => {
  const live = <A, E>(effect: Effect.Effect<A, E>) => VirtualTime.run(effect)

  it.live("has what its jobs cost at the least, and with their workers", () =>
    live(
      Effect.gen(function* () {
        const { cost } = yield* collect(4)
        // Two workers, two jobs of 10 s each; start 30 s, idle 5 s.
        near(cost?.floor, 0.4)
        assert.isAtLeast(cost?.estimate ?? 0, 0.01 * 2 * 55 - 1e-9)
        assert.isAtMost(cost?.estimate ?? 0, 0.01 * 2 * 56)
        assert.deepInclude(cost, { currency: "USD", failed: 0, retried: 0, unknown: 0 })
        assert.deepStrictEqual(cost?.earlier, { floor: 0, estimate: 0 })
        assert.notProperty(cost, "billed")
      }).pipe(
        Effect.provide(
          on({ workers: 2, execution: "10 seconds", coldStart: "30 seconds" }, { startTime: "30 seconds" })
        )
      )
    )
  )

  it.live("of no inputs is 0, and without `Cost`, or with one that does not know the endpoint, has none", () =>
    live(
      Effect.gen(function* () {
        const empty = yield* Effect.provide(collect(0), cost())
        assert.deepInclude(empty.cost, { floor: 0, estimate: 0, unknown: 0 })
        const report = yield* collect(1)
        assert.notProperty(report, "cost")
        assert.notInclude(Batch.toText(report), "cost")
        assert.notProperty(yield* Effect.provide(collect(1), Cost.layer({ rates })), "cost")
      }).pipe(Effect.provide(emulated({})))
    )
  )

  it.live("tells failed and retried work apart, of which an output that is not decoded is failed", () =>
    live(
      Effect.gen(function* () {
        const ep = yield* Endpoint.make("ep", {
          input: Schema.Struct({ n: Schema.Number }),
          output: Schema.Struct({ n: Schema.Number.pipe(Schema.lessThan(2)) })
        })
        // 0 and 1 come through, 2 is not decoded, 3 fails twice.
        const report = yield* Batch.collect(ep, inputs(4), { retries: 1 })
        assert.deepStrictEqual(report.counts, { Completed: 2, OutputDecodeError: 1, JobFailedError: 1 })
        near(report.cost?.floor, 0.01 * (0 + 1 + 2 + 3 + 3))
        near(report.cost?.failed, 0.01 * (2 + 3))
        near(report.cost?.retried, 0.01 * 3)
        assert.strictEqual(report.cost?.unknown, 0)
        assert.match(
          Batch.toText(report),
          /time on workers \(at least\) +\$0\.090000\n +of failed items +\$0\.050000\n/
        )
        assert.deepInclude(Batch.toJson(report)["cost"], { currency: "USD", unknown: 0 })
      }).pipe(
        Effect.provide(
          on({
            handler: seconds(
              (n) => n,
              (n) => n === 3
            )
          })
        )
      )
    )
  )

  it.live("says what RunPod has billed where the program knows, asked for the time of the batch", () =>
    live(
      Effect.gen(function* () {
        const asked: Array<unknown> = []
        const billed = (...question: ReadonlyArray<unknown>) => Effect.sync(() => (asked.push(question), 1.5))
        const report = yield* Effect.provide(Effect.zipRight(Effect.sleep("3 seconds"), collect(1)), cost({ billed }))
        assert.strictEqual(report.cost?.billed, 1.5)
        assert.deepStrictEqual(asked, [["ep", 3_000, 3_000 + Duration.toMillis(report.wallTime)]])
        assert.include(Batch.toText(report), "billed for the endpoint meanwhile")
      }).pipe(Effect.provide(emulated({ execution: "1 second" })))
    )
  )

  it.live("counts work of earlier runs with its journal apart: replayed, failed and retried", () =>
    live(
      Effect.gen(function* () {
        const journal = yield* BatchJournal.memory
        const first = yield* collect(3, { journal, retries: 1 })
        assert.deepStrictEqual(first.counts, { Completed: 2, JobFailedError: 1 })
        near(first.cost?.floor, 0.01 * (1 + 1 + 2))
        near(first.cost?.earlier.floor, 0)

        const replayed = yield* collect(3, { journal })
        near(replayed.cost?.floor, 0)
        near(replayed.cost?.earlier.floor, 0.04)
        assert.isAtLeast(replayed.cost?.earlier.estimate ?? 0, 0.04)
        assert.match(Batch.toText(replayed), /in earlier runs +\$0\.040000/)

        // The failed item runs a third time, and fails again.
        const again = yield* collect(3, { journal, onFailed: "resubmit" })
        near(again.cost?.floor, 0.01)
        near(again.cost?.failed, 0.01)
        near(again.cost?.earlier.floor, 0.04)
        near((yield* collect(3, { journal })).cost?.earlier.floor, 0.05)
      }).pipe(
        Effect.provide(
          on({
            handler: seconds(
              () => 1,
              (n) => n === 1
            )
          })
        )
      )
    )
  )

  it.live("says how many may have run for a time nobody knows", () =>
    live(
      Effect.gen(function* () {
        const report = yield* collect(3, { timeout: "10 seconds", concurrency: 3 })
        assert.deepStrictEqual(report.counts, { Completed: 2, WaitTimeoutError: 1 })
        near(report.cost?.floor, 0.03)
        assert.strictEqual(report.cost?.unknown, 1)
        assert.include(Batch.toText(report), "not in it: 1 that may have run")
      }).pipe(Effect.provide(on({ handler: seconds((n) => (n === 2 ? 60 : 1 + n)) })))
    )
  )
})

/** Runs a batch that its budget stops, and gives its error and how many outcomes it had. */
const stopped = (options: Batch.Options<Numbered>, count = 1_000) =>
  Effect.gen(function* () {
    const ep = yield* endpoint
    let outcomes = 0
    const run = Stream.runForEach(Batch.run(ep, inputs(count), options), () => Effect.sync(() => outcomes++))
    const error = yield* Effect.flip(run)
    return { error, outcomes, submitted: (yield* counts).submitted, ended: (yield* counts).ended.COMPLETED }
  })

describe("maxCost of a batch", () => {
  it.live("is never exceeded by 400 items at once whose jobs take what is expected", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const { ended, error, outcomes, submitted } = yield* stopped({
          maxCost: 0.5,
          expectedExecution: "1 second",
          concurrency: 400
        })
        assert.strictEqual(submitted, 50)
        assert.strictEqual(ended, 50)
        assert.strictEqual(outcomes, 50)
        assert.deepInclude(error, { _tag: "BatchStoppedError", reason: "Budget", settled: 50 })
        assert.include(
          error.message,
          "stopped after 50 outcomes: its budget has no room for the next job ($0.5000 of $0.5000 were spent, jobs in flight may add $0.000000, and the next may cost $0.010000). To go on, raise `maxCost` and run it again with the same journal. Workers that start or wait for work cost more, which no budget bounds."
        )
      }).pipe(Effect.provide(on({ workers: 400, execution: "1 second" })))
    )
  )

  it.live("fills its budget with jobs that take less than expected, whatever ends first", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const report = yield* collect(1_000, { maxCost: 1, expectedExecution: "2 seconds", concurrency: 100 })
        assert.strictEqual(report.stopped, "Budget")
        assert.isAtMost(report.cost?.floor ?? NaN, 1 + 1e-9)
        // There was no room for one more.
        assert.isAtLeast(report.cost?.floor ?? NaN, 1 - 0.02)
      }).pipe(Effect.provide(on({ workers: 100, handler: seconds((n) => [0.2, 1, 0.5, 0.1, 2][n % 5] ?? 1) })))
    )
  )

  it.live("is exceeded by no more than what jobs in flight take over what was expected of them", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const report = yield* collect(1_000, { maxCost: 1, expectedExecution: "1 second", concurrency: 100 })
        const over = report.results.map(({ executionTime = 0 }) => Math.max(0, executionTime / 1000 - 1))
        const sum = over.reduce((sum, each) => sum + each, 0)
        assert.isAtMost(report.cost?.floor ?? NaN, 1 + 0.01 * sum)
      }).pipe(Effect.provide(on({ workers: 100, handler: seconds((n) => [0.2, 1, 0.5, 0.1, 2][n % 5] ?? 1) })))
    )
  )

  it.live(
    "lets as many go at first as would fit if they ran until their executionTimeout, and the rest when one has ended",
    () =>
      VirtualTime.run(
        Effect.gen(function* () {
          const ep = yield* endpoint
          const options = { maxCost: 1, policy: { executionTimeout: "20 seconds" }, concurrency: 50 } as const
          const started: Array<number> = []
          const report = yield* Batch.collect(
            { ...ep, run: (input, options) => Effect.zipRight(note(started), ep.run(input, options)) },
            inputs(40),
            options
          )
          assert.deepStrictEqual(report.counts, { Completed: 40 })
          // 20 s cost 0.20: five fit.
          assert.strictEqual(started.filter((at) => at < 1_000).length, 5)
        }).pipe(Effect.provide(on({ workers: 50, execution: "1 second" })))
      )
  )

  it.live("lets one job go where even that is more than the budget, and knows then", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        assert.deepInclude(yield* stopped({ maxCost: 0.055 }), { submitted: 5, outcomes: 5 })
        assert.deepInclude(yield* stopped({ maxCost: 0 }), { outcomes: 0, submitted: 5 })
        assert.deepInclude(yield* stopped({ maxCost: 0.055, expectedExecution: "6 seconds" }), {
          outcomes: 0,
          submitted: 5
        })
      }).pipe(Effect.provide(on({ workers: 10, execution: "1 second" })))
    )
  )

  it.live("counts what earlier runs with the journal have spent, attempts that others followed too", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const journal = yield* BatchJournal.memory
        const options = { maxCost: 0.1, expectedExecution: "1 second", journal, concurrency: 400 } as const
        const first = yield* collect(100, { ...options, retries: 1, concurrency: 3 })
        assert.strictEqual(first.stopped, "Budget")
        // 0 failed twice.
        assert.strictEqual(first.results.length, 9)
        near(first.cost?.floor, 0.1)
        const second = yield* collect(100, options)
        assert.strictEqual(second.results.length, second.replayed)
        near(second.cost?.floor, 0)
        const third = yield* collect(100, { ...options, maxCost: 0.15 })
        assert.strictEqual(third.results.length, 14)
        near(third.cost?.floor, 0.05)
        near(third.cost?.earlier.floor, 0.1)
      }).pipe(
        Effect.provide(
          on({
            workers: 400,
            handler: seconds(
              () => 1,
              (n) => n === 0
            )
          })
        )
      )
    )
  )

  it.live("counts jobs of an earlier run that are still at RunPod", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const journal = yield* BatchJournal.memory
        const options = { maxCost: 0.2, expectedExecution: "10 seconds", journal, concurrency: 10 } as const
        const ep = yield* endpoint
        const cut = Effect.timeoutOption(Batch.collect(ep, inputs(1), options), "1 second")
        assert.isTrue(Option.isNone(yield* cut))
        const { outcomes, submitted } = yield* stopped(options, 10)
        assert.strictEqual(submitted, 2)
        assert.strictEqual(outcomes, 2)
      }).pipe(Effect.provide(on({ workers: 10, execution: "10 seconds" })))
    )
  )

  it.live("leaves a failed job as it is where there is no room for its retry", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const report = yield* collect(1, { maxCost: 0.02, expectedExecution: "1 second", retries: 5 })
        assert.deepStrictEqual(report.counts, { JobFailedError: 1 })
        assert.strictEqual(report.results[0]?.attempts, 2)
        near(report.cost?.floor, 0.02)
      }).pipe(
        Effect.provide(
          on({
            handler: seconds(
              () => 1,
              () => true
            )
          })
        )
      )
    )
  )

  it.live(
    "without rates, with those of other endpoints, or with a journal that knows no work, sends nothing and says why",
    () =>
      VirtualTime.run(
        Effect.gen(function* () {
          const bounded = (options?: Batch.Options<Numbered>) => Effect.flip(collect(3, { maxCost: 1, ...options }))
          const without = yield* bounded()
          assert.strictEqual(without._tag, "BadRequestError")
          assert.include(without.message, "`maxCost` needs the rate of the workers of endpoint ep: name their GPU")
          const unknown = yield* Effect.provide(bounded(), Cost.layer({ rates, endpoints: { other: { gpu: "L4" } } }))
          assert.strictEqual(unknown.message, without.message)
          const journal: BatchJournal.BatchJournal = { ...(yield* BatchJournal.memory), work: undefined }
          const forgetful = yield* Effect.provide(bounded({ journal }), cost())
          assert.strictEqual(forgetful._tag, "BadRequestError")
          assert.include(forgetful.message, "`maxCost` needs a journal that knows what was spent")
          for (const maxCost of [-1, NaN]) {
            const exit = yield* Effect.exit(Effect.provide(collect(3, { maxCost }), cost()))
            assert.isTrue(exit._tag === "Failure" && exit.cause._tag === "Die")
          }
          assert.strictEqual((yield* counts).submitted, 0)
        }).pipe(Effect.provide(emulated({})))
      )
  )

  it.live("waits for room no longer than until the batch is stopped otherwise", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const options = { maxCost: 0.1, expectedExecution: "10 seconds", concurrency: 5 } as const
        const error = yield* Effect.map(stopped({ ...options, deadline: "3 seconds" }), ({ error }) => error)
        assert.deepInclude(error, { _tag: "BatchStoppedError", reason: "Deadline" })
      }).pipe(Effect.provide(on({ execution: "10 seconds" })))
    )
  )
})

/** Notes the time. */
const note = (times: Array<number>) =>
  Effect.clockWith((clock) => Effect.sync(() => times.push(clock.unsafeCurrentTimeMillis())))
