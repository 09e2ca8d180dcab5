import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Option, Ref, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { unlimited as noLimits } from "../../src/layers/RateLimits.js"
import { get, look, post, read, submit } from "./support.js"

const withEndpoint = (options: Emulator.EndpointOptions) =>
  Effect.provide(Emulator.layer({ endpoints: { e: options } }))

/** The clock of a machine so slow that each look at the time finds it `step` milliseconds later; nothing that sleeps wakes up. */
const slowMachine = (step: number): Clock.Clock => {
  let now = 0
  const millis = () => (now += step)
  const nanos = () => BigInt(millis()) * 1_000_000n
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: millis,
    unsafeCurrentTimeNanos: nanos,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanos: Effect.sync(nanos),
    sleep: () => Effect.never
  }
}

describe("workers", () => {
  it.effect("a job waits for a worker to start, and a warm worker takes the next at once", () =>
    Effect.gen(function* () {
      const first = yield* submit("e")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* read("e", first))["status"], "IN_QUEUE")
      assert.include((yield* get("/v2/e/health")).text, `"initializing":1`)
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(yield* read("e", first), { status: "COMPLETED", delayTime: 3000, executionTime: 1000 })
      const second = yield* submit("e")
      assert.deepInclude(yield* read("e", second), { status: "IN_PROGRESS", delayTime: 0 })
    }).pipe(withEndpoint({ coldStart: "3 seconds", execution: "1 second" }))
  )

  it.effect("an idle worker goes away after its time, unless it is one of those always warm", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const coldStarts = Effect.map(emulator.counts, (counts) => counts.coldStarts)
      yield* submit("e")
      yield* submit("e")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* coldStarts, 1)
      assert.include((yield* get("/v2/e/health")).text, `"idle":2`)
      yield* TestClock.adjust("5 seconds")
      assert.include((yield* get("/v2/e/health")).text, `"idle":1`)
      yield* submit("e")
      yield* submit("e")
      assert.strictEqual(yield* coldStarts, 2)
    }).pipe(withEndpoint({ workers: { max: 2, min: 1 }, coldStart: "1 second", execution: "8 seconds" }))
  )

  it.effect("a cold start that is over as soon as it has begun starts the job", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* look("e", yield* submit("e"))).status, "COMPLETED")
    }).pipe(withEndpoint({ workers: 1, coldStart: "2 millis" }), Effect.withClock(slowMachine(3)))
  )

  it.effect("a worker that does not stay idle has the job for which it was started", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* look("e", id)).status, "COMPLETED")
    }).pipe(withEndpoint({ coldStart: "3 seconds", idleTimeout: 0 }))
  )

  it.effect("no more jobs run at once than workers times their concurrency", () =>
    Effect.gen(function* () {
      yield* Effect.replicateEffect(submit("e"), 10)
      assert.include((yield* get("/v2/e/health")).text, `"inProgress":6,"inQueue":4`)
      yield* TestClock.adjust("1 second")
      assert.include((yield* get("/v2/e/health")).text, `"completed":6,"failed":0,"inProgress":4,"inQueue":0`)
    }).pipe(withEndpoint({ workers: 2, concurrency: 3, execution: "1 second" }))
  )

  it.effect("a job of low priority waits behind all others, the rest keep their order", () =>
    Effect.gen(function* () {
      yield* submit("e")
      const low = yield* submit("e", { input: { n: 1 }, policy: { lowPriority: true } })
      const first = yield* submit("e")
      const second = yield* submit("e")
      const order: Array<string> = []
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("1 second")
        for (const id of [low, first, second]) {
          if ((yield* read("e", id))["status"] === "IN_PROGRESS") order.push(id)
        }
      }
      assert.deepStrictEqual(order, [first, second, low])
    }).pipe(withEndpoint({ workers: 1, execution: "1 second" }))
  )

  it.effect("an endpoint without workers is paused, and its queue goes on when it gets some", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const running = yield* submit("e")
      const queued = yield* submit("e")
      yield* emulator.setWorkers("e", 0)
      assert.strictEqual((yield* post("/v2/e/run", { input: { n: 1 } })).status, 409)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* read("e", running))["status"], "COMPLETED")
      assert.strictEqual((yield* read("e", queued))["status"], "IN_QUEUE")
      assert.include((yield* get("/v2/e/health")).text, `"idle":0,"initializing":0,"ready":0,"running":0`)
      yield* emulator.setWorkers("e", 1)
      assert.strictEqual((yield* read("e", queued))["status"], "IN_PROGRESS")
    }).pipe(withEndpoint({ workers: 1, execution: "1 second" }))
  )

  it.effect("workers that are throttled or unhealthy take no jobs and show in health, until they recover", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const workers = Effect.map(get("/v2/e/health"), ({ text }) => JSON.parse(text).workers)
      yield* submit("e")
      yield* submit("e")
      assert.deepInclude(yield* workers, { running: 1, throttled: 1, unhealthy: 1 })
      yield* emulator.setWorkers("e", { max: 3, throttled: 3 })
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* workers, { idle: 0, running: 0, throttled: 3, unhealthy: 0 })
      assert.strictEqual((yield* post("/v2/e/run", { input: { n: 1 } })).status, 200)
      yield* emulator.setWorkers("e", 3)
      assert.deepInclude(yield* workers, { running: 2, throttled: 0 })
    }).pipe(withEndpoint({ workers: { max: 3, throttled: 1, unhealthy: 1 }, execution: "1 minute" }))
  )

  it.effect("times drawn from a spread stay within it, and are the same for the same seed", () =>
    Effect.gen(function* () {
      const times = Effect.gen(function* () {
        const emulator = yield* Emulator.Emulator
        yield* Effect.replicateEffect(submit("e"), 20)
        yield* TestClock.adjust("3 seconds")
        return (yield* emulator.jobs("e")).map((job) => job.executionTime ?? -1)
      }).pipe(withEndpoint({ workers: 20, execution: { min: "1 second", max: "2 seconds" } }))
      const drawn = yield* times
      assert.isTrue(drawn.every((millis) => millis >= 1000 && millis <= 2000))
      assert.isAbove(new Set(drawn).size, 10)
      assert.deepStrictEqual(yield* times, drawn)
    })
  )

  it.effect("thousands of jobs that end at once are worked off without nesting", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      yield* Effect.replicateEffect(submit("e"), 5000)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* emulator.counts).ended.COMPLETED, 5000)
    }).pipe(
      Effect.provide(Emulator.layer({ endpoints: { e: { workers: 1, coldStart: "1 second" } }, limits: noLimits }))
    )
  )
})

