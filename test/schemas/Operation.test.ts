import { assert, describe, it } from "@effect/vitest"
import * as Operation from "effect-runpod/Operation"
import { anyText } from "../support/arbitraries.js"

describe("Operation", () => {
  it.each<[Operation.Operation, string, string, Operation.Repeat]>([
    ["run", "POST", "/ep/run", "Submit"],
    ["runSync", "POST", "/ep/runsync", "Submit"],
    ["status", "GET", "/ep/status/job-1", "Repeatable"],
    ["statusSync", "GET", "/ep/status-sync/job-1", "Repeatable"],
    ["stream", "GET", "/ep/stream/job-1", "Draining"],
    ["cancel", "POST", "/ep/cancel/job-1", "Repeatable"],
    ["retry", "POST", "/ep/retry/job-1", "Once"],
    ["purgeQueue", "POST", "/ep/purge-queue", "Once"],
    ["health", "GET", "/ep/health", "Repeatable"],
    ["requests", "GET", "/ep/requests", "Repeatable"]
  ])("%s is %s %s, and a repeat of it is %s", (name, method, path, repeat) => {
    const definition = Operation.operations[name]
    assert.strictEqual(definition.method, method)
    assert.strictEqual(definition.repeat, repeat)
    assert.strictEqual(Operation.pathOf(name, { endpointId: "ep", jobId: "job-1" }), path)
  })

  it.each<[Operation.BatchOperation, string, string, Operation.Repeat]>([
    ["createBatch", "POST", "/ep/batch", "Submit"],
    ["listBatches", "GET", "/ep/batch", "Repeatable"],
    ["batchStatus", "GET", "/ep/batch/b%2F1", "Repeatable"],
    ["updateBatch", "PUT", "/ep/batch/b%2F1", "Repeatable"],
    ["appendBatch", "POST", "/ep/batch/b%2F1/requests", "Submit"],
    ["batchResults", "GET", "/ep/batch/b%2F1/requests", "Repeatable"],
    ["finalizeBatch", "POST", "/ep/batch/b%2F1/finalize", "Repeatable"],
    ["cancelBatch", "POST", "/ep/batch/b%2F1/cancel", "Repeatable"],
    ["deleteBatchRequest", "DELETE", "/ep/batch/b%2F1/requests/r%3F2", "Repeatable"]
  ])("%s is %s %s, and a repeat of it is %s", (name, method, path, repeat) => {
    assert.isTrue(Operation.isOfBatch(name))
    assert.strictEqual(Operation.operations[name].method, method)
    assert.strictEqual(Operation.operations[name].repeat, repeat)
    assert.strictEqual(Operation.pathOf(name, { endpointId: "ep", batchId: "b/1", requestId: "r?2" }), path)
  })

  it("operations on jobs and endpoints are none of the batch API", () => {
    assert.strictEqual(Operation.names.filter(Operation.isOfBatch).length, 9)
    assert.isFalse(Operation.isOfBatch("run"))
  })

  it("names every operation once", () => {
    assert.deepStrictEqual([...Operation.names], Object.keys(Operation.operations))
  })

  it.prop(
    "an id stays one segment of the path, whatever is in it",
    { endpointId: anyText(), jobId: anyText() },
    ({ endpointId, jobId }) => {
      const segments = Operation.pathOf("status", { endpointId, jobId }).split("/")
      assert.strictEqual(segments.length, 4)
      assert.strictEqual(decodeURIComponent(segments[1]!), endpointId)
      assert.strictEqual(decodeURIComponent(segments[3]!), jobId)
    }
  )
})
