import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Batch from "../../src/services/Batch.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as RunPod from "../../src/services/RunPod.js"
import {
  counts,
  emulated,
  endpoint,
  inputs,
  jobsPerInput,
  kindOf,
  type Numbered,
  statuses
} from "../support/batches.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"

const { Fault } = Emulator

describe("Batch.run", () => {
  inVirtualTime("gives outcomes as they settle, each with its input and what RunPod measured", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const outcomes = yield* finish(
        Stream.runCollect(Batch.run(ep, [{ n: 3000 }, { n: 1000 }, { n: 2000 }], { key: ({ n }) => `job-${n}` }))
      )
      assert.deepStrictEqual(
        Array.from(outcomes, ({ index, input, key }) => [index, key, input.n]),
        [
          [1, "job-1000", 1000],
          [2, "job-2000", 2000],
          [0, "job-3000", 3000]
        ]
      )
      const [first] = outcomes
      assert.deepStrictEqual(first?.result, Exit.succeed({ n: 1000 }))
      assert.strictEqual(first?.executionTime, 1000)
      assert.strictEqual(first?.delayTime, 0)
      assert.strictEqual(first?.attempts, 1)
      assert.isDefined(first?.jobId)
      assert.isFalse(first?.replayed)
    }).pipe(
      Effect.provide(
        emulated({ workers: 3, handler: (input) => Effect.delay(Effect.succeed(input), Number(input["n"])) })
      )
    )
  )

  inVirtualTime("has no more items in flight than its concurrency, and takes inputs only as there is room", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      let taken = 0
      let done = 0
      let ahead = 0
      const lazily = function* () {
        for (const input of inputs(40)) {
          taken++
          ahead = Math.max(ahead, taken - done)
          yield input
        }
      }
      const batch = Batch.run(ep, lazily(), { concurrency: 4 })
      yield* finish(Stream.runForEach(batch, () => Effect.sync(() => done++)))
      assert.strictEqual(done, 40)
      // Four in flight; outcomes that are on their way to the reader count, too.
      assert.isAtMost(ahead, 8)
      const { byOperation } = yield* counts
      assert.strictEqual(byOperation.statusSync.maxInFlight, 4)
    }).pipe(Effect.provide(emulated({ workers: 10, execution: "1 second" })))
  )

  const tenPerWindow = { limits: RateLimits.make({ run: { limit: 10, window: "10 seconds" } }) }

  inVirtualTime("takes few inputs more than the limits let through", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      let taken = 0
      const lazily = function* () {
        for (const input of inputs(400)) {
          taken++
          yield input
        }
      }
      const fiber = yield* Effect.fork(Batch.collect(ep, lazily()))
      for (const window of [1, 2, 3]) {
        yield* VirtualTime.advance("5 seconds")
        assert.strictEqual((yield* counts).submitted, 10 * window)
        // 32 wait for their turn.
        assert.strictEqual(taken, 10 * window + 32)
        yield* VirtualTime.advance("5 seconds")
      }
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(emulated({ workers: 400, execution: "1 minute" }, { client: tenPerWindow })))
  )

  inVirtualTime("takes few inputs more together with a batch that shares them, which gets as many", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const taken = [0, 0]
      const ahead = Batch.ahead(4)
      const batch = (which: number) => {
        const lazily = function* () {
          for (const input of inputs(400)) {
            taken[which] = (taken[which] ?? 0) + 1
            yield input
          }
        }
        return Effect.fork(Batch.collect(ep, lazily(), { ahead }))
      }
      const fibers = yield* Effect.all([batch(0), batch(1)])
      for (const window of [1, 2, 3]) {
        yield* VirtualTime.advance("5 seconds")
        assert.strictEqual((yield* counts).submitted, 10 * window)
        const [first = 0, second = 0] = taken
        // One more of each is at hand.
        assert.isAtMost(first + second, 10 * window + 4 + 2)
        assert.isAtMost(Math.abs(first - second), 10, String(taken))
        yield* VirtualTime.advance("5 seconds")
      }
      yield* Fiber.interruptAll(fibers)
      // Those that were interrupted wait no more.
      yield* ahead.room
      assert.throws(() => Batch.ahead(0), RangeError)
    }).pipe(Effect.provide(emulated({ workers: 400, execution: "1 minute" }, { client: tenPerWindow })))
  )

  inVirtualTime("whose batch is interrupted keeps no others from taking inputs, at whatever step that is", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const ahead = Batch.ahead(1)
      for (let steps = 0; steps < 80; steps++) {
        const fibers = yield* Effect.forEach([0, 1, 2], () => Effect.fork(Batch.collect(ep, inputs(9), { ahead })))
        for (let i = 0; i < steps; i++) yield* Effect.yieldNow()
        yield* Effect.fork(Fiber.interruptAll(fibers))
        yield* VirtualTime.advance("5 seconds")
        for (const fiber of fibers) assert.isNotNull(fiber.unsafePoll(), `after ${steps} steps`)
        const room = yield* Effect.fork(ahead.room)
        yield* VirtualTime.advance(0)
        assert.isNotNull(room.unsafePoll(), `no room after ${steps} steps`)
      }
    }).pipe(Effect.provide(emulated({ workers: 400, execution: "1 minute" }, { client: tenPerWindow })))
  )

  inVirtualTime("inputs whose jobs are known already keep no others waiting", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const first = yield* Effect.fork(Batch.collect(ep, inputs(100), { journal }))
      yield* VirtualTime.advance("5 seconds")
      yield* Fiber.interrupt(first)
      const second = yield* Effect.fork(Batch.collect(ep, Stream.fromIterable(inputs(105)), { journal }))
      yield* VirtualTime.advance("5 seconds")
      assert.strictEqual((yield* counts).submitted, 105)
      yield* Fiber.interrupt(second)
    }).pipe(Effect.provide(emulated({ workers: 400, execution: "1 minute" })))
  )

  inVirtualTime("a slow reader stops the submits, not the reading of results", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const batch = Batch.run(ep, inputs(200), { concurrency: 10 })
      const fiber = yield* Effect.fork(Stream.runForEach(batch, () => Effect.sleep("1 minute")))
      yield* VirtualTime.advance("10 minutes")
      const { submitted } = yield* counts
      assert.isAtMost(submitted, 50)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(emulated({ workers: 10, execution: "1 second" })))
  )

  inVirtualTime("inputs from a stream end it with their own error, once what is in flight has settled", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const failing = Stream.concat(Stream.fromIterable(inputs(5)), Stream.fail("the file is broken" as const))
      const settled: Array<number> = []
      const error: Batch.RunError<"the file is broken"> | { readonly _tag: "BatchStoppedError" } = yield* finish(
        Effect.flip(
          Stream.runForEach(Batch.run(ep, failing), ({ index }) => Effect.sync(() => void settled.push(index)))
        )
      )
      assert.strictEqual(error, "the file is broken")
      assert.sameMembers(settled, [0, 1, 2, 3, 4])
    }).pipe(Effect.provide(emulated({ workers: 2, execution: "10 seconds" })))
  )

  inVirtualTime("inputs that come slowly do not hold back the outcomes", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const slowly = Stream.concat(
        Stream.fromIterable(inputs(3)),
        Stream.fromEffect(Effect.delay(Effect.succeed({ n: 3 }), "1 hour"))
      )
      const settled: Array<number> = []
      const fiber = yield* Effect.fork(
        Stream.runForEach(Batch.run(ep, slowly), ({ index }) => Effect.sync(() => void settled.push(index)))
      )
      yield* VirtualTime.advance("10 seconds")
      assert.deepStrictEqual(settled, [0, 1, 2])
      yield* VirtualTime.advance("2 hours")
      assert.deepStrictEqual(settled, [0, 1, 2, 3])
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide(emulated({ workers: 3, execution: "1 second" })))
  )

  inVirtualTime("a batch of nothing is done at once", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      assert.deepStrictEqual((yield* Batch.collect(ep, [])).results, [])
      assert.deepStrictEqual((yield* Batch.collect(ep, Stream.empty)).results, [])
      assert.strictEqual((yield* counts).total, 0)
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("a concurrency below 1 is a defect", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const exit = yield* Effect.exit(Batch.collect(ep, inputs(1), { concurrency: 0 }))
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
    }).pipe(Effect.provide(emulated({})))
  )
})