describe("the end of a job", () => {
  it.effect("executionTimeout fails the job, some seconds late, and interrupts its handler", () =>
    Effect.gen(function* () {
      const interrupted = yield* Ref.make(false)
      yield* Effect.gen(function* () {
        const id = yield* submit("e", { input: { n: 1 }, policy: { executionTimeout: 5000 } })
        yield* TestClock.adjust("5999 millis")
        assert.strictEqual((yield* read("e", id))["status"], "IN_PROGRESS")
        yield* TestClock.adjust("3001 millis")
        const { executionTime, ...job } = yield* read("e", id)
        assert.deepInclude(job, { status: "FAILED", error: "executionTimeout exceeded" })
        assert.isAtLeast(Number(executionTime), 6000)
        assert.isAtMost(Number(executionTime), 9000)
        assert.isTrue(yield* Ref.get(interrupted))
      }).pipe(withEndpoint({ handler: () => Effect.onInterrupt(Effect.never, () => Ref.set(interrupted, true)) }))
    })
  )

  it.effect("the timing model obeys executionTimeout, too", () =>
    Effect.gen(function* () {
      const id = yield* submit("e", { input: { n: 1 }, policy: { executionTimeout: 5000 } })
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* read("e", id), { status: "FAILED", error: "executionTimeout exceeded" })
    }).pipe(withEndpoint({ execution: "5001 millis" }))
  )

  it.effect(
    "a handler that ends after its executionTimeout fails the job, although RunPod kills it only 1 to 4 seconds later",
    () =>
      Effect.gen(function* () {
        const id = yield* submit("e", { input: { n: 1 }, policy: { executionTimeout: 5000 } })
        const next = yield* submit("e")
        yield* TestClock.adjust("5900 millis")
        assert.strictEqual((yield* read("e", id))["status"], "IN_PROGRESS")
        yield* TestClock.adjust("4 seconds")
        assert.deepInclude(yield* read("e", id), { status: "FAILED", error: "executionTimeout exceeded" })
        assert.strictEqual((yield* read("e", next))["status"], "IN_PROGRESS")
      }).pipe(withEndpoint({ workers: 1, handler: () => Effect.delay(Effect.succeed("late"), "5500 millis") }))
  )

  for (const [operation, bytes] of [
    ["run", 10 * 1024 * 1024],
    ["runsync", 20_000_000]
  ] as const) {
    it.effect(`a result of ${operation} over ${bytes} bytes is lost, and the job COMPLETED without it`, () =>
      Effect.gen(function* () {
        const lengthOf = (length: number) =>
          Effect.gen(function* () {
            const { text } = yield* post(`/v2/e/${operation}`, { input: { length } })
            const job = yield* read("e", JSON.parse(text).id)
            assert.strictEqual(job["status"], "COMPLETED")
            return String(job["output"] ?? "").length
          })
        // The quotes around the string are two of the bytes.
        assert.strictEqual(yield* lengthOf(bytes - 2), bytes - 2)
        assert.strictEqual(yield* lengthOf(bytes - 1), 0)
      }).pipe(withEndpoint({ handler: ({ length }) => Effect.succeed("x".repeat(Number(length))) }))
    )
  }

  it.effect("an empty input is accepted and fails much later, without reaching the handler", () =>
    Effect.gen(function* () {
      const id = yield* submit("e", { input: {} })
      yield* TestClock.adjust("44 seconds")
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", delayTime: 0 })
      yield* TestClock.adjust("45 seconds")
      assert.deepInclude(yield* read("e", id), { status: "IN_PROGRESS", delayTime: 45_000, retries: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* read("e", id), {
        status: "FAILED",
        error: "job timed out after 1 retries",
        delayTime: 45_000,
        executionTime: 45_000,
        retries: 1
      })
      assert.deepInclude(JSON.parse((yield* get("/v2/e/health")).text).jobs, { failed: 1, retried: 1, inProgress: 0 })
      assert.strictEqual((yield* look("e", id)).starts, 0)
    }).pipe(withEndpoint({ handler: () => Effect.succeed("never") }))
  )

  it.effect("ttl deletes a job in the queue", () =>
    Effect.gen(function* () {
      yield* submit("e")
      const id = yield* submit("e", { input: { n: 1 }, policy: { ttl: 10_000 } })
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual((yield* read("e", id))["status"], "IN_QUEUE")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* get(`/v2/e/status/${id}`)).status, 404)
      assert.include((yield* get("/v2/e/health")).text, `"inQueue":0`)
    }).pipe(withEndpoint({ workers: 1, execution: "1 hour" }))
  )

  it.effect("ttl deletes a running job, interrupts its handler and ends a hold with 404", () =>
    Effect.gen(function* () {
      const interrupted = yield* Ref.make(false)
      yield* Effect.gen(function* () {
        const id = yield* submit("e", { input: { n: 1 }, policy: { ttl: 10_000 } })
        const held = yield* Effect.fork(get(`/v2/e/status-sync/${id}`))
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* held).status, 404)
        assert.isTrue(yield* Ref.get(interrupted))
        assert.include((yield* get("/v2/e/health")).text, `"inProgress":0`)
      }).pipe(withEndpoint({ handler: () => Effect.onInterrupt(Effect.never, () => Ref.set(interrupted, true)) }))
    })
  )

  it.effect("a result is kept 30 minutes, that of a sync submit one", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* submit("e")
      const sync: string = JSON.parse((yield* post("/v2/e/runsync", { input: { n: 1 } })).text).id
      assert.match(sync, /^sync-/)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* get(`/v2/e/status/${sync}`)).status, 200)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* get(`/v2/e/status/${sync}`)).status, 404)
      assert.strictEqual((yield* get(`/v2/e/status/${id}`)).status, 200)
      yield* TestClock.adjust("29 minutes")
      assert.strictEqual((yield* get(`/v2/e/status/${id}`)).status, 404)
      assert.deepStrictEqual(yield* emulator.jobs("e"), [])
    }).pipe(withEndpoint({}))
  )

  it.effect("a job can be ended by hand as TIMED_OUT", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* submit("e")
      assert.isTrue(yield* emulator.end("e", id, { status: "TIMED_OUT" }))
      assert.deepInclude(yield* read("e", id), { status: "TIMED_OUT", executionTime: 0 })
      assert.isFalse(yield* emulator.end("e", id, { status: "COMPLETED" }))
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(yield* read("e", id), { status: "TIMED_OUT" })
    }).pipe(withEndpoint({ execution: "1 second" }))
  )
})

