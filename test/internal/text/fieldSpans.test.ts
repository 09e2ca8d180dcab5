import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { fieldSpans } from "../../../src/internal/text/fieldSpans.js"

const valuesOf = (text: string, name: string): ReadonlyArray<unknown> =>
  fieldSpans(text, name).map(({ end, start }) => JSON.parse(text.slice(start, end)) as unknown)

describe("the spans of a field", () => {
  it.each([
    [`{"output":1}`, [1]],
    [` { "a" : "output" , "output" : "\\"output\\":2}" } `, [`"output":2}`]],
    [`{"a":{"output":1},"output":[{"output":2}],"b":[3]}`, [[{ output: 2 }]]],
    [`{"output":1,"\\u006futput":2,"output":{}}`, [1, 2, {}]],
    [`{"a\\\\":1,"output":"\\\\"}`, ["\\"]],
    [`{"a":1}`, []],
    [`["output",1]`, []],
    [`"output"`, []],
    [``, []]
  ])("of %s are %j", (text, values) => {
    assert.deepStrictEqual(valuesOf(text, "output"), values)
  })

  const object = FastCheck.dictionary(
    FastCheck.oneof(FastCheck.string(), FastCheck.constant("output")),
    FastCheck.jsonValue()
  )
  it.prop("are those that JSON.parse finds", [object, FastCheck.constantFrom(undefined, 2)], ([value, indent]) => {
    const text = JSON.stringify(value, undefined, indent)
    const parsed = JSON.parse(text) as Record<string, unknown>
    for (const key of Object.keys(parsed)) assert.deepStrictEqual(valuesOf(text, key), [parsed[key]])
  })
})
