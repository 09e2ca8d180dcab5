import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import type { JobError } from "../../src/errors/JobError.js"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import type { JobHandle, StreamOptions } from "../../src/services/JobHandle.js"
import type * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Recorder from "../support/recorder.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

const endpoint = Endpoint.make("ep", {
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Struct({ sum: Schema.Number }),
  progress: Schema.Struct({ step: Schema.Number }),
  chunk: Schema.Struct({ token: Schema.String })
})
interface Output {
  readonly sum: number
}
interface Progress {
  readonly step: number
}
interface Token {
  readonly token: string
}
type Handle = JobHandle<Output, Progress, Token>

const queued = json({ id: "job-1", status: "IN_QUEUE" })
const running = json({ status: "IN_PROGRESS" })
const completed = json({ status: "COMPLETED", output: { sum: 3 } })
const notFound = json({ status: 404, title: "Not Found", detail: "job not found" }, 404)
const chunks = (status: string, ...tokens: ReadonlyArray<string>) =>
  json({ status, stream: tokens.map((token) => ({ output: { token } })) })

type Transport = ReturnType<typeof Scripted.make>
const operationOf = ({ url }: Scripted.Asked): string => url.split("/")[3]?.split("?")[0] ?? ""
const operations = (t: Transport) => t.asked.map(operationOf)

/** A transport that answers each operation by its list; the last answer of it is repeated. */
const server = (
  answers: Record<string, ReadonlyArray<Scripted.Answer>>,
  latency?: Parameters<typeof Scripted.make>[1]
) => {
  const asked: Record<string, number> = {}
  return Scripted.make((request) => {
    const operation = operationOf(request)
    const list = answers[operation] ?? []
    const n = (asked[operation] = (asked[operation] ?? 0) + 1)
    return list[Math.min(n, list.length) - 1] ?? "hang"
  }, latency)
}

const attached = <A, E>(t: Transport, f: (job: Handle) => Effect.Effect<A, E, RunPod.RunPod>) =>
  Effect.provide(
    Effect.flatMap(endpoint, (ep) => f(ep.attach("job-1"))),
    t.layer()
  )

