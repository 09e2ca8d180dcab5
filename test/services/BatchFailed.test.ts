import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import type { JobError } from "../../src/errors/JobError.js"
import { sha256 } from "../../src/internal/text/sha256.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import type * as JournalEntry from "../../src/schemas/JournalEntry.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import { counts, emulated, endpoint, inputs, jobsPerInput, kindOf, type Numbered } from "../support/batches.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"
import { entriesWithin, lineEnds } from "../support/journalCuts.js"

const { Fault } = Emulator

const run = (options: Batch.Options<Numbered>, items: Batch.Inputs<Numbered> = inputs(10)) =>
  Effect.flatMap(endpoint, (ep) => finish(Batch.collect(ep, items, options), "1 hour"))

/** An endpoint on which some inputs fail until it is mended. */
const broken = (
  fails: (n: number) => boolean,
  options: Omit<Emulator.RunPodOptions, "endpoints"> & { readonly lasting?: Duration.DurationInput } = {}
) => {
  const state = { isMended: false }
  const { lasting = "1 second", ...rest } = options
  const layer = emulated(
    {
      workers: 50,
      handler: ({ n }) =>
        Effect.delay(
          fails(Number(n)) && !state.isMended
            ? Effect.fail(Object.assign(new Error("CUDA out of memory"), { name: "OutOfMemoryError" }))
            : Effect.succeed({ n }),
          lasting
        )
    },
    rest
  )
  const mend = Effect.sync(() => void (state.isMended = true))
  return { layer, mend }
}

const attemptsOf = ({ results }: Batch.Report<Numbered, unknown>) => results.map(({ attempts }) => attempts)

