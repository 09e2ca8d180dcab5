import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Stream, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { ask, emulated, hello, slow, text, withWorker } from "./loadBalancerSupport.js"
import { get } from "./support.js"

describe("the health of workers", () => {
  it.effect("sends requests to healthy workers only", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const fiber = yield* Effect.fork(ask("/"))
      yield* TestClock.adjust("12 seconds")
      assert.deepStrictEqual(
        (yield* emulator.loadBalancer("lb")).workers.map(({ status }) => status),
        ["initializing"]
      )
      yield* TestClock.adjust("8 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
      yield* TestClock.adjust("40 seconds")
      const refused = yield* Effect.fork(ask("/"))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        (yield* emulator.loadBalancer("lb")).workers.map(({ status }) => status),
        ["unhealthy"]
      )
      assert.include((yield* get("/v2/lb/health")).text, '"ready":0,"running":0,"throttled":0,"unhealthy":1')
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual((yield* Fiber.join(refused)).status, 400)
    }).pipe(
      emulated({
        app: hello,
        workers: { max: 1, min: 1 },
        ping: ({ age }) => (age < 20_000 ? 204 : age < 60_000 ? 200 : 503)
      })
    )
  )

  const warmUps: ReadonlyArray<readonly [idleTimeout: `${number} seconds`, upAfter: number]> = [
    ["0 seconds", 3000],
    ["1 seconds", 3000],
    ["1 seconds", 500],
    ["5 seconds", 60_000]
  ]
  for (const [idleTimeout, upAfter] of warmUps) {
    it.effect(`keeps a worker that is initializing for ${upAfter} ms, with an idleTimeout of ${idleTimeout}`, () =>
      Effect.gen(function* () {
        const emulator = yield* Emulator.Emulator
        const asking = yield* Effect.fork(ask("/"))
        yield* TestClock.adjust(Math.ceil(upAfter / 1000) * 1000)
        assert.strictEqual((yield* Fiber.join(asking)).status, 200)
        assert.strictEqual((yield* emulator.counts).coldStarts, 1)
      }).pipe(emulated({ app: hello, idleTimeout, ping: ({ age }) => (age < upAfter ? 204 : 200) }))
    )
  }

  it.effect("counts a worker as idle from when it is no longer initializing, also when nobody waits", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const workers = Effect.map(emulator.loadBalancer("lb"), (all) => all.workers.map(({ status }) => status))
      const leaving = yield* Effect.fork(ask("/"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(leaving)
      yield* TestClock.adjust("58 seconds")
      assert.deepStrictEqual(yield* workers, ["initializing"])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* workers, ["healthy"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* workers, [])
    }).pipe(emulated({ app: hello, ping: ({ age }) => (age < 60_000 ? 204 : 200) }))
  )
})

