/** Batches over endpoints that are not of this library's making. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Emulator from "../../src/emulator/Emulator.js"
import { RateLimitedError, type RunPodError, TransportError } from "../../src/errors/RunPodError.js"
import * as JobId from "../../src/schemas/JobId.js"
import type * as JournalEntry from "../../src/schemas/JournalEntry.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import type { Endpoint } from "../../src/services/Endpoint.js"
import type { JobHandle } from "../../src/services/JobHandle.js"
import { counts, emulated, endpoint, inputs, kindOf, type Numbered, statuses } from "../support/batches.js"
import { finish } from "../support/finish.js"

const { Fault } = Emulator

type NumberedEndpoint = Endpoint<Numbered, Numbered>

/** Nothing but what an endpoint must have. */
const required = ({ attach, call, health, id, purgeQueue, requests, run, runSync }: NumberedEndpoint) =>
  ({ attach, call, health, id, purgeQueue, requests, run, runSync }) satisfies NumberedEndpoint

/** An endpoint without RunPod: its jobs take a second and give their input back. */
const inMemory = (refuse: (n: number) => RunPodError | undefined = () => undefined) => {
  const told: Array<string> = []
  const tell = (what: string) => Effect.sync(() => void told.push(what))
  const jobs = new Map<string, Numbered>()
  const handleOf = (jobId: string): JobHandle<Numbered> => {
    const id = JobId.unsafeMake(jobId)
    const output = jobs.get(jobId)
    const settled = Effect.delay(Effect.succeed({ id, status: "COMPLETED" as const, output, raw: {} }), "1 second")
    return {
      id,
      endpointId: "double",
      status: Effect.die("not asked for"),
      watch: () => Stream.die("not asked for"),
      stream: () => Stream.die("not asked for"),
      retry: Effect.die("not asked for"),
      settle: () => settled,
      result: () => (output === undefined ? Effect.die("no such job") : Effect.succeed(output)),
      cancel: Effect.as(tell(`cancel ${jobId}`), { id, status: "CANCELLED", raw: {} })
    }
  }
  const double: NumberedEndpoint = {
    id: "double",
    run: (input) =>
      Effect.zipRight(
        tell(`run ${input.n}`),
        Effect.suspend(() => {
          const error = refuse(input.n)
          if (error !== undefined) return Effect.fail(error)
          const jobId = `job-${input.n}`
          jobs.set(jobId, input)
          return Effect.succeed(handleOf(jobId))
        })
      ),
    attach: handleOf,
    call: () => Effect.die("not asked for"),
    runSync: () => Effect.die("not asked for"),
    health: Effect.die("not asked for"),
    purgeQueue: Effect.die("not asked for"),
    requests: Effect.die("not asked for")
  }
  return { double, told, tell }
}

/** A journal that tells what is appended to it. */
const observed = (tell: (what: string) => Effect.Effect<void>) =>
  Effect.map(BatchJournal.memory, (journal): BatchJournal.BatchJournal => ({
    ...journal,
    append: (entry: JournalEntry.Entry) => Effect.zipRight(tell(`${entry._tag} ${entry.key}`), journal.append(entry))
  }))

const where = { operation: "run", method: "POST", path: "/double/run" } as const

