import { assert, describe, it } from "@effect/vitest"
import { Batch, Endpoint, RateLimits, RunPod, Webhooks } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { Effect, Fiber, Layer, Option, Schema } from "effect"
import { Source } from "effect-runpod-dashboard"
import { finish } from "../../../test/support/finish.js"
import * as Recorder from "../../../test/support/recorder.js"
import { LimitUses } from "../src/internal/limitUse.js"
import { watch } from "../src/internal/sampler.js"

const { Fault } = Emulator

const handler: Emulator.Handler = ({ n }) =>
  Effect.zipRight(Effect.sleep("10 seconds"), Number(n) < 0 ? Effect.fail("no") : Effect.succeed({ n }))

const endpointOf = (id: string) =>
  Endpoint.make(id, { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })

interface World extends Omit<Emulator.RunPodOptions, "endpoints"> {
  readonly kept?: number
}

/** An emulator with one endpoint, the client on it, and what the spans tell. The endpoint's name is that of its metrics, too. */
const world = (id: string, { kept, ...options }: World = {}) =>
  Emulator.layerRunPod({
    endpoints: { [id]: { workers: 4, coldStart: "1 second", handler } },
    client: { limits: RateLimits.unlimited },
    ...options
  }).pipe(
    Layer.provideMerge(Webhooks.layer({ secret: "0123456789abcdef", url: "https://app.test/hook" })),
    Layer.provideMerge(Source.layerJobSpans({ kept }))
  )

const eventsOf = (source: Source.Source, id: string) => source.events?.(id) ?? Effect.succeed([])
const kindsOf = (events: ReadonlyArray<Source.JobEvent>) =>
  events.map(({ kind, operation }) => (operation === undefined ? kind : `${kind} ${operation}`))

