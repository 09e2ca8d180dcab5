/** When a batch first asks for a job that it has submitted. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import { Submits } from "../../src/internal/batch/submits.js"
import type { Timer } from "../../src/internal/pace/timer.js"
import * as Batch from "../../src/services/Batch.js"
import { counts, emulated, endpoint, inputs, type Numbered, statuses } from "../support/batches.js"
import * as VirtualTime from "../support/virtualTime.js"

const { Fault } = Emulator

/** When jobs were asked for the first time, in milliseconds since their batch began. */
const firstLooks = (count: number, options: Batch.Options<Numbered> = {}) =>
  Effect.gen(function* () {
    const emulator = yield* Emulator.Emulator
    const ep = yield* endpoint
    const since = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
    const { length: earlier } = yield* emulator.requests
    yield* Stream.runDrain(Batch.run(ep, inputs(count), options))
    const looks = new Map<string, number>()
    for (const { at, jobId, operation } of (yield* emulator.requests).slice(earlier)) {
      if (jobId === undefined || (operation !== "status" && operation !== "statusSync")) continue
      if (!looks.has(jobId)) looks.set(jobId, at - since)
    }
    return [...looks.values()]
  })

/** The answer to the first submit comes so much later than the others. */
const lateBy = (by: Emulator.Fault.Delay["by"]) => [Fault.delay({ operations: ["run"], times: 1, by })]

describe("a batch", () => {
  const test = (
    title: string,
    {
      by,
      execution = "10 seconds"
    }: { readonly by: "1 second" | "5 seconds"; readonly execution?: "300 millis" | "10 seconds" },
    body: Effect.Effect<void, unknown, Emulator.Emulator | Effect.Effect.Context<typeof endpoint>>
  ) =>
    it.live(title, () =>
      VirtualTime.run(Effect.provide(body, emulated({ workers: 10, execution }, { faults: lateBy(by) })))
    )

  test(
    "asks for a job when all others are submitted",
    { by: "1 second" },
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* firstLooks(3), [1_000, 1_000, 1_000])
    })
  )

  test(
    "asks for a job 1.5 s after its submit at the latest",
    { by: "5 seconds" },
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* firstLooks(3), [1_500, 1_500, 5_000])
    })
  )

  test(
    "asks for a job when it may have ended, where that is known",
    { by: "5 seconds", execution: "300 millis" },
    Effect.gen(function* () {
      const [known] = yield* firstLooks(8)
      assert.strictEqual(known, 1_500)
      const emulator = yield* Emulator.Emulator
      yield* emulator.setFaults(lateBy("5 seconds"))
      const [first = Infinity, second = Infinity] = yield* firstLooks(3)
      assert.deepStrictEqual([first, second], [300, 300])
    })
  )

  test(
    "looks at a job before its time is over",
    { by: "5 seconds", execution: "300 millis" },
    Effect.gen(function* () {
      const ep = yield* endpoint
      const outcomes = yield* Stream.runCollect(Batch.run(ep, inputs(3), { timeout: "1 second" }))
      assert.deepStrictEqual(
        Array.from(outcomes, ({ result }) => Exit.isSuccess(result)),
        [true, true, true]
      )
    })
  )

  test(
    "cancels a job that it has not asked for when it is interrupted",
    { by: "5 seconds" },
    Effect.gen(function* () {
      const ep = yield* endpoint
      const batch = yield* Effect.fork(Stream.runDrain(Batch.run(ep, inputs(3))))
      yield* Effect.sleep("1 second")
      yield* Fiber.interrupt(batch)
      const { byOperation } = yield* counts
      assert.deepStrictEqual([byOperation.statusSync.total, yield* statuses], [0, { CANCELLED: 3 }])
    })
  )

  const paces: ReadonlyArray<readonly [Batch.Options<Numbered>, number]> = [
    [{ hold: false }, 3_000],
    [{ poll: { initial: "1 second" } }, 1_000],
    [{ maxFailures: 2 }, 0]
  ]
  for (const [options, at] of paces) {
    test(
      `keeps to what it is given: ${JSON.stringify(options)}`,
      { by: "5 seconds" },
      Effect.gen(function* () {
        const [first = Infinity, second] = yield* firstLooks(3, options)
        assert.strictEqual(first, second)
        assert.closeTo(first, at, 100)
      })
    )
  }
})

describe("submits", () => {
  it.effect("let nobody wait for whom the time is over as he begins to wait", () =>
    Effect.gen(function* () {
      const timer: Timer = {
        now: () => 0,
        add: ({ run }) => run(),
        set: (at, run) => {
          run()
          return { at, order: 0, index: -1, run }
        },
        clear: () => undefined
      }
      const submits = new Submits(timer)
      submits.add({ withdraw: () => undefined })
      yield* submits.awaitThrough(1)
    })
  )
})
