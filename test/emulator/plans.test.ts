import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RunPod from "../../src/services/RunPod.js"
import { sha256 } from "../../src/internal/text/sha256.js"
import { finishOnTestClock } from "../support/finish.js"
import { get, post, read, submit } from "./support.js"

const { Fault } = Emulator

const world = (submits: ReadonlyArray<Emulator.SubmitPlan>, faults: ReadonlyArray<Emulator.Fault.Fault> = []) =>
  Effect.provide(Emulator.layer({ endpoints: { ep: { submits } }, faults }))

const run = (n: number) => submit("ep", { input: { n } })

describe("planned submits", () => {
  it.effect("a job leaves its queue, shows progress and chunks, and ends when its plan says so, whatever is free", () =>
    Effect.gen(function* () {
      const id = yield* run(1)
      const health = () => Effect.map(get("/v2/ep/health"), ({ text }): Health => JSON.parse(text))
      assert.deepInclude(yield* read("ep", id), { status: "IN_QUEUE" })
      assert.strictEqual((yield* health()).jobs["inQueue"], 1)
      yield* TestClock.adjust("9 seconds")
      assert.deepInclude(yield* read("ep", id), { status: "IN_QUEUE" })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* read("ep", id), { status: "IN_PROGRESS", delayTime: 10_000, workerId: "w9" })
      assert.deepInclude((yield* health()).jobs, { inQueue: 0, inProgress: 1 })
      yield* TestClock.adjust("5 seconds")
      assert.deepInclude(yield* read("ep", id), { status: "IN_PROGRESS", output: "half" })
      const { text } = yield* get(`/v2/ep/stream/${id}`)
      assert.deepStrictEqual(JSON.parse(text), { status: "IN_PROGRESS", stream: [{ output: "a" }] })
      yield* TestClock.adjust("5 seconds")
      const ended = { status: "FAILED", error: "no", output: 7, delayTime: 10_000, executionTime: 10_000 }
      assert.deepInclude(yield* read("ep", id), ended)
      assert.deepInclude((yield* health()).jobs, { inProgress: 0, failed: 1 })
    }).pipe(
      world([
        {
          input: 0,
          runs: [
            {
              startAfter: "10 seconds",
              endAfter: "20 seconds",
              end: { status: "FAILED", error: "no", output: 7 },
              workerId: "w9",
              progress: [{ after: "15 seconds", value: "half" }],
              chunks: [{ after: "12 seconds", value: "a" }]
            }
          ]
        }
      ])
    )
  )

  it.effect("a plan belongs to the input that came in its place, however often that is submitted", () =>
    Effect.gen(function* () {
      // The second input comes again before the first one does.
      const ids = [yield* run(10), yield* run(20), yield* run(20), yield* run(10), yield* run(30), yield* run(20)]
      const workers = yield* Effect.forEach(ids, (id) => Effect.map(read("ep", id), ({ workerId }) => workerId))
      assert.deepStrictEqual(workers.slice(0, 4), ["a1", "b1", "b2", "a1"])
      // One without a plan is an ordinary job, and the last plan of an input is taken again.
      assert.notInclude(["a1", "b1", "b2"], workers[4])
      assert.strictEqual(workers[5], "b2")
    }).pipe(world([at(0, "a1"), at(1, "b1"), at(1, "b2")]))
  )

  it.effect("a plan can name its input by its digest", () =>
    Effect.gen(function* () {
      const ids = [yield* run(5), yield* run(6)]
      assert.strictEqual((yield* read("ep", ids[1] ?? ""))["workerId"], "six")
      assert.notStrictEqual((yield* read("ep", ids[0] ?? ""))["workerId"], "six")
    }).pipe(world([at(sha256(JSON.stringify({ n: 6 })), "six")]))
  )

  it.effect("what goes wrong with a submit is met once, and its job runs only where it has one", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      const answers = yield* Effect.forEach([1, 2, 1, 2], (n) =>
        Effect.map(
          Effect.either(post("/v2/ep/run", { input: { n } })),
          Either.match({
            onLeft: () => "lost",
            onRight: ({ status }) => String(status)
          })
        )
      )
      assert.deepStrictEqual(answers, ["lost", "503", "200", "200"])
      const jobs = yield* emulator.jobs("ep")
      assert.lengthOf(jobs, 3)
    }).pipe(
      world([
        { input: 0, fault: Fault.resetAfter(), runs: [{ startAfter: 0 }] },
        { input: 1, fault: Fault.serverError() },
        { input: 1, runs: [{ startAfter: 0 }] }
      ])
    )
  )

  it.effect("a retry begins the next run, a cancel ends one, and a purge forgets what is queued", () =>
    Effect.gen(function* () {
      const id = yield* run(1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* read("ep", id))["status"], "FAILED")
      yield* post(`/v2/ep/retry/${id}`)
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* read("ep", id), { status: "IN_PROGRESS" })
      yield* post(`/v2/ep/cancel/${id}`)
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* read("ep", id), { status: "CANCELLED" })
      const queued = yield* run(2)
      const { text } = yield* post("/v2/ep/purge-queue")
      assert.strictEqual(JSON.parse(text).removed, 1)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* get(`/v2/ep/status/${queued}`)).status, 404)
    }).pipe(
      world([
        {
          input: 0,
          runs: [
            { endAfter: "1 second", end: { status: "FAILED" } },
            { startAfter: 0, endAfter: "10 seconds" }
          ]
        },
        { input: 1, runs: [{ startAfter: "30 minutes" }] }
      ])
    )
  )

  it.effect("a job is found in its time, and requests about it meet its own faults", () =>
    Effect.gen(function* () {
      const id = yield* run(1)
      const status = Effect.map(get(`/v2/ep/status/${id}`), (reply) => reply.status)
      const statuses: Array<number> = []
      for (let second = 0; second < 6; second++) {
        statuses.push(yield* status)
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(statuses, [404, 404, 200, 503, 200, 404])
      assert.strictEqual((yield* get(`/v2/ep/health`)).status, 200)
    }).pipe(
      world([
        {
          input: 0,
          runs: [{}],
          found: { from: "2 seconds", until: "5 seconds" },
          faults: [Fault.serverError({ operations: ["status"], between: { from: "3 seconds" }, times: 1 })]
        }
      ])
    )
  )
})

describe("faults", () => {
  it.effect("apply in their time alone", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      for (let second = 0; second < 5; second++) {
        seen.push((yield* get("/v2/ep/health")).status)
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(seen, [200, 503, 503, 200, 429])
    }).pipe(
      world(
        [],
        [
          Fault.serverError({ between: { from: "1 second", until: "3 seconds" } }),
          Fault.rateLimited({ between: { from: "4 seconds" } })
        ]
      )
    )
  )

  it.effect("a refused connection proves that nothing was sent, so a submit is sent again", () =>
    Effect.gen(function* () {
      const runPod = yield* RunPod.RunPod
      const emulator = yield* Emulator.Emulator
      yield* finishOnTestClock(runPod.run("ep", { input: { n: 1 } }))
      assert.lengthOf(yield* emulator.jobs("ep"), 1)
      assert.deepStrictEqual((yield* emulator.counts).faults, { Refused: 2 })
    }).pipe(Effect.provide(Emulator.layerRunPod({ endpoints: { ep: {} }, faults: [Fault.refused({ times: 2 })] })))
  )
})

interface Health {
  readonly jobs: Readonly<Record<string, number>>
}

function at(input: number | string, workerId: string): Emulator.SubmitPlan {
  return { input, runs: [{ startAfter: 0, workerId }] }
}