describe("JobHandle", () => {
  it.effect("status, cancel and retry are one request each", () =>
    Effect.gen(function* () {
      const t = server({ status: [running], cancel: [json({ status: "CANCELLED" })], retry: [queued] })
      const seen = yield* attached(t, (job) =>
        Effect.all([job.status, job.cancel, job.retry].map((effect) => Effect.map(effect, ({ status }) => status)))
      )
      assert.deepStrictEqual(seen, ["IN_PROGRESS", "CANCELLED", "IN_QUEUE"])
      assert.deepStrictEqual(
        t.asked.map(({ method, url }) => `${method} ${url}`),
        ["GET /v2/ep/status/job-1", "POST /v2/ep/cancel/job-1", "POST /v2/ep/retry/job-1"]
      )
    })
  )

  it.effect("watch reads progress with the schema, and leaves out what the schema does not accept", () =>
    Effect.gen(function* () {
      const t = server({
        "status-sync": [queued],
        status: [
          json({ status: "IN_PROGRESS", output: { step: 1 } }),
          json({ status: "IN_PROGRESS", output: "half" }),
          completed
        ]
      })
      const jobs = yield* finish(attached(t, (job) => Stream.runCollect(job.watch({ hold: false }))))
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(jobs).map((job) => [job.status, job.progress, job.output]),
        [
          ["IN_PROGRESS", { step: 1 }, { step: 1 }],
          ["IN_PROGRESS", undefined, "half"],
          ["COMPLETED", undefined, { sum: 3 }]
        ]
      )
    })
  )

  it.effect("settle and result hold", () =>
    Effect.gen(function* () {
      const t = server({ "status-sync": [completed] })
      assert.strictEqual((yield* finish(attached(t, (job) => job.settle()))).status, "COMPLETED")
      assert.deepStrictEqual(yield* finish(attached(t, (job) => job.result())), { sum: 3 })
      assert.deepStrictEqual(
        t.asked.map(({ url }) => url),
        ["/v2/ep/status-sync/job-1?wait=90000", "/v2/ep/status-sync/job-1?wait=90000"]
      )
    })
  )

  it.effect("a job's error text ends its sentence once", () =>
    Effect.gen(function* () {
      for (const error of ["The prompt is empty.", "The prompt is empty"]) {
        const t = server({ "status-sync": [json({ status: "FAILED", error })] })
        const failure = yield* finish(Effect.flip(attached(t, (job) => job.result())))
        assert.include(failure.message, "failed: The prompt is empty. Read ")
      }
    })
  )

  describe("cancelling, which it does only when told to", () => {
    const answers = { run: [queued], status: [running], cancel: [json({ status: "CANCELLED" })] }
    const makes: Record<string, Effect.Effect<Handle, RunPodError, RunPod.RunPod>> = {
      run: Effect.flatMap(endpoint, (ep) => ep.run({ n: 1 })),
      attach: Effect.map(endpoint, (ep) => ep.attach("job-1"))
    }
    const waits: Record<
      string,
      (job: Handle, options: Endpoint.CallOptions<Progress>) => Effect.Effect<unknown, RunPodError | JobError>
    > = {
      settle: (job, options) => job.settle(options),
      result: (job, options) => job.result(options),
      watch: (job, options) => Stream.runDrain(job.watch(options))
    }
    for (const [from, make] of Object.entries(makes)) {
      for (const [name, wait] of Object.entries(waits)) {
        for (const cancels of [undefined, true]) {
          const what = `${name} on a handle from ${from} ${cancels === true ? "cancels its job when told to" : "leaves its job alone"}`
          const options = {
            hold: false as const,
            ...(cancels === undefined ? {} : { cancelOnInterrupt: cancels, cancelOnTimeout: cancels })
          }

          it.effect(`interrupted: ${what}`, () =>
            Effect.gen(function* () {
              const t = server(answers)
              const fiber = yield* Effect.fork(
                Effect.provide(
                  Effect.flatMap(make, (job) => wait(job, options)),
                  t.layer()
                )
              )
              yield* TestClock.adjust("8 seconds")
              yield* Fiber.interrupt(fiber)
              assert.strictEqual(operations(t).filter((name) => name === "cancel").length, cancels === true ? 1 : 0)
            })
          )

          it.effect(`timed out: ${what}`, () =>
            Effect.gen(function* () {
              const t = server(answers)
              const program = Effect.flatMap(make, (job) =>
                Effect.flip(wait(job, { ...options, timeout: "8 seconds" }))
              )
              const error = yield* finish(Effect.provide(program, t.layer()))
              assert(error._tag === "WaitTimeoutError")
              assert.strictEqual(error.cancel, cancels === true ? "Pending" : "No")
              assert.strictEqual(operations(t).filter((name) => name === "cancel").length, cancels === true ? 1 : 0)
            })
          )
        }
      }
    }
  })

  describe("stream", () => {
    /** The tokens that came, and the error at the end if there was one. */
    const read = (t: Transport, options?: StreamOptions) =>
      attached(t, (job) =>
        Effect.suspend(() => {
          const tokens: Array<string> = []
          return job.stream(options).pipe(
            Stream.runForEach(({ token }) => Effect.sync(() => void tokens.push(token))),
            Effect.either,
            Effect.map((end) => ({ text: tokens.join(""), error: Either.getOrUndefined(Either.flip(end)) }))
          )
        })
      )
    const counting = () => {
      const gaps: Array<string> = []
      return { gaps, onGap: (error: RunPodError) => Effect.sync(() => void gaps.push(error._tag)) }
    }

    it.effect("gives the chunks in order and ends with the job", () =>
      Effect.gen(function* () {
        const t = server({
          stream: [
            chunks("IN_QUEUE"),
            chunks("IN_PROGRESS", "a", "b"),
            chunks("IN_PROGRESS", "c"),
            chunks("COMPLETED", "d")
          ],
          "status-sync": [completed],
          status: [completed]
        })
        assert.deepStrictEqual(yield* finish(read(t)), { text: "abcd", error: undefined })
      })
    )

    it.effect("asks no more when its last answer said COMPLETED, and tells of that end", () =>
      Effect.gen(function* () {
        const ended: Array<string> = []
        const last = json({ status: "COMPLETED", executionTime: 7, stream: [{ output: { token: "b" } }] })
        const t = server({ stream: [chunks("IN_PROGRESS", "a"), last] })
        const onEnd = (status: string) => Effect.sync(() => void ended.push(status))
        assert.deepStrictEqual(yield* finish(read(t, { onEnd })), { text: "ab", error: undefined })
        assert.deepStrictEqual(operations(t), ["stream", "stream"])
        assert.deepStrictEqual(ended, ["COMPLETED"])
      })
    )

    it.effect("a bare array says nothing of the job: its status does", () =>
      Effect.gen(function* () {
        const ended: Array<string> = []
        const t = server({
          stream: [json([{ output: { token: "a" } }]), json([])],
          status: [completed],
          "status-sync": [completed]
        })
        const onEnd = (status: string) => Effect.sync(() => void ended.push(status))
        assert.deepStrictEqual(yield* finish(read(t, { onEnd })), { text: "a", error: undefined })
        assert.deepStrictEqual(operations(t), ["stream", "stream", "status", "stream"])
        assert.deepStrictEqual(ended, ["COMPLETED"])
      })
    )

    const ends: Record<string, string> = {
      FAILED: "JobFailedError",
      CANCELLED: "JobCancelledError",
      TIMED_OUT: "JobTimedOutError"
    }
    for (const [status, tag] of Object.entries(ends)) {
      it.effect(`a job that is ${status}: ${tag} after the last chunk, from one look at its status`, () =>
        Effect.gen(function* () {
          const t = server({
            stream: [chunks("IN_PROGRESS", "a"), chunks(status, "b")],
            status: [json({ status, error: "no memory" })]
          })
          const { error, text } = yield* finish(read(t))
          assert.strictEqual(text, "ab")
          assert.strictEqual(error?._tag, tag)
          assert.strictEqual(operations(t).filter((name) => name === "status").length, 1)
        })
      )
    }

    it.effect("a completed job without an output is no error: its chunks are the output", () =>
      Effect.gen(function* () {
        const t = server({ stream: [json([])], status: [json({ status: "COMPLETED" })] })
        assert.deepStrictEqual(yield* finish(read(t)), { text: "", error: undefined })
      })
    )

    it.effect("the look at the status outlives faults", () =>
      Effect.gen(function* () {
        const t = server({
          stream: [chunks("FAILED", "a")],
          status: ["reset", { status: 503, body: "" }, json({ status: "FAILED", error: "no memory" })]
        })
        assert.strictEqual((yield* finish(read(t))).error?._tag, "JobFailedError")
      })
    )

    for (const fault of ["reset", "stall"] as const) {
      it.effect(`goes on after an answer that was lost (${fault}), and reports the gap`, () =>
        Effect.gen(function* () {
          const { gaps, onGap } = counting()
          const t = server({
            stream: [chunks("IN_PROGRESS", "a"), fault, chunks("COMPLETED", "c")],
            status: [completed]
          })
          assert.deepStrictEqual(yield* finish(read(t, { onGap })), { text: "ac", error: undefined })
          assert.strictEqual(gaps.length, 1)
        })
      )
    }

    it.effect("reports no gap when nothing can have been lost", () =>
      Effect.gen(function* () {
        const { gaps, onGap } = counting()
        const t = server({
          stream: [chunks("IN_PROGRESS", "a"), "refused", { status: 429, body: "" }, chunks("COMPLETED", "b")],
          status: [completed]
        })
        assert.deepStrictEqual(yield* finish(read(t, { onGap })), { text: "ab", error: undefined })
        assert.deepStrictEqual(gaps, [])
      })
    )

    it.effect("outlives more faults in a row than one operation does", () =>
      Effect.gen(function* () {
        const { gaps, onGap } = counting()
        const t = server({
          stream: [...Array.from({ length: 20 }, () => "reset" as const), chunks("COMPLETED", "a")],
          status: [completed]
        })
        assert.deepStrictEqual(yield* finish(read(t, { onGap })), { text: "a", error: undefined })
        assert.strictEqual(gaps.length, 20)
      })
    )

    it.effect("logs a gap as a warning when nobody asked for it", () =>
      Effect.gen(function* () {
        const { entries, layer } = Recorder.makeLogger()
        const t = server({ stream: ["reset", chunks("COMPLETED", "a")], status: [completed] })
        yield* finish(Effect.provide(read(t), layer))
        assert.deepStrictEqual(
          entries.map(({ logLevel }) => logLevel.label),
          ["WARN"]
        )
        assert.include(JSON.stringify(entries[0]), "job-1")
      })
    )

    it.effect("waits for a job that is not visible yet, moments after our own submit", () =>
      Effect.gen(function* () {
        const t = server({ run: [queued], stream: [notFound, notFound, chunks("COMPLETED", "a")], status: [completed] })
        const program = Effect.flatMap(endpoint, (ep) =>
          Effect.flatMap(ep.run({ n: 1 }), (job) => Stream.runCollect(job.stream()))
        )
        const tokens = yield* finish(Effect.provide(program, t.layer()))
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(tokens).map(({ token }) => token),
          ["a"]
        )
      })
    )

    it.effect("ends at once with what is definite", () =>
      Effect.gen(function* () {
        const t = server({ stream: [notFound] })
        assert.strictEqual((yield* finish(read(t))).error?._tag, "JobNotFoundError")
        const forbidden = server({ stream: [json({ status: 403, title: "Forbidden" }, 403)] })
        assert.strictEqual((yield* finish(read(forbidden))).error?._tag, "PermissionDeniedError")
      })
    )

    it.effect("a chunk that its schema does not accept is an OutputDecodeError with the chunk", () =>
      Effect.gen(function* () {
        const t = server({
          stream: [json({ status: "IN_PROGRESS", stream: [{ output: { token: "a" } }, { output: { token: 7 } }] })]
        })
        const { error, text } = yield* finish(read(t))
        assert.strictEqual(text, "a")
        assert(error?._tag === "OutputDecodeError")
        assert.deepStrictEqual(error.output, { token: 7 })
      })
    )

    it.effect("ends at its timeout with a WaitTimeoutError", () =>
      Effect.gen(function* () {
        const t = server({ stream: [chunks("IN_PROGRESS", "a"), chunks("IN_PROGRESS")] })
        const [took, { error, text }] = yield* finish(Effect.timed(read(t, { timeout: "7 seconds" })))
        assert.strictEqual(text, "a")
        assert.strictEqual(error?._tag, "WaitTimeoutError")
        assert.strictEqual(Duration.toMillis(took), 7_000)
      })
    )

    it.effect("ends after 24 hours, however little was heard of the job", () =>
      Effect.gen(function* () {
        const t = server({ stream: [json({ error: "slow down" }, 429, { "retry-after": "7200" })] })
        const [took, { error }] = yield* finish(Effect.timed(read(t)), "25 hours")
        assert.strictEqual(error?._tag, "WaitTimeoutError")
        assert.strictEqual(Duration.toHours(took), 24)
      })
    )

    it.effect("asks RunPod to hold each read for as long as it is told", () =>
      Effect.gen(function* () {
        const t = server({ stream: [chunks("COMPLETED")], status: [completed] })
        yield* finish(read(t, { wait: "20 seconds" }))
        assert.strictEqual(t.asked[0]?.url, "/v2/ep/stream/job-1?wait=20000")
      })
    )
  })
})
