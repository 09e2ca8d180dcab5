import { assert, describe, it } from "@effect/vitest"
import { RunPod } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { Effect } from "effect"
import { Source } from "effect-runpod-dashboard"
import { finish } from "../../../test/support/finish.js"

const { Fault } = Emulator

describe("an emulator as a source", () => {
  it.effect("tells the requests about a job, which of them were sent again or answered 429, and its webhook", () =>
    finish(
      Effect.gen(function* () {
        const emulator = yield* Emulator.Emulator
        const runPod = yield* RunPod.RunPod
        const source = Source.emulator(emulator, "marks")
        const { id } = yield* runPod.run("marks", { input: { n: 1 }, webhook: "https://app.test/hook" })
        const other = yield* runPod.run("marks", { input: { n: 2 } })
        yield* Effect.sleep("1 second")
        yield* emulator.setFaults([
          Fault.rateLimited({ operations: ["status"], times: 1, retryAfter: "2 seconds" }),
          Fault.serverError({ operations: ["status"], times: 1, status: 503 })
        ])
        yield* runPod.status("marks", id)
        yield* Effect.sleep("1 minute")
        yield* runPod.status("marks", id)
        const events = yield* source.events?.(id) ?? Effect.succeed([])
        assert.deepStrictEqual(
          events.map(({ error, kind, operation, status }) => [kind, operation, status, error]),
          [
            ["request", "run", 200, undefined],
            ["throttled", "status", 429, "RateLimited"],
            ["retry", "status", 503, "ServerError"],
            ["retry", "status", 200, undefined],
            ["webhook", undefined, 200, undefined],
            ["request", "status", 200, undefined]
          ]
        )
        assert.isAtLeast((events[2]?.at ?? 0) - (events[1]?.at ?? 0), 2_000)
        const others = yield* source.events?.(other.id) ?? Effect.succeed([])
        assert.deepStrictEqual(
          others.map(({ operation }) => operation),
          ["run"]
        )
      }).pipe(
        Effect.provide(
          Emulator.layerRunPod({
            endpoints: { marks: { handler: () => Effect.as(Effect.sleep("30 seconds"), {}) } },
            deliver: () => Effect.succeed(200)
          })
        )
      )
    )
  )
})
