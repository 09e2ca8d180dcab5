import type * as HttpClient from "@effect/platform/HttpClient"
import * as Client from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as RunPod from "../../src/services/RunPod.js"
import { counts, emulated, endpoint, inputs, jobsPerInput, type Numbered } from "../support/batches.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"

const { Fault } = Emulator

/** Runs a batch, and gives what it failed with and the places of its outcomes. */
const failing = (options: Batch.Options<{ readonly n: number }>, count = 10_000) =>
  Effect.gen(function* () {
    const ep = yield* endpoint
    const settled: Array<number> = []
    const error = yield* finish(
      Effect.flip(
        Stream.runForEach(Batch.run(ep, inputs(count), options), ({ index }) => Effect.sync(() => settled.push(index)))
      ),
      "1 hour"
    )
    return { error, settled }
  })

/** A client that loses its key after so many submits, and gets it back. */
const losingKey = (after: number) => {
  let submits = 0
  const state = { isLost: false }
  const transformClient = (client: HttpClient.HttpClient) =>
    Client.mapRequest(client, (request) => {
      if (request.url.endsWith("/run") && ++submits > after) state.isLost = true
      return state.isLost && request.url.endsWith("/run")
        ? HttpClientRequest.setHeader(request, "authorization", "Bearer wrong")
        : request
    })
  return {
    transformClient,
    mend: Effect.sync(() => {
      state.isLost = false
      submits = -Infinity
    })
  }
}

describe("a bad key at item 5 of 10,000", () => {
  inVirtualTime("stops the batch with that error, once what is in flight has settled", () => {
    const { transformClient } = losingKey(5)
    return Effect.gen(function* () {
      const { error, settled } = yield* failing({ concurrency: 10 })
      assert.strictEqual(error._tag, "AuthenticationError")
      assert.strictEqual(settled.length, 5)
      const { byOperation, submitted } = yield* counts
      assert.strictEqual(submitted, 5)
      assert.isAtMost(byOperation.run.total, 20)
      assert.deepInclude((yield* counts).ended, { COMPLETED: 5, CANCELLED: 0 })
    }).pipe(
      Effect.provide(
        emulated({ workers: 1, execution: "10 seconds" }, { apiKey: "right", client: { transformClient } })
      )
    )
  })

  it.live("leaves a journal with which the next run, after the mend, finishes the batch", () => {
    const { mend, transformClient } = losingKey(5)
    const program = Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const error = yield* Effect.flip(Batch.collect(ep, inputs(100), { concurrency: 20, journal }))
      assert.strictEqual(error._tag, "AuthenticationError")
      assert.strictEqual((yield* counts).submitted, 5)
      yield* mend
      const report = yield* Batch.collect(ep, inputs(100), { journal }).pipe(
        Logger.withMinimumLogLevel(LogLevel.Warning)
      )
      assert.deepStrictEqual(report.counts, { Completed: 100 })
      assert.strictEqual(report.replayed, 5)
      assert.isTrue([...(yield* jobsPerInput).values()].every((count) => count === 1))
    })
    const layer = emulated({ workers: 100 }, { apiKey: "right", client: { transformClient } })
    return VirtualTime.run(Effect.provide(program, layer))
  })
})

describe("a paused endpoint", () => {
  inVirtualTime("stops the batch with that error", () =>
    Effect.gen(function* () {
      const { error, settled } = yield* failing({ concurrency: 3 })
      assert.strictEqual(error._tag, "EndpointPausedError")
      assert.strictEqual(settled.length, 5)
      assert.isAtMost((yield* counts).byOperation.run.total, 8)
    }).pipe(Effect.provide(emulated({ execution: "1 second" }, { faults: [Fault.paused({ after: 5 })] })))
  )

  inVirtualTime("is waited for as the retry policy says", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(10), { concurrency: 3 }))
      assert.deepStrictEqual(report.counts, { Completed: 10 })
    }).pipe(
      Effect.provide(
        emulated(
          {},
          {
            faults: [Fault.paused({ after: 5, times: 6 })],
            client: { retry: RetryPolicy.make({ whilePaused: RetryPolicy.make({ jitter: "none" }).schedule }) }
          }
        )
      )
    )
  )
})

describe("an endpoint that is not there", () => {
  inVirtualTime("stops the batch after as many submits as were in flight", () =>
    Effect.gen(function* () {
      const runPod = yield* RunPod.RunPod
      const { error, settled } = yield* failing({ concurrency: 4 })
      assert.strictEqual(error._tag, "EndpointNotFoundError")
      assert.deepStrictEqual(settled, [])
      assert.isAtMost((yield* counts).byOperation.run.total, 4)
      assert.isDefined(runPod)
    }).pipe(Effect.provide(Emulator.layerRunPod({ endpoints: {} })))
  )
})

describe("rate limits", () => {
  inVirtualTime("are waited out, however long, and are no outcomes", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(30)), "1 hour")
      assert.deepStrictEqual(report.counts, { Completed: 30 })
      assert.strictEqual(report.throttles, 40)
      assert.strictEqual((yield* counts).submitted, 30)
      assert.isTrue(report.results.every(({ attempts }) => attempts === 1))
    }).pipe(
      Effect.provide(
        emulated(
          {},
          {
            faults: [Fault.rateLimited({ operations: ["run"], times: 40, retryAfter: "20 seconds" })],
            client: { retry: RetryPolicy.none }
          }
        )
      )
    )
  )

  inVirtualTime("do not hold back a batch that has to stop", () =>
    Effect.gen(function* () {
      const { error, settled } = yield* failing({ deadline: "1 minute" }, 10)
      assert.strictEqual(error._tag, "BatchStoppedError")
      assert.deepStrictEqual(settled, [])
      assert.strictEqual((yield* counts).submitted, 0)
    }).pipe(
      Effect.provide(emulated({}, { faults: [Fault.rateLimited({ operations: ["run"], retryAfter: "2 hours" })] }))
    )
  )
})

