import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as RunPod from "../../src/services/RunPod.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { finish } from "../support/finish.js"
import * as Recorder from "../support/recorder.js"

const { Fault } = Emulator

const endpoint = Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })

const handler: Emulator.Handler = ({ n }) =>
  Effect.zipRight(
    Effect.sleep(1_000 * Math.max(3, Number(n))),
    Number(n) < 0 ? Effect.fail("secret-of-the-input") : Effect.succeed({ secret: "secret-of-the-output" })
  )

const emulated = (options: Partial<Emulator.Options> = {}) =>
  Emulator.layerRunPod({
    endpoints: { ep: { workers: 2, handler } },
    client: { limits: RateLimits.unlimited },
    ...options
  }).pipe(Layer.provideMerge(Webhooks.layer({ secret: "0123456789abcdef", url: "https://app.test/hook" })))

/** Runs a program to its end, and gives its exit and the spans it made. */
const traced = <A, E>(
  program: Effect.Effect<A, E, RunPod.RunPod | Emulator.Emulator | Webhooks.Webhooks>,
  options?: Partial<Emulator.Options>
) =>
  Effect.gen(function* () {
    const { spans, tracer } = Recorder.makeTracer()
    const provided = Effect.provide(Effect.exit(program), emulated(options))
    const exit = yield* finish(Effect.withTracer(Effect.withSpan(provided, "program"), tracer), "1 hour")
    return { exit, spans, named: (name: string) => spans.filter((span) => span.name === name) }
  })

const parentOf = ({ parent }: Recorder.RecordedSpan) =>
  Option.isSome(parent) && parent.value._tag === "Span" ? parent.value.name : undefined
const requestsUnder = (spans: ReadonlyArray<Recorder.RecordedSpan>, job: Recorder.RecordedSpan) =>
  spans.filter(({ parent }) => Option.isSome(parent) && parent.value === job).map(({ name }) => name)
const eventsOf = ({ events }: Recorder.RecordedSpan) => events.map(({ name }) => name)
const linkedTo = ({ links }: Recorder.RecordedSpan) => links.map(({ span }) => span.spanId)

