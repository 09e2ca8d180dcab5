import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { excerpt } from "../../../src/internal/text/excerpt.js"
import { anyText } from "../../support/arbitraries.js"

const bytesOf = (text: string) => new TextEncoder().encode(text).byteLength

describe("excerpt", () => {
  it.each<[string, number, string]>([
    ["abc", 3, "abc"],
    ["abcd", 3, "abc"],
    ["", 3, ""],
    ["äöü", 6, "äöü"],
    ["äöü", 5, "äö"],
    ["äöü", 4, "äö"],
    ["日本語", 9, "日本語"],
    ["日本語", 8, "日本"],
    ["a👍b", 5, "a👍"],
    ["a👍b", 4, "a"],
    ["👍", 3, ""]
  ])("of %j in %d bytes is %j", (text, bytes, expected) => {
    assert.strictEqual(excerpt(text, bytes), expected)
  })

  it("is 2 KiB when nothing else is said", () => {
    assert.strictEqual(excerpt("x".repeat(5000)).length, 2048)
    assert.strictEqual(excerpt("日".repeat(5000)).length, 682)
    assert.strictEqual(excerpt("👍".repeat(5000)).length, 1024)
  })

  it.prop(
    "fits, is a beginning of the text, ends with a whole character, and could not be longer",
    { text: anyText({ maxLength: 60 }), bytes: FastCheck.nat({ max: 80 }) },
    ({ bytes, text }) => {
      const part = excerpt(text, bytes)
      assert.isAtMost(bytesOf(part), bytes)
      assert.isTrue(text.startsWith(part))
      const next = Array.from(text.slice(part.length))[0]
      if (next !== undefined) assert.isAbove(bytesOf(part) + bytesOf(next), bytes)
    },
    { fastCheck: { numRuns: 300 } }
  )
})
