/** What the client promises, as programs against an emulator: in memory under TestClock, or behind a real server. */
import { assert } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import type { JobError } from "../../src/errors/JobError.js"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as RunPod from "../../src/services/RunPod.js"

const { Fault } = Emulator

const reads = { operations: ["status", "statusSync", "stream", "cancel", "health", "requests"], rate: 0.4 } as const

/** Every fault that a client can outlive, on the requests that may be sent again. Those that stand still do so twice. */
export const faults: Record<string, ReadonlyArray<Emulator.Fault.Fault>> = {
  none: [],
  "stall in the body": [Fault.stall({ ...reads, times: 2 })],
  // A cancel has 10 seconds and gives each attempt 5: it outlives one of these, not two.
  "no answer": [
    Fault.hang({ ...reads, operations: ["status", "health", "requests"], times: 2 }),
    Fault.hang({ ...reads, operations: ["cancel"], times: 1 })
  ],
  "all at once": [
    Fault.rateLimited({ ...reads, rate: 0.1, times: 3 }),
    Fault.serverError({ ...reads, rate: 0.2 }),
    Fault.resetAfter({ ...reads, rate: 0.2 }),
    Fault.truncated({ ...reads, rate: 0.2 }),
    Fault.htmlOk({ ...reads, rate: 0.2 })
  ],
  "429 without Retry-After": [Fault.rateLimited({ ...reads, times: 4 })],
  "429 with Retry-After in seconds": [Fault.rateLimited({ ...reads, times: 3, retryAfter: "1 second" })],
  "429 with Retry-After as a date": [Fault.rateLimited({ ...reads, times: 3, retryAfter: "1 second", as: "date" })],
  "503 JSON": [Fault.serverError(reads)],
  "500 JSON, acted on": [Fault.serverError({ ...reads, status: 500, processed: true })],
  "502 HTML": [Fault.serverError({ ...reads, status: 502, body: "html" })],
  "520 text": [Fault.serverError({ ...reads, status: 520, body: "text" })],
  "504 empty": [Fault.serverError({ ...reads, status: 504, body: "empty" })],
  "HTML on 200": [Fault.htmlOk(reads)],
  "nothing on 200": [Fault.emptyOk(reads)],
  "reset before": [Fault.resetBefore(reads)],
  "reset after": [Fault.resetAfter(reads)],
  "truncated JSON": [Fault.truncated(reads)],
  "cut body": [Fault.cutBody(reads)],
  "not visible yet": [Fault.notVisibleYet({ operations: ["status", "statusSync", "stream"], for: "400 millis" })],
  "late answers": [Fault.delay({ ...reads, by: "100 millis" })]
}

export const endpoints: Emulator.Options["endpoints"] = {
  double: {
    workers: 4,
    coldStart: "20 millis",
    handler: (input, job) =>
      Effect.gen(function* () {
        yield* Effect.sleep("50 millis")
        yield* job.progress({ percent: 50 })
        yield* Effect.sleep("50 millis")
        return { n: Number(input["n"]) * 2 }
      })
  },
  broken: { workers: 1, handler: () => Effect.fail(new RangeError("n is out of range")) },
  slow: { workers: 2, execution: "10 minutes" },
  tokens: {
    workers: 1,
    handler: () => Stream.schedule(Stream.fromIterable(["a", "b", "c", "d"]), spaced)
  }
}

const spaced = Schedule.spaced("30 millis")

const N = Schema.Struct({ n: Schema.Number })
const make = (id: string) => Endpoint.make(id, { input: N, output: N, chunk: Schema.String })

type Env = RunPod.RunPod | Emulator.Emulator
export type Scenario = Effect.Effect<void, RunPodError | JobError, Env>

/** Single operations get their time, too: with two of three requests failing, five attempts are not many. */
export const client = { retry: RetryPolicy.make({ maxAttempts: 15, cap: "1 second" }) }

/** How long a wait may go on under faults. */
const patience = "5 minutes"

const jobs = (id: string) => Effect.flatMap(Emulator.Emulator, (emulator) => emulator.jobs(id))

const failureOf = <E>(exit: Exit.Exit<unknown, E>): E => {
  if (Exit.isFailure(exit) && exit.cause._tag === "Fail") return exit.cause.error
  throw new Error(`expected a failure, got ${String(exit)}`)
}

