import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Batch from "../../src/services/Batch.js"
import { counts, emulated, endpoint, inputs } from "../support/batches.js"
import * as VirtualTime from "../support/virtualTime.js"

describe.sequential("what is read before RunPod forgets it:", () => {
  const fiftieth = RateLimits.make({
    run: { limit: 20, concurrency: 4 },
    status: { limit: 40, concurrency: 8 },
    statusSync: { limit: 40, concurrency: 8 }
  })

  /** How long each job waited, since its end, to be read. */
  const readWithin = Effect.gen(function* () {
    const emulator = yield* Emulator.Emulator
    const jobs = new Map((yield* emulator.jobs("ep")).map((job) => [job.id, job]))
    const reads = new Map<string, number>()
    for (const { at, jobId, operation, took = 0 } of yield* emulator.requests) {
      const isRead = operation === "status" || operation === "statusSync"
      const ended = jobId === undefined ? undefined : jobs.get(jobId)?.finishedAt
      if (isRead && jobId !== undefined && ended !== undefined && at + took >= ended) {
        reads.set(jobId, Math.min(reads.get(jobId) ?? Infinity, at + took - ended))
      }
    }
    return reads
  })

  it.live(
    "with 400 jobs that finish behind slow ones and limits of a fiftieth, none is read too late",
    () => {
      // As many slow jobs as there are places to hold, and more; the rest is done in seconds, long before them.
      const isSlow = (n: unknown) => Number(n) % 40 === 0
      const program = Effect.gen(function* () {
        const ep = yield* endpoint
        const report = yield* Batch.collect(ep, inputs(400), {
          concurrency: 400,
          policy: { executionTimeout: "1 hour" }
        })
        assert.deepStrictEqual(report.counts, { Completed: 400 })
        assert.strictEqual((yield* counts).rateLimited, 0)
        assert.isAtLeast(Duration.toMinutes(report.wallTime), 40)
        const slow = report.results.filter(({ input }) => isSlow(input.n)).map(({ jobId }) => String(jobId))
        const reads = yield* readWithin
        assert.isAtLeast(reads.size, 10)
        // The slow ones are still there to be asked; all others were read or they would not have completed.
        assert.isBelow(Math.max(...slow.map((id) => reads.get(id) ?? 0)), 10 * 60_000)
      })
      return VirtualTime.run(
        Effect.provide(
          program,
          emulated(
            {
              workers: 400,
              handler: ({ n }) => Effect.delay(Effect.succeed({ n }), isSlow(n) ? "40 minutes" : "5 seconds")
            },
            { limits: fiftieth, client: { limits: fiftieth } }
          )
        )
      )
    },
    120_000
  )

  it.live(
    "400 results that are 25 minutes old are all read in time",
    () => {
      const program = Effect.gen(function* () {
        const ep = yield* endpoint
        const submissions = yield* Batch.submit(ep, inputs(400))
        yield* Effect.sleep("20 minutes")
        const handles = yield* Effect.forEach(submissions, ({ result }) => result)
        const outcomes = yield* Batch.wait(ep, handles)
        assert.isTrue(outcomes.every(({ result }) => Exit.isSuccess(result)))
        const reads = yield* readWithin
        assert.strictEqual(reads.size, 400)
        assert.isBelow(Math.max(...reads.values()), 30 * 60_000)
      })
      return VirtualTime.run(
        Effect.provide(program, emulated({ workers: 400 }, { limits: fiftieth, client: { limits: fiftieth } }))
      )
    },
    120_000
  )
})
