import { assert, describe, it } from "@effect/vitest"
import * as RequestList from "effect-runpod/RequestList"
import * as Either from "effect/Either"

describe("RequestList.fromReply", () => {
  it("reads the jobs it lists", () => {
    const body = {
      requests: [
        { id: "2f81-u1", status: "COMPLETED", delayTime: 640, executionTime: 8100, workerId: "q7w2" },
        { id: "2f82-u1", status: "IN_QUEUE", delayTime: 12, workerId: "" }
      ]
    }
    const list = Either.getOrThrow(RequestList.fromReply(body))
    assert.deepStrictEqual(
      list.requests.map((job) => [job.id, job.status, job.executionTime, job.workerId]),
      [
        ["2f81-u1", "COMPLETED", 8100, "q7w2"],
        ["2f82-u1", "IN_QUEUE", undefined, undefined]
      ]
    )
    assert.strictEqual(list.raw, body)
  })

  it("takes null for an empty list", () => {
    assert.deepStrictEqual(Either.getOrThrow(RequestList.fromReply({ requests: null })).requests, [])
    assert.deepStrictEqual(Either.getOrThrow(RequestList.fromReply({ requests: [] })).requests, [])
  })

  it("leaves out entries that are no jobs or have no id, and keeps them in raw", () => {
    const body = { requests: [null, 7, {}, { status: "COMPLETED" }, { id: "a" }, { id: "b", status: "FAILED" }] }
    const list = Either.getOrThrow(RequestList.fromReply(body))
    assert.deepStrictEqual(
      list.requests.map((job) => job.id as string),
      ["b"]
    )
    assert.strictEqual(list.raw, body)
  })

  it.each<[unknown, string]>([
    [undefined, `expected an object with "requests", got nothing`],
    [[], `expected an object with "requests", got an array`],
    ["none", `expected an object with "requests", got a string`],
    [{}, `expected an array or null in "requests", got nothing there`],
    [{ requests: {} }, `expected an array or null in "requests", got an object there`],
    [{ requests: 0 }, `expected an array or null in "requests", got a number there`]
  ])("refuses %j", (body, sentence) => {
    assert.deepStrictEqual(RequestList.fromReply(body), Either.left(sentence))
  })
})
