/** The budget of a layer, which all that is submitted under it shares. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Cost from "../../src/layers/Cost.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import { inputs } from "../support/batches.js"
import * as Scripted from "../support/scripted.js"
import * as VirtualTime from "../support/virtualTime.js"

const Numbered = Schema.Struct({ n: Schema.Number })
const make = (id: string) => Endpoint.make(id, { input: Numbered, output: Numbered })
const rates = Cost.rates({ L4: { flex: 0.01 } })

/** Endpoints of which a job of `a` and `b` takes a second, and costs a cent. */
const layer = (maxCost: number, options: Partial<Cost.Options> = {}, faults: Emulator.RunPodOptions["faults"] = []) =>
  Layer.merge(
    Emulator.layerRunPod({
      endpoints: {
        a: { workers: 500, execution: "1 second" },
        b: { workers: 500, execution: "1 second" },
        failing: { workers: 5, handler: () => Effect.delay(Effect.fail("no"), "1 second") },
        queueing: { workers: 1, execution: "10 seconds" }
      },
      faults
    }),
    Cost.layer({ rates, gpu: "L4", expectedExecution: "1 second", maxCost, ...options })
  )

const run = <A, E, R>(effect: Effect.Effect<A, E, R>, provided: Layer.Layer<R, unknown>) =>
  VirtualTime.run(Effect.provide(effect, provided))

const submitted = Effect.flatMap(Emulator.Emulator, (emulator) =>
  Effect.map(emulator.counts, (counts) => counts.submitted)
)
const state = (endpointId: string) =>
  Effect.map(Cost.Cost, ({ budget }) => {
    const { inFlight, spent } = budget?.state(endpointId) ?? { inFlight: NaN, spent: NaN }
    return { spent: Math.round(spent * 1e6) / 1e6, inFlight: Math.round(inFlight * 1e6) / 1e6 }
  })

/** The tags of how effects ended, counted. */
const tally = (exits: ReadonlyArray<Exit.Exit<unknown, { readonly _tag: string }>>) => {
  const counts: Record<string, number> = {}
  for (const exit of exits) {
    const tag = Exit.isSuccess(exit) ? "ok" : exit.cause._tag === "Fail" ? exit.cause.error._tag : exit.cause._tag
    counts[tag] = (counts[tag] ?? 0) + 1
  }
  return counts
}