describe("with a RunPod service of one's own, on its plain operations", () => {
  /** The endpoint over the operations alone, without the layer's pipeline and runtime. */
  const own = Effect.flatMap(RunPod.RunPod, (runPod) =>
    Effect.mapInputContext(endpoint, (_: Context.Context<never>) => Context.make(RunPod.RunPod, { ...runPod }))
  )

  inVirtualTime("a batch runs, and counts what was refused as open", () =>
    Effect.gen(function* () {
      const ep = yield* own
      const journal = yield* BatchJournal.memory
      const report = yield* finish(Batch.collect(ep, inputs(50), { concurrency: 5, journal }), "1 hour")
      assert.deepStrictEqual(report.counts, { Completed: 50 })
      assert.strictEqual((yield* counts).submitted, 50)
    }).pipe(
      Effect.provide(
        emulated(
          { workers: 5, execution: "1 second" },
          { faults: [Fault.rateLimited({ operations: ["run"], after: 10, times: 20 })] }
        )
      )
    )
  )

  inVirtualTime("interrupting it cancels what is in flight", () =>
    Effect.gen(function* () {
      const ep = yield* own
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(50), { concurrency: 5 }))
      yield* VirtualTime.advance("5 seconds")
      yield* Effect.fork(Fiber.interrupt(fiber))
      yield* VirtualTime.advance("1 minute")
      assert.deepStrictEqual(yield* statuses, { CANCELLED: 5 })
    }).pipe(Effect.provide(emulated({ execution: "1 hour" })))
  )
})

