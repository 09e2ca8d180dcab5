import { assert, describe, it } from "@effect/vitest"
import * as PurgeResult from "effect-runpod/PurgeResult"
import * as Either from "effect/Either"

describe("PurgeResult.fromReply", () => {
  it.each<[Record<string, unknown>, number | undefined]>([
    [{ removed: 3, status: "completed" }, 3],
    [{ removed: 0, status: "completed" }, 0],
    [{ removed: 12 }, 12],
    [{ status: "completed" }, undefined],
    [{ removed: "3", status: "completed" }, undefined],
    [{ removed: null, status: "completed" }, undefined]
  ])("reads %j", (body, removed) => {
    const expected = removed === undefined ? { raw: body } : { removed, raw: body }
    assert.deepStrictEqual(PurgeResult.fromReply(body), Either.right<PurgeResult.PurgeResult>(expected))
  })

  it.each<[unknown, string]>([
    [undefined, "expected the result of a purge, got nothing"],
    ["completed", "expected the result of a purge, got a string"],
    [[2], "expected the result of a purge, got an array"],
    [{}, `expected "removed" or "status", got neither`],
    [{ status: 404, title: "Not Found" }, `expected "removed" or "status", got neither`]
  ])("refuses %j", (body, sentence) => {
    assert.deepStrictEqual(PurgeResult.fromReply(body), Either.left(sentence))
  })
})
