/** Streams that own a job: however they end, a job that has not ended is cancelled once. */
import { assert, describe, it } from "@effect/vitest"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import type { JobError } from "../../src/errors/JobError.js"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const { Fault } = Emulator

const endpoint = Endpoint.make("ep", {
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Unknown,
  chunk: Schema.Struct({ n: Schema.Number })
})
type TheEndpoint = Effect.Effect.Success<typeof endpoint>

/** Ten chunks, one a second. */
const tokens: Emulator.Handler = () =>
  Stream.range(1, 10).pipe(Stream.mapEffect((n) => Effect.delay(Effect.succeed({ n }), "1 second")))
const tenTokens = Array.from({ length: 10 }, (_, i) => i + 1)

const emulated = (options: Partial<Emulator.RunPodOptions> = {}) =>
  Emulator.layerRunPod({ endpoints: { ep: { workers: 1, handler: tokens } }, ...options })

/** Runs a program on a new emulator, and gives what it gave and how often each job of the emulator was cancelled a minute later. */
const observed = <A, E>(
  program: (endpoint: TheEndpoint) => Effect.Effect<A, E, RunPod.RunPod | Emulator.Emulator>,
  options?: Partial<Emulator.RunPodOptions>
) =>
  Effect.gen(function* () {
    const emulator = yield* Emulator.Emulator
    const value = yield* Effect.flatMap(endpoint, program)
    const atEnd = (yield* emulator.jobs("ep")).map(({ cancels }) => cancels)
    yield* Effect.sleep("1 minute")
    const cancels = (yield* emulator.jobs("ep")).map(({ cancels }) => cancels)
    return { value, atEnd, cancels }
  }).pipe(Effect.provide(emulated(options)), (effect) => finish(effect, "1 hour"))

/** The numbers of a stream, and how it ended. */
const read = <E>(stream: Stream.Stream<{ readonly n: number }, E>) =>
  Effect.suspend(() => {
    const seen: Array<number> = []
    return Stream.runForEach(stream, ({ n }) => Effect.sync(() => void seen.push(n))).pipe(
      Effect.exit,
      Effect.map((exit) => ({ seen, exit }))
    )
  })

const errorOf = (exit: Exit.Exit<void, RunPodError | JobError>) =>
  Exit.isFailure(exit) && Cause.isFailType(exit.cause) ? exit.cause.error : undefined

