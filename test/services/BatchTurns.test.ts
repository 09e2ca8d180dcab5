/** More jobs than are waited for at once. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Emulator from "../../src/emulator/Emulator.js"
import { sha256 } from "../../src/internal/text/sha256.js"
import { turnOf } from "../../src/internal/batch/wait.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import { counts, emulated, endpoint, inputs, jobsPerInput, kindOf, statuses } from "../support/batches.js"
import * as VirtualTime from "../support/virtualTime.js"

/** When each job was read. */
const readTimes = Effect.gen(function* () {
  const emulator = yield* Emulator.Emulator
  const reads = new Map<string, Array<number>>()
  for (const { at, jobId, operation } of yield* emulator.requests) {
    if (jobId === undefined || (operation !== "status" && operation !== "statusSync")) continue
    const times = reads.get(jobId) ?? []
    reads.set(jobId, times)
    times.push(at)
  }
  return reads
})

/** The longest time for which a job was not read, from `since` on. */
const longestGap = (reads: ReadonlyMap<string, ReadonlyArray<number>>, since: number) =>
  Math.max(
    ...Array.from(reads.values(), (times) => Math.max(...times.map((at, index) => at - (times[index - 1] ?? since))))
  )

const submit = (count: number) =>
  Effect.gen(function* () {
    const ep = yield* endpoint
    const submissions = yield* Batch.submit(ep, inputs(count))
    const handles = yield* Effect.forEach(submissions, ({ result }) => result)
    return { ep, handles, since: yield* Effect.clockWith((clock) => clock.currentTimeMillis) }
  })

describe("turns", () => {
  it("last as long as it takes where there is room for all, else at most as long as a hold", () => {
    assert.strictEqual(turnOf(1000, 1000), Infinity)
    assert.strictEqual(turnOf(1001, 1000), 90_000)
    assert.strictEqual(turnOf(8000, 1000), 60_000)
  })

  it("are single requests where they would be short", () => {
    assert.strictEqual(turnOf(8001, 1000), 0)
    assert.strictEqual(turnOf(100_000, 1000), 0)
  })
})

describe("Batch.wait for more jobs than its concurrency", () => {
  for (const [name, concurrency] of [
    ["turn by turn", 12],
    ["one request at a time", 6]
  ] as const) {
    it.live(`reads all of them ${name}, none less often than every 10 minutes`, () =>
      VirtualTime.run(
        Effect.gen(function* () {
          const { ep, handles, since } = yield* submit(60)
          const outcomes = yield* Batch.wait(ep, handles, { concurrency })
          assert.deepStrictEqual(
            outcomes.map(({ jobId, result }) => [jobId, result]),
            handles.map(({ id }, n) => [id, Exit.succeed({ n })])
          )
          const reads = yield* readTimes
          assert.strictEqual(reads.size, 60)
          assert.isAtMost(longestGap(reads, since), 10 * 60_000)
          const { byOperation } = yield* counts
          assert.isAtMost(byOperation.status.maxInFlight + byOperation.statusSync.maxInFlight, 2 * concurrency)
        }).pipe(Effect.provide(emulated({ workers: 6, execution: "3 minutes" })))
      )
    )
  }

  it.live("its timeout bounds the whole wait, and tells what was seen of each job", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const { ep, handles, since } = yield* submit(50)
        const outcomes = yield* Batch.wait(ep, handles, {
          concurrency: 5,
          timeout: "5 minutes",
          cancelOnTimeout: true
        })
        const took = (yield* Effect.clockWith((clock) => clock.currentTimeMillis)) - since
        assert.isAtMost(took, 5 * 60_000 + 1_000)
        for (const { result } of outcomes) {
          const error = Exit.isFailure(result) && result.cause._tag === "Fail" ? result.cause.error : undefined
          assert.deepInclude(error, { _tag: "WaitTimeoutError", lastStatus: "IN_PROGRESS", cancel: "Pending" })
        }
        yield* Effect.sleep("1 minute")
        assert.deepStrictEqual(yield* statuses, { CANCELLED: 50 })
      }).pipe(Effect.provide(emulated({ workers: 50, execution: "1 hour" })))
    )
  )

  it.live("interrupted, cancels also those that have no turn", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const { ep, handles } = yield* submit(50)
        const fiber = yield* Effect.fork(Batch.wait(ep, handles, { concurrency: 10, cancelOnInterrupt: true }))
        yield* Effect.sleep("2 minutes")
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* statuses, { CANCELLED: 50 })
        assert.strictEqual((yield* counts).byOperation.cancel.total, 50)
      }).pipe(Effect.provide(emulated({ workers: 50, execution: "1 hour" })))
    )
  )

  it.live("a job that was seen and is gone is expired", () =>
    VirtualTime.run(
      Effect.gen(function* () {
        const { ep, handles } = yield* submit(20)
        const emulator = yield* Emulator.Emulator
        const fiber = yield* Effect.fork(
          Batch.wait(
            ep,
            handles.map(({ id }) => id),
            { concurrency: 2 }
          )
        )
        yield* Effect.sleep("330 seconds")
        yield* emulator.end("ep", handles[0]?.id ?? "", { status: "COMPLETED" })
        yield* Effect.sleep("1 hour")
        const [first] = yield* Fiber.join(fiber)
        const error =
          first !== undefined && Exit.isFailure(first.result) && first.result.cause._tag === "Fail"
            ? first.result.cause.error
            : undefined
        assert.deepInclude(error, { _tag: "JobNotFoundError", reason: "Expired" })
      }).pipe(Effect.provide(emulated({ workers: 20, execution: "20 minutes", retention: { run: "1 second" } })))
    )
  )

  it.effect("a concurrency below 1 is a defect", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const exit = yield* Effect.exit(Batch.wait(ep, ["a"], { concurrency: 0 }))
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
    }).pipe(Effect.provide(emulated({})))
  )
})

describe("a resumed batch with more jobs of the earlier run than are waited for at once", () => {
  it.live(
    "reads them all before they expire, and submits none again",
    () =>
      VirtualTime.run(
        Effect.gen(function* () {
          const { ep, handles } = yield* submit(220)
          const journal = yield* BatchJournal.memory
          for (const [n, { id: jobId }] of handles.entries()) {
            const item = { key: String(n), hash: sha256(JSON.stringify({ n })), at: 0 }
            yield* journal.append({ _tag: "Submitted", ...item, jobId, attempts: 1 })
          }
          const poll = { initial: "1 minute", interval: "1 minute" } as const
          const report = yield* Batch.collect(ep, inputs(220), { concurrency: 2, journal, poll }).pipe(
            Logger.withMinimumLogLevel(LogLevel.Warning)
          )
          assert.isTrue(report.results.every((outcome) => kindOf(outcome) === "Completed"))
          assert.isTrue([...(yield* jobsPerInput).values()].every((count) => count === 1))
        }).pipe(Effect.provide(emulated({ workers: 220, execution: "2 minutes" })))
      ),
    60_000
  )
})
