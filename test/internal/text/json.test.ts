import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { defined, describeJson, isJsonObject, jsonOf, numberOf, textOf } from "../../../src/internal/text/json.js"
import { json } from "../../support/arbitraries.js"

describe("json", () => {
  it.each<[unknown, boolean]>([
    [{}, true],
    [[], false],
    [null, false],
    ["{}", false],
    [undefined, false]
  ])("isJsonObject(%j) is %s", (value, is) => {
    assert.strictEqual(isJsonObject(value), is)
  })

  it.each<[unknown, string | undefined]>([
    ["a", "a"],
    [" a ", " a "],
    ["", undefined],
    [" \n", undefined],
    [1, undefined],
    [null, undefined]
  ])("textOf(%j) is %j", (value, text) => {
    assert.strictEqual(textOf(value), text)
  })

  it.each<[unknown, number | undefined]>([
    [0, 0],
    [-1.5, -1.5],
    [Number.NaN, undefined],
    [Infinity, undefined],
    ["1", undefined],
    [true, undefined]
  ])("numberOf(%s) is %s", (value, number) => {
    assert.strictEqual(numberOf(value), number)
  })

  it("defined drops what is undefined and keeps every other value", () => {
    assert.deepStrictEqual(defined({ a: undefined, b: null, c: 0, d: "", e: false }), {
      b: null,
      c: 0,
      d: "",
      e: false
    })
    assert.deepStrictEqual(Object.keys(defined({ a: undefined })), [])
  })

  it.each<[unknown, string]>([
    [undefined, "nothing"],
    [null, "null"],
    [[], "an array"],
    [{}, "an object"],
    ["", "a string"],
    [1, "a number"],
    [true, "a boolean"]
  ])("describeJson(%j) is %j", (value, words) => {
    assert.strictEqual(describeJson(value), words)
  })

  it.prop("jsonOf writes any JSON as JSON.stringify does", { value: json }, ({ value }) => {
    assert.strictEqual(jsonOf(value), JSON.stringify(value))
  })

  it.prop("jsonOf gives words for any value", { value: FastCheck.anything({ withBigInt: true }) }, ({ value }) => {
    assert.isNotEmpty(jsonOf(value))
  })

  it("jsonOf names what it cannot write", () => {
    const circle: Record<string, unknown> = {}
    circle["self"] = circle
    let deep: unknown = []
    for (let i = 0; i < 100_000; i++) deep = [deep]
    assert.strictEqual(jsonOf(circle), "an object")
    assert.strictEqual(jsonOf(deep), "an array")
    assert.strictEqual(jsonOf(undefined), "nothing")
    assert.strictEqual(jsonOf({ seed: 2n ** 64n }), `{"seed":"18446744073709551616"}`)
  })
})
