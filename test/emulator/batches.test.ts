import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as Emulator from "../../src/emulator/Emulator.js"
import { get, post, read, send } from "./support.js"

const layer = Emulator.layer({
  endpoints: {
    echo: { workers: 1, execution: "2 seconds" },
    broken: { workers: 1, handler: () => Effect.fail(new Error("no luck")) }
  }
})

const of = (effect: ReturnType<typeof send>) => Effect.map(effect, ({ status, text }) => [status, JSON.parse(text)])
const problem = (status: number, title: string, detail: string) => [status, { status, title, detail }]

const create = (endpointId: string, requests: ReadonlyArray<unknown> = []) =>
  Effect.map(post(`/v2/${endpointId}/batch`, requests), ({ text }): string => JSON.parse(text).id)

const request = (n: number) => ({ input: { n } })

describe("the batch API of the emulator", () => {
  it.effect("answers a create and an append as a draft, and a summary with its counts", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_790_000_000_000)
      const [status, created] = yield* of(post("/v2/echo/batch", [request(1)]))
      assert.strictEqual(status, 200)
      assert.deepStrictEqual(Object.keys(created), ["id", "status"])
      assert.match(created.id, /^batch_\w+$/)
      assert.strictEqual(created.status, "DRAFT")
      const path = `/v2/echo/batch/${created.id}`
      assert.deepStrictEqual(yield* of(post(`${path}/requests`, { requests: [request(2), request(3)] })), [
        200,
        created
      ])
      const summary = {
        id: created.id,
        endpointId: "echo",
        status: "DRAFT",
        requestTotal: 3,
        requestInProgress: 0,
        requestCompleted: 0,
        requestFailed: 0,
        createdAt: 1_790_000_000_000
      }
      assert.deepStrictEqual(yield* of(get(path)), [200, summary])
      yield* post(`${path}/finalize`)
      assert.deepStrictEqual(yield* of(get(path)), [200, { ...summary, status: "FINALIZED", requestInProgress: 1 }])
      yield* TestClock.adjust("2 seconds")
      const [, { requestCompleted, requestInProgress }] = yield* of(get(path))
      assert.deepStrictEqual([requestCompleted, requestInProgress], [1, 1])
      assert.deepStrictEqual((yield* of(get("/v2/echo/batch")))[1].batches.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("lists requests with ISO times, the failed first, in pages", () =>
    Effect.gen(function* () {
      const id = yield* create("echo", [1, 2, 3].map(request))
      yield* post(`/v2/echo/batch/${id}/finalize`)
      yield* TestClock.adjust("2500 millis")
      const [, { requests, ...page }] = yield* of(get(`/v2/echo/batch/${id}/requests?offset=1&limit=2`))
      assert.deepStrictEqual(page, { total: 3, offset: 1, limit: 2, hasMore: false })
      const [queued, completed] = requests
      assert.deepStrictEqual(Object.keys(queued), ["id", "status"])
      assert.strictEqual(queued.status, "IN_QUEUE")
      assert.deepStrictEqual(completed, {
        id: completed.id,
        status: "COMPLETED",
        output: { n: 1 },
        startedAt: "1970-01-01T00:00:00.000Z",
        completedAt: "1970-01-01T00:00:02.000Z"
      })
      assert.deepInclude((yield* of(get(`/v2/echo/batch/${id}/requests`)))[1], { offset: 0, limit: 50, hasMore: false })
      assert.deepStrictEqual((yield* read("echo", completed.id))["status"], "COMPLETED")
    }).pipe(Effect.provide(layer))
  )

  it.effect("lists the error of a request whose handler failed", () =>
    Effect.gen(function* () {
      const id = yield* create("broken", [request(1)])
      yield* post(`/v2/broken/batch/${id}/finalize`)
      const [, page] = yield* of(get(`/v2/broken/batch/${id}/requests`))
      assert.strictEqual(page.requests[0].status, "FAILED")
      assert.include(page.requests[0].error, "no luck")
      assert.deepInclude((yield* of(get(`/v2/broken/batch/${id}`)))[1], { status: "FINALIZED", requestFailed: 1 })
    }).pipe(Effect.provide(layer))
  )

  it.effect("keeps a result when its job can no longer be read, and fails a request that its ttl deleted", () =>
    Effect.gen(function* () {
      const id = yield* create("echo", [request(1), { ...request(2), policy: { ttl: 10_000 } }, request(3), request(4)])
      // Six more in front of the one with the short ttl.
      const other = yield* create("echo", [5, 6, 7, 8, 9, 10].map(request))
      yield* post(`/v2/echo/batch/${other}/finalize`)
      yield* post(`/v2/echo/batch/${id}/finalize`)
      yield* TestClock.adjust("1 hour")
      const [, page] = yield* of(get(`/v2/echo/batch/${id}/requests`))
      assert.deepStrictEqual(
        page.requests.map((entry: { status: string }) => entry.status),
        ["FAILED", "COMPLETED", "COMPLETED", "COMPLETED"]
      )
      assert.strictEqual(page.requests[0].error, "the request expired")
      assert.strictEqual((yield* get(`/v2/echo/status/${page.requests[1].id}`)).status, 404)
    }).pipe(Effect.provide(layer))
  )

  it.effect("answers 400 or 404 to what it refuses", () =>
    Effect.gen(function* () {
      const id = yield* create("echo", [request(1)])
      const path = `/v2/echo/batch/${id}`
      const bad = (detail: string) => problem(400, "Bad Request", `bad request: ${detail}`)
      assert.deepStrictEqual(yield* of(post("/v2/echo/batch", "[")), bad("body: invalid json"))
      assert.deepStrictEqual(yield* of(post("/v2/echo/batch", {})), bad("requests: must be an array"))
      assert.deepStrictEqual(
        yield* of(post("/v2/echo/batch", [request(1), {}])),
        bad("requests[1]: input: is required")
      )
      assert.deepStrictEqual(yield* of(post(`${path}/requests`, [])), bad("requests: must be an array"))
      assert.deepStrictEqual(
        yield* of(post(`${path}/requests`, { requests: ["x".repeat(10 * 1024 * 1024)] })),
        bad("body: exceeded max body size of 10MiB")
      )
      assert.deepStrictEqual(yield* of(send("PUT", path, {})), bad("name: must be a string"))
      assert.deepStrictEqual(yield* of(get(`${path}/requests?limit=0`)), bad("limit: must be a whole number above 0"))
      assert.deepStrictEqual(yield* of(get(`${path}/requests?offset=-1`)), bad("offset: must be a whole number"))
      assert.deepStrictEqual(yield* of(get("/v2/echo/batch/b7")), problem(404, "Not Found", "batch not found"))
      assert.deepStrictEqual(yield* of(get(`/v2/broken/batch/${id}`)), problem(404, "Not Found", "batch not found"))
      assert.deepStrictEqual(
        yield* of(send("DELETE", `${path}/requests/r7`)),
        problem(404, "Not Found", "request not found")
      )
      assert.deepStrictEqual(yield* of(get("/v2/none/batch")), problem(404, "Not Found", "endpoint not found"))
      assert.strictEqual((yield* get(`${path}/finalize`)).status, 405)
      assert.strictEqual((yield* send("DELETE", path)).status, 405)
      assert.strictEqual((yield* get("/v2/echo/batch/b7/what/else/there")).status, 404)
      yield* post(`${path}/finalize`)
      assert.deepStrictEqual(
        yield* of(post(`${path}/finalize`)),
        bad("the batch is FINALIZED; only a DRAFT can be finalized")
      )
      assert.deepStrictEqual(
        yield* of(post(`${path}/requests`, { requests: [request(2)] })),
        bad("the batch is FINALIZED; requests can only be added to a DRAFT")
      )
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* of(post(`${path}/cancel`)), bad("the batch has ended"))
      assert.strictEqual((yield* post("/v2/echo/batch", [])).status, 200)
    }).pipe(Effect.provide(layer))
  )

  it.effect("answers the removal of a request with an empty 204, and cancels a draft at once", () =>
    Effect.gen(function* () {
      const id = yield* create("echo", [request(1), request(2)])
      const emulator = yield* Emulator.Emulator
      const [batch] = yield* emulator.batches("echo")
      assert(batch?.id === id)
      const reply = yield* send("DELETE", `/v2/echo/batch/${id}/requests/${batch.requestIds[0]}`)
      assert.deepStrictEqual([reply.status, reply.text], [204, ""])
      assert.deepStrictEqual(yield* of(post(`/v2/echo/batch/${id}/cancel`)), [200, { id, status: "CANCELLED" }])
      const [, page] = yield* of(get(`/v2/echo/batch/${id}/requests`))
      assert.deepStrictEqual(page.requests, [{ id: batch.requestIds[1], status: "CANCELLED" }])
      assert.strictEqual((yield* emulator.counts).submitted, 0)
      assert.strictEqual((yield* emulator.requests)[0]?.operation, "createBatch")
      assert.strictEqual((yield* emulator.requests)[1]?.batchId, id)
    }).pipe(Effect.provide(layer))
  )
})
