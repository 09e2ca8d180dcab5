import { assert, describe, it } from "@effect/vitest"
import * as RemoteBatch from "effect-runpod/RemoteBatch"
import * as Either from "effect/Either"
import { pipe } from "effect/Function"

const right = Either.getOrThrow

describe("RemoteBatch.fromReply", () => {
  it("reads a summary", () => {
    const body = {
      id: "batch_7k",
      endpointId: "ep7",
      status: "FINALIZED",
      requestTotal: 1200,
      requestInProgress: 8,
      requestCompleted: 300,
      requestFailed: 4,
      createdAt: 1790000000000,
      priority: "low"
    }
    const { raw, ...batch } = right(RemoteBatch.fromReply(body, "batch_7k"))
    const { priority: _, ...known } = body
    assert.deepStrictEqual(batch, known)
    assert.strictEqual(raw, body)
  })

  it("takes the id from the path and needs nothing but a status", () => {
    assert.deepStrictEqual(right(RemoteBatch.fromReply({ status: "ARCHIVED" }, "b/1")), {
      id: "b/1",
      status: "ARCHIVED",
      raw: { status: "ARCHIVED" }
    })
  })

  it("counts a field of a wrong type as missing", () => {
    const body = { status: "DRAFT", requestTotal: "12", requestFailed: null, name: 7, createdAt: "yesterday" }
    assert.deepStrictEqual(right(RemoteBatch.fromReply(body, "b")), { id: "b", status: "DRAFT", raw: body })
  })

  it("reads a time that comes as an ISO date", () => {
    const { createdAt } = right(RemoteBatch.fromReply({ status: "DRAFT", createdAt: "2026-07-09T08:00:00Z" }, "b"))
    assert.strictEqual(createdAt, Date.UTC(2026, 6, 9, 8))
  })

  it.each<[unknown, string]>([
    [undefined, "expected a batch, got nothing"],
    [[], "expected a batch, got an array"],
    ["DRAFT", "expected a batch, got a string"],
    [{}, `expected a batch with a string "status", got nothing there`],
    [{ status: 404 }, `expected a batch with a string "status", got a number there`]
  ])("refuses %j", (body, sentence) => {
    assert.deepStrictEqual(RemoteBatch.fromReply(body, "b"), Either.left(sentence))
  })
})

describe("RemoteBatch.fromCreateReply", () => {
  it("reads the new batch, as a draft when no status says otherwise", () => {
    assert.strictEqual(right(RemoteBatch.fromCreateReply({ id: "b1", status: "DRAFT" })).id, "b1")
    assert.strictEqual(right(RemoteBatch.fromCreateReply({ id: "b1" })).status, "DRAFT")
  })

  it.each([undefined, null, [], {}, { id: 7 }, { id: "" }, { id: ".." }, { id: "b1", error: "no" }])(
    "refuses %j",
    (body) => {
      assert.isTrue(Either.isLeft(RemoteBatch.fromCreateReply(body)))
    }
  )
})

describe("RemoteBatch.isFinished", () => {
  const batch = (fields: object) => right(RemoteBatch.fromReply(fields, "b"))
  it.each<[object, boolean]>([
    [{ status: "FINALIZED", requestTotal: 10, requestCompleted: 7, requestFailed: 3 }, true],
    [{ status: "FINALIZED", requestTotal: 10, requestCompleted: 7, requestFailed: 2, requestInProgress: 1 }, false],
    [{ status: "FINALIZED", requestTotal: 10, requestCompleted: 10 }, true],
    [{ status: "FINALIZED", requestTotal: 10, requestFailed: 10 }, true],
    [{ status: "FINALIZED", requestTotal: 10 }, false],
    [{ status: "FINALIZED", requestTotal: 0 }, true],
    [{ status: "FINALIZED" }, false],
    [{ status: "DRAFT", requestTotal: 0, requestCompleted: 0, requestFailed: 0 }, false],
    [{ status: "RUNNING", requestTotal: 2, requestCompleted: 2 }, false],
    [{ status: "CANCELLED", requestTotal: 10, requestCompleted: 1 }, true],
    [{ status: "FAILED" }, true]
  ])("%j: %s", (fields, expected) => {
    assert.strictEqual(RemoteBatch.isFinished(batch(fields)), expected)
  })
})

