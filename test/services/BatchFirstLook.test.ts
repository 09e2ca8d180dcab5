/** When a batch first asks for a job that it has submitted. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Batch from "../../src/services/Batch.js"
import { emulated, endpoint, inputs, type Numbered } from "../support/batches.js"
import * as VirtualTime from "../support/virtualTime.js"

const { Fault } = Emulator

/** When jobs were asked for the first time, in milliseconds since their batch began. */
const firstLooks = (count: number, options: Batch.Options<Numbered> = {}) =>
  Effect.gen(function* () {
    const emulator = yield* Emulator.Emulator
    const ep = yield* endpoint
    const since = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
    yield* Stream.runDrain(Batch.run(ep, inputs(count), options))
    const looks = new Map<string, number>()
    for (const { at, jobId, operation } of yield* emulator.requests) {
      if (at < since || jobId === undefined || (operation !== "status" && operation !== "statusSync")) continue
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
      assert.isAtMost(Math.max(first, second), 300)
    })
  )

  test(
    "keeps to the pace that it is given",
    { by: "5 seconds" },
    Effect.gen(function* () {
      const looks = yield* firstLooks(2, { hold: false, poll: { initial: "1 second" } })
      assert.isAtMost(Math.min(...looks), 1_000)
    })
  )
})
