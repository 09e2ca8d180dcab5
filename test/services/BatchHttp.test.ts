import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Batch from "../../src/services/Batch.js"
import { endpoint, inputs } from "../support/batches.js"

const { Fault } = Emulator
const polls = ["status", "statusSync"] as const

/** A batch over HTTP, what the server saw of it, and how it compares with what is possible. The benchmark has the figures. */
const measure = (count: number, faults: ReadonlyArray<Emulator.Fault.Fault>) =>
  Effect.gen(function* () {
    const workers = 30
    const server = yield* NodeEmulator.serve({
      endpoints: {
        ep: { workers: { max: workers, min: workers }, execution: { min: "400 millis", max: "600 millis" } }
      },
      faults
    })
    const report = yield* Effect.provide(
      Effect.flatMap(endpoint, (ep) => Batch.collect(ep, inputs(count))),
      NodeRunPod.layer({ apiKey: "key", baseUrl: server.url })
    )
    const jobs = yield* server.jobs("ep")
    const perInput = new Map<unknown, number>()
    for (const { input } of jobs) perInput.set(input["n"], (perInput.get(input["n"]) ?? 0) + 1)
    const executed = jobs.reduce((sum, { executionTime = 0 }) => sum + executionTime, 0)
    return {
      report,
      counts: yield* server.counts,
      most: Math.max(...perInput.values()),
      stretch: Duration.toMillis(report.wallTime) / (executed / workers)
    }
  })

describe("a batch over HTTP under the documented limits", () => {
  it.scopedLive("has every result, at three requests a job or less, with no 429", () =>
    Effect.gen(function* () {
      const { counts, most, report, stretch } = yield* measure(200, [])
      assert.deepStrictEqual(report.counts, { Completed: 200 })
      assert.deepStrictEqual(
        report.results.map(({ index }) => index),
        Array.from({ length: 200 }, (_, index) => index)
      )
      assert.strictEqual(most, 1)
      assert.strictEqual(counts.rateLimited, 0)
      assert.isAtMost(counts.total / 200, 3)
      // Alone on a machine it is 1.1.
      assert.isBelow(stretch, 4)
    })
  )

  const lossy = (operations: ReadonlyArray<"run" | "status" | "statusSync">) => [
    Fault.resetAfter({ operations, rate: 0.02 }),
    Fault.serverError({ operations, rate: 0.04 }),
    Fault.truncated({ operations, rate: 0.02 }),
    Fault.cutBody({ operations, rate: 0.02 })
  ]

  it.scopedLive(
    "has every result through polls that fail",
    () =>
      Effect.gen(function* () {
        const { counts, most, report } = yield* measure(140, lossy(polls))
        assert.deepStrictEqual(report.counts, { Completed: 140 })
        assert.strictEqual(most, 1)
        assert.isAtMost(counts.total / 140, 3.5)
        assert.isAbove(
          Object.values(counts.faults).reduce((sum, times) => sum + times, 0),
          5
        )
      }),
    { concurrent: true }
  )

  it.scopedLive(
    "settles every input through submits that fail, and submits none twice",
    () =>
      Effect.gen(function* () {
        const { most, report } = yield* measure(140, lossy([...polls, "run"]))
        const { Completed = 0, SubmitAmbiguousError = 0, ...others } = report.counts
        assert.deepStrictEqual(others, {})
        assert.strictEqual(Completed + SubmitAmbiguousError, 140)
        assert.isAbove(SubmitAmbiguousError, 3)
        assert.strictEqual(most, 1)
      }),
    { concurrent: true }
  )
})
