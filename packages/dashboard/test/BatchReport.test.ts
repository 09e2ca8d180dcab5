import { describe, expect, it } from "@effect/vitest"
import { Batch, Cost, Endpoint } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { BatchReport } from "effect-runpod-dashboard"
import { Effect, Schema } from "effect"
import { finishOnTestClock } from "../../../test/support/finish.js"

describe("the report of a batch as a page", () => {
  it.effect("has numbers, pictures and failures, as text, and no inputs and outputs", () =>
    Effect.gen(function* () {
      const endpoint = yield* Endpoint.make("e", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })
      const inputs = [1, 2, 3, 4].map((n) => ({ n }))
      const report = yield* finishOnTestClock(
        Batch.collect(endpoint, inputs, { key: ({ n }) => `<script>${n}</script>` })
      )
      const html = BatchReport.toHtml(report)
      expect(html.match(/<svg /g)).toHaveLength(2)
      expect(html).toContain("&lt;script&gt;2&lt;/script&gt;")
      expect(html).toContain("JobFailedError")
      expect(html).toContain("Estimate")
      expect(html).not.toMatch(/<script|<img|https?:|secret output/)
    }).pipe(
      Effect.provide(
        Emulator.layerRunPod({
          endpoints: {
            e: {
              handler: ({ n }) =>
                Number(n) === 2
                  ? Effect.fail(new Error("<img src=x>"))
                  : Effect.as(Effect.sleep("1 second"), "secret output")
            }
          }
        })
      ),
      Effect.provide(Cost.layer({ rates: Cost.rates({ L4: { flex: 0.0002 } }), gpu: "L4" }))
    )
  )
})