describe("cancel", () => {
  it.effect("a queued job is cancelled without timings and never starts", () =>
    Effect.gen(function* () {
      yield* submit("e")
      const id = yield* submit("e")
      assert.strictEqual((yield* post(`/v2/e/cancel/${id}`)).text, `{"id":"${id}","status":"CANCELLED"}`)
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* look("e", id), { status: "CANCELLED", starts: 0, cancels: 1 })
    }).pipe(withEndpoint({ workers: 1, execution: "1 second" }))
  )

  it.effect(
    "a running job is cancelled with timings and its handler interrupted; its worker takes the next when it is done",
    () =>
      Effect.gen(function* () {
        const cleaning = yield* Deferred.make<void>()
        yield* Effect.gen(function* () {
          const id = yield* submit("e")
          const next = yield* submit("e")
          yield* TestClock.adjust("3 seconds")
          assert.deepInclude(JSON.parse((yield* post(`/v2/e/cancel/${id}`)).text), {
            status: "CANCELLED",
            delayTime: 0,
            executionTime: 3000
          })
          yield* TestClock.adjust("1 second")
          assert.strictEqual((yield* read("e", next))["status"], "IN_QUEUE")
          yield* Deferred.succeed(cleaning, undefined)
          yield* TestClock.adjust("1 second")
          assert.strictEqual((yield* read("e", next))["status"], "IN_PROGRESS")
        }).pipe(
          withEndpoint({
            workers: 1,
            handler: () => Effect.onInterrupt(Effect.never, () => Deferred.await(cleaning))
          })
        )
      })
  )

  it.effect("a finished job answers as it is", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      assert.deepInclude(JSON.parse((yield* post(`/v2/e/cancel/${id}`)).text), {
        status: "COMPLETED",
        output: { n: 1 }
      })
      assert.deepInclude(yield* look("e", id), { status: "COMPLETED", cancels: 1 })
    }).pipe(withEndpoint({}))
  )
})