describe("affinity", () => {
  const sessions: Emulator.LoadBalancerOptions = {
    app: (workerId) => {
      let count = 0
      return Effect.delay(
        Effect.sync(() => text(`${workerId} ${++count}`)),
        "1 second"
      )
    },
    workers: { max: 2, min: 2 },
    concurrency: 1
  }

  const idOf = Effect.gen(function* () {
    const fiber = yield* Effect.fork(ask("/"))
    yield* TestClock.adjust("100 seconds")
    const { worker } = yield* Fiber.join(fiber)
    assert(worker !== undefined)
    return worker
  })

  it.effect("prefers a worker, and takes another when that has no room", () =>
    Effect.gen(function* () {
      const id = yield* idOf
      const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.fork(withWorker(id)))
      yield* TestClock.adjust("2 seconds")
      const replies = yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(replies[0]?.text, `${id} 2`)
      assert.isTrue(replies[1]?.text.endsWith(" 1"))
      const gone = yield* Effect.fork(withWorker("gone"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(gone)).status, 200)
    }).pipe(emulated(sessions))
  )

  it.effect("waits for the worker that it insists on, 5 minutes at most", () =>
    Effect.gen(function* () {
      const id = yield* idOf
      const fibers = yield* Effect.forEach([1, 2, 3, 4, 5], () => Effect.fork(withWorker(`strict ${id}`)))
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual((yield* Effect.forEach(fibers, Fiber.poll)).map(Option.isSome), [
        true,
        true,
        true,
        false,
        true
      ])
      yield* TestClock.adjust("1 minute")
      const replies = yield* Effect.forEach(fibers, Fiber.join)
      assert.isTrue(replies.slice(0, 4).every(({ worker }) => worker === id))
      assert.deepStrictEqual(JSON.parse(replies[4]?.text ?? ""), {
        status: 400,
        title: "Bad Request",
        detail: "timed out waiting for worker",
        code: "worker_timeout"
      })
    }).pipe(emulated({ ...sessions, app: slow("90 seconds") }))
  )

  it.effect("is told that a killed worker is gone, those who wait for it as well", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const id = yield* idOf
      const answering = yield* Effect.fork(withWorker(`strict ${id}`))
      const waiting = yield* Effect.fork(withWorker(`strict ${id}`))
      yield* TestClock.adjust("500 millis")
      assert.isTrue(yield* emulator.killWorker("lb", id))
      assert.isFalse(yield* emulator.killWorker("lb", id))
      assert.strictEqual((yield* Fiber.join(answering)).status, 502)
      const gone = yield* Fiber.join(waiting)
      assert.strictEqual(gone.status, 404)
      assert.strictEqual(JSON.parse(gone.text).detail, "affinity_worker_gone")
      assert.include((yield* withWorker(`strict-resume ${id}`)).text, "affinity_worker_gone")
      assert.lengthOf((yield* emulator.loadBalancer("lb")).workers, 2)
    }).pipe(emulated(sessions))
  )

  it.effect("resumes a worker that was scaled down only where it is asked to", () =>
    Effect.gen(function* () {
      const first = yield* Effect.fork(ask("/"))
      yield* TestClock.adjust("11 seconds")
      const { worker: id } = yield* Fiber.join(first)
      yield* TestClock.adjust("5 seconds")
      assert.include((yield* withWorker(`strict ${id}`)).text, "affinity_worker_gone")
      const resumed = yield* Effect.fork(withWorker(`strict-resume ${id}`))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.poll(resumed))._tag, "None")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(resumed)).text, `${id} 1`)
    }).pipe(emulated({ ...sessions, workers: 1, coldStart: "10 seconds" }))
  )

  it.effect("resumes a worker as soon as another that is idle makes room for it", () =>
    Effect.gen(function* () {
      const ofWorker = (header: string) => Effect.zipLeft(Effect.fork(withWorker(header)), TestClock.adjust("1 second"))
      const { worker: first } = yield* Fiber.join(yield* ofWorker(""))
      yield* TestClock.adjust("5 seconds")
      const { worker: second } = yield* Fiber.join(yield* ofWorker(""))
      assert.notStrictEqual(second, first)
      const resumed = yield* ofWorker(`strict-resume ${first}`)
      assert.strictEqual((yield* Fiber.poll(resumed))._tag, "None")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(resumed)).text, `${first} 1`)
    }).pipe(emulated({ ...sessions, workers: 1 }))
  )

  it.effect("does not survive the end of a stream's worker: the answer breaks off", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const reading = yield* Effect.fork(Effect.flip(ask("/")))
      yield* TestClock.adjust("1 second")
      const [worker] = (yield* emulator.loadBalancer("lb")).workers
      yield* emulator.killWorker("lb", worker?.id ?? "")
      assert.strictEqual((yield* Fiber.join(reading))._tag, "ResponseError")
      assert.deepInclude((yield* emulator.requests)[0], { abandoned: false })
    }).pipe(
      emulated({
        app: Effect.sync(() => HttpServerResponse.stream(Stream.concat(Stream.make(new Uint8Array(3)), Stream.never)))
      })
    )
  )
})
