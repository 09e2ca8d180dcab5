import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Fiber, Option, Stream, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { get, look, post, read, submit } from "./support.js"

class OutOfMemory extends Data.TaggedError("OutOfMemory")<{ readonly message: string }> {}

const withHandler = (handler: Emulator.Handler, options?: Emulator.EndpointOptions) =>
  Effect.provide(Emulator.layer({ endpoints: { e: { ...options, handler } } }))

const ended = (handler: Emulator.Handler, options?: Emulator.EndpointOptions) =>
  Effect.flatMap(submit("e", { input: { n: 1 } }), (id) => read("e", id)).pipe(withHandler(handler, options))

describe("a handler's value", () => {
  it.effect("is the output, and gets the input and the job's id", () =>
    Effect.gen(function* () {
      const job = yield* ended((input, { id }) => Effect.succeed({ input, id }))
      assert.deepStrictEqual(job["output"], { input: { n: 1 }, id: job["id"] })
    })
  )

  for (const value of [undefined, {}]) {
    it.effect(`${JSON.stringify(value)} completes the job without output`, () =>
      Effect.gen(function* () {
        const job = yield* ended(() => Effect.succeed(value))
        assert.strictEqual(job["status"], "COMPLETED")
        assert.notProperty(job, "output")
      })
    )
  }

  for (const value of [null, 0, "", [], false]) {
    it.effect(`${JSON.stringify(value)} is an output`, () =>
      Effect.gen(function* () {
        assert.deepInclude(yield* ended(() => Effect.succeed(value)), { status: "COMPLETED", output: value })
      })
    )
  }

  it.effect("with an error in it fails the job, the error hoisted and the rest left in the output", () =>
    Effect.gen(function* () {
      const job = yield* ended(() => Effect.succeed({ error: "bad input", error_code: 7 }))
      assert.deepInclude(job, { status: "FAILED", error: "bad input", output: { error_code: 7 } })
      assert.notProperty(yield* ended(() => Effect.succeed({ error: { code: 1 } })), "output")
    })
  )

  it.effect("that cannot be written as JSON fails the job", () =>
    Effect.gen(function* () {
      const job = yield* ended(() => Effect.succeed({ big: 1n }))
      assert.strictEqual(job["status"], "FAILED")
      assert.include(String(job["error"]), "BigInt")
    })
  )
})

describe("a handler's failure", () => {
  it.effect("is reported as JSON inside a string", () =>
    Effect.gen(function* () {
      const job = yield* ended(() => Effect.fail(new OutOfMemory({ message: "no more of it" })))
      assert.strictEqual(job["status"], "FAILED")
      const error = JSON.parse(String(job["error"]))
      assert.deepInclude(error, {
        error_type: "<class 'OutOfMemory'>",
        error_message: "no more of it",
        worker_id: job["workerId"]
      })
      assert.hasAllKeys(error, [
        "error_type",
        "error_message",
        "error_traceback",
        "hostname",
        "worker_id",
        "runpod_version"
      ])
    })
  )

  const crashes: ReadonlyArray<readonly [name: string, handler: Emulator.Handler, message: string]> = [
    ["a defect", () => Effect.die(new TypeError("boom")), "boom"],
    [
      "a handler that throws",
      () => {
        throw new Error("thrown")
      },
      "thrown"
    ],
    ["a string", () => Effect.fail("just text"), "just text"],
    ["an interruption of itself", () => Effect.interrupt, ""]
  ]
  for (const [name, handler, message] of crashes) {
    it.effect(`${name} fails the job, and the emulator goes on`, () =>
      Effect.gen(function* () {
        const id = yield* submit("e")
        const job = yield* read("e", id)
        assert.strictEqual(job["status"], "FAILED")
        assert.include(JSON.parse(String(job["error"])).error_message, message)
        assert.include((yield* get("/v2/e/health")).text, `"failed":1,"inProgress":0`)
      }).pipe(withHandler(handler))
    )
  }
})

