import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import type * as RunPod from "../../src/services/RunPod.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import { finish } from "../support/finish.js"
import { until } from "../support/until.js"

const { Fault } = Emulator

const endpoint = Endpoint.make("ep", {
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Struct({ n: Schema.Number })
})

const call = (options?: Endpoint.CallOptions) => Effect.flatMap(endpoint, (ep) => ep.call({ n: 1 }, options))

type Program<A, E> = Effect.Effect<A, E, RunPod.RunPod | Emulator.Emulator>

/** Runs a program in memory, to its end under TestClock. */
const inMemory = <A, E>(options: Emulator.Options, program: Program<A, E>) =>
  finish(Effect.provide(program, Emulator.layerRunPod(options)), "30 minutes")

/** Runs a program over HTTP, in real time. */
const overHttp = <A, E>(options: Emulator.Options, program: Program<A, E>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve(options)
      return yield* program.pipe(
        Effect.provide(
          Layer.merge(
            NodeRunPod.layer({ apiKey: "key", baseUrl: server.url }),
            Layer.succeed(Emulator.Emulator, server)
          )
        )
      )
    })
  )

const counts = Effect.flatMap(Emulator.Emulator, (emulator) => emulator.counts)
const theJob = Effect.flatMap(Emulator.Emulator, (emulator) => Effect.map(emulator.jobs("ep"), ([job]) => job))

const slow = { endpoints: { ep: { workers: 1, execution: "60 seconds" } } } as const

/** 85 % of the polls fail, in five ways. */
const faulty: Emulator.Options["faults"] = [
  Fault.serverError({ operations: ["status", "statusSync"], rate: 0.3 }),
  Fault.serverError({ operations: ["status", "statusSync"], rate: 0.3, status: 502, body: "html" }),
  Fault.resetAfter({ operations: ["status", "statusSync"], rate: 0.3 }),
  Fault.rateLimited({ operations: ["status", "statusSync"], rate: 0.2 }),
  Fault.truncated({ operations: ["status", "statusSync"], rate: 0.45 })
]

const faces = {
  "in memory": { run: inMemory, test: it.effect },
  "over HTTP": { run: overHttp, test: it.live }
}

for (const [face, { run, test }] of Object.entries(faces)) {
  describe(`waits ${face}`, () => {
    /** A test that does little, beside others. */
    const beside = (name: string, body: () => Effect.Effect<void, unknown>) => test(name, body, { concurrent: true })

    test("a call with a timeout of 1.5 s on a 60 s job ends within 50 ms of it, and its job is cancelled", () =>
      run(
        slow,
        Effect.gen(function* () {
          // The first call pays for connections and compilation.
          yield* Effect.exit(call({ timeout: "1 second" }))
          let soonest = Infinity
          // On a busy machine one of three may be late.
          for (let n = 0; n < 3 && soonest > 1_550; n++) {
            const [took, exit] = yield* Effect.timed(Effect.exit(call({ timeout: "1500 millis" })))
            assert(Exit.isFailure(exit))
            assert.isAtLeast(Duration.toMillis(took), 1_499)
            soonest = Math.min(soonest, Duration.toMillis(took))
          }
          assert.isAtMost(soonest, 1_550)
          yield* Effect.sleep("500 millis")
          const emulator = yield* Emulator.Emulator
          assert.isTrue(
            (yield* emulator.jobs("ep")).every(({ cancels, status }) => status === "CANCELLED" && cancels === 1)
          )
        })
      ))

    beside("interrupting a call cancels its job exactly once", () =>
      run(
        slow,
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(call())
          yield* Effect.sleep("300 millis")
          yield* Fiber.interrupt(fiber)
          const job = yield* theJob
          assert.strictEqual(job?.status, "CANCELLED")
          assert.strictEqual(job?.cancels, 1)
        })
      )
    )

    beside("interrupting a call while its submit is in flight cancels the job exactly once", () =>
      run(
        { ...slow, faults: [Fault.delay({ operations: ["run"], by: "400 millis" })] },
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(call())
          yield* Effect.sleep("200 millis")
          yield* Fiber.interrupt(fiber)
          const job = yield* theJob
          assert.strictEqual(job?.status, "CANCELLED")
          assert.strictEqual(job?.cancels, 1)
        })
      )
    )

    beside("interrupting a call whose first cancel gets a 503 cancels the job exactly once", () =>
      run(
        { ...slow, faults: [Fault.serverError({ operations: ["cancel"], times: 1 })] },
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(call())
          yield* Effect.sleep("300 millis")
          yield* Fiber.interrupt(fiber)
          const job = yield* theJob
          assert.strictEqual(job?.status, "CANCELLED")
          assert.strictEqual(job?.cancels, 1)
          assert.strictEqual((yield* counts).byOperation.cancel.total, 2)
        })
      )
    )

    beside("a job that is not visible for 1.5 s after its submit is found", () =>
      run(
        {
          endpoints: { ep: { workers: 1 } },
          faults: [Fault.notVisibleYet({ operations: ["status", "statusSync"], for: "1500 millis" })]
        },
        Effect.gen(function* () {
          const [took, output] = yield* Effect.timed(call())
          assert.deepStrictEqual(output, { n: 1 })
          assert.isAtMost(Duration.toMillis(took), 3_500)
        })
      )
    )

    beside("a body that stands still in the middle costs its idle time, not a whole hold", () =>
      run(
        {
          endpoints: { ep: { workers: 1, execution: "500 millis" } },
          faults: [Fault.stall({ operations: ["statusSync"], times: 1 })]
        },
        Effect.gen(function* () {
          const [took, output] = yield* Effect.timed(call())
          assert.deepStrictEqual(output, { n: 1 })
          assert.isAtMost(Duration.toMillis(took), 7_000)
        })
      )
    )

    test("400 held waits do not delay a submit or a cancel", () =>
      run(
        { ...slow, limits: RateLimits.unlimited },
        Effect.gen(function* () {
          const ep = yield* endpoint
          const handles = yield* Effect.forEach(
            Array.from({ length: 400 }, (_, n) => n),
            (n) => ep.run({ n }),
            {
              concurrency: 50
            }
          )
          const waits = yield* Effect.forkAll(handles.map((handle) => handle.settle()))
          yield* until(Effect.map(counts, ({ byOperation }) => byOperation.statusSync.inFlight === 400))
          const [submit, handle] = yield* Effect.timed(ep.run({ n: 1 }))
          const [cancel] = yield* Effect.timed(handle.cancel)
          assert.isAtMost(Duration.toMillis(submit), 250)
          assert.isAtMost(Duration.toMillis(cancel), 250)
          yield* Fiber.interrupt(waits)
        })
      ))
  })
}