describe("RemoteBatch.listFromReply", () => {
  it.each([{ batches: [{ id: "b2", status: "DRAFT" }] }, [{ id: "b2", status: "DRAFT" }]])("reads %j", (body) => {
    const { batches, raw } = right(RemoteBatch.listFromReply(body))
    assert.deepStrictEqual(
      batches.map(({ id }) => id),
      ["b2"]
    )
    assert.strictEqual(raw, body)
  })

  it("takes null for none, and leaves out what is no batch", () => {
    assert.deepStrictEqual(right(RemoteBatch.listFromReply({ batches: null })).batches, [])
    const body = { batches: [null, 7, { id: "b1" }, { status: "DRAFT" }, { id: "b2", status: "DRAFT" }] }
    assert.strictEqual(right(RemoteBatch.listFromReply(body)).batches.length, 1)
  })

  it.each<[unknown, string]>([
    [undefined, `expected an object with "batches", got nothing`],
    [{}, `expected an array or null in "batches", got nothing there`],
    [{ batches: {} }, `expected an array or null in "batches", got an object there`]
  ])("refuses %j", (body, sentence) => {
    assert.deepStrictEqual(RemoteBatch.listFromReply(body), Either.left(sentence))
  })
})

describe("RemoteBatch.fromReply, piped", () => {
  it("takes the id first", () => {
    const body = { status: "DRAFT" }
    assert.deepStrictEqual(pipe(body, RemoteBatch.fromReply("b-1")), RemoteBatch.fromReply(body, "b-1"))
  })
})

describe("RemoteBatch.pageFromReply", () => {
  it("reads results, errors of any kind and times", () => {
    const body = {
      requests: [
        {
          id: "r1",
          status: "COMPLETED",
          output: { vector: [0.5] },
          startedAt: "2026-07-09T09:15:00Z",
          completedAt: "2026-07-09T09:15:02.250Z"
        },
        { id: "r2", status: "FAILED", error: { code: 7 } },
        { id: "r3", status: "COMPLETED", output: null, error: null },
        { id: "r4", status: "IN_QUEUE", startedAt: null, completedAt: "" }
      ],
      total: 90,
      offset: 0,
      limit: 4,
      hasMore: true
    }
    const page = right(RemoteBatch.pageFromReply(body))
    assert.deepStrictEqual(
      page.requests.map(({ raw: _, ...request }) => request),
      [
        {
          id: "r1",
          status: "COMPLETED",
          output: { vector: [0.5] },
          startedAt: Date.UTC(2026, 6, 9, 9, 15, 0),
          completedAt: Date.UTC(2026, 6, 9, 9, 15, 2, 250)
        },
        { id: "r2", status: "FAILED", error: { code: 7 } },
        { id: "r3", status: "COMPLETED", output: null },
        { id: "r4", status: "IN_QUEUE" }
      ]
    )
    assert.deepInclude(page, { size: 4, total: 90, hasMore: true })
  })

  it.each<[unknown, boolean]>([
    [{ requests: [{}], total: 5, offset: 3 }, true],
    [{ requests: [{}], total: 5, offset: 4 }, false],
    [{ requests: [{}], total: 5 }, true],
    [{ requests: [{}] }, false],
    [{ requests: [{}], total: 5, offset: 4, hasMore: true }, true],
    [{ requests: [{}], total: 5, hasMore: "no" }, true],
    [{ requests: null, total: 5, hasMore: false }, false],
    [[{}], false]
  ])("%j has more: %s", (body, expected) => {
    assert.strictEqual(right(RemoteBatch.pageFromReply(body)).hasMore, expected)
  })

  it("counts entries it cannot read in the size of the page, so that the next one begins behind them", () => {
    const page = right(RemoteBatch.pageFromReply({ requests: [null, { id: "r1", status: "FAILED" }, { id: "r2" }] }))
    assert.strictEqual(page.requests.length, 1)
    assert.strictEqual(page.size, 3)
  })
})