describe("retry and purge", () => {
  it.effect("only a job that failed is retried, under the same id and without its old output", () =>
    Effect.gen(function* () {
      const tries = yield* Ref.make(0)
      yield* Effect.gen(function* () {
        const id = yield* submit("e")
        assert.strictEqual((yield* read("e", id))["status"], "FAILED")
        const reply = yield* post(`/v2/e/retry/${id}`)
        assert.strictEqual(reply.text, `{"id":"${id}","status":"IN_QUEUE"}`)
        assert.deepInclude(yield* read("e", id), { status: "COMPLETED", output: "second" })
        assert.isUndefined((yield* read("e", id))["error"])
        assert.strictEqual((yield* post(`/v2/e/retry/${id}`)).status, 400)
        assert.deepInclude(yield* look("e", id), { retried: 1, starts: 2 })
        assert.include((yield* get("/v2/e/health")).text, `"retried":1`)
      }).pipe(
        withEndpoint({
          handler: () =>
            Effect.flatMap(
              Ref.updateAndGet(tries, (n) => n + 1),
              (n) => (n === 1 ? Effect.fail("first") : Effect.succeed("second"))
            )
        })
      )
    })
  )

  it.effect("purging removes what is queued and leaves what runs", () =>
    Effect.gen(function* () {
      const running = yield* submit("e")
      const queued = yield* Effect.replicateEffect(submit("e"), 3)
      assert.strictEqual((yield* post("/v2/e/purge-queue")).text, `{"removed":3,"status":"completed"}`)
      for (const id of queued) assert.strictEqual((yield* get(`/v2/e/status/${id}`)).status, 404)
      assert.strictEqual((yield* read("e", running))["status"], "IN_PROGRESS")
      assert.strictEqual((yield* post("/v2/e/purge-queue")).text, `{"removed":0,"status":"completed"}`)
    }).pipe(withEndpoint({ workers: 1, execution: "1 minute" }))
  )
})

