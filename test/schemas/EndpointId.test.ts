import { assert, describe, it } from "@effect/vitest"
import * as EndpointId from "effect-runpod/EndpointId"
import * as Schema from "effect/Schema"

describe("EndpointId", () => {
  it.each(["k3v9q0x7w2m5aa", "flux-dev-lora", "%2e%2e", "ä", "a.b"])("accepts %j", (id) => {
    assert.isUndefined(EndpointId.problemOf(id))
    assert.strictEqual(Schema.decodeUnknownSync(EndpointId.EndpointId)(id), id)
  })

  it.each<[unknown, RegExp]>([
    ["", /empty/],
    ["  ", /empty/],
    [undefined, /not a string but nothing/],
    [null, /not a string but null/],
    [42, /not a string but a number/],
    [["k3v9"], /not a string but an array/],
    [".", /would change the request's path/],
    ["..", /would change the request's path/],
    ["x".repeat(513), /513 characters long/],
    ["a\nb", /control character/],
    ["a\u007fb", /control character/],
    ["a\ud800b", /well-formed/],
    ["https://api.runpod.ai/v2/k3v9q0x7w2m5aa", /bare id, the part behind \/v2\//],
    ["k3v9/run", /bare id/],
    ["k3v9\\run", /bare id/],
    ["k3v9?x=1", /bare id/],
    ["k3v9#x", /bare id/],
    ["k3 v9", /bare id/]
  ])("refuses %j and says why", (id, why) => {
    assert.match(EndpointId.problemOf(id)!, why)
    assert.throws(() => Schema.decodeUnknownSync(EndpointId.EndpointId)(id))
  })
})