describe("callStream", () => {
  it.effect("gives all chunks and cancels nothing", () =>
    Effect.gen(function* () {
      const { cancels, value } = yield* observed((ep) => read(ep.callStream({ n: 1 })))
      assert.deepStrictEqual(value, { seen: tenTokens, exit: Exit.void })
      assert.deepStrictEqual(cancels, [0])
    })
  )

  it.effect("submits when it is run, each time it is run", () =>
    Effect.gen(function* () {
      const { cancels } = yield* observed((ep) => {
        const stream = ep.callStream({ n: 1 })
        return Effect.zip(Stream.runDrain(stream), Stream.runDrain(stream))
      })
      assert.strictEqual(cancels.length, 2)
      assert.deepStrictEqual((yield* observed((ep) => Effect.succeed(ep.callStream({ n: 1 })))).cancels, [])
    })
  )

  it.effect("ends with the error of its job after the last chunk", () =>
    Effect.gen(function* () {
      const handler: Emulator.Handler = () =>
        Stream.concat(Stream.make({ n: 1 }), Stream.fromEffect(Effect.delay(Effect.fail("no memory"), "5 seconds")))
      const { cancels, value } = yield* observed((ep) => read(ep.callStream({ n: 1 })), {
        endpoints: { ep: { handler } }
      })
      assert.deepStrictEqual(value.seen, [1])
      assert.strictEqual(errorOf(value.exit)?._tag, "JobFailedError")
      assert.deepStrictEqual(cancels, [0])
    })
  )

  it.effect("loses no chunk to a reader that is slower than the job", () =>
    Effect.gen(function* () {
      const { value } = yield* observed((ep) =>
        read(Stream.tap(ep.callStream({ n: 1 }), () => Effect.sleep("20 seconds")))
      )
      assert.deepStrictEqual(value, { seen: tenTokens, exit: Exit.void })
    })
  )

  it.effect("an input that its schema does not accept is refused, and nothing is sent", () =>
    Effect.gen(function* () {
      const { cancels, value } = yield* observed((ep) => read(ep.callStream({ n: 1n as unknown as number })))
      assert.strictEqual(errorOf(value.exit)?._tag, "BadRequestError")
      assert.deepStrictEqual(cancels, [])
    })
  )

  describe("interrupted", () => {
    interface Case {
      readonly at: Duration.DurationInput
      readonly options?: Partial<Emulator.RunPodOptions>
      readonly endpoint?: Emulator.EndpointOptions
      /** What its reader does with each chunk. */
      readonly reader?: Effect.Effect<void>
      readonly call?: Endpoint.CallStreamOptions
      readonly cancels: ReadonlyArray<number>
    }
    const cases: Record<string, Case> = {
      "with its submit in flight": {
        at: "1 second",
        options: { faults: [Fault.delay({ operations: ["run"], by: "2 seconds" })] },
        cancels: [1]
      },
      "while its job is queued": {
        at: "5 seconds",
        endpoint: { coldStart: "1 minute", handler: tokens },
        cancels: [1]
      },
      "between two chunks": { at: "3500 millis", cancels: [1] },
      "while its reader works on a chunk": { at: "10 seconds", reader: Effect.sleep("30 minutes"), cancels: [1] },
      "with a read in flight": {
        at: "3500 millis",
        options: { faults: [Fault.delay({ operations: ["stream"], by: "8 seconds" })] },
        cancels: [1]
      },
      "while a read is not answered": {
        at: "3500 millis",
        options: { faults: [Fault.hang({ operations: ["stream"] })] },
        cancels: [1]
      },
      "after its job has ended, with chunks left to read": {
        at: "5 seconds",
        endpoint: { handler: () => Stream.make({ n: 1 }, { n: 2 }, { n: 3 }) },
        reader: Effect.sleep("30 minutes"),
        cancels: [0]
      },
      "when told to leave the job": { at: "3500 millis", call: { cancelOnInterrupt: false }, cancels: [0] }
    }
    for (const [name, { at, call, cancels, endpoint, options, reader = Effect.void }] of Object.entries(cases)) {
      it.effect(`${name}: ${cancels[0]} cancel, and the interruption waits for it`, () =>
        Effect.gen(function* () {
          const all = { ...(endpoint === undefined ? {} : { endpoints: { ep: endpoint } }), ...options }
          const outcome = yield* observed(
            (ep) =>
              Effect.gen(function* () {
                const stream = Stream.tap(ep.callStream({ n: 1 }, call), () => reader)
                const fiber = yield* Effect.fork(Stream.runDrain(stream))
                yield* Effect.sleep(at)
                return yield* Fiber.interrupt(fiber)
              }),
            all
          )
          assert.isTrue(Exit.isInterrupted(outcome.value))
          assert.deepStrictEqual(outcome.cancels, cancels)
          assert.deepStrictEqual(outcome.atEnd, cancels)
        })
      )
    }

    it.effect("while its submit waits for a permit: nothing is sent", () =>
      Effect.gen(function* () {
        const { cancels } = yield* observed(
          (ep) =>
            Effect.gen(function* () {
              const first = yield* Effect.fork(Stream.runDrain(ep.callStream({ n: 1 })))
              yield* Effect.sleep("1 second")
              const second = yield* Effect.fork(Stream.runDrain(ep.callStream({ n: 2 })))
              yield* Effect.sleep("1 second")
              const [took] = yield* Effect.timed(Fiber.interrupt(second))
              assert.strictEqual(Duration.toMillis(took), 0)
              yield* Fiber.join(first)
            }),
          {
            client: { limits: RateLimits.make({ run: { concurrency: 1 } }) },
            faults: [Fault.delay({ operations: ["run"], by: "5 seconds" })]
          }
        )
        assert.deepStrictEqual(cancels, [0])
      })
    )
  })

  it.live("interrupted at any step: what was submitted is cancelled once", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const ep = yield* endpoint
      // Its fibers yield that often: all of them are somewhere else after so many turns.
      const stepwise = Effect.withMaxOpsBeforeYield(Stream.runDrain(ep.callStream({ n: 1 })), 23)
      for (let turns = 0; turns < 120; turns++) {
        const fiber = yield* Effect.fork(stepwise)
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow()
        yield* Fiber.interrupt(fiber)
        const jobs = yield* emulator.jobs("ep")
        assert.isTrue(
          jobs.every(({ cancels, status }) => cancels === 1 && status === "CANCELLED"),
          `after ${turns} turns`
        )
      }
      const { length } = yield* emulator.jobs("ep")
      assert.isAbove(length, 60)
      assert.isBelow(length, 120)
    }).pipe(
      Effect.provide(
        emulated({
          endpoints: { ep: { workers: 1, handler: () => Stream.fromEffect(Effect.never) } },
          limits: RateLimits.unlimited,
          client: { limits: RateLimits.unlimited }
        })
      )
    )
  )

  describe("whose reader leaves", () => {
    it.effect("by taking enough: its job is cancelled before the reader has its answer", () =>
      Effect.gen(function* () {
        const { atEnd, cancels, value } = yield* observed((ep) => read(Stream.take(ep.callStream({ n: 1 }), 2)))
        assert.deepStrictEqual(value, { seen: [1, 2], exit: Exit.void })
        assert.deepStrictEqual([atEnd, cancels], [[1], [1]])
      })
    )

    it.effect("by taking all there is: nothing is cancelled", () =>
      Effect.gen(function* () {
        const handler: Emulator.Handler = () => Stream.make({ n: 1 }, { n: 2 }, { n: 3 })
        for (const count of [1, 3]) {
          const { cancels, value } = yield* observed(
            (ep) => read(Stream.take(Stream.drop(ep.callStream({ n: 1 }), 3 - count), count)),
            { endpoints: { ep: { handler } }, faults: [Fault.delay({ operations: ["stream"], by: "1 second" })] }
          )
          assert.strictEqual(value.seen.length, count)
          assert.deepStrictEqual(cancels, [0])
        }
      })
    )

    it.effect("by failing: its failure is the end, and the job is cancelled", () =>
      Effect.gen(function* () {
        const { atEnd, cancels, value } = yield* observed((ep) =>
          ep.callStream({ n: 1 }).pipe(
            Stream.mapEffect(({ n }) => (n === 3 ? Effect.fail("too long") : Effect.succeed(n))),
            Stream.runDrain,
            Effect.flip
          )
        )
        assert.strictEqual(value, "too long")
        assert.deepStrictEqual([atEnd, cancels], [[1], [1]])
      })
    )

    it.effect("by another's timeout: that is an interruption, whatever `cancelOnTimeout` says", () =>
      Effect.gen(function* () {
        const { atEnd, cancels, value } = yield* observed((ep) =>
          ep
            .callStream({ n: 1 }, { cancelOnTimeout: false })
            .pipe(Stream.runDrain, Effect.timeout("4 seconds"), Effect.flip)
        )
        assert.strictEqual(value._tag, "TimeoutException")
        assert.deepStrictEqual([atEnd, cancels], [[1], [1]])
      })
    )
  })

  describe("whose time is over", () => {
    for (const [cancelOnTimeout, count] of [
      [undefined, 1],
      [false, 0]
    ] as const) {
      it.effect(`fails with a WaitTimeoutError at its timeout, ${count} cancel`, () =>
        Effect.gen(function* () {
          const { cancels, value } = yield* observed((ep) =>
            Effect.timed(read(ep.callStream({ n: 1 }, { timeout: "4500 millis", cancelOnTimeout })))
          )
          const [took, { exit, seen }] = value
          const error = errorOf(exit)
          assert(error?._tag === "WaitTimeoutError")
          assert.strictEqual(error.cancel, count === 1 ? "Pending" : "No")
          assert.strictEqual(Duration.toMillis(took), 4_500)
          assert.deepStrictEqual(seen, [1, 2, 3, 4])
          assert.deepStrictEqual(cancels, [count])
        })
      )
    }

    it.effect("counts from the submit, whose job is cancelled once its answer is there", () =>
      Effect.gen(function* () {
        const { cancels, value } = yield* observed(
          (ep) => Effect.timed(read(ep.callStream({ n: 1 }, { timeout: "4 seconds" }))),
          { faults: [Fault.delay({ operations: ["run"], by: "5 seconds" })] }
        )
        const [took, { exit }] = value
        assert.strictEqual(errorOf(exit)?._tag, "WaitTimeoutError")
        assert.strictEqual(Duration.toMillis(took), 4_000)
        assert.deepStrictEqual(cancels, [1])
        const late = yield* observed((ep) => Effect.timed(read(ep.callStream({ n: 1 }, { timeout: "4 seconds" }))), {
          faults: [Fault.delay({ operations: ["run"], by: "2 seconds" })]
        })
        assert.strictEqual(Duration.toMillis(late.value[0]), 4_000)
      })
    )
  })

  it.effect("an `onGap` that never ends, and cannot be interrupted, does not hold it beyond its timeout", () =>
    Effect.gen(function* () {
      const { cancels, value } = yield* observed(
        (ep) =>
          Effect.timed(
            read(ep.callStream({ n: 1 }, { timeout: "4 seconds", onGap: () => Effect.uninterruptible(Effect.never) }))
          ),
        { faults: [Fault.resetAfter({ operations: ["stream"], times: 1 })] }
      )
      assert.strictEqual(Duration.toMillis(value[0]), 4_000)
      assert.strictEqual(errorOf(value[1].exit)?._tag, "WaitTimeoutError")
      assert.deepStrictEqual(cancels, [1])
    })
  )

  it.effect("a chunk that its schema does not accept ends it, and its job is cancelled", () =>
    Effect.gen(function* () {
      const handler: Emulator.Handler = () =>
        Stream.concat(Stream.make({ n: 1 }, { n: "two" }), Stream.fromEffect(Effect.never))
      const { cancels, value } = yield* observed((ep) => read(ep.callStream({ n: 1 })), {
        endpoints: { ep: { handler } }
      })
      assert.deepStrictEqual(value.seen, [1])
      assert.strictEqual(errorOf(value.exit)?._tag, "OutputDecodeError")
      assert.deepStrictEqual(cancels, [1])
    })
  )

  it.effect("a job that RunPod does not know any more is not cancelled, and one that it refuses to show is", () =>
    Effect.gen(function* () {
      const forbidden = Fault.serverError({ operations: ["stream"], status: 403 })
      const { cancels, value } = yield* observed((ep) => read(ep.callStream({ n: 1 })), { faults: [forbidden] })
      assert.strictEqual(errorOf(value.exit)?._tag, "PermissionDeniedError")
      assert.deepStrictEqual(cancels, [1])
    })
  )

  describe("when its layer closes", () => {
    /** The client on an emulator that outlives it. */
    const closing = (readChunk: Effect.Effect<void>) =>
      Effect.gen(function* () {
        const emulator = yield* Emulator.make({ endpoints: { ep: { workers: 1, handler: tokens } } })
        const scope = yield* Scope.make()
        const client = Layer.succeed(HttpClient.HttpClient, emulator.client)
        const runPod = Layer.provide(RunPod.layer({ apiKey: "a-key-of-this-test" }), client)
        const context = yield* Layer.buildWithScope(runPod, scope)
        const ep = yield* Effect.provide(endpoint, context)
        const begun = yield* Deferred.make<void>()
        const reading = ep.callStream({ n: 1 }).pipe(
          Stream.runForEach(() => Effect.zipRight(Deferred.succeed(begun, undefined), readChunk)),
          Effect.provide(context)
        )
        const fiber = yield* Effect.fork(reading)
        yield* Deferred.await(begun)
        yield* Effect.sleep("100 millis")
        yield* Scope.close(scope, Exit.void)
        const jobs = yield* emulator.jobs("ep")
        yield* Effect.sleep("20 seconds")
        const later = yield* emulator.jobs("ep")
        const exit = yield* Fiber.poll(fiber)
        yield* Fiber.interruptFork(fiber)
        return { cancels: [jobs, later].map((some) => some.map(({ cancels }) => cancels)), exit }
      }).pipe(Effect.scoped, finish)

    it.effect("while it is read: the job is cancelled before that has closed, and the stream is interrupted", () =>
      Effect.gen(function* () {
        const { cancels, exit } = yield* closing(Effect.void)
        assert.deepStrictEqual(cancels, [[1], [1]])
        assert(exit._tag === "Some" && Exit.isInterrupted(exit.value))
      })
    )

    it.effect("while its reader is busy with a chunk: likewise, once the reader asks for more", () =>
      Effect.gen(function* () {
        const { cancels, exit } = yield* closing(Effect.sleep("10 seconds"))
        assert.deepStrictEqual(cancels, [[1], [1]])
        assert(exit._tag === "Some" && Exit.isInterrupted(exit.value))
      })
    )
  })
})