describe("what goes wrong with one item is its outcome:", () => {
  inVirtualTime("a failed job, and an output that the schema does not accept", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(3)))
      assert.deepStrictEqual(report.results.map(kindOf), ["Completed", "JobFailedError", "OutputDecodeError"])
    }).pipe(
      Effect.provide(
        emulated({
          handler: ({ n }) => (n === 0 ? Effect.succeed({ n }) : n === 1 ? Effect.fail("no") : Effect.succeed("n"))
        })
      )
    )
  )

  inVirtualTime("an input that cannot be sent", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const wrong: ReadonlyArray<Numbered> = [{ n: 1 }, JSON.parse(`{ "n": "two" }`), { n: 3 }]
      const report = yield* finish(Batch.collect(ep, wrong))
      assert.deepStrictEqual(report.results.map(kindOf), ["Completed", "BadRequestError", "Completed"])
      assert.strictEqual(report.results[1]?.attempts, 0)
      assert.strictEqual((yield* counts).submitted, 2)
    }).pipe(Effect.provide(emulated({})))
  )

  inVirtualTime("a submit whose fate is unknown, which is not sent again", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(20)))
      assert.deepStrictEqual(report.counts, { Completed: 17, SubmitAmbiguousError: 3 })
      assert.isTrue([...(yield* jobsPerInput).values()].every((count) => count === 1))
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.resetAfter({ operations: ["run"], times: 3 })] })))
  )

  inVirtualTime("with `resubmit` such a submit is sent again", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(20), { resubmit: true }))
      assert.deepStrictEqual(report.counts, { Completed: 20 })
      assert.strictEqual((yield* counts).submitted, 23)
      assert.strictEqual(report.results.filter(({ attempts }) => attempts === 2).length, 3)
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.resetAfter({ operations: ["run"], times: 3 })] })))
  )

  inVirtualTime("its timeout, from its own submit, which cancels the job", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      // One worker, 30 seconds a job: the first two are done in time, and the last, which takes 10.
      const report = yield* finish(Batch.collect(ep, inputs(5), { timeout: "65 seconds", concurrency: 4 }))
      assert.deepStrictEqual(report.counts, { Completed: 3, WaitTimeoutError: 2 })
      assert.deepStrictEqual(yield* statuses, { COMPLETED: 3, CANCELLED: 2 })
    }).pipe(
      Effect.provide(
        emulated({
          workers: 1,
          handler: ({ n }) => Effect.delay(Effect.succeed({ n }), n === 4 ? "10 seconds" : "30 seconds")
        })
      )
    )
  )
})

describe("`retries`", () => {
  const tries = new Map<string, number>()
  /** The n-th job succeeds at its n-th retry. */
  const succeedingLater: Emulator.Handler = ({ n }, { id }) =>
    Effect.suspend(() => {
      const retried = tries.get(id) ?? 0
      tries.set(id, retried + 1)
      return retried < Number(n) ? Effect.fail("not yet") : Effect.succeed({ n })
    })

  inVirtualTime("puts a FAILED or TIMED_OUT job back so often, under its id", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(4), { retries: 2 }), "1 hour")
      assert.deepStrictEqual(report.results.map(kindOf), ["Completed", "Completed", "Completed", "JobFailedError"])
      assert.deepStrictEqual(
        report.results.map(({ attempts }) => attempts),
        [1, 2, 3, 3]
      )
      assert.strictEqual((yield* counts).submitted, 4)
      assert.strictEqual((yield* counts).byOperation.retry.total, 5)
    }).pipe(Effect.provide(emulated({ handler: succeedingLater })))
  )

  inVirtualTime("are not for jobs that were cancelled", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const emulator = yield* Emulator.Emulator
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(1), { retries: 2 }))
      yield* VirtualTime.advance("5 seconds")
      const [job] = yield* emulator.jobs("ep")
      yield* emulator.end("ep", job?.id ?? "", { status: "CANCELLED" })
      yield* VirtualTime.advance("1 minute")
      assert.deepStrictEqual((yield* Fiber.join(fiber)).counts, { JobCancelledError: 1 })
    }).pipe(Effect.provide(emulated({ execution: "1 minute" })))
  )
})

