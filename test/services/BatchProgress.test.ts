import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { PassThrough } from "node:stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as NodeProgress from "../../src/node/NodeProgress.js"
import { counts, emulated, endpoint, inputs, type Numbered } from "../support/batches.js"
import { finishOnTestClock as finish } from "../support/finish.js"

const { Fault } = Emulator

/** Runs a batch to its end and gives all of its progress. */
const follow = (
  items: Batch.Inputs<Numbered>,
  options: Batch.Options<Numbered> = {},
  newTracker: Effect.Effect<Batch.Tracker> = Batch.tracker
) =>
  Effect.gen(function* () {
    const ep = yield* endpoint
    const tracker = yield* newTracker
    const all = Stream.runCollect(Batch.progress(tracker, { interval: "1 second" }))
    const [progress] = yield* finish(
      Effect.all([all, Effect.exit(Batch.collect(ep, items, { ...options, tracker }))], { concurrency: 2 }),
      "1 hour"
    )
    return Array.from(progress)
  })

describe("Batch.progress", () => {
  it.effect("tells what is done, failed, running and queued, how fast it goes and how long it will take", () =>
    Effect.gen(function* () {
      const progress = yield* follow(inputs(40))
      assert.deepInclude(progress[0], { total: 40, done: 0, failed: 0, rate: 0, ended: false })
      assert.isUndefined(progress[0]?.eta)
      const middle = progress.find(({ elapsed }) => Duration.toMillis(elapsed) === 11_000)
      assert.deepInclude(middle, { total: 40, done: 20, failed: 10, inFlight: 20, running: 2, ended: false })
      assert.closeTo(middle?.rate ?? 0, 2, 0.2)
      assert.closeTo(Duration.toSeconds(middle?.eta ?? 0), 10, 1)
      assert.isAbove(middle?.queued ?? 0, 15)
      const last = progress[progress.length - 1]
      assert.deepInclude(last, { total: 40, done: 40, failed: 20, inFlight: 0, running: 0, queued: 0, ended: true })
      assert.strictEqual(Duration.toMillis(last?.eta ?? 1), 0)
      assert.strictEqual(progress.filter(({ ended }) => ended).length, 1)
    }).pipe(
      Effect.provide(
        emulated({
          workers: 2,
          handler: ({ n }) =>
            Effect.delay(Number(n) % 2 === 0 ? Effect.fail("even") : Effect.succeed({ n }), "1 second")
        })
      )
    )
  )

  it.effect("before the first outcome, earlier jobs of the endpoint say how long it will take", () =>
    Effect.gen(function* () {
      yield* follow(inputs(6))
      const progress = yield* follow(inputs(20))
      const early = progress.find(({ elapsed }) => Duration.toMillis(elapsed) === 5_000)
      assert.deepInclude(early, { total: 20, done: 0, running: 2 })
      // Twenty jobs of ten seconds on two workers.
      assert.closeTo(Duration.toSeconds(early?.eta ?? 0), 100, 5)
    }).pipe(
      Effect.provide(emulated({ workers: 2, handler: ({ n }) => Effect.delay(Effect.succeed({ n }), "10 seconds") }))
    )
  )

  it.effect("asks /health every 5 seconds, and does without it when it fails", () =>
    Effect.gen(function* () {
      const progress = yield* follow(inputs(20))
      assert.isTrue(progress.slice(0, 5).every(({ running }) => running === undefined))
      assert.isTrue(progress.some(({ running }) => running === 1))
      const { byOperation } = yield* counts
      assert.isAtMost(byOperation.health.byStatus[200] ?? 0, 5)
    }).pipe(
      Effect.provide(
        emulated(
          { workers: 1, execution: "1 second" },
          {
            faults: [Fault.serverError({ operations: ["health"], times: 1 })],
            client: { retry: RetryPolicy.none }
          }
        )
      )
    )
  )

  it.effect("knows no total and no end of a stream", () =>
    Effect.gen(function* () {
      const progress = yield* follow(Stream.fromIterable(inputs(5)))
      assert.isTrue(progress.every(({ eta, total }) => total === undefined && eta === undefined))
      assert.strictEqual(progress[progress.length - 1]?.done, 5)
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "1 second" })))
  )

  it.effect("of a stream whose length the tracker was told, knows total and end", () =>
    Effect.gen(function* () {
      const progress = yield* follow(Stream.fromIterable(inputs(20)), {}, Batch.tracker({ total: 20 }))
      assert.isTrue(progress.every(({ total }) => total === 20))
      const middle = progress.find(({ elapsed }) => Duration.toMillis(elapsed) === 11_000)
      assert.closeTo(Duration.toSeconds(middle?.eta ?? 0), 10, 1.5)
      assert.deepInclude(progress[progress.length - 1], { total: 20, done: 20, ended: true })
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "1 second" })))
  )

  it.effect("of a total that is no whole number from 0 on is a defect", () =>
    Effect.gen(function* () {
      for (const total of [NaN, -1, 1.5, Infinity]) {
        const exit = yield* Effect.exit(Batch.tracker({ total }))
        assert(exit._tag === "Failure" && exit.cause._tag === "Die" && exit.cause.defect instanceof RangeError)
        assert.include(exit.cause.defect.message, `from 0 on, got ${total}`)
      }
      assert.strictEqual((yield* Batch.tracker({ total: 0 })).counts.total, 0)
      assert.isUndefined((yield* Batch.tracker({ total: undefined })).counts.total)
    })
  )

  it.effect(
    "of a stream that is longer than the tracker was told, counts what there is; inputs that know it, know it",
    () =>
      Effect.gen(function* () {
        const longer = yield* follow(Stream.fromIterable(inputs(20)), { concurrency: 2 }, Batch.tracker({ total: 10 }))
        assert.strictEqual(longer[0]?.total, 10)
        assert.isTrue(longer.every(({ done, inFlight, total = 0 }) => total >= done + inFlight))
        assert.deepInclude(longer[longer.length - 1], { total: 20, done: 20 })
        const known = yield* follow(inputs(3), {}, Batch.tracker({ total: 10 }))
        assert.deepInclude(known[known.length - 1], { total: 3, done: 3 })
      }).pipe(Effect.provide(emulated({ workers: 1, execution: "1 second" })))
  )

  it.effect("does not count what was replayed into its rate", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      yield* finish(Batch.collect(ep, inputs(30), { journal }), "1 hour")
      const progress = yield* follow(inputs(40), { journal })
      const second = progress.find(({ elapsed }) => Duration.toMillis(elapsed) === 2_000)
      assert.deepInclude(second, { done: 32 })
      assert.isAtMost(second?.rate ?? 0, 1.5)
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "1 second" })))
  )

  it.effect("ends with a batch that failed, even one that never began", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* Effect.scoped(journal.begin("another endpoint"))
      const progress = yield* follow(inputs(40), { journal })
      assert.deepStrictEqual(
        progress.map(({ done, ended }) => [done, ended]),
        [[0, true]]
      )
    }).pipe(Effect.provide(emulated({})))
  )
})

