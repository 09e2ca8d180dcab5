import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import { BatchJournalError } from "../../src/errors/BatchError.js"
import { sha256 } from "../../src/internal/text/sha256.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import type * as JournalEntry from "../../src/schemas/JournalEntry.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import { counts, emulated, endpoint, inputs, jobsPerInput, kindOf, type Numbered } from "../support/batches.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"

const { Fault } = Emulator

const hashOf = (input: Numbered) => sha256(JSON.stringify(input))

/** A journal that shows what is appended to it. */
const observed = Effect.map(BatchJournal.memory, (journal) => {
  const entries: Array<JournalEntry.Entry> = []
  return {
    entries,
    tags: (key: string) => entries.filter((entry) => entry.key === key).map(({ _tag }) => _tag),
    journal: {
      ...journal,
      append: (entry: JournalEntry.Entry) =>
        Effect.tap(journal.append(entry), () => Effect.sync(() => void entries.push(entry)))
    }
  }
})

const run = (options: Batch.Options<Numbered>, items: Batch.Inputs<Numbered> = inputs(10)) =>
  Effect.flatMap(endpoint, (ep) => finish(Batch.collect(ep, items, options), "1 hour"))

/** Leaves the first run in the middle, as a kill would: with its jobs submitted, some of them settled. */
const begin = (options: Batch.Options<Numbered>, lasting: Duration.DurationInput, items = inputs(10)) =>
  Effect.gen(function* () {
    const ep = yield* endpoint
    const fiber = yield* Effect.fork(Batch.collect(ep, items, options))
    yield* VirtualTime.advance(lasting)
    yield* Fiber.interrupt(fiber)
  })

const everyInputOnce = Effect.map(jobsPerInput, (jobs) => [...jobs.values()].every((count) => count === 1))