describe("waits in memory", () => {
  // In virtual time only: real sockets carry such faults to waits in `http.test.ts`.
  it.effect("a 6 s job is waited for through 85 % faulty polls", () =>
    inMemory(
      { endpoints: { ep: { workers: 2, execution: 6_000 } }, faults: faulty },
      Effect.gen(function* () {
        yield* Effect.forEach(
          [{}, { hold: false as const }],
          Effect.fnUntraced(function* (options) {
            const [took, output] = yield* Effect.timed(call(options))
            assert.deepStrictEqual(output, { n: 1 })
            assert.isAtMost(Duration.toMillis(took), 25_000)
          }),
          { concurrency: 2, discard: true }
        )
        assert.strictEqual((yield* counts).submitted, 2)
      })
    )
  )
})

describe.concurrent("the polling bars over HTTP, scaled to a 3 s job", () => {
  const job = { endpoints: { ep: { workers: 1, execution: "3 seconds" } } } as const
  const seenWithin = (options: Endpoint.CallOptions) =>
    Effect.gen(function* () {
      const [took] = yield* Effect.timed(call(options))
      return { lag: Duration.toMillis(took) - 3_000, requests: (yield* counts).total }
    })

  it.live("a held wait takes three requests at most and sees the end within a second", () =>
    overHttp(
      job,
      Effect.gen(function* () {
        const { lag, requests } = yield* seenWithin({})
        assert.isAtMost(requests, 3)
        assert.isAtMost(lag, 1_000)
      })
    )
  )

  it.live("a plain wait on a learned endpoint takes ten requests at most and sees the end within a second", () =>
    overHttp(
      { endpoints: { ep: { workers: 10, execution: { min: 2_850, max: 3_150 } } } },
      Effect.gen(function* () {
        yield* Effect.replicateEffect(call(), 10, { concurrency: "unbounded", discard: true })
        const emulator = yield* Emulator.Emulator
        yield* emulator.resetCounts
        yield* call({ hold: false })
        const now = yield* Clock.currentTimeMillis
        const finishedAt = (yield* emulator.jobs("ep")).at(-1)?.finishedAt ?? NaN
        assert.isAtMost(now - finishedAt, 1_000)
        assert.isAtMost((yield* counts).total, 10)
      })
    )
  )

  it.live("a wait with progress sees the end at once", () =>
    overHttp(
      job,
      Effect.gen(function* () {
        const { lag, requests } = yield* seenWithin({ onProgress: () => Effect.void })
        assert.isAtMost(requests, 4)
        assert.isAtMost(lag, 1_000)
      })
    )
  )
})
