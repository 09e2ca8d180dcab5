import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Batch from "../../src/services/Batch.js"
import { counts, emulated, endpoint, inputs, statuses } from "../support/batches.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"
import * as Recorder from "../support/recorder.js"

const { Fault } = Emulator

const tagOf = <A>(result: Exit.Exit<A, { readonly _tag: string }>): string =>
  Exit.match(result, {
    onSuccess: () => "Success",
    onFailure: (cause) => (cause._tag === "Fail" ? cause.error._tag : "Defect")
  })

describe("Batch.submit", () => {
  inVirtualTime("gives handles in the order of the inputs, without waiting for the jobs", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const submissions = yield* finish(Batch.submit(ep, inputs(5), { key: ({ n }) => `n${n}` }), "1 second")
      assert.deepStrictEqual(
        submissions.map(({ index, input, key, result }) => [index, input.n, key, tagOf(result)]),
        inputs(5).map(({ n }) => [n, n, `n${n}`, "Success"])
      )
      const { result } = submissions[3] ?? { result: Exit.interrupt(yield* Effect.fiberId) }
      const handle = yield* result
      assert.deepStrictEqual(yield* finish(handle.result()), { n: 3 })
      assert.strictEqual((yield* counts).submitted, 5)
    }).pipe(Effect.provide(emulated({ execution: "1 minute" })))
  )

  inVirtualTime("has a span that is told neither inputs nor jobs", () =>
    Effect.gen(function* () {
      const { spans, tracer } = Recorder.makeTracer()
      const ep = yield* endpoint
      yield* finish(Effect.withTracer(Batch.submit(ep, inputs(2)), tracer), "1 second")
      const exit = spans.find(({ name }) => name === "Batch.submit")?.exit
      assert.isTrue(exit !== undefined && Exit.isSuccess(exit) && typeof exit.value === "function")
    }).pipe(Effect.provide(emulated({ execution: "1 minute" })))
  )

  inVirtualTime("what goes wrong with one submit is its result", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const wrong = [{ n: 0 }, JSON.parse(`{ "n": "one" }`), { n: 2 }, { n: 3 }]
      const submissions = yield* finish(Batch.submit(ep, wrong, { concurrency: 1 }))
      assert.deepStrictEqual(
        submissions.map(({ result }) => tagOf(result)),
        ["Success", "BadRequestError", "SubmitAmbiguousError", "Success"]
      )
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.resetAfter({ operations: ["run"], after: 1, times: 1 })] })))
  )

  inVirtualTime("what would hit all alike is the result of all that were not sent", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const submissions = yield* finish(Batch.submit(ep, inputs(1000), { concurrency: 2 }))
      const tags = submissions.map(({ result }) => tagOf(result))
      assert.deepStrictEqual(tags.slice(0, 3), ["Success", "Success", "Success"])
      assert.isTrue(tags.slice(3).every((tag) => tag === "EndpointPausedError"))
      assert.strictEqual(tags.length, 1000)
      assert.isAtMost((yield* counts).byOperation.run.total, 5)
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.paused({ after: 3 })] })))
  )

  inVirtualTime("waits out rate limits", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const submissions = yield* finish(Batch.submit(ep, inputs(3)), "1 hour")
      assert.isTrue(submissions.every(({ result }) => Exit.isSuccess(result)))
      assert.strictEqual((yield* counts).submitted, 3)
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.rateLimited({ operations: ["run"], times: 40 })] })))
  )

  inVirtualTime("fails with the error of a stream, and cancels what was submitted, also when it is interrupted", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const broken = Stream.concat(
        Stream.fromIterable(inputs(3)),
        Stream.fromEffect(Effect.delay(Effect.fail("broken" as const), "1 minute"))
      )
      assert.strictEqual(yield* finish(Effect.flip(Batch.submit(ep, broken))), "broken")
      const endless = Stream.concat(Stream.fromIterable(inputs(2)), Stream.never)
      const fiber = yield* Effect.fork(Batch.submit(ep, endless))
      yield* VirtualTime.advance("1 minute")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* statuses, { CANCELLED: 5 })
    }).pipe(Effect.provide(emulated({ execution: "1 hour" })))
  )
})

describe("Batch.wait", () => {
  inVirtualTime("gives outcomes in the order of the jobs, from ids and from handles", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const submissions = yield* finish(Batch.submit(ep, inputs(3)), "1 second")
      const handles = yield* Effect.forEach(submissions, ({ result }) => result)
      const [a, b, c] = handles
      if (a === undefined || b === undefined || c === undefined) return assert.fail()
      const outcomes = yield* finish(Batch.wait(ep, [c, a.id, "unknown", b]))
      assert.deepStrictEqual(
        outcomes.map(({ jobId, result }) => [jobId as string, tagOf(result)]),
        [
          [c.id, "Success"],
          [a.id, "Success"],
          ["unknown", "JobNotFoundError"],
          [b.id, "JobFailedError"]
        ]
      )
      assert.strictEqual(outcomes[0]?.executionTime, 1000)
    }).pipe(
      Effect.provide(
        emulated({ handler: ({ n }) => Effect.delay(n === 1 ? Effect.fail("no") : Effect.succeed({ n }), "1 second") })
      )
    )
  )

  inVirtualTime("its timeout bounds the whole wait, and leaves the jobs unless told otherwise", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const submissions = yield* finish(Batch.submit(ep, inputs(4)), "1 second")
      const handles = yield* Effect.forEach(submissions, ({ result }) => result)
      const outcomes = yield* finish(Batch.wait(ep, handles, { timeout: "25 seconds" }), "26 seconds")
      const tags = outcomes.map(({ result }) => tagOf(result))
      assert.strictEqual(tags.filter((tag) => tag === "Success").length, 2)
      assert.strictEqual(tags.filter((tag) => tag === "WaitTimeoutError").length, 2)
      assert.strictEqual((yield* counts).byOperation.cancel.total, 0)
      yield* finish(Batch.wait(ep, handles, { timeout: "1 second", cancelOnTimeout: true }))
      assert.deepStrictEqual(yield* statuses, { COMPLETED: 2, CANCELLED: 2 })
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "10 seconds" })))
  )

  inVirtualTime("what would hit all alike fails it", () =>
    Effect.gen(function* () {
      const other = yield* endpoint
      const error = yield* finish(Effect.flip(Batch.wait(other, ["a", "b"])))
      assert.strictEqual(error._tag, "EndpointNotFoundError")
    }).pipe(Effect.provide(Emulator.layerRunPod({ endpoints: {} })))
  )
})