describe("the program itself as a source", () => {
  it.effect("tells a job while it is submitted and waited for, and when it has ended", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("seen", { name: "mine" })
        const endpoint = yield* endpointOf("seen")
        assert.deepStrictEqual([source.name, source.kind], ["mine", "process"])
        const empty = yield* source.read(0)
        assert.deepStrictEqual(empty.jobs, [])
        const call = yield* Effect.fork(endpoint.call({ n: 1 }))
        yield* Effect.sleep("6 seconds")
        const first = yield* source.read(empty.cursor)
        const [open] = first.jobs
        assert.deepInclude(open, { status: "IN_QUEUE", createdAt: 0 })
        assert.isUndefined(open?.finishedAt)
        assert.strictEqual(open?.id, open?.jobId)
        yield* Fiber.join(call)
        const { cursor, isReset, jobs, removed } = yield* source.read(first.cursor)
        assert.deepStrictEqual([isReset, removed, jobs.length], [false, [], 1])
        assert.deepInclude(jobs[0], {
          id: open?.id ?? "",
          status: "COMPLETED",
          delayTime: 1_000,
          executionTime: 10_000,
          createdAt: 0,
          acceptedAt: 0,
          startedAt: 1_000,
          finishedAt: 11_000,
          retries: 0,
          error: undefined
        })
        assert.isString(jobs[0]?.workerId)
        assert.deepStrictEqual((yield* source.read(cursor)).jobs, [])
        const again = yield* source.read(0)
        assert.deepStrictEqual([again.isReset, again.jobs], [true, jobs])
        assert.deepStrictEqual(kindsOf(yield* eventsOf(source, open?.id ?? "")), ["request run", "request statusSync"])

        // Seen long after its end, which is told by what it took.
        const handle = yield* endpoint.run({ n: 2 })
        yield* Effect.sleep("1 minute")
        yield* handle.result()
        const [late] = (yield* source.read(again.cursor)).jobs
        assert.strictEqual((late?.finishedAt ?? 0) - (late?.acceptedAt ?? 0), (late?.delayTime ?? 0) + 10_000)
        const elsewhere = yield* Source.process("elsewhere")
        assert.deepStrictEqual((yield* elsewhere.read(0)).jobs, [])
      }).pipe(Effect.provide(world("seen")))
    )
  )

  it.effect("tells the answers 429, retries and waits for the limits of a job", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("held")
        const endpoint = yield* endpointOf("held")
        const calls = yield* Effect.fork(
          Effect.all([endpoint.call({ n: 1 }), endpoint.call({ n: 2 })], { concurrency: 2 })
        )
        yield* Effect.sleep("1 second")
        const before = yield* source.read(0)
        const waiting = before.jobs.filter(({ status }) => status === "SUBMITTING")
        assert.strictEqual(waiting.length, 2)
        yield* Fiber.join(calls)
        const after = yield* source.read(before.cursor)
        assert.deepStrictEqual(new Set(after.removed), new Set(waiting.map(({ id }) => id)))
        assert.deepStrictEqual(
          after.jobs.map(({ status }) => status),
          ["COMPLETED", "COMPLETED"]
        )
        const events = (yield* Effect.forEach(after.jobs, ({ id }) => eventsOf(source, id))).flat()
        const of = (kind: Source.JobEvent["kind"]) => events.filter((event) => event.kind === kind)
        assert.deepStrictEqual(of("throttled"), [
          { kind: "throttled", at: 0, took: 2_000, operation: "run", status: 429 }
        ])
        assert.deepStrictEqual(
          of("retry").map(({ error, operation }) => [operation, error]),
          [["run", "429"]]
        )
        assert.isAtLeast(Math.max(...of("limiter").map(({ took = 0 }) => took)), 8_000)
        for (const { at } of of("limiter")) assert.isBelow(at, 10_000)
      }).pipe(
        Effect.provide(
          world("held", {
            client: { limits: RateLimits.make({ run: { limit: 1, window: "10 seconds" } }) },
            faults: [Fault.rateLimited({ operations: ["run"], times: 1, retryAfter: "2 seconds" })]
          })
        )
      )
    )
  )

  it.effect("tells how submits without a job have ended", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("lost")
        const endpoint = yield* endpointOf("lost")
        const emulator = yield* Emulator.Emulator
        const callUnder = (fault: Emulator.Fault.Fault) =>
          Effect.zipRight(emulator.setFaults([fault]), Effect.exit(endpoint.call({ n: 1 })))
        yield* callUnder(Fault.serverError({ operations: ["run"], status: 400 }))
        yield* callUnder(Fault.resetAfter({ operations: ["run"] }))
        yield* emulator.setFaults([Fault.delay({ operations: ["run"], by: "5 seconds" })])
        const call = yield* Effect.fork(endpoint.call({ n: 1 }))
        yield* Effect.sleep("1 second")
        yield* Fiber.interrupt(call)
        const { jobs } = yield* source.read(0)
        assert.deepStrictEqual(
          jobs.map(({ error, status }) => [status, error]),
          [
            ["REFUSED", "400"],
            ["IN_DOUBT", "SubmitAmbiguousError"],
            ["INTERRUPTED", undefined]
          ]
        )
        for (const { finishedAt, jobId } of jobs)
          assert.deepStrictEqual([typeof finishedAt, jobId], ["number", undefined])
      }).pipe(Effect.provide(world("lost")))
    )
  )

  it.effect("knows a job by all that is done with it, and its webhook once", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("handled")
        const endpoint = yield* endpointOf("handled")
        const handle = yield* endpoint.run({ n: -1 }, { webhook: true })
        yield* Effect.exit(handle.result())
        yield* handle.status
        const { jobs } = yield* source.read(0)
        assert.strictEqual(jobs.length, 1)
        assert.deepInclude(jobs[0], { id: handle.id, status: "FAILED", error: "JobFailedError", finishedAt: 11_000 })
        const kinds = kindsOf(yield* eventsOf(source, handle.id))
        assert.deepStrictEqual([kinds[0], kinds.at(-1)], ["request run", "request status"])
        assert.strictEqual(kinds.filter((kind) => kind === "webhook").length, 1)
      }).pipe(Effect.provide(world("handled")))
    )
  )

  it.effect("knows the requests of a job under spans of the program's own, around it and in between", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("wrapped")
        const runPod = yield* RunPod.RunPod
        const endpoint = yield* Effect.provideService(endpointOf("wrapped"), RunPod.RunPod, {
          ...runPod,
          run: (...args) => runPod.run(...args).pipe(Effect.withSpan("mine"), Effect.withSpan("mine, too"))
        })
        yield* endpoint.call({ n: 1 }).pipe(Effect.withSpan("around"))
        const { jobs } = yield* source.read(0)
        assert.strictEqual(jobs.length, 1)
        assert.strictEqual(kindsOf(yield* eventsOf(source, jobs[0]?.id ?? ""))[0], "request run")
      }).pipe(Effect.provide(world("wrapped")))
    )
  )

  it.effect("tells the items of a batch as jobs, each with its own requests", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("items")
        const endpoint = yield* endpointOf("items")
        yield* Batch.collect(
          endpoint,
          [1, 2, -1].map((n) => ({ n })),
          { key: ({ n }) => String(n) }
        )
        const { jobs } = yield* source.read(0)
        assert.deepStrictEqual(jobs.map(({ error, status }) => [status, error]).sort(), [
          ["COMPLETED", undefined],
          ["COMPLETED", undefined],
          ["FAILED", "JobFailedError"]
        ])
        for (const { id } of jobs) {
          const kinds = kindsOf(yield* eventsOf(source, id))
          assert.strictEqual(kinds[0], "request run")
          assert.isAbove(kinds.length, 1)
          assert.strictEqual(kinds.filter((kind) => kind === "request run").length, 1)
        }
      }).pipe(Effect.provide(world("items")))
    )
  )

  it.effect("forgets the jobs that have not changed for longest, whether they have ended or not", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("kept")
        const endpoint = yield* endpointOf("kept")
        const call = endpoint.call({ n: 1 })
        yield* call
        yield* call
        const before = yield* source.read(0)
        yield* call
        const after = yield* source.read(before.cursor)
        assert.deepStrictEqual([before.jobs.length, after.jobs.length, after.isReset], [2, 1, false])
        assert.deepStrictEqual(
          after.removed,
          before.jobs.slice(0, 1).map(({ id }) => id)
        )
        const handles = yield* Effect.all([endpoint.run({ n: 1 }), endpoint.run({ n: 2 }), endpoint.run({ n: 3 })])
        const open = yield* source.read(0)
        assert.deepStrictEqual(
          new Set(open.jobs.map(({ id }) => id)),
          new Set(handles.slice(1).map(({ id }) => String(id)))
        )
      }).pipe(Effect.provide(world("kept", { kept: 2 })))
    )
  )

  it.effect("leaves the spans to the tracer that the program has", () =>
    Effect.gen(function* () {
      const { spans, tracer } = Recorder.makeTracer()
      const call = Effect.flatMap(endpointOf("traced"), (endpoint) => endpoint.call({ n: 1 }))
      yield* finish(Effect.withTracer(Effect.provide(call, world("traced")), tracer))
      const [job] = spans.filter(({ name }) => name === "Endpoint.call")
      assert(job !== undefined)
      assert.strictEqual(job.attributes.get("runpod.status"), "COMPLETED")
      assert.deepStrictEqual(
        job.events.map(({ name }) => name),
        ["queued", "ended"]
      )
      assert.strictEqual(job.status._tag, "Ended")
      const requests = spans.filter(({ name }) => name.startsWith("RunPod."))
      assert.strictEqual(requests.length, 2)
      for (const { parent } of requests) assert.strictEqual(Option.getOrUndefined(parent), job)
    })
  )
})