describe("a batch with a journal", () => {
  inVirtualTime("that goes on waits for a job no longer than its items' `timeout`", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* begin({ journal, timeout: "3 seconds" }, "2 seconds", inputs(2))
      yield* VirtualTime.advance("1 minute")
      const report = yield* run({ journal, timeout: "3 seconds" }, inputs(2))
      assert.deepStrictEqual(report.counts, { WaitTimeoutError: 2 })
      assert.isAtMost(Duration.toSeconds(report.wallTime), 4)
    }).pipe(Effect.provide(emulated({ execution: "1 hour" })))
  )

  inVirtualTime(
    "writes an intent before each submit, the job's id after it, and the outcome before it is given out",
    () =>
      Effect.gen(function* () {
        const ep = yield* endpoint
        const { entries, journal, tags } = yield* observed
        const seen: Array<ReadonlyArray<string>> = []
        const submitted: Array<number> = []
        const emulator = yield* Emulator.Emulator
        const watching = {
          ...journal,
          append: (entry: JournalEntry.Entry) =>
            Effect.zipLeft(
              journal.append(entry),
              Effect.map(emulator.counts, (counts) => submitted.push(counts.submitted))
            )
        }
        yield* finish(
          Stream.runForEach(Batch.run(ep, inputs(1), { journal: watching }), ({ key }) =>
            Effect.sync(() => seen.push(tags(key)))
          )
        )
        assert.deepStrictEqual(seen, [["Intent", "Submitted", "Settled"]])
        assert.deepStrictEqual(submitted, [0, 1, 1])
        const [intent, , settled] = entries
        assert.deepInclude(intent, { key: "0", hash: hashOf({ n: 0 }) })
        assert.deepInclude(settled, { status: "COMPLETED", output: { n: 0 }, attempts: 1, executionTime: 1000 })
      }).pipe(Effect.provide(emulated({ execution: "1 second" })))
  )

  inVirtualTime("replays what was settled, and sends nothing", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const journal = yield* BatchJournal.memory
      const first = yield* run({ journal })
      yield* emulator.resetCounts
      const second = yield* run({ journal })
      assert.deepStrictEqual(second.counts, { Completed: 9, JobFailedError: 1 })
      assert.strictEqual(second.replayed, 10)
      assert.strictEqual((yield* counts).total, 0)
      assert.deepStrictEqual(
        second.results.map((outcome) => ({ ...outcome, replayed: false })),
        [...first.results]
      )
    }).pipe(
      Effect.provide(
        emulated({ handler: ({ n }) => (n === 3 ? Effect.fail("CUDA out of memory") : Effect.succeed({ n })) })
      )
    )
  )

  inVirtualTime("replays outcomes to one who runs a batch for each that shares its inputs ahead", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const ahead = Batch.ahead(4)
      yield* run({ journal }, inputs(40))
      const outcomes = Batch.run(ep, inputs(40), { journal, ahead })
      const more = Stream.mapEffect(outcomes, () => Batch.collect(ep, inputs(2), { ahead }))
      assert.strictEqual(yield* finish(Stream.runCount(more), "1 hour"), 40)
      assert.strictEqual((yield* counts).submitted, 120)
    }).pipe(Effect.provide(emulated({ execution: "1 second" })))
  )

  inVirtualTime("has no more submits in doubt at any time than may be ahead until they are noted", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const { entries, journal } = yield* observed
      const slow = {
        ...journal,
        append: (entry: JournalEntry.Entry) => Effect.delay(journal.append(entry), "20 millis")
      }
      const ahead = Batch.ahead(4, { until: "noted" })
      const batches = [0, 1].map((which) =>
        Batch.collect(ep, inputs(20), { journal: slow, ahead, key: (_, index) => `${which} ${index}` })
      )
      // One journal has one run at a time.
      for (const batch of batches) assert.deepStrictEqual((yield* finish(batch, "1 hour")).counts, { Completed: 20 })
      const open = new Set<string>()
      let most = 0
      for (const { _tag, key } of entries) {
        if (_tag === "Intent") open.add(key)
        else open.delete(key)
        most = Math.max(most, open.size)
      }
      assert.strictEqual(most, 4)
      yield* ahead.room
    }).pipe(
      Effect.provide(
        emulated(
          { execution: "1 minute", workers: 50 },
          {
            faults: [Fault.delay({ operations: ["run"], by: "300 millis" })]
          }
        )
      )
    )
  )

  inVirtualTime("goes on where an interruption left it: the jobs run on, and are collected", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* begin({ concurrency: 4, journal }, "25 seconds")
      assert.strictEqual((yield* counts).byOperation.cancel.total, 0)
      const report = yield* run({ concurrency: 4, journal })
      assert.deepStrictEqual(report.counts, { Completed: 10 })
      assert.strictEqual(report.replayed, 2)
      assert.isTrue(yield* everyInputOnce)
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "10 seconds" })))
  )

  inVirtualTime("with `cancelOnInterrupt` cancels them, and submits those again", () =>
    Effect.gen(function* () {
      const { journal, tags } = yield* observed
      yield* begin({ cancelOnInterrupt: true, concurrency: 4, journal }, "15 seconds")
      assert.strictEqual((yield* counts).ended.CANCELLED, 4)
      assert.deepStrictEqual(tags("0"), ["Intent", "Submitted", "Settled"])
      assert.deepStrictEqual(tags("2"), ["Intent", "Submitted", "Released"])
      const report = yield* run({ concurrency: 4, journal })
      assert.deepStrictEqual(report.counts, { Completed: 10 })
      assert.strictEqual((yield* counts).submitted, 14)
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "10 seconds" })))
  )

  inVirtualTime("interrupted during a submit notes the job that was started", () =>
    Effect.gen(function* () {
      const { journal, tags } = yield* observed
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(1), { journal }))
      yield* VirtualTime.advance("1 second")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* VirtualTime.advance("10 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(tags("0"), ["Intent", "Submitted"])
      assert.deepStrictEqual((yield* run({ journal }, inputs(1))).counts, { Completed: 1 })
      assert.strictEqual((yield* counts).submitted, 1)
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.delay({ operations: ["run"], by: "5 seconds", times: 1 })] })))
  )

  inVirtualTime("interrupted while it writes the intent releases the item, and sends nothing", () =>
    Effect.gen(function* () {
      const { journal, tags } = yield* observed
      const ep = yield* endpoint
      const slow = {
        ...journal,
        append: (entry: JournalEntry.Entry) => Effect.delay(journal.append(entry), "1 second")
      }
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(1), { journal: slow }))
      yield* VirtualTime.advance("500 millis")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* VirtualTime.advance("10 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(tags("0"), ["Intent", "Released"])
      assert.strictEqual((yield* counts).total, 0)
    }).pipe(Effect.provide(emulated({})))
  )

  for (const [what, second, tagsAfter, sent] of [
    [
      "notes an intent anew that is old when its submit leaves",
      undefined,
      ["Intent", "Released", "Intent", "Submitted", "Settled"],
      1
    ],
    ["sends nothing where another run has taken over meanwhile", "Locked", ["Intent"], 0]
  ] as const) {
    inVirtualTime(what, () =>
      Effect.gen(function* () {
        const { journal, tags } = yield* observed
        let intents = 0
        // As in a process that was stopped: an answer comes, and it goes on later.
        const fenced: BatchJournal.BatchJournal = {
          ...journal,
          intentTtl: "5 seconds",
          append: (entry) => {
            const isFirst = entry._tag === "Intent" && ++intents === 1
            if (isFirst) return Effect.zipLeft(journal.append(entry), Effect.sleep("6 seconds"))
            return second === undefined
              ? journal.append(entry)
              : Effect.fail(new BatchJournalError({ reason: second, detail: "another run has it" }))
          }
        }
        const exit = yield* Effect.exit(run({ journal: fenced }, inputs(1)))
        assert.deepStrictEqual(tags("0"), [...tagsAfter])
        assert.strictEqual((yield* counts).submitted, sent)
        assert.strictEqual(Exit.isSuccess(exit), second === undefined)
      }).pipe(Effect.provide(emulated({})))
    )
  }

  inVirtualTime("ends, with nothing sent, where noting an intent takes longer than that may be acted on", () =>
    Effect.gen(function* () {
      const { journal, tags } = yield* observed
      const slow: BatchJournal.BatchJournal = {
        ...journal,
        intentTtl: "5 seconds",
        append: (entry) => Effect.zipLeft(journal.append(entry), Effect.sleep("6 seconds"))
      }
      const exit = yield* Effect.exit(run({ journal: slow }, inputs(1)))
      const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
      assert.include(error, { _tag: "BatchJournalError", reason: "Io" })
      assert.strictEqual(tags("0").at(-1), "Released")
      assert.strictEqual((yield* counts).submitted, 0)
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("interrupted while a submit waits for its permit leaves the item as it was", () =>
    Effect.gen(function* () {
      const { entries, journal } = yield* observed
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(1), { journal }))
      yield* VirtualTime.advance("30 seconds")
      yield* Fiber.interrupt(fiber)
      // Refused, so released; and nothing was written for the attempts that were still to come.
      assert.deepStrictEqual(
        entries.map(({ _tag }) => _tag),
        ["Intent", "Released"]
      )
    }).pipe(
      Effect.provide(emulated({}, { faults: [Fault.rateLimited({ operations: ["run"], retryAfter: "1 hour" })] }))
    )
  )

  inVirtualTime("releases an item whose submit was refused, so that a kill while it waits leaves no doubt", () =>
    Effect.gen(function* () {
      const { journal, tags } = yield* observed
      const report = yield* run({ journal }, inputs(1))
      assert.deepStrictEqual(report.counts, { Completed: 1 })
      assert.deepStrictEqual(tags("0"), ["Intent", "Released", "Intent", "Released", "Intent", "Submitted", "Settled"])
    }).pipe(
      Effect.provide(
        emulated(
          {},
          { faults: [Fault.rateLimited({ operations: ["run"], times: 2 })], client: { retry: RetryPolicy.none } }
        )
      )
    )
  )

  inVirtualTime("reports an intent without a job as ambiguous, and keeps it open", () =>
    Effect.gen(function* () {
      const { journal, tags } = yield* observed
      yield* journal.append({ _tag: "Intent", key: "1", hash: hashOf({ n: 1 }), at: 0 })
      for (let times = 0; times < 2; times++) {
        const report = yield* run({ journal }, inputs(3))
        assert.deepStrictEqual(report.results.map(kindOf), ["Completed", "SubmitAmbiguousError", "Completed"])
      }
      assert.strictEqual((yield* counts).submitted, 2)
      assert.deepStrictEqual((yield* run({ journal, onAmbiguous: "resubmit" }, inputs(3))).counts, { Completed: 3 })
      assert.strictEqual((yield* counts).submitted, 3)
      assert.deepStrictEqual(tags("1"), ["Intent", "Intent", "Submitted", "Settled"])
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("keeps a submit whose answer was lost open, too", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      assert.deepStrictEqual((yield* run({ journal }, inputs(3))).counts, { Completed: 2, SubmitAmbiguousError: 1 })
      assert.deepStrictEqual((yield* run({ journal }, inputs(3))).counts, { Completed: 2, SubmitAmbiguousError: 1 })
      assert.isTrue(yield* everyInputOnce)
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.resetAfter({ operations: ["run"], times: 1 })] })))
  )

  inVirtualTime("reports a job whose result RunPod no longer has as expired, and keeps it open", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* begin({ journal }, "5 seconds", inputs(2))
      yield* VirtualTime.advance("45 minutes")
      const report = yield* run({ journal }, inputs(2))
      assert.deepStrictEqual(report.counts, { JobNotFoundError: 2 })
      const [first] = report.results
      const error = first !== undefined && Exit.isFailure(first.result) ? first.result.cause : undefined
      assert.isTrue(
        error?._tag === "Fail" && error.error._tag === "JobNotFoundError" && error.error.reason === "Expired"
      )
      const again = yield* run({ journal, onExpired: "resubmit" }, inputs(2))
      assert.deepStrictEqual(again.counts, { Completed: 2 })
      assert.strictEqual((yield* counts).submitted, 4)
    }).pipe(Effect.provide(emulated({ execution: "10 seconds" })))
  )

  inVirtualTime("a job that was lost sooner than results expire is expired, too: it was there", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* begin({ journal }, "5 seconds", inputs(1))
      yield* VirtualTime.advance("5 minutes")
      const report = yield* run({ journal }, inputs(1))
      const [first] = report.results
      const error = first !== undefined && Exit.isFailure(first.result) ? first.result.cause : undefined
      assert.isTrue(
        error?._tag === "Fail" && error.error._tag === "JobNotFoundError" && error.error.reason === "Expired"
      )
    }).pipe(Effect.provide(emulated({ execution: "10 seconds", retention: { run: "1 minute" } })))
  )

  inVirtualTime(
    "reads all jobs of an earlier run at once, however few items are in flight and however late inputs come",
    () =>
      Effect.gen(function* () {
        const journal = yield* BatchJournal.memory
        const ep = yield* endpoint
        yield* begin({ concurrency: 100, journal }, "5 seconds", inputs(100))
        yield* VirtualTime.advance("25 minutes")
        // By the time the last input comes, RunPod has forgotten all of them.
        const slowly = Stream.schedule(Stream.fromIterable(inputs(100)), Schedule.spaced("1 minute"))
        const report = yield* finish(Batch.collect(ep, slowly, { concurrency: 1, journal }), "3 hours")
        assert.deepStrictEqual(report.counts, { Completed: 100 })
        assert.isTrue(yield* everyInputOnce)
      }).pipe(Effect.provide(emulated({ workers: 100, execution: "10 seconds" })))
  )

  inVirtualTime("decodes a replayed output anew, so that a mended schema mends the outcome", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const strict = yield* endpoint
      const first = yield* finish(Batch.collect(strict, inputs(1), { journal }))
      assert.deepStrictEqual(first.counts, { OutputDecodeError: 1 })
      const mended = yield* Endpoint.make("ep", {
        input: Schema.Struct({ n: Schema.Number }),
        output: Schema.Struct({ text: Schema.String })
      })
      const second = yield* finish(Batch.collect(mended, inputs(1), { journal }))
      assert.deepStrictEqual(second.results[0]?.result, Exit.succeed({ text: "zero" }))
    }).pipe(Effect.provide(emulated({ handler: () => Effect.succeed({ text: "zero" }) })))
  )

  inVirtualTime("remembers how often a job was retried", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* begin({ journal, retries: 2 }, "15 seconds", inputs(1))
      const report = yield* run({ journal, retries: 2 }, inputs(1))
      assert.deepStrictEqual(report.counts, { JobFailedError: 1 })
      assert.strictEqual(report.results[0]?.attempts, 3)
      assert.strictEqual((yield* counts).byOperation.retry.total, 2)
    }).pipe(Effect.provide(emulated({ handler: () => Effect.delay(Effect.fail("again"), "10 seconds") })))
  )

  inVirtualTime("holds no secret of a submit, and errors without them", () =>
    Effect.gen(function* () {
      const { entries, journal } = yield* observed
      const options = {
        journal,
        webhook: "https://hooks.test/v1?token=webhook-token-123",
        s3Config: {
          accessId: "access-id-12345",
          accessSecret: Redacted.make("s3-secret-12345"),
          bucketName: "bucket",
          endpointUrl: "https://s3.test"
        }
      }
      const first = yield* run(options, inputs(2))
      assert.deepStrictEqual(first.counts, { OutputDecodeError: 1, JobFailedError: 1 })
      const text = JSON.stringify(entries)
      for (const secret of ["webhook-token-123", "s3-secret-12345", "access-id-12345", "the-api-key"]) {
        assert.notInclude(text, secret)
      }
      const second = yield* run(options, inputs(2))
      assert.strictEqual(second.replayed, 2)
      assert.deepStrictEqual(
        second.results.map((outcome) => ({ ...outcome, replayed: false })),
        [...first.results]
      )
    }).pipe(
      Effect.provide(
        emulated(
          {
            handler: ({ n }) =>
              n === 0
                ? Effect.succeed({ log: "uploaded" })
                : Effect.fail("POST https://hooks.test/v1?token=webhook-token-123 with access-id-12345")
          },
          { apiKey: "the-api-key" }
        )
      )
    )
  )

  inVirtualTime("tells again why it is not known whether a submit started a job", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const errorsOf = ({ results }: Batch.Report<Numbered, Numbered>) =>
        results.flatMap(({ result }) =>
          Exit.isFailure(result) ? Option.toArray(Cause.failureOption(result.cause)) : []
        )
      const [first] = errorsOf(yield* run({ journal }, inputs(1)))
      const [second] = errorsOf(yield* run({ journal }, inputs(1)))
      assert(first?._tag === "SubmitAmbiguousError" && second?._tag === "SubmitAmbiguousError")
      assert.strictEqual(first.cause?._tag, "TransportError")
      assert.strictEqual(second.cause?.message, first.cause?.message)
      assert.strictEqual(second.message.replace(/ at attempt \d/, ""), first.message.replace(/ at attempt \d/, ""))
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.resetAfter({ operations: ["run"], times: 1 })] })))
  )
})

