import { inspect } from "node:util"
import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as BatchApi from "effect-runpod/BatchApi"
import type * as RemoteBatch from "effect-runpod/RemoteBatch"
import * as RetryPolicy from "effect-runpod/RetryPolicy"
import * as RunPod from "effect-runpod/RunPod"
import * as RunPodHttpClient from "effect-runpod/RunPodHttpClient"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as RunPodMetrics from "effect-runpod/RunPodMetrics"
import type { RunRequest } from "effect-runpod/RunRequest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Emulator from "../../src/emulator/Emulator.js"
import { finish } from "../support/finish.js"
import * as Recorder from "../support/recorder.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted
const { Fault } = Emulator

const exact = RetryPolicy.make({ jitter: "none", maxAttempts: 4 })

const endpoints: Emulator.Options["endpoints"] = {
  double: {
    workers: 4,
    handler: (input) =>
      input["n"] === 13
        ? Effect.fail(new RangeError("13 is out of range"))
        : Effect.delay(Effect.succeed({ key: input["key"], twice: Number(input["n"]) * 2 }), "1 second")
  },
  slow: { workers: 2, execution: "10 minutes" }
}

const emulated = (faults: ReadonlyArray<Emulator.Fault.Fault> = []) =>
  Layer.provideMerge(BatchApi.layer, Emulator.layerRunPod({ endpoints, faults, client: { retry: exact } }))

const scripted = (answers: Parameters<typeof Scripted.make>[0]) => {
  const transport = Scripted.make(answers)
  return { transport, layer: Layer.provide(BatchApi.layer, transport.layer({ retry: exact })) }
}

const inputs = (count: number): ReadonlyArray<RunRequest> =>
  Array.from({ length: count }, (_, n) => ({ input: { n, key: `k${n}` } }))

const settled = (endpointId: string, batchId: string) =>
  Effect.flatMap(BatchApi.BatchApi, (batches) => batches.settle(endpointId, batchId, { interval: "10 seconds" }))

const collect = (endpointId: string, batchId: string, options?: BatchApi.ResultsOptions) =>
  Effect.flatMap(BatchApi.BatchApi, (batches) =>
    Effect.map(Stream.runCollect(batches.results(endpointId, batchId, options)), Chunk.toReadonlyArray)
  )

