import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { decode, encode, identityOf } from "../../../src/internal/text/losslessJson.js"
import { anyText } from "../../support/arbitraries.js"

const again = (value: unknown) => decode(Either.getOrThrow(encode(value)))

/** Nested so deeply that `JSON.stringify` overflows the stack. */
const deep = (leaf: unknown, depth = 100_000): unknown => {
  let value = leaf
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value }
  return value
}

/** What is at the bottom of it. */
const bottom = (value: unknown): unknown => {
  let at = value
  while (typeof at === "object" && at !== null) at = Object.values(at)[0]
  return at
}

describe("lossless JSON", () => {
  const key = FastCheck.oneof(
    anyText(),
    FastCheck.constantFrom(
      "$",
      "$$",
      "$bigint",
      "$$bigint",
      "$nan",
      "$date",
      "$undefined",
      "__proto__",
      "toJSON",
      "\ud800"
    )
  )
  const { tree } = FastCheck.letrec((tie) => ({
    tree: FastCheck.oneof(
      { depthSize: "small" },
      anyText(),
      FastCheck.double(),
      FastCheck.constantFrom(null, true, false, undefined, NaN, Infinity, -Infinity, -0, "\udfff"),
      FastCheck.bigInt(),
      FastCheck.date({ noInvalidDate: false }),
      FastCheck.array(tie("tree")),
      FastCheck.array(FastCheck.tuple(key, tie("tree"))).map((entries): unknown => Object.fromEntries(entries))
    )
  }))

  it.prop(
    "comes back as it was, with BigInts, marks among the keys, and halves of surrogate pairs",
    [tree],
    ([value]) => {
      const copy = again(value)
      assert.deepStrictEqual(copy, value)
      // Not only deeply equal: the same keys in the same order, and the same zero.
      assert.strictEqual(Either.getOrThrow(encode(copy)), Either.getOrThrow(encode(value)))
    }
  )

  it.prop("is plain JSON for what `JSON.parse` gives", [FastCheck.jsonValue()], ([value]) => {
    const parsed: unknown = JSON.parse(JSON.stringify(value))
    const hasMark = /\{"\$[^"]*":/.test(JSON.stringify(parsed))
    if (!hasMark) assert.strictEqual(Either.getOrThrow(encode(parsed)), JSON.stringify(parsed))
  })

  it("is one line, whatever is in it", () => {
    assert.notInclude(Either.getOrThrow(encode({ "a\nb": ["\n\r\u2028", 1n, { $x: "\n" }] })), "\n")
  })

  it("may be nested 100,000 deep, with a BigInt at the bottom", () => {
    assert.strictEqual(bottom(again(deep(1n))), 1n)
    assert.strictEqual(bottom(again(deep("x"))), "x")
  })

  it("writes what is there twice, twice", () => {
    const shared = { a: [1n] }
    assert.deepStrictEqual(again([shared, shared]), [{ a: [1n] }, { a: [1n] }])
  })

  it("makes an ordinary object of one without a prototype", () => {
    const bare: unknown = Object.assign(Object.create(null), { a: [1n] })
    assert.deepStrictEqual(again({ bare }), { bare: { a: [1n] } })
  })

  const circle: Record<string, unknown> = {}
  circle["self"] = [circle]
  class Decimal {
    readonly value = "1.0"
  }
  it.each<[string, unknown]>([
    ["a function", { a: [() => 1] }],
    ["a symbol", [Symbol("s")]],
    ["contains itself", circle],
    ["instance of Decimal", [new Decimal()]],
    ["instance of Map", new Map()],
    ["too long", Array.from({ length: 600 }, () => "x".repeat(2 ** 20))]
  ])("says of what cannot be written why: %s", (why, value) => {
    assert.include(Either.getOrThrow(Either.flip(encode(value))), why)
  })
})

describe("the identity of a value", () => {
  it("is what JSON.stringify writes, where it can", () => {
    const value = { a: undefined, b: new Date(0), c: [undefined, -0], toJSON: undefined }
    assert.strictEqual(identityOf(value), JSON.stringify(value))
  })

  it("tells deep values and BigInts apart", () => {
    assert.notStrictEqual(identityOf(deep(1)), identityOf(deep(2)))
    assert.notStrictEqual(identityOf([1n]), identityOf([2n]))
    assert.notStrictEqual(identityOf([1n]), identityOf(["1"]))
  })
})
