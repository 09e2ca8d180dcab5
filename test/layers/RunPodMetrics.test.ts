import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RunPodMetrics from "../../src/layers/RunPodMetrics.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import type * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"

const { Fault } = Emulator

type Ep = Endpoint.Endpoint<{ readonly seconds: number }, unknown>

/** Runs a program with an endpoint of its own, to the end of its virtual time. */
const withEndpoint = <A, E>(
  id: string,
  use: (endpoint: Ep) => Effect.Effect<A, E, RunPod.RunPod>,
  options: Partial<Emulator.Options> = {}
) => {
  const made = Endpoint.make(id, { input: Schema.Struct({ seconds: Schema.Number }), output: Schema.Unknown })
  const handler: Emulator.Handler = ({ seconds }) => Effect.delay(Effect.succeed("done"), 1_000 * Number(seconds))
  const layer = Emulator.layerRunPod({
    endpoints: { [id]: { workers: 1, handler } },
    client: { limits: RateLimits.unlimited },
    ...options
  })
  return finish(Effect.provide(Effect.flatMap(made, use), layer), "1 hour")
}

const valueOf = <Type, In, Out>(
  metric: Metric.Metric<Type, In, Out>,
  endpoint: string,
  more: Readonly<Record<string, string>> = {}
) =>
  Metric.value(
    Object.entries(more).reduce((m, [k, v]) => Metric.tagged(m, k, v), Metric.tagged(metric, "endpoint", endpoint))
  )

const inFlight = (id: string) => Effect.map(valueOf(RunPodMetrics.jobsInFlight, id), ({ value }) => value)
const eta = (id: string) => Effect.map(valueOf(RunPodMetrics.batchEta, id), ({ value }) => value)

describe("RunPodMetrics", () => {
  it.effect("knows the jobs that are waited for, by calls, streams and batches, also when those are interrupted", () =>
    Effect.gen(function* () {
      const id = "metrics-in-flight"
      const seen = yield* withEndpoint(id, (endpoint) =>
        Effect.gen(function* () {
          const input = { seconds: 600 }
          const waits: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
            endpoint.call(input),
            Stream.runDrain(endpoint.callStream?.(input) ?? Stream.empty),
            Effect.flatMap(endpoint.run(input), (job) => Stream.runDrain(job.watch())),
            Batch.collect(endpoint, [input, input])
          ]
          const counts: Array<number> = []
          for (const wait of waits) {
            const fiber = yield* Effect.fork(wait)
            yield* Effect.sleep("30 seconds")
            counts.push(yield* inFlight(id))
            yield* Fiber.interrupt(fiber)
            counts.push(yield* inFlight(id))
          }
          return counts
        })
      )
      assert.deepStrictEqual(seen, [1, 0, 1, 0, 1, 0, 2, 0])
    })
  )

  it.effect("counts cancels, and those that were refused", () =>
    Effect.gen(function* () {
      const id = "metrics-cancels"
      yield* withEndpoint(
        id,
        (endpoint) =>
          Effect.gen(function* () {
            const [one, two] = yield* Effect.all([endpoint.run({ seconds: 600 }), endpoint.run({ seconds: 600 })])
            yield* Effect.exit(one.cancel)
            yield* two.cancel
            yield* Effect.exit(endpoint.call({ seconds: 600 }, { timeout: "5 seconds" }))
            yield* Effect.sleep("10 seconds")
          }),
        { faults: [Fault.serverError({ status: 400, operations: ["cancel"], times: 1 })] }
      )
      assert.strictEqual((yield* valueOf(RunPodMetrics.cancels, id)).count, 2)
      assert.strictEqual((yield* valueOf(RunPodMetrics.failedCancels, id)).count, 1)
    })
  )

  it.effect("knows how long a batch will take, for as long as its progress is followed", () =>
    Effect.gen(function* () {
      const id = "metrics-eta"
      const [during, left, after] = yield* withEndpoint(id, (endpoint) =>
        Effect.gen(function* () {
          const tracker = yield* Batch.tracker
          const inputs = Array.from({ length: 4 }, () => ({ seconds: 10 }))
          const batch = yield* Effect.fork(Batch.collect(endpoint, inputs, { tracker }))
          const followed = yield* Effect.fork(Stream.runDrain(Batch.progress(tracker)))
          yield* Effect.sleep("15 seconds")
          const during = yield* eta(id)
          yield* Fiber.interrupt(followed)
          const left = yield* eta(id)
          const again = yield* Effect.fork(Stream.runDrain(Batch.progress(tracker)))
          yield* Fiber.join(batch)
          yield* Fiber.join(again)
          return [during, left, yield* eta(id)]
        })
      )
      assert.isAbove(during ?? 0, 10)
      assert.strictEqual(left, 0)
      assert.strictEqual(after, 0)
    })
  )

  it.effect("measures a job: in the queue, on a worker, in all, and how late its end was seen", () =>
    Effect.gen(function* () {
      const id = "metrics-times"
      yield* withEndpoint(id, (endpoint) =>
        Effect.zipRight(
          Effect.all([endpoint.call({ seconds: 10 }), endpoint.call({ seconds: 10 })], { concurrency: 2 }),
          endpoint.health
        )
      )
      const [delay, execution, wait, late] = yield* Effect.forEach(
        [RunPodMetrics.delayTime, RunPodMetrics.executionTime, RunPodMetrics.waitTime, RunPodMetrics.seenAfterEnd],
        (metric) => valueOf(metric, id)
      )
      assert.deepStrictEqual([delay?.count, execution?.count, wait?.count, late?.count], [2, 2, 2, 2])
      assert.approximately(delay?.sum ?? 0, 10, 1)
      assert.approximately(execution?.sum ?? 0, 20, 1)
      assert.approximately(wait?.sum ?? 0, 30, 2)
      assert.isBelow(late?.sum ?? Infinity, 2)
      assert.strictEqual((yield* valueOf(RunPodMetrics.jobsEnded, id, { status: "COMPLETED" })).count, 2)
      assert.strictEqual((yield* valueOf(RunPodMetrics.workers, id, { state: "idle" })).value, 1)
      assert.strictEqual((yield* valueOf(RunPodMetrics.queue, id, { state: "inQueue" })).value, 0)
    })
  )
})