describe("holds", () => {
  it.effect("a sync submit is answered when the job ends", () =>
    Effect.gen(function* () {
      const held = yield* Effect.fork(post("/v2/e/runsync", { input: { n: 1 } }))
      yield* TestClock.adjust("4 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.poll(held)))
      yield* TestClock.adjust("1 second")
      assert.deepInclude(JSON.parse((yield* held).text), { status: "COMPLETED", executionTime: 5000 })
    }).pipe(withEndpoint({ execution: "5 seconds" }))
  )

  it.effect("a hold ends after `wait`, or 90 seconds, and answers the job as it is then", () =>
    Effect.gen(function* () {
      const short = yield* Effect.fork(post("/v2/e/runsync?wait=1000", { input: { n: 1 } }))
      yield* TestClock.adjust("1 second")
      const { id, status } = JSON.parse((yield* short).text)
      assert.strictEqual(status, "IN_PROGRESS")
      const long = yield* Effect.fork(get(`/v2/e/status-sync/${id}`))
      yield* TestClock.adjust("89999 millis")
      assert.isTrue(Option.isNone(yield* Fiber.poll(long)))
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(JSON.parse((yield* long).text), { id, status: "IN_PROGRESS" })
    }).pipe(withEndpoint({ execution: "1 hour" }))
  )

  it.effect("a hold that is over as soon as it has begun is answered", () =>
    Effect.gen(function* () {
      const id = yield* submit("e")
      assert.include((yield* get(`/v2/e/status-sync/${id}?wait=1000`)).text, "IN_QUEUE")
    }).pipe(withEndpoint({ coldStart: "1 hour" }), Effect.withClock(slowMachine(1500)))
  )

  it.effect("a client that leaves a hold leaves its job running", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const held = yield* Effect.fork(post("/v2/e/runsync", { input: { n: 1 } }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(held)
      assert.strictEqual((yield* emulator.counts).abandoned, 1)
      assert.strictEqual((yield* emulator.counts).byOperation.runSync.inFlight, 0)
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude((yield* emulator.jobs("e"))[0], { status: "COMPLETED", executionTime: 5000 })
    }).pipe(withEndpoint({ execution: "5 seconds" }))
  )
})

describe("the control", () => {
  it.effect("secrets of a submit are kept and never shown", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* submit("e", {
        input: { n: 1 },
        webhook: "https://hooks.test/tok3n",
        s3Config: { accessId: "acc3ss", accessSecret: "s3cret", bucketName: "b", endpointUrl: "https://s3.test" }
      })
      const seen = JSON.stringify([yield* emulator.jobs("e"), yield* emulator.requests, yield* read("e", id)])
      for (const secret of ["tok3n", "acc3ss", "s3cret"]) assert.notInclude(seen, secret)
    }).pipe(withEndpoint({}))
  )

  it.effect("requests are counted by operation and status until the counts are reset", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* submit("e")
      yield* read("e", id)
      yield* get("/v2/e/status/nothing")
      const { byOperation, submitted, total } = yield* emulator.counts
      assert.deepStrictEqual([total, submitted], [3, 1])
      assert.deepStrictEqual(byOperation.status, {
        total: 2,
        byStatus: { 200: 1, 404: 1 },
        inFlight: 0,
        maxInFlight: 1
      })
      assert.deepStrictEqual(
        (yield* emulator.requests).map(({ jobId, operation, status }) => [operation, jobId, status]),
        [
          ["run", id, 200],
          ["status", id, 200],
          ["status", "nothing", 404]
        ]
      )
      yield* emulator.resetCounts
      assert.strictEqual((yield* emulator.counts).total, 0)
      assert.deepStrictEqual(yield* emulator.requests, [])
    }).pipe(withEndpoint({}))
  )
})