describe("interrupting a batch without a journal", () => {
  inVirtualTime("cancels what is in flight, at the pace of the cancel limit", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(500), { concurrency: 130 }))
      yield* Effect.sleep("30 seconds")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* Effect.sleep("5 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.poll(interrupting)), "it waits for the cancels")
      yield* Effect.sleep("10 seconds")
      yield* Fiber.join(interrupting)
      const { byOperation, ended, rateLimited } = yield* counts
      assert.strictEqual(ended.CANCELLED, 130)
      assert.strictEqual(byOperation.cancel.total, 130)
      assert.strictEqual(rateLimited, 0)
      assert.deepStrictEqual(yield* statuses, { CANCELLED: 130 })
    }).pipe(Effect.provide(emulated({ workers: 10, execution: "1 hour" })), VirtualTime.run)
  )

  inVirtualTime("cancels those too whose first cancel fails while a hundred others stand in line", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(500), { concurrency: 130 }))
      yield* Effect.sleep("30 seconds")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* Effect.sleep("1 minute")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* statuses, { CANCELLED: 130 })
    }).pipe(
      Effect.provide(
        emulated(
          { workers: 10, execution: "1 hour" },
          {
            faults: [
              Fault.serverError({ operations: ["cancel"], times: 5 }),
              Fault.rateLimited({ operations: ["cancel"], after: 50, times: 5 })
            ]
          }
        )
      ),
      VirtualTime.run
    )
  )

  inVirtualTime("cancels those too that RunPod does not know yet", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(5)))
      yield* VirtualTime.advance("500 millis")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* VirtualTime.advance("10 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* statuses, { CANCELLED: 5 })
    }).pipe(
      Effect.provide(emulated({ execution: "1 minute" }, { faults: [Fault.notVisibleYet({ for: "3 seconds" })] }))
    )
  )

  inVirtualTime("ending the stream early is one", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const first = yield* finish(Stream.runCollect(Stream.take(Batch.run(ep, inputs(10), { concurrency: 5 }), 2)))
      assert.strictEqual(first.length, 2)
      const { CANCELLED = 0, COMPLETED = 0, ...others } = yield* statuses
      assert.deepStrictEqual(others, {})
      assert.isAtLeast(COMPLETED, 2)
      assert.isAtLeast(CANCELLED, 3)
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "10 seconds" })))
  )

  inVirtualTime("leaves the jobs with `cancelOnInterrupt: false`", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(5), { cancelOnInterrupt: false }))
      yield* VirtualTime.advance("5 seconds")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* counts).byOperation.cancel.total, 0)
    }).pipe(Effect.provide(emulated({ execution: "1 minute" })))
  )

  inVirtualTime("during a submit, the job that was started is cancelled", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(3)))
      yield* VirtualTime.advance("1 second")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* VirtualTime.advance("10 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* statuses, { CANCELLED: 3 })
    }).pipe(
      Effect.provide(
        emulated({ execution: "1 minute" }, { faults: [Fault.delay({ operations: ["run"], by: "5 seconds" })] })
      )
    )
  )
})

const messageOf = (outcome: Batch.Outcome<unknown, unknown> | undefined): string =>
  outcome === undefined || Exit.isSuccess(outcome.result)
    ? ""
    : Option.match(Cause.failureOption(outcome.result.cause), { onNone: () => "", onSome: ({ message }) => message })

