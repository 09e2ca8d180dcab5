import { assert, describe, it } from "@effect/vitest"
import { createHash } from "node:crypto"
import { sha256 } from "../../../src/internal/text/sha256.js"
import { anyText } from "../../support/arbitraries.js"

const expected = (text: string) => createHash("sha256").update(text, "utf8").digest("hex")

describe("sha256", () => {
  it("agrees with Node's at every length around its blocks", () => {
    for (let length = 0; length <= 200; length++) {
      const text = "x".repeat(length)
      assert.strictEqual(sha256(text), expected(text))
    }
  })

  it.prop("agrees with Node's on any text", [anyText({ maxLength: 300 })], ([text]) => {
    assert.strictEqual(sha256(text), expected(text))
  })

  it("agrees with Node's on a large text", () => {
    const text = "äöü".repeat(100_000)
    assert.strictEqual(sha256(text), expected(text))
  })
})