describe("the stream of a handle", () => {
  for (const [options, count] of [
    [{}, 0],
    [{ cancelOnInterrupt: true }, 1]
  ] as const) {
    it.effect(
      `${count === 0 ? "leaves its job alone" : "cancels its job when told to"}, its reader having taken enough`,
      () =>
        Effect.gen(function* () {
          const { cancels, value } = yield* observed((ep) =>
            Effect.flatMap(ep.run({ n: 1 }), (job) => Stream.runCollect(Stream.take(job.stream(options), 2)))
          )
          assert.deepStrictEqual(
            Chunk.toReadonlyArray(value).map(({ n }) => n),
            [1, 2]
          )
          assert.deepStrictEqual(cancels, [count])
        })
    )
  }

  for (const [options, cancel] of [
    [{}, "No"],
    [{ cancelOnTimeout: true }, "Pending"]
  ] as const) {
    it.effect(`timed out: its error says that the cancel is: ${cancel}`, () =>
      Effect.gen(function* () {
        const { cancels, value } = yield* observed((ep) =>
          Effect.flatMap(ep.run({ n: 1 }), (job) => read(job.stream({ timeout: "3 seconds", ...options })))
        )
        const error = errorOf(value.exit)
        assert(error?._tag === "WaitTimeoutError")
        assert.strictEqual(error.cancel, cancel)
        assert.deepStrictEqual(cancels, [cancel === "No" ? 0 : 1])
      })
    )
  }
})