describe("the span of a job", () => {
  it.effect("of a call is the parent of its requests, and says how the job went", () =>
    Effect.gen(function* () {
      const { named, spans } = yield* traced(Effect.flatMap(endpoint, (ep) => ep.call({ n: 1 })))
      const [span] = named("Endpoint.call")
      assert(span !== undefined)
      assert.deepStrictEqual(requestsUnder(spans, span), ["RunPod.run", "RunPod.statusSync"])
      const attributes = Object.fromEntries(span.attributes)
      const { "runpod.delay_time": delay, "runpod.job_id": id, "runpod.worker_id": worker, ...others } = attributes
      assert.isNumber(delay)
      assert.isString(id)
      assert.isString(worker)
      assert.deepStrictEqual(others, {
        "runpod.endpoint_id": "ep",
        "runpod.attempts": 1,
        "runpod.status": "COMPLETED",
        "runpod.execution_time": 3,
        "runpod.seen": "hold",
        "runpod.requests": 2,
        "runpod.retries": 0,
        "runpod.throttles": 0
      })
      assert.deepStrictEqual(eventsOf(span), ["queued", "ended"])
      assert.deepStrictEqual(span.exit, Exit.void)
    })
  )

  it.effect("tells of faults: each attempt that failed, and how long a 429 kept it", () =>
    Effect.gen(function* () {
      const { named } = yield* traced(
        Effect.flatMap(endpoint, (ep) => ep.call({ n: 20 }, { hold: false })),
        {
          faults: [
            Fault.serverError({ operations: ["status"], times: 1 }),
            Fault.rateLimited({ operations: ["run"], times: 1 })
          ]
        }
      )
      const [span] = named("Endpoint.call")
      assert(span !== undefined)
      assert.includeMembers(eventsOf(span), ["retry", "throttled", "queued", "running", "ended"])
      assert.strictEqual(span.attributes.get("runpod.seen"), "poll")
    })
  )

  it.effect("of a job that failed is an error, without the worker's words", () =>
    Effect.gen(function* () {
      const { named, spans } = yield* traced(Effect.flatMap(endpoint, (ep) => ep.call({ n: -1 })))
      const [span] = named("Endpoint.call")
      assert(span?.exit !== undefined && Exit.isFailure(span.exit))
      assert.strictEqual(span.attributes.get("error.type"), "JobFailedError")
      for (const { attributes, events, exit, name } of spans) {
        if (exit === undefined || name === "program") continue
        const text = JSON.stringify([[...attributes], events, exit]) + (Exit.isFailure(exit) ? String(exit.cause) : "")
        assert.notInclude(text, "secret-of-the-input")
      }
    })
  )

  it.effect("of a handle is linked to that of its submit, also where the job is attached to", () =>
    Effect.gen(function* () {
      const { named } = yield* traced(
        Effect.gen(function* () {
          const ep = yield* endpoint
          const job = yield* ep.run({ n: 1 })
          yield* job.result()
          const elsewhere = ep.attach(job.id, { trace: job.trace })
          yield* elsewhere.status
          yield* Stream.runDrain(elsewhere.watch())
          yield* Stream.runDrain(elsewhere.stream())
          yield* Effect.exit(elsewhere.retry)
          yield* elsewhere.cancel
          yield* ep.attach(job.id).settle()
          yield* Jobs.result("ep", job.id)
        })
      )
      const [submit] = named("Endpoint.run")
      assert.strictEqual(submit?.kind, "producer")
      for (const name of ["result", "status", "watch", "stream", "retry", "cancel"]) {
        const [span] = named(`JobHandle.${name}`)
        assert.deepStrictEqual(span && linkedTo(span), [submit?.spanId], name)
        assert.strictEqual(span && parentOf(span), "program")
      }
      for (const name of ["JobHandle.settle", "Jobs.result"]) {
        const [span] = named(name)
        assert.deepStrictEqual(span && linkedTo(span), [])
      }
    })
  )

  it.effect("is one for each item of a batch, over all of its requests", () =>
    Effect.gen(function* () {
      const inputs = Array.from({ length: 60 }, (_, n) => ({ n: n === 7 ? -1 : 1 }))
      const { named, spans } = yield* traced(Effect.flatMap(endpoint, (ep) => Batch.collect(ep, inputs)))
      const items = named("Batch.item")
      assert.lengthOf(items, 60)
      assert.isTrue(items.every((item) => parentOf(item) === "Batch.run"))
      for (const item of items) {
        const [first, ...others] = requestsUnder(spans, item)
        assert.strictEqual(first, "RunPod.run")
        assert.isAtLeast(others.length, 1)
        assert.strictEqual(item.attributes.get("runpod.attempts"), 1)
      }
      assert.lengthOf(
        items.filter(({ exit }) => exit !== undefined && Exit.isFailure(exit)),
        1
      )
      assert.lengthOf(
        spans.filter(({ name }) => /^(?:Endpoint|JobHandle)\./.test(name)),
        0
      )
    })
  )

  it.effect("has nothing put on it after its end, when the cancel of its job is still being tried", () =>
    Effect.gen(function* () {
      const { named } = yield* traced(
        Effect.flatMap(endpoint, (ep) =>
          Effect.zipRight(Effect.exit(ep.call({ n: 100 }, { timeout: "5 seconds" })), Effect.sleep("1 minute"))
        ),
        { faults: [Fault.serverError({ operations: ["cancel"], times: 2 })] }
      )
      const [span] = named("Endpoint.call")
      const [cancel] = named("RunPod.cancel")
      assert(span !== undefined && cancel !== undefined)
      assert.includeMembers(eventsOf(cancel), ["retry", "retry"])
      assert.strictEqual(parentOf(cancel), "Endpoint.call")
      assert.deepStrictEqual(eventsOf(span), ["queued"])
      assert.strictEqual(span.attributes.get("error.type"), "WaitTimeoutError")
    })
  )

  it.effect("of an item that is submitted again, its job having expired, is another than that of the wait", () =>
    Effect.gen(function* () {
      const { spans } = yield* traced(
        Effect.gen(function* () {
          const ep = yield* endpoint
          const journal = yield* BatchJournal.memory
          const inputs = [{ n: 1 }, { n: 2 }]
          const first = yield* Effect.fork(Batch.collect(ep, inputs, { journal }))
          yield* Effect.sleep("1 second")
          yield* Fiber.interrupt(first)
          yield* Effect.sleep("1 minute")
          const options = { journal, onExpired: "resubmit" } as const
          return yield* Effect.withSpan(Batch.collect(ep, inputs, options), "second")
        }),
        { endpoints: { ep: { workers: 2, handler, retention: { run: "10 seconds" } } } }
      )
      const second = spans.slice(spans.findIndex(({ name }) => name === "second"))
      assert.isEmpty(second.filter(({ name }) => /^(?:Endpoint|JobHandle)\./.test(name)))
      const items = second.filter(({ name }) => name === "Batch.item")
      assert.deepStrictEqual(
        items.map((item) => [item.attributes.get("error.type"), item.attributes.get("runpod.attempts")]),
        [
          ["404", 1],
          ["404", 1],
          [undefined, 2],
          [undefined, 2]
        ]
      )
      assert.deepStrictEqual(
        items.map((item) => requestsUnder(spans, item).includes("RunPod.run")),
        [false, false, true, true]
      )
    })
  )

  it.effect("of a batch that goes on is linked to the submits of the run before, and of what is replayed, too", () =>
    Effect.gen(function* () {
      const inputs = Array.from({ length: 6 }, (_, n) => ({ n: n / 10 }))
      const { spans } = yield* traced(
        Effect.gen(function* () {
          const ep = yield* endpoint
          const journal = yield* BatchJournal.memory
          const first = yield* Effect.fork(Effect.withSpan(Batch.collect(ep, inputs, { journal }), "first"))
          yield* Effect.sleep("4 seconds")
          yield* Fiber.interrupt(first)
          yield* Effect.withSpan(Batch.collect(ep, inputs, { journal }), "second")
        })
      )
      const under = (name: string) =>
        spans.filter((span) => {
          const parent = Option.getOrUndefined(span.parent)
          return span.name === "Batch.item" && parent?._tag === "Span" && parentOf(parent as never) === name
        })
      const submits = under("first").map(({ spanId }) => spanId)
      const links = under("second").flatMap(linkedTo)
      assert.lengthOf(submits, 6)
      assert.sameMembers(links, submits)
      assert.includeMembers(
        under("second").map(({ attributes }) => attributes.get("runpod.seen")),
        ["replay", "hold"]
      )
    })
  )

  it.effect("is not that of a layer: the gauges of endpoints are asked for outside of it", () =>
    Effect.gen(function* () {
      const { named } = yield* traced(
        Effect.provide(Effect.sleep("20 seconds"), RunPod.layerHealth({ endpoints: ["ep"] }))
      )
      assert.deepStrictEqual(named("RunPod.health").map(parentOf), [undefined, undefined])
    })
  )

  it.effect("of a webhook's receipt is linked to the submit, and RunPod is not told of it", () =>
    Effect.gen(function* () {
      const { named, exit } = yield* traced(
        Effect.gen(function* () {
          const ep = yield* endpoint
          const job = yield* ep.run({ n: 1 }, { webhook: true })
          yield* job.result({ trustWebhook: true })
          const webhooks = yield* Webhooks.Webhooks
          return String(yield* webhooks.issue({ endpointId: "ep", key: "k" }))
        })
      )
      const [submit] = named("Endpoint.run")
      const [receipt] = named("Webhooks.receive")
      const [result] = named("JobHandle.result")
      assert(submit !== undefined && receipt !== undefined && Exit.isSuccess(exit))
      assert.deepStrictEqual(linkedTo(receipt), [submit.spanId])
      assert.strictEqual(receipt.kind, "consumer")
      assert.strictEqual(receipt.attributes.get("runpod.status"), "COMPLETED")
      assert.strictEqual(result?.attributes.get("runpod.seen"), "webhook")
      assert.notInclude(exit.value, submit.spanId)
      assert.notInclude(exit.value, submit.traceId)
      assert.deepStrictEqual(receipt.exit, Exit.void)
    })
  )
})
