import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { crc32 } from "../../../src/internal/text/crc32.js"
import { utf8 } from "../../../src/internal/text/bytes.js"

describe("crc32", () => {
  it.each([
    ["", 0],
    ["123456789", 0xcbf43926],
    ["The quick brown fox jumps over the lazy dog", 0x414fa339]
  ] as const)("of %j is that of zlib", (text, crc) => {
    assert.strictEqual(crc32(utf8(text)), crc)
  })

  it.prop("goes on where it left off", [FastCheck.uint8Array(), FastCheck.nat()], ([bytes, n]) => {
    const at = n % (bytes.length + 1)
    assert.strictEqual(crc32(bytes, bytes.length, at, crc32(bytes, at)), crc32(bytes))
  })
})