describe("Batch.collect", () => {
  const mixed = emulated({
    workers: 2,
    handler: ({ n }) =>
      Effect.zipRight(
        Effect.sleep(1000 * (1 + Number(n))),
        n === 2 ? Effect.fail("CUDA out of memory") : Effect.succeed({ n })
      )
  })

  inVirtualTime("reports results in the order of the inputs, counts, times and requests", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(4)))
      assert.deepStrictEqual(
        report.results.map(({ index }) => index),
        [0, 1, 2, 3]
      )
      const { completed, counts, executionTime, failed, queueTime, replayed, requests, retries, throttles } = report
      assert.deepStrictEqual(
        { completed, counts, failed, replayed },
        {
          completed: 3,
          failed: 1,
          replayed: 0,
          counts: { Completed: 3, JobFailedError: 1 }
        }
      )
      assert.deepStrictEqual(executionTime, {
        count: 4,
        min: 1000,
        mean: 2500,
        p50: 2000,
        p90: 4000,
        p99: 4000,
        max: 4000
      })
      assert.deepStrictEqual([queueTime.min, queueTime.max], [0, 2000])
      assert.deepStrictEqual([requests, retries, throttles], [8, 0, 0])
      assert.strictEqual(String(report.wallTime), `Duration(6s)`)
      assert.isUndefined(report.stopped)
    }).pipe(Effect.provide(mixed))
  )

  inVirtualTime("renders as text and as JSON", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(4)))
      assert.include(messageOf(report.results[2]), "CUDA out of memory")
      assert.strictEqual(
        Batch.toText(report),
        [
          "Batch on endpoint ep: 4 outcomes in 6.00 s (0.7 a second)",
          "  Completed       3",
          "  JobFailedError  1",
          `    e.g. ${messageOf(report.results[2])}`,
          "                   min     p50     p90     p99     max",
          "  in the queue  0.00 s  0.00 s  2.00 s  2.00 s  2.00 s",
          "  on a worker   1.00 s  2.00 s  4.00 s  4.00 s  4.00 s",
          "8 requests, 0 of them sent again, 0 answered 429"
        ].join("\n")
      )
      const json = Batch.toJson(report)
      assert.deepStrictEqual(json, JSON.parse(JSON.stringify(json)))
      assert.strictEqual(json["wallTime"], 6000)
      const [first, , third] = json["results"] as ReadonlyArray<Record<string, unknown>>
      assert.deepInclude(first, { index: 0, key: "0", input: { n: 0 }, output: { n: 0 } })
      assert.deepInclude(third?.["error"], { _tag: "JobFailedError" })
    }).pipe(Effect.provide(mixed))
  )

  inVirtualTime("shows the first message of each kind of error, cut to one line that no terminal obeys", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const lines = Batch.toText(yield* finish(Batch.collect(ep, inputs(4)))).split("\n")
      const samples = lines.filter((line) => line.startsWith("    e.g. "))
      assert.strictEqual(lines.length, 9 + samples.length - 1)
      const [decode = "", failed = ""] = samples.sort((a) => (a.includes("schema") ? -1 : 1))
      assert.strictEqual(samples.length, 2)
      assert.match(decode, /^ {4}e\.g\. Job [\w-]+ on endpoint ep returned \S/)
      assert.match(failed, /^ {4}e\.g\. Job [\w-]+ on endpoint ep failed: Exception: first line ␛\[31mred second x+…$/)
      assert.isAtMost(failed.length, 260)
    }).pipe(
      Effect.provide(
        emulated({
          workers: 1,
          handler: ({ n }) => {
            if (n === 0) return Effect.succeed({ n })
            if (n === 2) return Effect.succeed("no struct")
            return Effect.delay(
              Effect.fail(n === 1 ? `first line\n\u001b[31mred\tsecond ${"x".repeat(999)}` : "other"),
              "1 second"
            )
          }
        })
      )
    )
  )

  for (const concurrency of [0, -1, NaN]) {
    inVirtualTime(`a concurrency of ${concurrency} is a defect, before anything is sent`, () =>
      Effect.gen(function* () {
        const ep = yield* endpoint
        const batches: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          Batch.collect(ep, inputs(4), { concurrency, journal: yield* BatchJournal.memory }),
          Batch.submit(ep, inputs(4), { concurrency }),
          Batch.wait(ep, ["job"], { concurrency })
        ]
        for (const batch of batches) {
          const exit = yield* Effect.exit(batch)
          assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        }
        assert.strictEqual((yield* counts).total, 0)
      }).pipe(Effect.provide(emulated({})))
    )
  }

  inVirtualTime("counts what was sent again and what was throttled, of this batch alone", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const other = yield* Effect.fork(Effect.repeatN(Effect.delay(ep.health, "1 second"), 5))
      const report = yield* finish(Batch.collect(ep, inputs(2)))
      yield* Fiber.join(other)
      assert.deepStrictEqual([report.requests, report.retries, report.throttles], [6, 2, 2])
    }).pipe(
      Effect.provide(
        emulated({}, { faults: [Fault.rateLimited({ operations: ["run"], times: 2, retryAfter: "1 second" })] })
      )
    )
  )
})