describe("`onFailed` of a batch with a journal", () => {
  const isOutOfMemory = (n: number) => n % 27 === 5
  for (const kind of ["an array", "a stream"] as const) {
    it.live(`CUDA out of memory on 5 of 120, a fix, and run again: only those run again (${kind})`, () => {
      const { layer, mend } = broken(isOutOfMemory)
      const program = Effect.gen(function* () {
        const ep = yield* endpoint
        const run = (options: Batch.Options<Numbered>) => Batch.collect(ep, items, options)
        const items = kind === "an array" ? inputs(120) : Stream.fromIterable(inputs(120))
        const journal = yield* BatchJournal.memory
        const first = yield* run({ journal })
        assert.deepStrictEqual(first.counts, { Completed: 115, JobFailedError: 5 })
        yield* mend
        const reported = yield* run({ journal, onFailed: "report" })
        assert.deepStrictEqual([reported.counts, reported.replayed], [first.counts, 120])
        const second = yield* run({ journal, onFailed: "resubmit" })
        assert.deepStrictEqual([second.counts, second.replayed], [{ Completed: 120 }, 115])
        assert.deepStrictEqual(
          attemptsOf(second),
          inputs(120).map(({ n }) => (isOutOfMemory(n) ? 2 : 1))
        )
        const third = yield* run({ journal, onFailed: "resubmit" })
        assert.deepStrictEqual([third.counts, third.replayed], [{ Completed: 120 }, 120])
        assert.deepStrictEqual(attemptsOf(third), attemptsOf(second))
        assert.strictEqual((yield* counts).submitted, 125)
      })
      return VirtualTime.run(Effect.provide(program, layer)).pipe(Logger.withMinimumLogLevel(LogLevel.None))
    })
  }

  inVirtualTime("a function chooses by the error, which is the one of the first run", () => {
    const { layer, mend } = broken((n) => n === 3 || n === 4)
    return Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const first = yield* run({ journal })
      yield* mend
      const errors: Array<JobError> = []
      const second = yield* run({
        journal,
        onFailed: (error) => {
          errors.push(error)
          return error.jobId === first.results[4]?.jobId
        }
      })
      assert.deepStrictEqual(
        errors.map((error) => Exit.fail(error)),
        [3, 4].map((at) => first.results[at]?.result)
      )
      assert.deepInclude({ ...errors[0] }, { errorType: "OutOfMemoryError", detail: "CUDA out of memory" })
      assert.strictEqual(second.results.map(kindOf).indexOf("JobFailedError"), 3)
      assert.deepStrictEqual([second.counts, second.replayed], [{ Completed: 9, JobFailedError: 1 }, 9])
      assert.strictEqual((yield* counts).submitted, 11)
    }).pipe(Effect.provide(layer))
  })

  inVirtualTime("all bad ends can be run again: failed, cancelled, timed out, without output, of another shape", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const ends: ReadonlyArray<Pick<JournalEntry.Settled, "status" | "output" | "error">> = [
        { status: "FAILED", error: "no space left" },
        { status: "CANCELLED" },
        { status: "TIMED_OUT" },
        { status: "COMPLETED" },
        { status: "COMPLETED", output: { text: "no number" } },
        { status: "COMPLETED", output: { n: 5 } }
      ]
      for (const [n, end] of ends.entries()) {
        const facts = { key: String(n), hash: sha256(JSON.stringify({ n })), at: 0, jobId: `job-${n}`, attempts: 1 }
        yield* journal.append({ _tag: "Settled", ...facts, delayTime: 1, executionTime: 1, ...end })
      }
      const tags: Array<string> = []
      const seen = yield* run({ journal, onFailed: ({ _tag }) => tags.push(_tag) === 0 }, inputs(6))
      assert.deepStrictEqual(tags.sort(), [
        "JobCancelledError",
        "JobFailedError",
        "JobTimedOutError",
        "OutputDecodeError",
        "OutputMissingError"
      ])
      assert.deepStrictEqual([seen.failed, seen.replayed, (yield* counts).total], [5, 6, 0])
      const again = yield* run({ journal, onFailed: "resubmit" }, inputs(6))
      assert.deepStrictEqual([again.counts, again.replayed], [{ Completed: 6 }, 1])
      assert.strictEqual((yield* counts).submitted, 5)
    }).pipe(Effect.provide(emulated({ handler: ({ n }) => Effect.succeed({ n }) })))
  )

  inVirtualTime("an item that fails again is settled anew, and not retried before the next run", () => {
    const { layer } = broken((n) => n === 1)
    return Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      for (const attempts of [1, 2, 3]) {
        const report = yield* run({ journal, onFailed: "resubmit" }, inputs(3))
        assert.deepStrictEqual(report.counts, { Completed: 2, JobFailedError: 1 })
        assert.deepStrictEqual(attemptsOf(report), [1, attempts, 1])
        assert.strictEqual((yield* counts).submitted, 2 + attempts)
      }
    }).pipe(Effect.provide(layer))
  })

  inVirtualTime(
    "a resubmitted item whose job still runs is waited for by the next run, and not submitted a third time",
    () => {
      const { layer, mend } = broken((n) => n === 1)
      return Effect.gen(function* () {
        const ep = yield* endpoint
        const journal = yield* BatchJournal.memory
        yield* run({ journal }, inputs(3))
        yield* mend
        const fiber = yield* Effect.fork(Batch.collect(ep, inputs(3), { journal, onFailed: "resubmit" }))
        yield* VirtualTime.advance("500 millis")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* counts).submitted, 4)
        const third = yield* run({ journal, onFailed: "resubmit" }, inputs(3))
        assert.deepStrictEqual([third.counts, third.replayed], [{ Completed: 3 }, 2])
        assert.deepStrictEqual(attemptsOf(third), [1, 2, 1])
        assert.deepStrictEqual(attemptsOf(yield* run({ journal }, inputs(3))), [1, 2, 1])
        assert.strictEqual((yield* counts).submitted, 4)
      }).pipe(Effect.provide(layer))
    }
  )

  inVirtualTime("a job has its own `retries`, whatever earlier jobs of its item took", () => {
    const { layer } = broken((n) => n === 1)
    return Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const options = { journal, onFailed: "resubmit", retries: 1 } as const
      yield* run(options, inputs(3))
      assert.deepStrictEqual(attemptsOf(yield* run(options, inputs(3))), [1, 4, 1])
      assert.strictEqual((yield* counts).byOperation.retry.total, 2)
    }).pipe(Effect.provide(layer))
  })

  inVirtualTime("a function that throws is a defect of the batch, before its item is sent; nothing is lost", () => {
    const { layer, mend } = broken((n) => n === 1)
    return Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const first = yield* run({ journal }, inputs(3))
      yield* mend
      const onFailed = (): boolean => {
        throw new TypeError("no such field")
      }
      const exit = yield* finish(Effect.exit(Batch.collect(ep, inputs(3), { journal, onFailed })))
      assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof TypeError)
      assert.strictEqual((yield* counts).submitted, 3)
      assert.deepStrictEqual((yield* run({ journal }, inputs(3))).counts, first.counts)
      assert.deepStrictEqual((yield* run({ journal, onFailed: "resubmit" }, inputs(3))).counts, { Completed: 3 })
    }).pipe(Effect.provide(layer))
  })

  inVirtualTime("attempts count on over a refused resubmit", () => {
    const { layer, mend } = broken((n) => n === 0, {
      faults: [Fault.rateLimited({ operations: ["run"], after: 1, times: 2 })],
      client: { retry: RetryPolicy.none }
    })
    return Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* run({ journal }, inputs(1))
      yield* mend
      const stopped = yield* run({ journal, onFailed: "resubmit", deadline: "1 second" }, inputs(1))
      assert.deepStrictEqual([stopped.stopped, stopped.results.length], ["Deadline", 0])
      assert.deepStrictEqual(attemptsOf(yield* run({ journal }, inputs(1))), [2])
    }).pipe(Effect.provide(layer))
  })

  inVirtualTime("attempts count on where an interruption cancelled the job", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(1), { journal, cancelOnInterrupt: true }))
      yield* VirtualTime.advance("5 seconds")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(attemptsOf(yield* run({ journal }, inputs(1))), [2])
      assert.strictEqual((yield* counts).submitted, 2)
    }).pipe(Effect.provide(emulated({ execution: "10 seconds" })))
  )

  inVirtualTime("attempts count on where RunPod has no result, too", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(1), { journal }))
      yield* VirtualTime.advance("5 seconds")
      yield* Fiber.interrupt(fiber)
      yield* VirtualTime.advance("45 minutes")
      assert.deepStrictEqual(attemptsOf(yield* run({ journal, onExpired: "resubmit" }, inputs(1))), [2])
    }).pipe(Effect.provide(emulated({ execution: "10 seconds" })))
  )

  it.live("cut at any byte of the second run, as a kill would cut it, no item runs more than once again", () => {
    const { layer, mend } = broken((n) => n < 2, {
      lasting: 0,
      limits: RateLimits.unlimited,
      client: { limits: RateLimits.unlimited }
    })
    return Effect.gen(function* () {
      const fs = yield* FileSystem
      const ep = yield* endpoint
      const file = `${yield* fs.makeTempDirectoryScoped()}/journal.jsonl`
      const runWithFile = Effect.scoped(
        Effect.gen(function* () {
          const journal = yield* BatchJournal.file(file, { sync: "never" })
          return yield* Batch.collect(ep, inputs(3), { journal, onFailed: "resubmit" })
        })
      )
      yield* runWithFile
      const begins = (yield* fs.readFile(file)).length
      yield* mend
      yield* runWithFile
      const whole = yield* fs.readFile(file)
      const ends = lineEnds(whole)
      const cuts = ends.flatMap((end) => [end - 1, end, end + 1, end + 30]).filter((cut) => cut >= begins)
      yield* Effect.forEach(cuts, (length) =>
        Effect.gen(function* () {
          yield* fs.writeFile(file, whole.subarray(0, length))
          const before = yield* jobsPerInput
          const entries = entriesWithin(whole, length)
          const { results } = yield* runWithFile
          const after = yield* jobsPerInput
          for (const { attempts, input, key, result } of results) {
            const last = entries.findLast((entry) => entry.key === key)
            const hasFailed = last?._tag === "Settled" && last.status === "FAILED"
            assert.strictEqual(Exit.isSuccess(result), last?._tag !== "Intent", `cut at ${length}`)
            assert.strictEqual((after.get(input.n) ?? 0) - (before.get(input.n) ?? 0), hasFailed ? 1 : 0)
            assert.strictEqual(attempts, input.n < 2 ? 2 : 1)
          }
        })
      )
    }).pipe(
      Effect.scoped,
      Effect.provide(layer),
      Effect.provide(NodeFileSystem.layer),
      Logger.withMinimumLogLevel(LogLevel.None)
    )
  })
})
