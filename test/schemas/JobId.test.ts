import { assert, describe, it } from "@effect/vitest"
import * as JobId from "effect-runpod/JobId"
import * as Schema from "effect/Schema"

describe("JobId", () => {
  it.each(["0b7e1c52-4a55-4f0e-9d1b-5c2f7a9e3d10-u1", "sync-41aa-e2", "test-7", "no suffix", "a/b?c#d", "%2F"])(
    "takes %j as it is: an id is opaque",
    (id) => {
      assert.isUndefined(JobId.problemOf(id))
      assert.strictEqual(Schema.decodeUnknownSync(JobId.JobId)(id), id)
    }
  )

  it.each<[unknown, RegExp]>([
    ["", /empty/],
    [7, /not a string but a number/],
    [undefined, /not a string but nothing/],
    ["..", /would change the request's path/],
    ["x".repeat(513), /at most 512/],
    ["a\tb", /control character/],
    ["\udc00", /well-formed/]
  ])("refuses %j and says why", (id, why) => {
    assert.match(JobId.problemOf(id)!, why)
    assert.throws(() => Schema.decodeUnknownSync(JobId.JobId)(id))
  })

  it("takes 512 characters", () => {
    assert.isUndefined(JobId.problemOf("x".repeat(512)))
  })
})