describe("the budget of a layer", () => {
  it.live("lets no more of 400 calls at once pass than there is room for, and refuses the rest unsent", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* Effect.all([make("a"), make("b")])
        const calls = inputs(400).map((input) => (input.n % 2 === 0 ? a : b).call(input))
        const exits = yield* Effect.all(calls.map(Effect.exit), { concurrency: "unbounded" })
        assert.deepStrictEqual(tally(exits), { ok: 30, BudgetExceededError: 370 })
        assert.strictEqual(yield* submitted, 30)
        assert.deepStrictEqual(yield* state("a"), { spent: 0.3, inFlight: 0 })
        const error = yield* Effect.flip(a.call({ n: 1 }))
        assert.deepInclude(error, { _tag: "BudgetExceededError", operation: "run", endpointId: "a", maxCost: 0.3 })
        assert.strictEqual(
          error.message,
          "run on endpoint a: the budget has no room for it, and it was not sent: $0.3000 of $0.3000 were spent, jobs in flight may add $0.000000, and the next may cost $0.010000. Wait until jobs in flight have ended, or raise `maxCost` of `Cost.layer`. Workers that start or wait for work cost more, which no budget bounds."
        )
      }),
      layer(0.3)
    )
  )

  it.live("is shared by run, runSync, callStream, and a retry", () =>
    run(
      Effect.gen(function* () {
        const [a, failing] = yield* Effect.all([make("a"), make("failing")])
        yield* Stream.runDrain(a.callStream({ n: 1 }))
        assert.deepStrictEqual(yield* state("a"), { spent: 0.01, inFlight: 0 })
        yield* a.runSync({ n: 2 })
        assert.deepStrictEqual(yield* state("a"), { spent: 0.02, inFlight: 0 })
        const job = yield* failing.run({ n: 3 })
        assert.deepStrictEqual(yield* state("a"), { spent: 0.02, inFlight: 0.01 })
        yield* job.settle()
        yield* job.settle()
        assert.deepStrictEqual(yield* state("a"), { spent: 0.03, inFlight: 0 })
        yield* job.retry
        assert.deepStrictEqual(yield* state("a"), { spent: 0.03, inFlight: 0.01 })
        yield* Jobs.settle("failing", job.id)
        assert.deepStrictEqual(yield* state("a"), { spent: 0.04, inFlight: 0 })
        const again = yield* Effect.flip(job.retry)
        assert.deepInclude(again, { _tag: "BudgetExceededError", operation: "retry", jobId: job.id })
        const stream = yield* Effect.flip(Stream.runDrain(a.callStream({ n: 1 })))
        assert.strictEqual(stream._tag, "BudgetExceededError")
        assert.strictEqual((yield* Effect.flip(a.runSync({ n: 2 })))._tag, "BudgetExceededError")
        assert.strictEqual(yield* submitted, 3)
      }),
      layer(0.04)
    )
  )

  it.live("stops a batch that it has no room for, once the batch's jobs have settled", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* Effect.all([make("a"), make("b")])
        yield* Effect.all(
          inputs(10).map((input) => a.call(input)),
          { concurrency: 10 }
        )
        const report = yield* Batch.collect(b, inputs(500), { concurrency: 400 })
        assert.strictEqual(report.stopped, "Budget")
        assert.deepStrictEqual(report.counts, { Completed: 20 })
        const error = yield* Effect.flip(Stream.runDrain(Batch.run(a, inputs(3))))
        assert.deepInclude(error, { _tag: "BatchStoppedError", reason: "Budget", settled: 0 })
        // A batch with a budget of its own, too.
        const both = yield* Batch.collect(a, inputs(3), { maxCost: 1 })
        assert.strictEqual(both.stopped, "Budget")
        assert.strictEqual(yield* submitted, 30)
      }),
      layer(0.3)
    )
  )

  it.live("is used up by a batch although it was full for a while", () =>
    run(
      Effect.gen(function* () {
        const a = yield* make("a")
        // Jobs take a fifth of what is expected.
        const report = yield* Batch.collect(a, inputs(100), { concurrency: 50 })
        assert.strictEqual(report.completed, 30)
      }),
      layer(0.3, { expectedExecution: "5 seconds" })
    )
  )

  it.live("has room again after a submit that was refused, and none after one that may have come through", () =>
    run(
      Effect.gen(function* () {
        const a = yield* make("a")
        const doubtful = yield* Effect.flip(a.call({ n: 1 }))
        assert.strictEqual(doubtful._tag, "SubmitAmbiguousError")
        assert.deepStrictEqual(yield* state("a"), { spent: 0.01, inFlight: 0 })
        assert.strictEqual((yield* Effect.flip(a.call({ n: 2 })))._tag, "BudgetExceededError")
      }),
      layer(0.01, {}, [Emulator.Fault.resetAfter({ operations: ["run"], times: 1 })])
    )
  )

  it.live("gives room back for a submit that RunPod refuses", () => {
    const refusing = Scripted.make([Scripted.json({ error: "no" }, 400)])
    return run(
      Effect.gen(function* () {
        const a = yield* make("a")
        for (let n = 0; n < 3; n++) assert.strictEqual((yield* Effect.flip(a.call({ n })))._tag, "BadRequestError")
        assert.deepStrictEqual(yield* state("a"), { spent: 0, inFlight: 0 })
        assert.strictEqual(refusing.asked.length, 3)
      }),
      Layer.merge(refusing.layer(), Cost.layer({ rates, gpu: "L4", expectedExecution: "1 second", maxCost: 0.01 }))
    )
  })

  it.live("counts a job that is cancelled in the queue as nothing, and one that runs by its time", () =>
    run(
      Effect.gen(function* () {
        const queueing = yield* make("queueing")
        yield* Effect.timeoutOption(
          Effect.all([queueing.call({ n: 1 }), queueing.call({ n: 2 })], { concurrency: 2 }),
          "4 seconds"
        )
        const { inFlight, spent } = yield* state("queueing")
        assert.strictEqual(inFlight, 0)
        assert.approximately(spent, 0.04, 0.001)
      }),
      layer(1)
    )
  )

  it.live("counts a job whose caller left while it was submitted", () =>
    run(
      Effect.gen(function* () {
        const a = yield* make("a")
        yield* Effect.timeoutOption(a.run({ n: 1 }), "1 second")
        assert.strictEqual(yield* submitted, 1)
        assert.deepInclude(yield* state("a"), { inFlight: 0 })
      }),
      layer(1, {}, [Emulator.Fault.stall({ operations: ["run"], times: 1 })])
    )
  )

  it.live("refuses submits to an endpoint whose rate it does not know", () =>
    run(
      Effect.gen(function* () {
        const error = yield* Effect.flip(Effect.flatMap(make("b"), (b) => b.run({ n: 1 })))
        assert.strictEqual(error._tag, "BadRequestError")
        assert.include(error.message, "`maxCost` needs the rate of the workers of endpoint b")
        yield* Effect.flatMap(make("a"), (a) => a.call({ n: 1 }))
        assert.strictEqual(yield* submitted, 1)
      }),
      layer(1, { gpu: undefined, endpoints: { a: { gpu: "L4" } } })
    )
  )
})
