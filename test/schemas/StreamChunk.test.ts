import { assert, describe, it } from "@effect/vitest"
import * as StreamChunk from "effect-runpod/StreamChunk"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"

const read = (body: unknown) => Either.getOrThrowWith(StreamChunk.fromReply(body), (problem) => new Error(problem))

describe("StreamChunk.fromReply", () => {
  it.each<[string, unknown, string | undefined, ReadonlyArray<unknown>]>([
    [
      "chunks and a status",
      { status: "IN_PROGRESS", stream: [{ output: "a" }, { output: "b" }] },
      "IN_PROGRESS",
      ["a", "b"]
    ],
    ["the last chunks, with the end", { status: "COMPLETED", stream: [{ output: 3 }] }, "COMPLETED", [3]],
    ["nothing yet", { status: "IN_QUEUE", stream: [] }, "IN_QUEUE", []],
    ["a failed job", { status: "FAILED", stream: [] }, "FAILED", []],
    ["no stream key", { status: "COMPLETED" }, "COMPLETED", []],
    ["a null stream", { status: "COMPLETED", stream: null }, "COMPLETED", []],
    ["a bare array", [{ output: "a" }], undefined, ["a"]],
    ["an empty bare array", [], undefined, []],
    ["no status", { stream: [{ output: 1 }] }, undefined, [1]],
    ["a number for a status", { status: 200, stream: [{ output: 1 }] }, undefined, [1]],
    ["an id and times beside it", { id: "j", status: "IN_PROGRESS", delayTime: 4, stream: [] }, "IN_PROGRESS", []]
  ])("reads %s", (_, body, status, outputs) => {
    const reply = read(body)
    assert.strictEqual(reply.status, status)
    assert.strictEqual("status" in reply, status !== undefined)
    assert.deepStrictEqual(
      reply.chunks.map((chunk) => chunk.output),
      outputs
    )
    assert.strictEqual(reply.raw, body)
  })

  it.each<[unknown, StreamChunk.StreamChunk]>([
    [{ output: { word: "a" } }, { output: { word: "a" } }],
    [{ output: null }, { output: null }],
    [
      { output: 1, metrics: { running: 1 } },
      { output: 1, metrics: { running: 1 } }
    ],
    [{ metrics: { running: 1 } }, { output: { metrics: { running: 1 } } }],
    [{ chunk: "x" }, { output: { chunk: "x" } }],
    [{}, { output: {} }],
    ["text", { output: "text" }],
    [7, { output: 7 }],
    [null, { output: null }],
    [["a"], { output: ["a"] }]
  ])("the chunk %j loses nothing", (chunk, expected) => {
    assert.deepStrictEqual(read([chunk]).chunks, [expected])
    assert.deepStrictEqual(read({ status: "IN_PROGRESS", stream: [chunk] }).chunks, [expected])
  })

  it.each<[unknown, string]>([
    [undefined, "expected stream chunks, got nothing"],
    ["data: x", "expected stream chunks, got a string"],
    [{}, `expected "status" or "stream", got neither`],
    [{ status: 404, title: "Not Found", detail: "job not found" }, `expected "status" or "stream", got neither`],
    [{ status: "IN_PROGRESS", stream: "abc" }, `expected an array in "stream", got a string`],
    [{ status: "IN_PROGRESS", stream: { 0: {} } }, `expected an array in "stream", got an object`]
  ])("refuses %j", (body, sentence) => {
    assert.deepStrictEqual(StreamChunk.fromReply(body), Either.left(sentence))
  })

  it("is what the schema decodes to, and encodes back from", () => {
    const body = [{ output: 1 }, { chunk: 2 }]
    const reply = Schema.decodeUnknownSync(StreamChunk.StreamReply)(body)
    assert.deepStrictEqual(reply.chunks, [{ output: 1 }, { output: { chunk: 2 } }])
    assert.deepStrictEqual(Schema.encodeSync(StreamChunk.StreamReply)(reply), body)
  })
})
