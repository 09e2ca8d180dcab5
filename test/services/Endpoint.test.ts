import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Endpoint from "../../src/services/Endpoint.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted
const make = Endpoint.make("ep", {
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Struct({ sum: Schema.Number })
})

describe("Endpoint", () => {
  it.effect("call submits, holds and decodes", () =>
    Effect.gen(function* () {
      const t = Scripted.make([
        json({ id: "a", status: "IN_QUEUE" }),
        json({ id: "a", status: "COMPLETED", output: { sum: 3 } })
      ])
      const out = yield* finish(
        Effect.provide(
          Effect.flatMap(make, (e) => e.call({ n: 1 })),
          t.layer()
        )
      )
      assert.deepStrictEqual(out, { sum: 3 })
      assert.deepStrictEqual(
        t.asked.map((a) => a.url),
        ["/v2/ep/run", "/v2/ep/status-sync/a?wait=90000"]
      )
    })
  )
  it.effect("timeout cancels in the background", () =>
    Effect.gen(function* () {
      const t = Scripted.make((a) =>
        a.url.includes("run")
          ? json({ id: "a", status: "IN_QUEUE" })
          : a.url.includes("cancel")
            ? json({ status: "CANCELLED" })
            : "hang"
      )
      const exit = yield* finish(
        Effect.exit(
          Effect.provide(
            Effect.flatMap(make, (e) => e.call({ n: 1 }, { timeout: "1500 millis" })),
            t.layer()
          )
        )
      )
      console.log(t.asked, exit)
    })
  )
  it.effect("interrupt cancels", () =>
    Effect.gen(function* () {
      const t = Scripted.make((a) =>
        a.url.includes("run")
          ? json({ id: "a", status: "IN_QUEUE" })
          : a.url.includes("cancel")
            ? json({ status: "CANCELLED" })
            : "hang"
      )
      const fiber = yield* Effect.fork(
        Effect.provide(
          Effect.flatMap(make, (e) => e.call({ n: 1 }, { timeout: "1500 millis" })),
          t.layer()
        )
      )
      yield* TestClock.adjust(1000)
      yield* Fiber.interrupt(fiber)
      console.log(t.asked)
    })
  )
  it.effect("plain bar", () =>
    Effect.gen(function* () {
      for (const options of [{ hold: false as const }, { onProgress: () => Effect.void }, {}]) {
        const t = Scripted.make((a) =>
          a.url.includes("run")
            ? json({ id: "a", status: "IN_QUEUE" })
            : json(a.at >= 60000 ? { status: "COMPLETED", output: { sum: 1 } } : { status: "IN_PROGRESS" })
        )
        yield* finish(
          Effect.exit(
            Effect.provide(
              Effect.flatMap(make, (e) => e.call({ n: 1 }, options)),
              t.layer()
            )
          )
        )
        console.log(t.times())
      }
    })
  )
})
