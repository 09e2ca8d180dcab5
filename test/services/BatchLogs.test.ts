import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { sha256 } from "../../src/internal/text/sha256.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import { emulated, endpoint, inputs, type Numbered } from "../support/batches.js"
import { finishOnTestClock as finish } from "../support/finish.js"
import { makeLogger } from "../support/recorder.js"

/** Runs a batch until it is interrupted or, in an hour, through, and gives what it has logged. */
const logsOf = (options: Batch.Options<Numbered>, items: Batch.Inputs<Numbered>, interruptedAfter?: "15 seconds") =>
  Effect.gen(function* () {
    const ep = yield* endpoint
    const { entries, layer } = makeLogger()
    const batch = Effect.provide(Batch.collect(ep, items, { concurrency: 4, ...options }), layer)
    if (interruptedAfter === undefined) yield* finish(batch, "1 hour")
    else {
      const fiber = yield* Effect.fork(batch)
      yield* TestClock.adjust(interruptedAfter)
      yield* Fiber.interrupt(fiber)
    }
    return entries.map(({ logLevel, message }) => `${logLevel.label} ${String(message)}`)
  })

const slow = emulated({ workers: 1, execution: "10 seconds" })

const interrupted = (what: string) =>
  `WARN The batch on endpoint ep was interrupted, and ${what} at RunPod. Run it again with the same journal: it collects what went on, and does the rest.`
const goesOn = (what: string) => `INFO The batch on endpoint ep goes on from its journal: ${what}`

describe("a batch with a journal", () => {
  it.effect("says what an interruption leaves, and what the next run goes on with", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* journal.append({ _tag: "Intent", key: "9", hash: sha256(JSON.stringify({ n: 9 })), at: 0 })
      assert.deepStrictEqual(yield* logsOf({ journal }, inputs(9), "15 seconds"), [interrupted("4 of its jobs go on")])
      assert.deepStrictEqual(yield* logsOf({ journal }, inputs(10)), [
        goesOn("1 settled, 4 still at RunPod, 1 that may have been submitted, 4 to submit")
      ])
      assert.deepStrictEqual(yield* logsOf({ journal, onFailed: "resubmit" }, inputs(10)), [
        goesOn(
          "9 settled (failed ones may run again: `onFailed`), 0 still at RunPod, 1 that may have been submitted, 0 to submit"
        )
      ])
    }).pipe(Effect.provide(slow))
  )

  it.effect("of a stream, which nobody knows beforehand, says only which jobs it waits for", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const items = Stream.fromIterable(inputs(6))
      assert.deepStrictEqual(yield* logsOf({ journal, concurrency: 2 }, items, "15 seconds"), [
        interrupted("2 of its jobs go on")
      ])
      assert.deepStrictEqual(yield* logsOf({ journal }, items), [goesOn("2 still at RunPod, which it waits for")])
      assert.deepStrictEqual(yield* logsOf({ journal }, items), [])
    }).pipe(Effect.provide(slow))
  )

  it.effect("counts no job that the interruption cancelled", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      assert.deepStrictEqual(yield* logsOf({ journal, cancelOnInterrupt: true }, inputs(6), "15 seconds"), [
        interrupted("none of its jobs goes on")
      ])
      assert.deepStrictEqual(yield* logsOf({ journal, concurrency: 1 }, inputs(6), "15 seconds"), [
        goesOn("1 settled, 0 still at RunPod, 5 to submit"),
        interrupted("1 of its jobs goes on")
      ])
    }).pipe(Effect.provide(slow))
  )

  it.effect("says nothing when it is new and comes to its end, nor without a journal", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* logsOf({ journal: yield* BatchJournal.memory }, inputs(3)), [])
      assert.deepStrictEqual(yield* logsOf({}, inputs(3), "15 seconds"), [])
    }).pipe(Effect.provide(slow))
  )
})