describe("a batch in the emulator", () => {
  it.effect("is drafted, appended to, finalized, run, and its results read page by page", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const emulator = yield* Emulator.Emulator
        const created = yield* batches.create("double", inputs(2))
        assert.strictEqual(created.status, "DRAFT")
        const appended = yield* batches.append("double", created.id, inputs(15).slice(2))
        assert.deepStrictEqual(appended, { count: 13, parts: [{ from: 0, count: 13, fate: "Added" }] })
        assert.strictEqual((yield* emulator.counts).submitted, 0)
        assert.strictEqual((yield* batches.finalize("double", created.id)).status, "FINALIZED")
        const done = yield* settled("double", created.id)
        assert.deepInclude(done, {
          status: "FINALIZED",
          endpointId: "double",
          requestTotal: 15,
          requestCompleted: 14,
          requestFailed: 1,
          requestInProgress: 0,
          createdAt: 0
        })
        const results = yield* collect("double", created.id, { pageSize: 4 })
        const pages = (yield* emulator.counts).byOperation.batchResults.total
        assert.strictEqual(pages, 4)
        assert.strictEqual(new Set(results.map(({ id }) => id)).size, 15)
        const [failed, ...rest] = results
        assert.strictEqual(failed?.status, "FAILED")
        assert.include(String(failed?.error), "13 is out of range")
        const twice = new Map(rest.map(({ output }) => [(output as { key: string }).key, output]))
        for (let n = 0; n < 15; n++) {
          if (n !== 13) assert.deepStrictEqual(twice.get(`k${n}`), { key: `k${n}`, twice: n * 2 })
        }
        const { completedAt, startedAt } = rest[0]!
        assert.strictEqual(completedAt! - startedAt!, 1000)
      }).pipe(Effect.provide(emulated()))
    )
  )

  it.effect("loses a request that is deleted from its draft, and none once it is finalized", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const { id } = yield* batches.create("double", inputs(3))
        const [first, second] = yield* collect("double", id)
        yield* batches.deleteRequest("double", id, first!.id)
        assert.strictEqual((yield* batches.status("double", id)).requestTotal, 2)
        const again = yield* Effect.flip(batches.deleteRequest("double", id, first!.id))
        assert.strictEqual(again._tag, "BatchNotFoundError")
        yield* batches.finalize("double", id)
        const late = yield* Effect.flip(batches.deleteRequest("double", id, second!.id))
        assert.strictEqual(late._tag, "BadRequestError")
        assert.strictEqual((yield* settled("double", id)).requestCompleted, 2)
      }).pipe(Effect.provide(emulated()))
    )
  )

  it.effect("is listed, the newest first, under the name it was given", () =>
    Effect.gen(function* () {
      const batches = yield* BatchApi.BatchApi
      const a = yield* batches.create("double")
      const b = yield* batches.create("double")
      yield* batches.create("slow")
      assert.strictEqual((yield* batches.update("double", a.id, { name: "nightly" })).name, "nightly")
      assert.deepStrictEqual(
        (yield* batches.list("double")).map(({ id, name }) => [id, name]),
        [
          [b.id, undefined],
          [a.id, "nightly"]
        ]
      )
    }).pipe(Effect.provide(emulated()))
  )

  it.effect("that is cancelled lets what runs go on, and is CANCELLED after that", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const emulator = yield* Emulator.Emulator
        const { id } = yield* batches.create("slow", inputs(5))
        yield* batches.finalize("slow", id)
        assert.strictEqual((yield* batches.cancel("slow", id)).status, "FINALIZED")
        assert.strictEqual((yield* settled("slow", id)).status, "CANCELLED")
        assert.deepInclude((yield* emulator.counts).ended, { COMPLETED: 2, CANCELLED: 3 })
        assert.strictEqual((yield* batches.cancel("slow", id)).status, "CANCELLED")
      }).pipe(Effect.provide(emulated())),
      "15 minutes"
    )
  )

  it.effect("that fails as a whole is finished", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const emulator = yield* Emulator.Emulator
        const { id } = yield* batches.create("slow", inputs(5))
        yield* batches.finalize("slow", id)
        assert.isTrue(yield* emulator.failBatch("slow", id))
        assert.strictEqual((yield* settled("slow", id)).status, "FAILED")
      }).pipe(Effect.provide(emulated()))
    )
  )

  it.effect("does not delay ordinary jobs, and is not touched by a purge", () =>
    Effect.gen(function* () {
      const batches = yield* BatchApi.BatchApi
      const runPod = yield* RunPod.RunPod
      const { id } = yield* batches.create("slow", inputs(4))
      yield* batches.finalize("slow", id)
      const [a, b] = [yield* runPod.run("slow", { input: { n: 1 } }), yield* runPod.run("slow", { input: { n: 2 } })]
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual((yield* runPod.status("slow", a.id)).status, "IN_PROGRESS")
      assert.strictEqual((yield* runPod.status("slow", b.id)).status, "IN_PROGRESS")
      const c = yield* runPod.run("slow", { input: { n: 3 } })
      assert.strictEqual((yield* runPod.purgeQueue("slow")).removed, 1)
      assert.strictEqual((yield* Effect.flip(runPod.status("slow", c.id)))._tag, "JobNotFoundError")
      yield* TestClock.adjust("20 minutes")
      assert.deepInclude(yield* batches.status("slow", id), { requestCompleted: 4, requestFailed: 0 })
    }).pipe(Effect.provide(emulated()))
  )

  it.effect("is waited for through an outage, and its progress told", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const emulator = yield* Emulator.Emulator
        const { id } = yield* batches.create("slow", inputs(4))
        yield* batches.finalize("slow", id)
        yield* emulator.setFaults([Fault.serverError({ operations: ["batchStatus"], after: 2, times: 8 })])
        const seen: Array<number | undefined> = []
        const onProgress = (batch: RemoteBatch.RemoteBatch) => Effect.sync(() => void seen.push(batch.requestCompleted))
        const batch = yield* batches.settle("slow", id, { interval: "1 minute", onProgress })
        assert.strictEqual(batch.requestCompleted, 4)
        assert.deepStrictEqual([...new Set(seen)], [0, 2, 4])
        assert.strictEqual((yield* emulator.counts).faults.ServerError, 8)
      }).pipe(Effect.provide(emulated())),
      "1 hour"
    )
  )

  it.effect("an endpoint has at most 10 active ones, and a batch at most 5,000 requests", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const first = yield* batches.create("double", inputs(1))
        for (let i = 0; i < 9; i++) yield* batches.create("double")
        const eleventh = yield* Effect.flip(batches.create("double"))
        assert.strictEqual(eleventh._tag, "BadRequestError")
        assert.include(eleventh.message, "at most 10 active batches")
        yield* batches.finalize("double", first.id)
        yield* settled("double", first.id)
        const { id } = yield* batches.create("double")
        yield* batches.append("double", id, inputs(5000))
        const full = yield* Effect.flip(batches.append("double", id, inputs(1)))
        assert.include(full.message, "5001 requests")
      }).pipe(Effect.provide(emulated()))
    )
  )
})