describe("the use of a limit", () => {
  const metrics = (count: number, waited: number) => ({
    operations: new Map([["run", { count, waited }]]),
    all: { count: 2 * count, waited }
  })
  const limits = RateLimits.make({ run: { limit: 5, window: "10 seconds" } })

  it("is the mean wait of the last window as a share of it", () => {
    const uses = new LimitUses(limits)
    assert.deepStrictEqual(uses.add({ at: 0, metrics: metrics(100, 50) })[0]?.sent, 0)
    uses.add({ at: 1_000, metrics: metrics(110, 50) })
    // 4 requests since 1,000 waited 20 seconds in all: 5 each, half of the window.
    const [use] = uses.add({ at: 11_000, metrics: metrics(114, 70) })
    assert.deepStrictEqual(use, {
      operation: "run",
      limit: 5,
      window: 10_000,
      sent: 4,
      meanWait: 5_000,
      share: 0.5
    })
    const [later] = uses.add({ at: 60_000, metrics: metrics(114, 70) })
    assert.deepInclude(later, { sent: 0, meanWait: 0, share: 0 })
  })

  it("has the window over all requests, where there is one, and no limit where there is none", () => {
    const uses = new LimitUses(RateLimits.uniform({ limit: 2, window: "1 minute" }))
    uses.add({ at: 0, metrics: metrics(0, 0) })
    const [run, all] = uses.add({ at: 60_000, metrics: metrics(2, 90) })
    assert.deepInclude(run, { operation: "run", sent: 2 })
    assert.isUndefined(run?.limit)
    assert.deepInclude(all, { operation: "all together", limit: 2, window: 60_000, sent: 4, share: 0.375 })
  })

  it.effect("is read of the process's own metrics", () =>
    finish(
      Effect.gen(function* () {
        const source = yield* Source.process("limited", { limits })
        const { history } = yield* watch(source, { interval: "1 second", kept: 1_000 })
        const endpoint = yield* endpointOf("limited")
        yield* Effect.forEach(
          Array.from({ length: 10 }, (_, n) => n),
          (n) => endpoint.run({ n }),
          {
            concurrency: "unbounded"
          }
        )
        yield* Effect.sleep("1 second")
        const last = history.at(-1)
        const run = last?.limits.find(({ operation }) => operation === "run")
        // Five at once and five a window later.
        assert.deepInclude(run, { limit: 5, window: 10_000 })
        assert.isAtLeast(run?.share ?? 0, 0.4)
        assert.deepInclude(last, { requests: 10, retries: 0, throttles: 0, total: 10 })
      }).pipe(Effect.scoped, Effect.provide(world("limited", { client: { limits } })))
    )
  )
})
