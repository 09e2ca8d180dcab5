/** Records of a kilobyte for a webhook store and a journal. */
import type * as WebhookStore from "../../src/layers/WebhookStore.js"
import type * as JournalEntry from "../../src/schemas/JournalEntry.js"

export const delivery = (n: number): WebhookStore.Delivery => ({
  token: `token ${n}`,
  expiresAt: 1e15,
  endpointId: "ep",
  key: `key ${n}`,
  jobId: `job ${n}`,
  outcome: "COMPLETED 1 2",
  receivedAt: 1e14,
  body: `{"id":"job ${n}","status":"COMPLETED","output":"${"x".repeat(1_000)}"}`
})

export const settled = (n: number): JournalEntry.Settled => ({
  _tag: "Settled",
  key: `key ${n}`,
  hash: "h",
  at: 1,
  jobId: `job ${n}`,
  attempts: 1,
  status: "COMPLETED",
  output: "x".repeat(1_000)
})