describe("a journal that does not fit", () => {
  const failure = (options: Batch.Options<Numbered>, items: Batch.Inputs<Numbered>) =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const error = yield* finish(Effect.flip(Batch.collect(ep, items, options)), "1 hour")
      return error instanceof BatchJournalError ? error : yield* Effect.die(error)
    })

  inVirtualTime("another input under a key is refused before anything is sent", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const journal = yield* BatchJournal.memory
      yield* run({ journal }, inputs(5))
      yield* emulator.resetCounts
      const error = yield* failure({ journal }, [...inputs(9).slice(5), ...inputs(4), { n: 99 }])
      assert.deepInclude({ ...error }, { reason: "InputChanged", key: "0" })
      assert.strictEqual((yield* counts).total, 0)
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("that has the inputs takes whatever they are sent as, and is told no hash of it", () =>
    Effect.gen(function* () {
      const { entries, journal } = yield* observed
      yield* run({ journal: { ...journal, hasInputs: true } }, inputs(2))
      const again = yield* run({ journal: { ...journal, hasInputs: true } }, [{ n: 99 }, { n: 98 }])
      assert.strictEqual(again.replayed, 2)
      assert.deepStrictEqual([...new Set(entries.map(({ hash }) => hash))], [""])
      // Nor has one anything to compare that is told later that it has no inputs.
      assert.strictEqual((yield* run({ journal }, inputs(2))).replayed, 2)
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("in a stream, before that item is sent", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* run({ journal }, inputs(5))
      const changed = Stream.fromIterable([...inputs(4), { n: 99 }])
      const error = yield* failure({ journal }, changed)
      assert.deepInclude({ ...error }, { reason: "InputChanged", key: "4" })
      assert.strictEqual((yield* counts).submitted, 5)
    }).pipe(Effect.provide(emulated({})))
  )

  for (const [what, key] of [
    ["a number", 7],
    ["nothing", undefined],
    ["null", null],
    ["an object", { toString: () => "x" }],
    ["an empty string", ""],
    ["half a surrogate pair", "a\ud800"]
  ] as const) {
    inVirtualTime(`a key that is ${what} is refused before anything is sent`, () =>
      Effect.gen(function* () {
        const journal = yield* BatchJournal.memory
        // As a program without types would give it.
        const keyOf = (({ n }: Numbered) => (n === 4 ? key : String(n))) as (input: Numbered) => string
        const error = yield* failure({ journal, key: keyOf }, inputs(5))
        assert.strictEqual(error.reason, "InvalidKey")
        assert.strictEqual((yield* counts).total, 0)
        const inStream = yield* failure({ journal, key: keyOf }, Stream.fromIterable(inputs(5).slice(4)))
        assert.strictEqual(inStream.reason, "InvalidKey")
        assert.strictEqual((yield* counts).total, 0)
      }).pipe(Effect.provide(emulated({})))
    )
  }

  for (const kind of ["an array", "a stream"] as const) {
    inVirtualTime(`a key that comes twice is refused, in ${kind}`, () =>
      Effect.gen(function* () {
        const journal = yield* BatchJournal.memory
        const items = kind === "an array" ? inputs(5) : Stream.fromIterable(inputs(5))
        const error = yield* failure({ journal, key: ({ n }) => String(n % 3) }, items)
        assert.deepInclude({ ...error }, { reason: "DuplicateKey", key: "0" })
        assert.isAtMost((yield* counts).submitted, kind === "an array" ? 0 : 3)
      }).pipe(Effect.provide(emulated({})))
    )
  }

  inVirtualTime("one of another endpoint is refused", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* run({ journal }, inputs(1))
      const other = yield* Endpoint.make("other", {
        input: Schema.Struct({ n: Schema.Number }),
        output: Schema.Unknown
      })
      const error = yield* Effect.flip(Batch.collect(other, inputs(1), { journal }))
      assert.isTrue(error instanceof BatchJournalError && error.reason === "WrongEndpoint")
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("one that another run is using is refused, and free again after it", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(2), { journal }))
      yield* VirtualTime.advance("1 second")
      const error = yield* Effect.flip(Batch.collect(ep, inputs(2), { journal }))
      assert.isTrue(error instanceof BatchJournalError && error.reason === "Locked")
      yield* VirtualTime.advance("1 hour")
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* run({ journal }, inputs(2))).replayed, 2)
    }).pipe(Effect.provide(emulated({ execution: "10 seconds" })))
  )

  const full = new BatchJournalError({ reason: "Io", detail: "no space left on device" })

  inVirtualTime("one that cannot be written stops the batch: nothing is sent that could not be noted", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      let appends = 0
      const error = yield* failure(
        {
          concurrency: 1,
          journal: { ...journal, append: (entry) => (++appends > 9 ? Effect.fail(full) : journal.append(entry)) }
        },
        inputs(10)
      )
      assert.isTrue(error instanceof BatchJournalError && error.detail === full.detail)
      assert.strictEqual((yield* counts).submitted, 3)
      assert.strictEqual((yield* run({ journal })).replayed, 3)
      assert.isTrue(yield* everyInputOnce)
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("an outcome that could not be noted is not given out", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const settled: Array<number> = []
      const batch = Batch.run(ep, inputs(10), {
        concurrency: 5,
        journal: {
          ...journal,
          append: (entry) => (entry._tag === "Settled" ? Effect.fail(full) : journal.append(entry))
        }
      })
      const error = yield* finish(
        Effect.flip(Stream.runForEach(batch, ({ index }) => Effect.sync(() => settled.push(index))))
      )
      assert.isTrue(error instanceof BatchJournalError && error.detail === full.detail)
      assert.deepStrictEqual(settled, [])
      assert.deepStrictEqual((yield* run({ journal })).counts, { Completed: 10 })
      assert.isTrue(yield* everyInputOnce)
    }).pipe(Effect.provide(emulated({ execution: "1 second" })))
  )
})
