import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { idProblem } from "../../../src/internal/text/identifier.js"
import { anyText } from "../../support/arbitraries.js"

describe("idProblem", () => {
  it.prop(
    "lets through only strings that stay themselves as one segment of a URL's path",
    {
      id: FastCheck.oneof(anyText(), FastCheck.constantFrom(".", "..", "%2e", "a/../b", "?"))
    },
    ({ id }) => {
      if (idProblem(id) !== undefined) return
      const url = new URL(`https://api.example/v2/${encodeURIComponent(id)}/status`)
      const segments = url.pathname.split("/")
      assert.strictEqual(segments.length, 4)
      assert.strictEqual(decodeURIComponent(segments[2]!), id)
      assert.strictEqual(url.search + url.hash, "")
    },
    { fastCheck: { numRuns: 300 } }
  )

  it.prop("is undefined or a clause, for any value", { id: FastCheck.anything() }, ({ id }) => {
    const problem = idProblem(id)
    if (typeof id !== "string") assert.match(problem!, /^it is not a string but /)
    else if (problem !== undefined) assert.isNotEmpty(problem)
  })
})