describe("a stream under RunPod.withDeadline ends at the deadline", () => {
  const silent: Emulator.Handler = () => Stream.fromEffect(Effect.never)
  const options = { endpoints: { ep: { handler: silent } } }

  it.effect("of the operation, though it pauses between two reads then", () =>
    Effect.gen(function* () {
      // It is not held: the stream pauses by itself, 2 seconds in the end.
      const server = Scripted.make([Scripted.json({ status: "IN_PROGRESS", stream: [] })])
      const stream = Stream.unwrap(Effect.map(RunPod.RunPod, (runPod) => runPod.stream("ep", "job-1")))
      const [took, error] = yield* RunPod.withDeadline(Stream.runDrain(stream), "4500 millis").pipe(
        Effect.flip,
        Effect.timed,
        Effect.provide(server.layer()),
        finish
      )
      assert.strictEqual(Duration.toMillis(took), 4_500)
      assert.strictEqual(error._tag, "RequestTimeoutError")
      assert.deepStrictEqual(server.times(), [0, 250, 750, 1_750, 3_750])
    })
  )

  it.effect("of a call", () =>
    Effect.gen(function* () {
      const { cancels, value } = yield* observed(
        (ep) => Effect.timed(RunPod.withDeadline(read(ep.callStream({ n: 1 })), "3500 millis")),
        options
      )
      assert.strictEqual(Duration.toMillis(value[0]), 3_500)
      assert.strictEqual(errorOf(value[1].exit)?._tag, "WaitTimeoutError")
      assert.deepStrictEqual(cancels, [1])
    })
  )
})