describe("no way to RunPod", () => {
  /** A client that is cut off between two times of the test's clock. */
  const cutOff = (from: Duration.DurationInput, to: Duration.DurationInput) => (client: HttpClient.HttpClient) =>
    Client.make((request) =>
      Effect.clockWith((clock) => {
        const now = clock.unsafeCurrentTimeMillis()
        if (now < Duration.toMillis(from) || now >= Duration.toMillis(to)) return client.execute(request)
        const cause = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })
        return Effect.fail(new HttpClientError.RequestError({ request, reason: "Transport", cause }))
      })
    )

  inVirtualTime("from the start fails the batch", () =>
    Effect.gen(function* () {
      const { error, settled } = yield* failing({})
      assert.strictEqual(error._tag, "TransportError")
      assert.deepStrictEqual(settled, [])
    }).pipe(Effect.provide(emulated({}, { client: { transformClient: cutOff(0, "1 day") } })))
  )

  inVirtualTime("for two minutes is waited out", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(100), { concurrency: 10 }), "1 hour")
      assert.deepStrictEqual(report.counts, { Completed: 100 })
      assert.strictEqual((yield* counts).submitted, 100)
    }).pipe(
      Effect.provide(
        emulated(
          { workers: 1, execution: "1 second" },
          { client: { transformClient: cutOff("10 seconds", "130 seconds") } }
        )
      )
    )
  )

  inVirtualTime("for good fails the batch after five minutes", () =>
    Effect.gen(function* () {
      const { error } = yield* failing({ concurrency: 10, timeout: "1 minute" })
      assert.strictEqual(error._tag, "TransportError")
      const minutes = (yield* TestClock.currentTimeMillis) / 60_000
      assert.isAtLeast(minutes, 5)
    }).pipe(
      Effect.provide(
        emulated({ workers: 1, execution: "1 second" }, { client: { transformClient: cutOff("10 seconds", "1 day") } })
      )
    )
  )
})

describe("`deadline`", () => {
  inVirtualTime("ends the batch in time: no more submits, what is in flight is cancelled and says so", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(100), { concurrency: 5, deadline: "35 seconds" }))
      assert.strictEqual(report.stopped, "Deadline")
      assert.deepStrictEqual(report.counts, { Completed: 3, WaitTimeoutError: 5 })
      assert.isAtMost(Duration.toMillis(report.wallTime), 35_100)
      yield* VirtualTime.advance("1 minute")
      assert.deepInclude((yield* counts).ended, { COMPLETED: 3, CANCELLED: 5 })
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "10 seconds" })))
  )

  inVirtualTime("fails the stream after the last outcome", () =>
    Effect.gen(function* () {
      const { error, settled } = yield* failing({ concurrency: 5, deadline: "35 seconds" }, 100)
      assert.deepInclude(error, { _tag: "BatchStoppedError", reason: "Deadline", settled: 8 })
      assert.strictEqual(settled.length, 8)
    }).pipe(Effect.provide(emulated({ workers: 1, execution: "10 seconds" })))
  )
})

describe("`maxFailures`", () => {
  inVirtualTime("stops after so many failures; what is in flight settles", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* finish(Batch.collect(ep, inputs(100), { concurrency: 4, maxFailures: 3 }))
      assert.strictEqual(report.stopped, "Failures")
      assert.isAtLeast(report.failed, 3)
      assert.isAtMost(report.results.length, 10)
      assert.strictEqual((yield* counts).byOperation.cancel.total, 0)
    }).pipe(
      Effect.provide(
        emulated({
          workers: 1,
          handler: ({ n }) => Effect.delay(Number(n) % 2 === 0 ? Effect.fail("odd") : Effect.succeed({ n }), "1 second")
        })
      )
    )
  )
})

describe("`accept`", () => {
  inVirtualTime(
    "leaves out inputs when their turn has come: nothing is sent or noted for them, and they count nowhere",
    () =>
      Effect.gen(function* () {
        const ep = yield* endpoint
        const journal = yield* BatchJournal.memory
        const tracker = yield* Batch.tracker
        const asked: Array<string> = []
        let isCancelled = false
        const accept = ({ n }: Numbered, key: string) =>
          Effect.sync(() => {
            asked.push(key)
            return !isCancelled && n % 2 === 0
          })
        yield* Effect.fork(
          Effect.delay(
            Effect.sync(() => (isCancelled = true)),
            "15 seconds"
          )
        )
        const options = { accept, concurrency: 2, journal, key: ({ n }: Numbered) => `key ${n}`, tracker }
        const followed = yield* Effect.fork(Stream.runLast(Batch.progress(tracker, { interval: "1 second" })))
        const report = yield* finish(Batch.collect(ep, inputs(100), options))
        assert.deepStrictEqual(
          report.results.map(({ index, key }) => [index, key]),
          [0, 2, 4, 6].map((n) => [n, `key ${n}`])
        )
        assert.deepStrictEqual(
          asked,
          inputs(100).map(({ n }) => `key ${n}`)
        )
        assert.strictEqual((yield* counts).submitted, 4)
        assert.isTrue(Option.isNone(yield* journal.find("key 1")))
        const last = Option.getOrThrow(yield* Fiber.join(followed))
        assert.deepInclude(last, { total: 4, done: 4, inFlight: 0, ended: true })
      }).pipe(Effect.provide(emulated({ workers: 2, execution: "10 seconds" })))
  )
})