// What it prints says how long it took.
describe.sequential("NodeProgress.show", () => {
  const makeOutput = (isTTY: boolean) => {
    const stream = new PassThrough()
    let text = ""
    stream.on("data", (data: Buffer) => (text += data.toString()))
    // What cli-progress asks of a terminal.
    const output = Object.assign(stream, { isTTY, columns: 100, rows: 24, cursorTo: () => true, clearLine: () => true })
    return { output: output as unknown as NodeJS.WriteStream, text: () => text }
  }

  it.effect("prints a line now and then where there is no terminal, and one at the end", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const tracker = yield* Batch.tracker
      const { output, text } = makeOutput(false)
      yield* finish(
        Batch.collect(ep, inputs(30), { tracker }).pipe(NodeProgress.show(tracker, { label: "captions", output }))
      )
      const lines = text().trimEnd().split("\n")
      assert.strictEqual(lines[0], "captions 0 of 30 done, 0 running, 0 queued, after 0:00")
      assert.match(lines[1] ?? "", /^captions 9|10 of 30 done, 1 running, \d+ queued, 1\.0\/s, 0:\d\d left$/)
      assert.strictEqual(lines[lines.length - 1], "captions 30 of 30 done, after 0:30")
      assert.isAtMost(lines.length, 5)
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "1 second" })))
  )

  it.live("draws a bar on a terminal, and gives the cursor back", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const tracker = yield* Batch.tracker
      const { output, text } = makeOutput(true)
      const report = yield* Batch.collect(ep, inputs(3), { tracker }).pipe(NodeProgress.show(tracker, { output }))
      assert.strictEqual(report.completed, 3)
      assert.include(text(), "100 % | 3 of 3 done, after 0:00")
      assert.include(text(), "█")
      assert.isTrue(text().lastIndexOf("\u001b[?25h") > text().lastIndexOf("\u001b[?25l"))
    }).pipe(Effect.provide(emulated({ workers: 3, execution: "300 millis" })))
  )

  it.live("on a terminal, writes no log into the line of the bar", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const tracker = yield* Batch.tracker
      const { output, text } = makeOutput(true)
      const logger = Logger.make<unknown, void>(({ message }) => void output.write(`${String(message)}\n`))
      const logged = Effect.zipRight(Effect.delay(Effect.logInfo("a log"), "200 millis"), Effect.sleep("200 millis"))
      yield* Effect.zip(Batch.collect(ep, inputs(3), { tracker }), logged, { concurrent: true }).pipe(
        NodeProgress.show(tracker, { output, interval: "20 millis" }),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      const [before = "", after = ""] = text().split("a log\n")
      assert.match(before, /0 of 3 done[^\n]*\n$/)
      assert.match(after, /3 of 3 done, after 0:00[^\n]*\n$/)
      assert.notInclude(after.trimEnd(), "\n")
    }).pipe(Effect.provide(emulated({ workers: 3, execution: "300 millis" })))
  )

  it.effect("has nothing in flight once its batch was interrupted", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const tracker = yield* Batch.tracker
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(9), { concurrency: 4, tracker }))
      const progress = yield* Effect.fork(Stream.runLast(Batch.progress(tracker, { interval: "1 second" })))
      yield* finish(Effect.zipRight(Effect.sleep("15 seconds"), Fiber.interrupt(fiber)))
      const last = Option.getOrThrow(yield* Fiber.join(progress))
      assert.deepInclude(last, { total: 9, done: 4, inFlight: 0, ended: true })
    }).pipe(Effect.provide(emulated({ workers: 9, execution: "10 seconds" })))
  )

  it.effect("ends with its effect, whether a batch was run in it or not", () =>
    Effect.gen(function* () {
      const tracker = yield* Batch.tracker
      const { output, text } = makeOutput(false)
      assert.strictEqual(yield* finish(NodeProgress.show(Effect.succeed(1), tracker, { output })), 1)
      const fiber = yield* Effect.fork(NodeProgress.show(Effect.never, tracker, { output }))
      yield* finish(Effect.zipRight(Effect.sleep("1 second"), Fiber.interrupt(fiber)))
      assert.strictEqual(text(), "")
    })
  )
})
