import { describe, expect, it } from "@effect/vitest"
import { Batch, type BatchJournal, Cost, Endpoint } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { BatchReport } from "effect-runpod-dashboard"
import { Effect, Schema } from "effect"
import { finishOnTestClock } from "../../../test/support/finish.js"

/** Items as a journal has them. */
const items: ReadonlyArray<BatchJournal.Item> = [
  { _tag: "Intent", key: "a", hash: "h", at: 1 },
  { _tag: "Submitted", key: "b", hash: "h", at: 2, jobId: "job-b", attempts: 1 },
  {
    _tag: "Settled",
    key: "<script>c</script>",
    hash: "h",
    at: Date.UTC(2026, 10, 26),
    jobId: "job-c",
    attempts: 2,
    status: "FAILED",
    delayTime: 100,
    executionTime: 4_000,
    earlierExecutionTime: 1_000,
    error: "<img src=x> out of memory"
  },
  {
    _tag: "Settled",
    key: "d",
    hash: "h",
    at: 3,
    jobId: "job-d",
    attempts: 1,
    status: "COMPLETED",
    delayTime: 90,
    executionTime: 5_000
  }
]

describe("the journal of a batch as a page", () => {
  it("has no control characters, of keys, ids or errors", () => {
    const evil = "\u001b[31m\u009b2J\u202eexe\u0000\ud800"
    const item = { ...items[2]!, key: evil, jobId: evil, error: evil } as BatchJournal.Item
    const html = BatchReport.journalToHtml({ endpointId: evil, items: [item] }, {})
    expect(html).toContain("␛[31m\\u009b2J\\u202eexe␀\\ud800")
    expect(html).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}\p{Cs}]/u)
  })

  it("has how its items stand, what failed and what it cost, as text", () => {
    const html = BatchReport.journalToHtml({ endpointId: "e", items }, { rate: 0.001 })
    for (const kind of ["In doubt", "In flight", "JobFailedError", "Completed"]) {
      expect(html).toContain(`<tr><td>${kind}</td><td>1</td></tr>`)
    }
    expect(html).toContain("4 items, 2 of them without an end. The last of them changed at 2026-11-26T00:00:00.000Z.")
    expect(html).toContain("&lt;img src=x&gt; out of memory")
    // Both attempts of one, and the other.
    expect(html).toContain("$0.0100")
    expect(html.match(/<svg /g)).toHaveLength(2)
    expect(html).not.toMatch(/<script|<img|https?:/)
    expect(BatchReport.journalToHtml({ items: [] })).toContain("0 items")
  })
})

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