describe("an endpoint of one's own", () => {
  it.effect("runs batches, with and without a journal", () =>
    Effect.gen(function* () {
      const { double, tell, told } = inMemory()
      assert.deepStrictEqual((yield* finish(Batch.collect(double, inputs(20)))).counts, { Completed: 20 })
      told.length = 0
      const journal = yield* observed(tell)
      const report = yield* finish(Batch.collect(double, inputs(1), { journal }))
      assert.deepStrictEqual(report.results[0]?.result, Exit.succeed({ n: 0 }))
      assert.deepStrictEqual(told, ["Intent 0", "run 0", "Submitted 0", "Settled 0"])
      const again = yield* finish(Batch.collect(double, inputs(2), { journal }))
      assert.deepStrictEqual([again.completed, again.replayed], [2, 1])
    })
  )

  it.effect("whose submit is refused is asked again, and the journal left without a doubt meanwhile", () =>
    Effect.gen(function* () {
      let refusals = 1
      const { double, tell, told } = inMemory(() => (refusals-- > 0 ? new RateLimitedError(where) : undefined))
      const journal = yield* observed(tell)
      const report = yield* finish(Batch.collect(double, inputs(1), { journal }))
      assert.deepStrictEqual(
        report.results.map(({ attempts }) => attempts),
        [1]
      )
      assert.deepStrictEqual(told, ["Intent 0", "run 0", "Released 0", "Intent 0", "run 0", "Submitted 0", "Settled 0"])
    })
  )

  it.effect("whose answer is lost leaves the item open, and is not asked again", () =>
    Effect.gen(function* () {
      const lost = new TransportError({ ...where, sent: "Maybe", cause: "reset" })
      const { double, tell, told } = inMemory(() => lost)
      const journal = yield* observed(tell)
      assert.deepStrictEqual((yield* finish(Batch.collect(double, inputs(1), { journal }))).results.map(kindOf), [
        "TransportError"
      ])
      const again = yield* finish(Batch.collect(double, inputs(1), { journal }))
      assert.deepStrictEqual(again.results.map(kindOf), ["SubmitAmbiguousError"])
      assert.deepStrictEqual(told, ["Intent 0", "run 0"])
    })
  )

  it.effect("submits and is waited for", () =>
    Effect.gen(function* () {
      const { double } = inMemory()
      const submissions = yield* Batch.submit(double, inputs(3))
      const handles = yield* Effect.forEach(submissions, ({ result }) => result)
      const outcomes = yield* finish(Batch.wait(double, [...handles, "job-1"]))
      assert.deepStrictEqual(
        outcomes.map(({ result }) => result),
        [0, 1, 2, 1].map((n) => Exit.succeed({ n }))
      )
    })
  )

  it.effect("has its jobs cancelled when the batch is interrupted", () =>
    Effect.gen(function* () {
      const { double, told } = inMemory()
      const fiber = yield* Effect.fork(Batch.collect(double, inputs(5), { concurrency: 2 }))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(fiber)
      assert.sameMembers(told, ["run 0", "run 1", "cancel job-0", "cancel job-1"])
    })
  )
})

describe("the required members of an endpoint of this library alone", () => {
  it.effect("run batches, submit and wait", () =>
    Effect.gen(function* () {
      const ep = required(yield* endpoint)
      const journal = yield* BatchJournal.memory
      assert.deepStrictEqual((yield* finish(Batch.collect(ep, inputs(20)))).counts, { Completed: 20 })
      assert.deepStrictEqual((yield* finish(Batch.collect(ep, inputs(20), { journal }), "1 hour")).counts, {
        Completed: 20
      })
      const submissions = yield* finish(Batch.submit(ep, inputs(5)))
      const handles = yield* Effect.forEach(submissions, ({ result }) => result)
      const outcomes = yield* finish(Batch.wait(ep, handles))
      assert.isTrue(outcomes.every(({ result }) => Exit.isSuccess(result)))
      assert.strictEqual((yield* counts).submitted, 45)
    }).pipe(
      Effect.provide(emulated({ workers: 10 }, { faults: [Fault.rateLimited({ operations: ["run"], times: 3 })] }))
    )
  )

  it.effect("stop a batch that has to, once what was handed to `run` has come back", () =>
    Effect.gen(function* () {
      const ep = required(yield* endpoint)
      const error = yield* finish(Effect.flip(Batch.collect(ep, inputs(1000), { concurrency: 4 })))
      assert.strictEqual(error._tag, "EndpointPausedError")
      assert.isAtMost((yield* counts).byOperation.run.total, 10)
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.paused({ after: 5 })] })))
  )
})

describe("a decorated endpoint", () => {
  const decorated = Effect.map(endpoint, (inner) => {
    const state = { runs: 0 }
    const run: typeof inner.run = (input, options) =>
      Effect.zipRight(
        Effect.sync(() => state.runs++),
        inner.run(input, options)
      )
    return { ep: { ...inner, run }, state }
  })

  it.effect("runs batches, and still tells when it sends", () =>
    Effect.gen(function* () {
      const { ep, state } = yield* decorated
      const told: Array<string> = []
      const journal = yield* observed((what) => Effect.sync(() => void told.push(what)))
      const report = yield* finish(Batch.collect(ep, inputs(1), { journal }))
      assert.deepStrictEqual(report.counts, { Completed: 1 })
      assert.strictEqual(state.runs, 1)
      // The refused attempt and the next one are of one `run`.
      assert.deepStrictEqual(told, ["Intent 0", "Released 0", "Intent 0", "Submitted 0", "Settled 0"])
    }).pipe(Effect.provide(emulated({}, { faults: [Fault.rateLimited({ operations: ["run"], times: 1 })] })))
  )

  it.effect("has a job cancelled that was started while the batch was interrupted", () =>
    Effect.gen(function* () {
      const { ep } = yield* decorated
      const fiber = yield* Effect.fork(Batch.collect(ep, inputs(3)))
      yield* TestClock.adjust("1 second")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* statuses, { CANCELLED: 3 })
    }).pipe(
      Effect.provide(
        emulated({ execution: "1 minute" }, { faults: [Fault.delay({ operations: ["run"], by: "5 seconds" })] })
      )
    )
  )
})