describe("progress", () => {
  it.effect("shows as the output while the job runs and is replaced by the result", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", output: { done: 1 } })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", output: { done: 2 } })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* read("e", id), { status: "COMPLETED", output: "all" })
    }).pipe(
      withHandler((_, { progress }) =>
        progress({ done: 1 }).pipe(
          Effect.delay("0 seconds"),
          Effect.zipRight(Effect.sleep("1 second")),
          Effect.zipRight(progress({ done: 2 })),
          Effect.zipRight(Effect.sleep("1 second")),
          Effect.as("all")
        )
      )
    )
  )

  it.effect("after a cancel changes nothing", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      yield* post(`/v2/e/cancel/${id}`)
      yield* TestClock.adjust("2 seconds")
      assert.notProperty(yield* read("e", id), "output")
    }).pipe(withHandler((_, { progress }) => Effect.uninterruptible(Effect.delay(progress("late"), "1 second"))))
  )
})

describe("streams", () => {
  const ticks = (count: number) => Stream.range(1, count).pipe(Stream.tap(() => Effect.sleep("2 seconds")))
  const poll = (id: string) => Effect.map(get(`/v2/e/stream/${id}`), ({ text }) => text)

  it.effect("each poll takes the chunks since the last, and the first COMPLETED still carries some", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* poll(id), `{"status":"IN_PROGRESS","stream":[{"output":1},{"output":2}]}`)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* poll(id), `{"status":"COMPLETED","stream":[{"output":3}]}`)
      assert.strictEqual(yield* poll(id), `{"status":"COMPLETED","stream":[]}`)
      assert.deepStrictEqual((yield* read("e", id))["output"], [1, 2, 3])
    }).pipe(withHandler(() => ticks(3)))
  )

  it.effect("an empty poll is held until there is a chunk", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      const held = yield* Effect.fork(poll(id))
      yield* TestClock.adjust("1999 millis")
      assert.isTrue(Option.isNone(yield* Fiber.poll(held)))
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* held, `{"status":"IN_PROGRESS","stream":[{"output":1}]}`)
    }).pipe(withHandler(() => ticks(3)))
  )

  it.effect("an empty poll is held 10 seconds, or `wait`", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      const [byDefault, asked] = [yield* Effect.fork(poll(id)), yield* Effect.fork(get(`/v2/e/stream/${id}?wait=3000`))]
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* asked).text, `{"status":"IN_QUEUE","stream":[]}`)
      assert.isTrue(Option.isNone(yield* Fiber.poll(byDefault)))
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual(yield* byDefault, `{"status":"IN_QUEUE","stream":[]}`)
    }).pipe(withHandler(() => ticks(1), { coldStart: "1 minute" }))
  )

  it.effect("a job whose handler fails shows no chunks, and the reason only in its status", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* poll(id), `{"status":"FAILED","stream":[]}`)
      assert.match(String((yield* read("e", id))["error"]), /^handler: spilt \ntraceback: /)
    }).pipe(withHandler(() => Stream.concat(ticks(1), Stream.fail("spilt"))))
  )

  it.effect("a handler that yields no chunks has an empty stream that ends with the job", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      const held = yield* Effect.fork(poll(id))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* held, `{"status":"COMPLETED","stream":[]}`)
    }).pipe(withHandler(() => Effect.delay(Effect.succeed("whole"), "1 second")))
  )

  it.effect("without aggregation the chunks are all there is", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* look("e", id)).status, "COMPLETED")
      assert.notProperty(yield* read("e", id), "output")
      assert.strictEqual((yield* look("e", id)).chunks, 2)
      assert.strictEqual(yield* poll(id), `{"status":"COMPLETED","stream":[{"output":"a"},{"output":"b"}]}`)
    }).pipe(withHandler(() => Stream.make("a", "b"), { aggregateStream: false }))
  )

  it.effect("two readers take each other's chunks", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      const readers = yield* Effect.forkAll([poll(id), poll(id)])
      yield* TestClock.adjust("2 seconds")
      const replies: ReadonlyArray<{ status: string; stream: ReadonlyArray<unknown> }> = (yield* readers).map((text) =>
        JSON.parse(text)
      )
      assert.deepStrictEqual(
        replies.flatMap(({ stream }) => stream),
        [{ output: 1 }]
      )
      assert.strictEqual(replies.find(({ stream }) => stream.length === 0)?.status, "COMPLETED")
    }).pipe(withHandler(() => ticks(1)))
  )
})
