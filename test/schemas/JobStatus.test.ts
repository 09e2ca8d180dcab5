import { assert, describe, it } from "@effect/vitest"
import * as JobStatus from "effect-runpod/JobStatus"
import * as Schema from "effect/Schema"

describe("JobStatus", () => {
  it.each([
    ["IN_QUEUE", false],
    ["IN_PROGRESS", false],
    ["RUNNING", false],
    ["COMPLETED", true],
    ["FAILED", true],
    ["CANCELLED", true],
    ["TIMED_OUT", true],
    // Not a status of jobs: a purge says it.
    ["completed", false],
    ["ARCHIVED", false],
    ["", false],
    ["constructor", false]
  ])("%j is terminal: %s", (status, terminal) => {
    assert.strictEqual(JobStatus.isTerminal(status), terminal)
  })

  it("keeps a status it does not know, and refuses what is no string", () => {
    const decode = Schema.decodeUnknownSync(JobStatus.JobStatus)
    assert.strictEqual(decode("ARCHIVED"), "ARCHIVED")
    assert.throws(() => decode(404))
    assert.throws(() => decode(null))
  })
})
