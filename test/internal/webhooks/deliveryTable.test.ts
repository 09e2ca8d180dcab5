import { assert, describe, it } from "@effect/vitest"
import type { Stored } from "../../../src/layers/WebhookStore.js"
import { DeliveryTable } from "../../../src/internal/webhooks/deliveryTable.js"

const stored = (sequence: number, fields: Partial<Stored> = {}): Stored => ({
  sequence,
  token: `token ${sequence}`,
  expiresAt: 1_000_000,
  jobId: `job ${sequence}`,
  outcome: "COMPLETED",
  receivedAt: sequence,
  body: "{}",
  ...fields
})

describe("a table of deliveries", () => {
  it("gives deliveries in the order of their numbers, whichever was inserted first", () => {
    const table = new DeliveryTable({ maxCount: 3 })
    const numbers = () => table.range(0, Infinity, 10).map(({ sequence }) => sequence)
    for (const sequence of [2, 1, 4]) table.insert(stored(sequence))
    assert.deepStrictEqual(numbers(), [1, 2, 4])
    table.insert(stored(5))
    assert.deepStrictEqual(numbers(), [1, 4, 5])
    table.insert(stored(6))
    assert.deepStrictEqual(numbers(), [4, 5, 6])
  })

  it("drops from its indexes what it drops, and nothing else", () => {
    const table = new DeliveryTable({ maxCount: 2 })
    for (const sequence of [2, 1]) table.insert(stored(sequence, { jobId: "job", key: "key", token: `${sequence}` }))
    table.insert(stored(3))
    assert.strictEqual(table.find({ jobId: "job" })?.sequence, 1)
    assert.strictEqual(table.find({ key: "key" })?.sequence, 1)
    table.insert(stored(4))
    assert.isUndefined(table.find({ jobId: "job" }))
  })
})