describe("append", () => {
  const big = (bytes: number): RunRequest => ({ input: { text: "x".repeat(bytes) } })

  it.effect("is split so that no body is over 10 MiB and none is sent twice", () =>
    Effect.gen(function* () {
      const { layer, transport } = scripted([json({ status: "DRAFT", requestTotal: 0 })])
      const size = 3 * 1024 * 1024
      const { count, parts } = yield* Effect.flatMap(BatchApi.BatchApi, (batches) =>
        batches.append("ep", "b", [big(size), big(size), big(size), big(size), big(10), big(size)])
      ).pipe(Effect.provide(layer))
      assert.strictEqual(count, 6)
      assert.deepStrictEqual(parts, [
        { from: 0, count: 3, fate: "Added" },
        { from: 3, count: 3, fate: "Added" }
      ])
      const bodies = transport.asked.slice(1).map(({ body }) => body!)
      assert.deepStrictEqual(
        bodies.map((body) => (JSON.parse(body) as { requests: ReadonlyArray<unknown> }).requests.length),
        [3, 3]
      )
      for (const body of bodies) assert.isAtMost(new TextEncoder().encode(body).byteLength, BatchApi.limits.bytes)
    })
  )

  it.effect("fills a body to the last byte", () =>
    Effect.gen(function* () {
      const overhead = `{"requests":[{"input":{"text":""}},{"input":{"text":""}}]}`.length
      const room = BatchApi.limits.bytes - overhead
      const append = (second: number) => {
        const { layer, transport } = scripted([json({ status: "DRAFT" })])
        return Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", [big(100), big(second)])).pipe(
          Effect.provide(layer),
          Effect.as(transport.asked.slice(1)),
          Effect.map(() => transport.asked.slice(1).map(({ body }) => body!.length))
        )
      }
      assert.deepStrictEqual(yield* append(room - 100), [BatchApi.limits.bytes])
      assert.strictEqual((yield* append(room - 99)).length, 2)
    })
  )

  it.effect("refuses what the batch has no room for, and a request that is wrong, before any is sent", () =>
    Effect.gen(function* () {
      const { layer, transport } = scripted([json({ status: "DRAFT", requestTotal: 4999 })])
      const append = (requests: Iterable<RunRequest>) =>
        Effect.flip(Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", requests))).pipe(
          Effect.provide(layer)
        )
      const tooMany = yield* append(inputs(5001))
      assert.strictEqual(tooMany._tag, "BadRequestError")
      assert.include(tooMany.message, "at most 5000 requests")
      const wrong = yield* append([...inputs(3), { input: {} }])
      assert.include(wrong.message, "requests[3]: input: the input is empty")
      const tooLarge = yield* append([big(1), big(BatchApi.limits.bytes)])
      assert.strictEqual(tooLarge._tag, "PayloadTooLargeError")
      assert.include(tooLarge.message, "requests[1]")
      assert.strictEqual(transport.asked.length, 0)
      const noRoom = yield* append(inputs(2))
      assert.include(noRoom.message, "The batch would have 5001 requests")
      assert.strictEqual(transport.asked.length, 1)
    })
  )

  it.effect("to what is no draft any more is refused before any is sent", () =>
    Effect.gen(function* () {
      const { layer, transport } = scripted([json({ status: "FINALIZED", requestTotal: 1 })])
      const error = yield* Effect.flip(
        Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", inputs(1)))
      ).pipe(Effect.provide(layer))
      assert.include(error.message, "The batch is FINALIZED")
      assert.deepStrictEqual(
        transport.asked.map(({ method }) => method),
        ["GET"]
      )
    })
  )

  it.effect("of nothing asks nothing", () =>
    Effect.gen(function* () {
      const { layer, transport } = scripted([json({})])
      const appended = yield* Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", [])).pipe(
        Effect.provide(layer)
      )
      assert.deepStrictEqual(appended, { count: 0, parts: [] })
      assert.strictEqual(transport.asked.length, 0)
    })
  )

  const size = 6 * 1024 * 1024
  const three = [big(size), big(size), big(size)]
  const draft = json({ status: "DRAFT", requestTotal: 10 })
  const added = json({ id: "b", status: "DRAFT" })

  const lost: ReadonlyArray<readonly [string, Scripted.Answer]> = [
    ["a reset", "reset"],
    ["no answer", "hang"],
    ["a 503", json({ status: 503, title: "Service Unavailable" }, 503)],
    ["HTML", { status: 200, body: "<html>" }],
    ["an empty answer", { status: 200, body: "" }]
  ]
  for (const [name, answer] of lost) {
    it.effect(`whose part gets ${name} stops there, sends nothing twice, and tells each part's fate`, () =>
      Effect.gen(function* () {
        const { layer, transport } = scripted([draft, added, answer, added])
        const error = yield* finish(
          Effect.flip(Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", three))).pipe(
            Effect.provide(layer)
          )
        )
        assert.strictEqual(transport.asked.length, 3)
        assert(error._tag === "AppendError")
        assert.strictEqual(error.cause._tag, "SubmitAmbiguousError")
        assert.strictEqual(error.totalBefore, 10)
        assert.deepStrictEqual(
          error.parts.map(({ fate }) => fate),
          ["Added", "Unknown", "NotSent"]
        )
        assert.include(error.message, "1 of 3 requests were added, of 1 more it is not known")
        assert.include(error.cause.message, "it is not known whether the requests were added")
        assert.strictEqual(error.cause.batchId, "b")
        assert.isUndefined(error.cause.jobId)
      })
    )
  }

  it.effect("whose part is refused says that nothing of it was added", () =>
    Effect.gen(function* () {
      const { layer } = scripted([draft, added, json({ status: 400, title: "Bad Request", detail: "no" }, 400)])
      const error = yield* Effect.flip(
        Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", three))
      ).pipe(Effect.provide(layer))
      assert(error._tag === "AppendError")
      assert.strictEqual(error.cause._tag, "BadRequestError")
      assert.deepStrictEqual(
        error.parts.map(({ fate }) => fate),
        ["Added", "NotAdded", "NotSent"]
      )
    })
  )

  it.effect("goes on after a 429 and a refused connection, which prove that nothing was added", () =>
    Effect.gen(function* () {
      const { layer, transport } = scripted([draft, { status: 429, body: "" }, "refused", added])
      const { count } = yield* finish(
        Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", inputs(2))).pipe(Effect.provide(layer))
      )
      assert.strictEqual(count, 2)
      assert.strictEqual(transport.asked.length, 4)
    })
  )

  it.effect("is sent again after a lost answer when the caller says so", () =>
    Effect.gen(function* () {
      const { layer, transport } = scripted([draft, "reset", added])
      const { count } = yield* finish(
        Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", inputs(2), { resubmit: true })).pipe(
          Effect.provide(layer)
        )
      )
      assert.strictEqual(count, 2)
      assert.strictEqual(transport.asked.length, 3)
    })
  )

  it.effect("whose answers are lost never adds a request twice, and what it tells is so", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const emulator = yield* Emulator.Emulator
        for (let round = 0; round < 8; round++) {
          const { id } = yield* batches.create("double")
          const result = yield* Effect.either(batches.append("double", id, three))
          const { requestTotal } = yield* batches.status("double", id)
          const parts = result._tag === "Right" ? result.right.parts : []
          const told = result._tag === "Left" && result.left._tag === "AppendError" ? result.left.parts : parts
          const surely = told.filter(({ fate }) => fate === "Added").length
          const maybe = told.filter(({ fate }) => fate === "Unknown").length
          assert.isAtLeast(requestTotal!, surely)
          assert.isAtMost(requestTotal!, surely + maybe)
          yield* batches.cancel("double", id)
        }
        assert.isAbove((yield* emulator.counts).faults.ResetAfter ?? 0, 0)
      }).pipe(
        Effect.provide(
          emulated([
            Fault.resetAfter({ operations: ["appendBatch"], rate: 0.3 }),
            Fault.resetBefore({ operations: ["appendBatch"], rate: 0.2 })
          ])
        )
      )
    )
  )
})

