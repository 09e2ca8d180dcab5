import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Fiber } from "effect"
import { createHash, createHmac } from "node:crypto"
import { utf8 } from "../../../src/internal/text/bytes.js"
import * as Hmac from "../../../src/internal/webhooks/signature.js"
import * as Sha256 from "../../../src/internal/text/sha256.js"

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const repeated = (byte: number, count: number) => new Uint8Array(count).fill(byte)

/** RFC 4231, the cases of full length. */
const vectors = [
  {
    key: repeated(0x0b, 20),
    message: utf8("Hi There"),
    mac: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
  },
  {
    key: utf8("Jefe"),
    message: utf8("what do ya want for nothing?"),
    mac: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
  },
  {
    key: repeated(0xaa, 20),
    message: repeated(0xdd, 50),
    mac: "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
  },
  {
    key: repeated(0xaa, 131),
    message: utf8("Test Using Larger Than Block-Size Key - Hash Key First"),
    mac: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
  }
]

const bytes = FastCheck.uint8Array({ maxLength: 300 })

describe("HMAC-SHA-256", () => {
  it.each(vectors)("of RFC 4231: $mac", ({ key, mac, message }) =>
    assert.strictEqual(hex(Hmac.hmac(key, message)), mac)
  )

  it.prop("is that of Node", [bytes, bytes], ([key, message]) =>
    assert.strictEqual(hex(Hmac.hmac(key, message)), createHmac("sha256", key).update(message).digest("hex"))
  )

  it.effect.each([0, 1, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1, 5 * 2 ** 20 + 7])(
    "of a body of %i bytes, slice by slice, is that of Node",
    (length) =>
      Effect.gen(function* () {
        const [key, prefix] = [utf8("key"), utf8("prefix.")]
        const body = Uint8Array.from({ length }, (_, i) => i * 31)
        const expected = createHmac("sha256", key).update(prefix).update(body).digest("hex")
        assert.strictEqual(hex(yield* Hmac.hmacOfBody(key, prefix, body)), expected)
      })
  )

  it.effect("of a long body lets other fibers run meanwhile", () =>
    Effect.gen(function* () {
      let turns = 0
      const other = yield* Effect.fork(Effect.forever(Effect.sync(() => turns++)))
      yield* Hmac.hmacOfBody(utf8("key"), utf8("prefix."), new Uint8Array(8 * 2 ** 20))
      yield* Fiber.interrupt(other)
      assert.isAtLeast(turns, 5)
    })
  )
})

describe("SHA-256", () => {
  it.prop("is that of Node, of any length", [bytes], ([message]) =>
    assert.strictEqual(hex(Sha256.digest(message)), createHash("sha256").update(message).digest("hex"))
  )
  it("of a text is that of its UTF-8, in hex", () =>
    assert.strictEqual(Sha256.sha256("ü€"), createHash("sha256").update("ü€").digest("hex")))
})

describe("isSame", () => {
  it.prop("is equality", [FastCheck.string(), FastCheck.string()], ([a, b]) => {
    assert.strictEqual(Hmac.isSame(a, b), a === b)
    assert.isTrue(Hmac.isSame(a, a))
  })
})