export const scenarios: Record<string, (options: Endpoint.CallOptions) => Scenario> = {
  "call returns the output": (options) =>
    Effect.gen(function* () {
      const double = yield* make("double")
      const results = yield* Effect.forEach(
        [1, 2, 3, 4, 5, 6],
        (n) => double.call({ n }, { timeout: patience, ...options }),
        {
          concurrency: "unbounded"
        }
      )
      assert.deepStrictEqual(
        results.map(({ n }) => n),
        [2, 4, 6, 8, 10, 12]
      )
      const all = yield* jobs("double")
      assert.strictEqual(all.length, 6)
      assert.isTrue(all.every(({ cancels }) => cancels === 0))
    }),

  "a failed job is a JobFailedError with what its handler said": (options) =>
    Effect.gen(function* () {
      const broken = yield* make("broken")
      const error = failureOf(yield* Effect.exit(broken.call({ n: 1 }, { timeout: patience, ...options })))
      assert(error._tag === "JobFailedError")
      assert.include(error.detail ?? "", "n is out of range")
    }),

  "interrupting a call cancels its job": (options) =>
    Effect.gen(function* () {
      const slow = yield* make("slow")
      const fiber = yield* Effect.fork(slow.call({ n: 1 }, { timeout: patience, ...options }))
      yield* Effect.sleep("200 millis")
      yield* Fiber.interrupt(fiber)
      const [job] = yield* jobs("slow")
      assert.strictEqual(job?.status, "CANCELLED")
    }),

  "a call that reaches its deadline cancels its job": (options) =>
    Effect.gen(function* () {
      const slow = yield* make("slow")
      const [took, exit] = yield* Effect.timed(Effect.exit(slow.call({ n: 1 }, { ...options, timeout: "1500 millis" })))
      const error = failureOf(exit)
      assert(error._tag === "WaitTimeoutError")
      assert.isAtMost(Duration.toMillis(took), 1_550 + 400)
      const cancelled = Effect.repeat(jobs("slow"), {
        until: ([job]) => job?.status === "CANCELLED",
        schedule: Schedule.spaced("50 millis")
      })
      yield* Effect.timeoutFail(cancelled, { duration: "1 minute", onTimeout: () => error })
    }),

  "a handle can be watched, attached to and read": (options) =>
    Effect.gen(function* () {
      const double = yield* make("double")
      const handle = yield* double.run({ n: 4 })
      const seen = yield* Stream.runCollect(handle.watch({ timeout: patience, ...options }))
      assert.strictEqual(Chunk.unsafeLast(seen).status, "COMPLETED")
      const again = double.attach(handle.id)
      assert.deepStrictEqual(yield* again.result({ timeout: patience, ...options }), { n: 8 })
    }),

  "runSync returns the output": (options) =>
    Effect.gen(function* () {
      const double = yield* make("double")
      assert.deepStrictEqual(yield* double.runSync({ n: 5 }, { timeout: patience, ...options }), { n: 10 })
    }),

  "a stream gives its chunks, or reports a gap": () =>
    Effect.gen(function* () {
      const tokens = yield* make("tokens")
      const handle = yield* tokens.run({ n: 1 })
      let gaps = 0
      const onGap = () => Effect.sync(() => void gaps++)
      const chunks = yield* Stream.runCollect(handle.stream({ timeout: patience, onGap }))
      const text = Chunk.join(chunks, "")
      if (gaps === 0) assert.strictEqual(text, "abcd")
      else assert.isTrue([..."abcd"].filter((c) => text.includes(c)).join("") === text, text)
    }),

  "health, requests, retry and purge answer": () =>
    Effect.gen(function* () {
      const runPod = yield* RunPod.RunPod
      const slow = yield* make("slow")
      yield* Effect.forEach([1, 2, 3, 4], (n) => slow.run({ n }))
      const health = yield* slow.health
      assert.strictEqual((health.jobs.inQueue ?? 0) + (health.jobs.inProgress ?? 0), 4)
      assert.strictEqual((yield* slow.requests).length, 4)
      assert.strictEqual((yield* slow.purgeQueue).removed, 2)
      for (const job of yield* jobs("slow")) yield* runPod.cancel("slow", job.id)
      const broken = yield* make("broken")
      const handle = yield* broken.run({ n: 1 })
      yield* handle.settle()
      assert.strictEqual((yield* handle.retry).status, "IN_QUEUE")
    })
}