describe("the operations of the batch API", () => {
  const errorOf = (answers: ReadonlyArray<Scripted.Answer>, use: (batches: BatchApi.Service) => Call) =>
    Effect.gen(function* () {
      const { layer, transport } = scripted(answers)
      const error = yield* finish(Effect.flip(Effect.flatMap(BatchApi.BatchApi, use)).pipe(Effect.provide(layer)))
      return { error, transport }
    })
  type Call = Effect.Effect<unknown, RunPodError | BatchApi.AppendError>

  it.effect("a create whose answer is lost is ambiguous and not sent again", () =>
    Effect.gen(function* () {
      const { error, transport } = yield* errorOf(["reset"], (batches) => batches.create("ep", inputs(2)))
      assert.strictEqual(error._tag, "SubmitAmbiguousError")
      assert.include(error.message, "it is not known whether the batch was created")
      assert.strictEqual(transport.asked.length, 1)
    })
  )

  it.effect("a create sends a bare array, also an empty one", () =>
    Effect.gen(function* () {
      const { layer, transport } = scripted([json({ id: "b1", status: "DRAFT" })])
      yield* Effect.flatMap(BatchApi.BatchApi, (batches) =>
        Effect.zipRight(batches.create("ep"), batches.create("ep", inputs(2)))
      ).pipe(Effect.provide(layer))
      assert.deepStrictEqual(
        transport.asked.map(({ body }) => JSON.parse(body!)),
        [[], inputs(2)]
      )
    })
  )

  it.effect("a create of more than one body is refused with the way to do it", () =>
    Effect.gen(function* () {
      const many = Array.from({ length: 4 }, () => ({ input: { text: "x".repeat(3 * 1024 * 1024) } }))
      const { error, transport } = yield* errorOf([], (batches) => batches.create("ep", many))
      assert.strictEqual(error._tag, "PayloadTooLargeError")
      assert.include(error.message, "Create the batch without requests and append them")
      assert.strictEqual(transport.asked.length, 0)
    })
  )

  const wrongIds: ReadonlyArray<readonly [string, (batches: BatchApi.Service) => Call]> = [
    ["endpoint", (batches) => batches.list("a/b")],
    ["endpoint", (batches) => batches.append("", "b", inputs(1))],
    ["endpoint", (batches) => batches.create("a/b", inputs(1))],
    ["batch", (batches) => batches.status("ep", "")],
    ["batch", (batches) => batches.append("ep", "..", inputs(1))],
    ["batch", (batches) => Stream.runDrain(batches.results("ep", " "))],
    ["request", (batches) => batches.deleteRequest("ep", "b", "..")]
  ]
  for (const [name, use] of wrongIds) {
    it.effect(`a wrong ${name} id is refused before anything is sent: ${use.toString().slice(13)}`, () =>
      Effect.gen(function* () {
        const { error, transport } = yield* errorOf([json({})], use)
        assert.strictEqual(error._tag, "BadRequestError")
        assert.include(error.message, `The ${name} id is not valid`)
        assert.strictEqual(transport.asked.length, 0)
      })
    )
  }

  it.effect("a page size or an offset that is no whole number is refused", () =>
    Effect.gen(function* () {
      for (const options of [{ pageSize: 0 }, { pageSize: 1.5 }, { offset: -1 }, { offset: Number.NaN }]) {
        const { error } = yield* errorOf([json({})], (batches) => Stream.runDrain(batches.results("ep", "b", options)))
        assert.strictEqual(error._tag, "BadRequestError")
      }
    })
  )

  it.effect("a batch that is not there, and an endpoint that is not there", () =>
    Effect.gen(function* () {
      const missing = json({ status: 404, title: "Not Found", detail: "batch not found" }, 404)
      const { error } = yield* errorOf([missing], (batches) => batches.status("ep", "b7"))
      assert.strictEqual(error._tag, "BatchNotFoundError")
      assert.include(error.message, "of batch b7 on endpoint ep")
      const noEndpoint = json({ status: 404, title: "Not Found", detail: "endpoint not found" }, 404)
      assert.strictEqual(
        (yield* errorOf([noEndpoint], (batches) => batches.status("ep", "b7"))).error._tag,
        "EndpointNotFoundError"
      )
      assert.strictEqual(
        (yield* errorOf([json({}, 404)], (batches) => batches.list("ep"))).error._tag,
        "EndpointNotFoundError"
      )
    })
  )

  const success = (answers: ReadonlyArray<Scripted.Answer>, use: (batches: BatchApi.Service) => Call) =>
    Effect.gen(function* () {
      const { layer, transport } = scripted(answers)
      const value = yield* finish(Effect.flatMap(BatchApi.BatchApi, use).pipe(Effect.provide(layer)))
      return { value, asked: transport.asked.map(({ method, url }) => `${method} ${url.slice(3)}`) }
    })
  const conflict = json({ status: 400, title: "Bad Request", detail: "the batch is not a draft" }, 400)
  const status = "GET /ep/batch/b"

  it.effect("a finalize whose first answer was lost is done when the batch is FINALIZED after all", () =>
    Effect.gen(function* () {
      const finalized = json({ id: "b", status: "FINALIZED" })
      const { asked, value } = yield* success(["reset", conflict, finalized], (batches) => batches.finalize("ep", "b"))
      assert.deepInclude(value, { id: "b", status: "FINALIZED" })
      const finalize = "POST /ep/batch/b/finalize"
      assert.deepStrictEqual(asked, [finalize, finalize, status])
    })
  )

  it.effect("a finalize that is refused at once, or of a batch that is no draft for another reason, fails", () =>
    Effect.gen(function* () {
      const atOnce = yield* errorOf([conflict], (batches) => batches.finalize("ep", "b"))
      assert.strictEqual(atOnce.error._tag, "BadRequestError")
      assert.strictEqual(atOnce.transport.asked.length, 1)
      const cancelled = json({ id: "b", status: "CANCELLED" })
      const { error } = yield* errorOf(["reset", conflict, cancelled], (batches) => batches.finalize("ep", "b"))
      assert.strictEqual(error._tag, "BadRequestError")
    })
  )

  for (const [name, answer] of [
    ["nothing", { status: 204, body: "" }],
    ["an object without a status", json({ success: true })]
  ] as const) {
    it.effect(`an action that is answered with ${name} is done, and the batch is read`, () =>
      Effect.gen(function* () {
        const summary = json({ id: "b", status: "CANCELLED", requestTotal: 3 })
        const { asked, value } = yield* success([answer, summary], (batches) => batches.cancel("ep", "b"))
        assert.deepInclude(value, { status: "CANCELLED", requestTotal: 3 })
        assert.deepStrictEqual(asked, ["POST /ep/batch/b/cancel", status])
      })
    )
  }

  it.effect("a deletion whose first answer was lost is done when the request is gone", () =>
    Effect.gen(function* () {
      const gone = json({ status: 404, title: "Not Found", detail: "request not found" }, 404)
      const { asked } = yield* success(["reset", gone], (batches) => batches.deleteRequest("ep", "b", "r/1"))
      assert.deepStrictEqual(asked, ["DELETE /ep/batch/b/requests/r%2F1", "DELETE /ep/batch/b/requests/r%2F1"])
    })
  )

  it.effect("results end with a page that is empty, whatever it says of more, and repeat nothing", () =>
    Effect.gen(function* () {
      const page = (ids: ReadonlyArray<string>) =>
        json({ requests: ids.map((id) => ({ id, status: "COMPLETED" })), hasMore: true })
      const { asked, value } = yield* success([page(["a", "b"]), page(["b", "c"]), page([])], (batches) =>
        Stream.runCollect(batches.results("ep", "b", { pageSize: 2, offset: 1 }))
      )
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(value as Chunk.Chunk<RemoteBatch.BatchRequest>).map(({ id }) => id),
        ["a", "b", "c"]
      )
      assert.deepStrictEqual(
        asked.map((line) => line.split("?")[1]),
        ["offset=1&limit=2", "offset=3&limit=2", "offset=5&limit=2"]
      )
    })
  )

  const pageOf = (ids: ReadonlyArray<string>, more: object) =>
    json({ requests: ids.map((id) => ({ id, status: "COMPLETED" })), ...more })

  /** The ids that come, the error they end with, and how many pages were asked for. */
  const read = (answer: (offset: number) => Scripted.Answer, options: BatchApi.ResultsOptions = { pageSize: 2 }) =>
    Effect.gen(function* () {
      const { layer, transport } = scripted(({ url }) => answer(Number(/offset=(\d+)/.exec(url)?.[1])))
      const ids: Array<string> = []
      const reading = Effect.flatMap(BatchApi.BatchApi, (batches) =>
        Stream.runForEach(batches.results("ep", "b", options), ({ id }) => Effect.sync(() => ids.push(id)))
      )
      const exit = yield* finish(Effect.either(Effect.provide(reading, layer)))
      return { ids, error: Either.isLeft(exit) ? exit.left : undefined, pages: transport.asked.length }
    })

  it.effect("results of a server that ignores the offset end with an error that says so, each given once", () =>
    Effect.gen(function* () {
      const same = pageOf(["a", "b"], { hasMore: true })
      const { error, ids, pages } = yield* read(() => same)
      assert.deepStrictEqual(ids, ["a", "b"])
      assert.strictEqual(pages, 2)
      assert(error?._tag === "DecodeError")
      assert.include(
        error.message,
        "the page at offset 2 repeats earlier ones and promises more: the server ignores the offset"
      )
      const { error: byTotal } = yield* read(() => pageOf(["a", "a"], { total: 9 }))
      assert.strictEqual(byTotal?._tag, "DecodeError")
    })
  )

  it.effect("results of a server that ignores the offset just end when all were there", () =>
    Effect.gen(function* () {
      const whole = pageOf(["a", "b", "c"], { hasMore: true, total: 3 })
      assert.deepStrictEqual(yield* read(() => whole), { ids: ["a", "b", "c"], error: undefined, pages: 2 })
    })
  )

  it.effect("results come to the end however wrong the total is", () =>
    Effect.gen(function* () {
      const all = ["a", "b", "c", "d", "e"]
      for (const total of [0, 3, 5, 99, -1]) {
        const answer = (offset: number) =>
          pageOf(all.slice(offset, offset + 2), { total, offset, hasMore: offset + 2 < all.length })
        assert.deepStrictEqual((yield* read(answer)).ids, all)
      }
      // Without `hasMore` a total that is too large costs one page that is empty.
      const answer = (offset: number) => pageOf(all.slice(offset, offset + 2), { total: 99, offset })
      assert.deepStrictEqual(yield* read(answer), { ids: all, error: undefined, pages: 4 })
    })
  )

  it.effect("results of a server that always has further ones end with an error, after what a batch can have", () =>
    Effect.gen(function* () {
      const size = 1_000
      const endless = (more: object) => (offset: number) =>
        pageOf(
          Array.from({ length: size }, (_, i) => `request-${offset + i}`),
          { hasMore: true, ...more }
        )
      for (const [more, pages] of [
        [{}, 6],
        [{ total: 2_000 }, 6],
        [{ total: 7_500 }, 8]
      ] as const) {
        const found = yield* read(endless(more))
        assert.strictEqual(found.pages, pages)
        assert.strictEqual(found.ids.length, pages * size)
        assert(found.error?._tag === "DecodeError")
        assert.include(found.error.message, `more than ${more.total === 7_500 ? "7500" : "5000"} requests`)
      }
    })
  )

  it.effect("results whose entries are no requests end with an error, not never", () =>
    Effect.gen(function* () {
      const { error, pages } = yield* read(() => json({ requests: [{ no: "id" }], hasMore: true }))
      assert.strictEqual(error?._tag, "DecodeError")
      assert.strictEqual(pages, 1)
    })
  )

  it.effect("reads outlive faults", () =>
    finish(
      Effect.gen(function* () {
        const batches = yield* BatchApi.BatchApi
        const emulator = yield* Emulator.Emulator
        const { id } = yield* batches.create("double", inputs(10))
        yield* emulator.setFaults([
          Fault.serverError({ rate: 0.2 }),
          Fault.truncated({ rate: 0.1 }),
          Fault.rateLimited({ rate: 0.1 }),
          Fault.resetAfter({ rate: 0.1 })
        ])
        yield* batches.finalize("double", id)
        yield* settled("double", id)
        assert.strictEqual((yield* collect("double", id, { pageSize: 3 })).length, 10)
        yield* batches.list("double")
        assert.strictEqual((yield* emulator.counts).submitted, 10)
      }).pipe(Effect.provide(emulated()))
    )
  )

  it.effect("one span each, with the batch's id, and counted among the requests", () =>
    Effect.gen(function* () {
      const ofEndpoint = Metric.tagged(RunPodMetrics.requests, "endpoint", "ep")
      const counter = Metric.tagged(ofEndpoint, "operation", "batchStatus")
      const before = yield* Metric.value(counter)
      const { spans, tracer } = Recorder.makeTracer()
      const { layer } = scripted([json({ id: "b", status: "DRAFT" })])
      yield* Effect.flatMap(BatchApi.BatchApi, (batches) => batches.status("ep", "b")).pipe(
        Effect.provide(layer),
        Effect.withTracer(tracer)
      )
      assert.deepStrictEqual(
        spans.map(({ attributes, name }) => [name, Object.fromEntries(attributes)]),
        [
          [
            "RunPod.batchStatus",
            {
              "http.request.method": "GET",
              "server.address": "runpod.test",
              "server.port": 443,
              "url.full": "https://runpod.test/v2/ep/batch/b",
              "runpod.endpoint_id": "ep",
              "runpod.batch_id": "b",
              "runpod.attempt": 1,
              "http.response.status_code": 200
            }
          ]
        ]
      )
      assert.strictEqual((yield* Metric.value(counter)).count - before.count, 1)
    })
  )

  it.effect("a create's span has no job", () =>
    Effect.gen(function* () {
      const { spans, tracer } = Recorder.makeTracer()
      const { layer } = scripted([json({ id: "b", status: "DRAFT" })])
      yield* Effect.flatMap(BatchApi.BatchApi, (batches) => batches.create("ep")).pipe(
        Effect.provide(layer),
        Effect.withTracer(tracer)
      )
      assert.isFalse(spans[0]!.attributes.has("runpod.job_id"))
    })
  )

  it.effect("secrets of any request, and the key, stay out of errors", () =>
    Effect.gen(function* () {
      const requests: ReadonlyArray<RunRequest> = [
        { input: { n: 1 }, webhook: "https://hooks.test/w?token=tok-planted-1" },
        {
          input: { n: 2 },
          s3Config: {
            accessId: "AKIA-planted-2",
            accessSecret: "s3-planted-3",
            bucketName: "bucket",
            endpointUrl: "https://s3.test"
          }
        }
      ]
      const echo = (body: string) => json({ status: 400, title: "Bad Request", detail: `no: ${body} test-key` }, 400)
      for (const use of [
        (batches: BatchApi.Service): Call => batches.append("ep", "b", requests),
        (batches: BatchApi.Service): Call => batches.create("ep", requests)
      ]) {
        const transport = Scripted.make(({ body, method }) =>
          method === "GET" ? json({ status: "DRAFT" }) : echo(body ?? "")
        )
        const layer = Layer.provide(BatchApi.layer, transport.layer({ retry: exact }))
        const error = yield* Effect.flip(Effect.flatMap(BatchApi.BatchApi, use)).pipe(Effect.provide(layer))
        assert.include(transport.asked.at(-1)!.body!, "planted")
        for (const text of [JSON.stringify(error), inspect(error, { depth: 9 }), error.message, String(error)]) {
          assert.notMatch(text, /planted|test-key/)
        }
      }
    })
  )

  it.effect("works beside a RunPod of the user's own", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([json({ id: "b", status: "DRAFT" })])
      const layer = BatchApi.layer.pipe(
        Layer.provideMerge(Layer.succeed(RunPod.RunPod, {} as RunPod.Service)),
        Layer.provide(RunPodHttpClient.layer({ apiKey: "test-key" })),
        Layer.provide(Layer.succeed(HttpClient.HttpClient, transport.client))
      )
      const batch = yield* Effect.flatMap(BatchApi.BatchApi, (batches) => batches.create("ep")).pipe(
        Effect.provide(layer)
      )
      assert.strictEqual(batch.id, "b")
    })
  )

  it.effect("an append whose caller is interrupted goes on to its end, and is not sent again", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(
        ({ method }) => (method === "GET" ? json({ status: "DRAFT" }) : json({ status: "DRAFT" })),
        ({ method }) => (method === "GET" ? 0 : "8 seconds")
      )
      const layer = Layer.provide(BatchApi.layer, transport.layer())
      const program = Effect.flatMap(BatchApi.BatchApi, (batches) => batches.append("ep", "b", [{ input: { n: 1 } }]))
      const fiber = yield* Effect.fork(Effect.provide(program, layer))
      yield* TestClock.adjust("1 second")
      const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* TestClock.adjust("1 minute")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.join(interruption)))
      assert.strictEqual(transport.aborted(), 0)
      assert.deepStrictEqual(
        transport.asked.map(({ method }) => method),
        ["GET", "POST"]
      )
    })
  )
})
