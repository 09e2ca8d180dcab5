import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import type { JobError } from "../../src/errors/JobError.js"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish, finishOnTestClock } from "../support/finish.js"
import * as Recorder from "../support/recorder.js"
import * as Scripted from "../support/scripted.js"
import * as VirtualTime from "../support/virtualTime.js"

const { json } = Scripted
type Answer = Scripted.Answer

const endpoint = Endpoint.make("ep", {
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Struct({ sum: Schema.Number }),
  progress: Schema.Struct({ step: Schema.Number })
})
const input = { n: 1 }

const queued = json({ id: "job-1", status: "IN_QUEUE" })
// Of whatever job is asked for.
const running = json({ status: "IN_PROGRESS", delayTime: 5 })
const completed = json({ status: "COMPLETED", delayTime: 5, executionTime: 9, output: { sum: 3 } })
const cancelled = json({ id: "job-1", status: "CANCELLED" })
const forbidden = json({ status: 403, title: "Forbidden" }, 403)
const notFound = json({ status: 404, title: "Not Found", detail: "job not found" }, 404)

const operationOf = ({ url }: Scripted.Asked): string => url.split("/")[3]?.split("?")[0] ?? ""

/** A transport whose submits and cancels work; `poll` answers what asks for the job. */
const server = (
  poll: (asked: Scripted.Asked, polls: number) => Answer,
  latency?: Parameters<typeof Scripted.make>[1]
) => {
  let polls = 0
  const transport = Scripted.make((asked) => {
    switch (operationOf(asked)) {
      case "run":
      case "runsync":
        return queued
      case "cancel":
        return cancelled
      default:
        return poll(asked, ++polls)
    }
  }, latency)
  const of = (...operations: ReadonlyArray<string>) =>
    transport.asked.filter((asked) => operations.includes(operationOf(asked)))
  return { ...transport, of, polls: () => of("status", "status-sync") }
}

const failure = <E>(exit: Exit.Exit<unknown, E>): E => {
  if (Exit.isFailure(exit) && exit.cause._tag === "Fail") return exit.cause.error
  throw new Error(`expected a failure, got ${JSON.stringify(exit)}`)
}

const call = (options?: Endpoint.CallOptions<{ readonly step: number }>) =>
  Effect.flatMap(endpoint, (ep) => ep.call(input, options))

const settled = (
  t: Pick<ReturnType<typeof Scripted.make>, "layer">,
  effect: Effect.Effect<unknown, RunPodError | JobError, RunPod.RunPod>
) => finish(Effect.exit(Effect.provide(effect, t.layer())), "25 hours")

describe("waiting", () => {
  describe("what ends a wait", () => {
    const definite: Record<string, readonly [Answer, string]> = {
      "a 400": [json({ status: 400, title: "Bad Request", detail: "wrong" }, 400), "BadRequestError"],
      "a 401": [{ status: 401, body: "" }, "AuthenticationError"],
      "a 403": [forbidden, "PermissionDeniedError"],
      "an unknown endpoint": [json({ detail: "endpoint not found" }, 404), "EndpointNotFoundError"]
    }
    for (const [name, [answer, tag]] of Object.entries(definite)) {
      it.effect(`${name} ends it at once`, () =>
        Effect.gen(function* () {
          const t = server(() => answer)
          const error = failure(yield* settled(t, Jobs.settle("ep", "job-1")))
          assert.strictEqual(error._tag, tag)
          assert.deepStrictEqual(
            t.polls().map(({ at }) => at),
            t.polls().map(() => 0)
          )
        })
      )
    }

    const passing: Record<string, Answer> = {
      "429": { status: 429, body: "" },
      "503": { status: 503, body: "endpoint warming" },
      "500": json({ status: 500, title: "Internal Server Error" }, 500),
      HTML: { status: 502, body: "<html></html>" },
      "HTML on 200": { status: 200, body: "<html></html>" },
      "an empty 200": { status: 200, body: "" },
      "truncated JSON": { status: 200, body: `{"id":"job-1","status":"COMP` },
      "another job's end": json({ id: "job-2", status: "COMPLETED", output: { sum: 4 } }),
      "a 2xx error": json({ error: "try again" }),
      "a 2xx that is no job": json([1, 2]),
      ...Object.fromEntries(
        [301, 400, 401, 403, 404, 409, 410].map((status) => [
          `a gateway's page with ${status}`,
          { status, body: `<html><head><title>${status}</title></head><hr><center>nginx</center></html>` }
        ])
      ),
      "an empty 403": { status: 403, body: "" },
      "an empty 404": { status: 404, body: "" },
      "a gateway's JSON with 404": json({ message: "no Route matched with those values" }, 404),
      "a 413 to a request without a body": { status: 413, body: "" },
      "a paused endpoint": json({ status: 409, title: "Conflict", code: "ENDPOINT_PAUSED" }, 409),
      "a reset": "reset",
      "a refused connection": "refused",
      "a stall": "stall"
    }
    for (const [name, answer] of Object.entries(passing)) {
      it.effect(`${name} does not end it, twenty times in a row`, () =>
        Effect.gen(function* () {
          const t = server((_, polls) => (polls <= 20 ? answer : completed))
          assert.deepStrictEqual(yield* finish(Effect.provide(call(), t.layer()), "1 hour"), { sum: 3 })
          assert.strictEqual(t.polls().length, 21)
          assert.strictEqual(t.of("cancel").length, 0)
        })
      )
    }

    it.effect("it survives a minute of nothing but faults", () =>
      Effect.gen(function* () {
        const faults = Object.values(passing)
        const t = server(({ at }, polls) => (at < 60_000 ? faults[polls % faults.length]! : completed))
        assert.deepStrictEqual(yield* finish(Effect.provide(call(), t.layer())), { sum: 3 })
        const seenAt = t.polls().at(-1)!.at
        assert.isAtMost(seenAt, 60_000 + 6_000)
      })
    )

    it.effect("without a timeout it ends with the job's ttl", () =>
      Effect.gen(function* () {
        const t = server(() => "refused")
        const error = failure(yield* settled(t, call({ policy: { ttl: "30 minutes" } })))
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(Duration.toMinutes(error.elapsed), 30)
        assert.include(error.lastError ?? "", "nothing was sent")
      })
    )

    it.effect("without a ttl it ends after 24 hours", () =>
      Effect.gen(function* () {
        const t = server(() => running)
        const error = failure(yield* settled(t, Jobs.settle("ep", "job-1", { poll: Schedule.spaced("1 hour") })))
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(Duration.toHours(error.elapsed), 24)
        assert.strictEqual(error.lastStatus, "IN_PROGRESS")
        assert.strictEqual(error.cancel, "No")
      })
    )

    it.effect("the end of the poll schedule is a WaitTimeoutError", () =>
      Effect.gen(function* () {
        const t = server(() => running)
        const poll = Schedule.intersect(Schedule.spaced("2 seconds"), Schedule.recurs(3))
        const error = failure(yield* settled(t, Jobs.settle("ep", "job-1", { poll })))
        assert.strictEqual(error._tag, "WaitTimeoutError")
        assert.deepStrictEqual(t.times(), [0, 2_000, 4_000, 6_000])
      })
    )

    it.effect("an unknown status is waited on", () =>
      Effect.gen(function* () {
        const t = server((_, polls) => (polls === 1 ? json({ status: "REBOOTING" }) : completed))
        const job = yield* finish(Effect.provide(Jobs.settle("ep", "job-1"), t.layer()))
        assert.strictEqual(job.status, "COMPLETED")
      })
    )

    it.effect("a job that a late progress update left IN_PROGRESS is named in the timeout", () =>
      Effect.gen(function* () {
        const t = server(() => json({ status: "IN_PROGRESS", executionTime: 4000, output: "step 3" }))
        const error = failure(yield* settled(t, Jobs.settle("ep", "job-1", { timeout: "1 minute" })))
        assert(error._tag === "WaitTimeoutError")
        assert.include(error.message, "may have ended")
      })
    )
  })

  describe("a job that is not found", () => {
    it.effect("moments after our own submit it is not visible yet, and found when it is", () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at < 1_500 ? notFound : completed))
        assert.deepStrictEqual(yield* finish(Effect.provide(call(), t.layer())), { sum: 3 })
        assert.isAtMost(t.polls().at(-1)!.at, 3_500)
      })
    )

    it.effect("a minute after our own submit it is an error, and the job is cancelled", () =>
      Effect.gen(function* () {
        const t = server(() => notFound)
        const error = failure(yield* settled(t, call()))
        assert(error._tag === "JobNotFoundError")
        assert.strictEqual(error.reason, "Unknown")
        assert.isAtLeast(t.polls().at(-1)!.at, 60_000)
        // The one before may come just short of a minute, and this a tenth of its age later.
        assert.isAtMost(t.polls().at(-1)!.at, 66_000)
        assert.strictEqual(t.of("cancel").length, 1)
      })
    )

    it.effect("there is no grace for a job from elsewhere", () =>
      Effect.gen(function* () {
        const t = server(() => notFound)
        const wait = Effect.flatMap(endpoint, (ep) => ep.attach("job-1").settle())
        const error = failure(yield* settled(t, wait))
        assert(error._tag === "JobNotFoundError")
        assert.strictEqual(error.reason, "Unknown")
        assert.isTrue(t.polls().every(({ at }) => at === 0))
      })
    )

    it.effect("after it was seen it has expired", () =>
      Effect.gen(function* () {
        const t = server((_, polls) => (polls === 1 ? running : notFound))
        const error = failure(yield* settled(t, Jobs.settle("ep", "job-1", { hold: false })))
        assert(error._tag === "JobNotFoundError")
        assert.strictEqual(error.reason, "Expired")
      })
    )
  })

  describe("the pace of polls", () => {
    it.effect("a held wait for a 60 s job takes three requests at most", () =>
      Effect.gen(function* () {
        const t = server(
          () => completed,
          (asked) => (asked.url.includes("status") ? "60 seconds" : 0)
        )
        yield* finish(Effect.provide(call(), t.layer()))
        assert.isAtMost(t.asked.length, 3)
        assert.include(t.asked[1]!.url, "status-sync/job-1?wait=90000")
      })
    )

    it.effect(
      "a plain wait for a 60 s job takes twelve requests at most, and sees its end within a tenth of its age",
      () =>
        Effect.gen(function* () {
          for (let run = 0; run < 8; run++) {
            const t = server(({ at }) => (at - t.asked[0]!.at >= 60_000 ? completed : running))
            yield* finish(Effect.provide(call({ hold: false }), t.layer()))
            assert.isAtMost(t.asked.length, 12)
            assert.isAtMost(t.asked.at(-1)!.at - t.asked[0]!.at, 66_000)
          }
        })
    )

    it.effect("an old job is polled less often", () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at >= 3_600_000 ? completed : running))
        yield* finish(Effect.provide(call({ hold: false, policy: { ttl: "2 hours" } }), t.layer()), "2 hours")
        assert.isAtMost(t.asked.at(-1)!.at, 3_660_000)
        assert.isAtMost(t.asked.length, 110)
      })
    )

    it.effect("a wait with onProgress holds at most the progress interval, and first two seconds", () =>
      Effect.gen(function* () {
        const t = server((_, polls) => (polls >= 3 ? completed : running))
        yield* finish(Effect.provide(call({ onProgress: () => Effect.void, progressInterval: "4 seconds" }), t.layer()))
        assert.deepStrictEqual(
          t.polls().map(({ url }) => url.split("?")[1]),
          ["wait=2000", "wait=4000", undefined]
        )
      })
    )

    it.effect("a hold is never longer than 240 s", () =>
      Effect.gen(function* () {
        const t = server(() => completed)
        yield* finish(Effect.provide(call({ hold: "10 minutes" }), t.layer()))
        assert.include(t.asked[1]!.url, "wait=240000")
      })
    )

    it.effect("a hold is shortened after one was cut", () =>
      Effect.gen(function* () {
        const t = Scripted.make((asked) => {
          if (operationOf(asked) === "run") return queued
          return t.asked.length === 2 ? { status: 504, body: "" } : completed
        }, "30 seconds")
        yield* finishOnTestClock(Effect.provide(call(), t.layer()))
        assert.include(t.asked[1]!.url, "wait=90000")
        assert.include(t.asked[2]!.url, "wait=24000")
      })
    )

    it.effect("a server that does not hold is polled at a plain pace", () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at >= 60_000 ? completed : running))
        yield* finish(Effect.provide(call(), t.layer()))
        assert.isAtMost(t.asked.length, 14)
      })
    )

    it.effect("a server without status-sync is polled with status", () =>
      Effect.gen(function* () {
        const t = server((asked) =>
          operationOf(asked) === "status-sync" ? json({ error: "no such operation" }, 400) : completed
        )
        assert.deepStrictEqual(yield* finish(Effect.provide(call(), t.layer())), { sum: 3 })
      })
    )

    it.effect("holds are had only while slots are free", () =>
      Effect.gen(function* () {
        const limits = RateLimits.make({ statusSync: { concurrency: 2 } })
        const t = server(
          ({ at }) => (at >= 30_000 ? completed : running),
          ({ url }) => (url.includes("status-sync") ? "60 seconds" : 0)
        )
        const waits = Effect.forEach(["a", "b", "c"], (id) => Jobs.settle("ep", id), { concurrency: "unbounded" })
        const fiber = yield* Effect.fork(Effect.provide(waits, t.layer({ limits })))
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(t.asked.filter((asked) => asked.url.includes("status-sync/c")).length, 0)
        assert.isAtLeast(t.asked.filter((asked) => asked.url.includes("status/c")).length, 1)
        yield* TestClock.adjust("5 minutes")
        yield* Fiber.join(fiber)
      })
    )

    it.effect("a poll schedule asks at once, then once after each delay", () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at >= 9_000 ? completed : running))
        yield* finish(Effect.provide(Jobs.settle("ep", "job-1", { poll: Schedule.spaced("3 seconds") }), t.layer()))
        assert.deepStrictEqual(t.times(), [0, 3_000, 6_000, 9_000])
        assert.isTrue(t.asked.every(({ url }) => !url.includes("sync")))
      })
    )

    it.effect("a poll policy sets the pace of plain polls", () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at >= 10_000 ? completed : running))
        const poll = { initial: "1 second", interval: "2 seconds", ageShare: 0 } as const
        yield* finish(Effect.provide(Jobs.settle("ep", "job-1", { poll }), t.layer()))
        assert.strictEqual(t.times()[0], 1_000)
        for (const [index, at] of t.times().slice(1).entries()) {
          const gap = at - t.times()[index]!
          assert.isTrue(gap >= 1_900 && gap <= 2_001, `gap ${gap}`)
        }
      })
    )

    it.effect("a long Retry-After is slept, up to the deadline", () =>
      Effect.gen(function* () {
        const t = server((_, polls) =>
          polls === 1 ? { status: 429, body: "", headers: { "retry-after": "300" } } : completed
        )
        yield* finish(Effect.provide(call(), t.layer()))
        assert.deepStrictEqual(
          t.polls().map(({ at }) => at),
          [0, 300_000]
        )
        const late = server(() => ({ status: 429, body: "", headers: { "retry-after": "300" } }))
        const began = yield* Clock.currentTimeMillis
        const error = failure(yield* settled(late, call({ timeout: "10 seconds" })))
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(Duration.toMillis(error.elapsed), 10_000)
        assert.strictEqual(late.polls().filter(({ at }) => at > began).length, 0)
      })
    )

    it.effect("plain polls grow apart with the job's age up to the cap, and no two waits keep the same pace", () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at >= 1_200_000 ? completed : running))
        const waits = Effect.forEach(["a", "b"], (id) => Jobs.settle("ep", id, { hold: false }), { concurrency: 2 })
        yield* finish(Effect.provide(waits, t.layer()), "1 hour")
        const [a = [], b = []] = ["/a", "/b"].map((id) =>
          t.asked.filter(({ url }) => url.endsWith(id)).map(({ at }) => at)
        )
        assert.notDeepEqual(a, b)
        for (const [index, at] of a.slice(1).entries()) {
          const age = a[index]!
          const longest = Math.min(60_000, Math.max(6_000, age / 10))
          assert.isTrue(at - age <= longest + 1 && at - age >= longest * 0.97 - 1, `after ${age}: ${at - age}`)
        }
      })
    )

    it.live("more waits than the limits serve sleep instead of standing in line, and lose no turn by it", () =>
      Effect.gen(function* () {
        const limits = RateLimits.make({ status: { limit: 20, window: "10 seconds" } })
        const t = server(({ at }) => (at >= 600_000 ? completed : running))
        let inLine = 0
        const counts: Array<number> = []
        const waits = Effect.gen(function* () {
          const runPod = yield* RunPod.RunPod
          const counted: RunPod.Service = {
            ...runPod,
            status: (...asked) =>
              Effect.ensuring(
                Effect.suspend(() => {
                  inLine++
                  return runPod.status(...asked)
                }),
                Effect.sync(() => inLine--)
              )
          }
          yield* Effect.fork(
            Effect.forever(
              Effect.zipRight(
                Effect.sleep("1 second"),
                Effect.sync(() => counts.push(inLine))
              )
            )
          )
          yield* Effect.forEach(
            Array.from({ length: 200 }, (_, n) => `job-${n}`),
            (jobId) => Jobs.settle("ep", jobId, { hold: false }),
            { concurrency: "unbounded", discard: true }
          ).pipe(Effect.provideService(RunPod.RunPod, counted))
        })
        yield* VirtualTime.run(Effect.provide(waits, t.layer({ limits })))
        const later = counts.slice(200, 600)
        assert.isAtMost(later.reduce((sum, count) => sum + count, 0) / later.length, 80)
        const sent = t.asked.filter(({ at }) => at >= 200_000 && at < 600_000).length
        assert.isAtLeast(sent, 0.85 * 20 * 40)
      })
    )

    it.effect("a watch never holds longer than the progress interval, since a hold hides progress", () =>
      Effect.gen(function* () {
        const t = server(
          ({ at }) => (at >= 30_000 ? completed : running),
          ({ url }) => Number(url.split("wait=")[1] ?? 0)
        )
        yield* finish(Effect.provide(Stream.runDrain(Jobs.watch("ep", "job-1")), t.layer()))
        assert.deepStrictEqual(
          t.asked.slice(0, 3).map(({ url }) => url.split("?")[1]),
          ["wait=2000", "wait=6000", "wait=6000"]
        )
      })
    )

    it.effect("a wait looks once more shortly before its deadline", () =>
      Effect.gen(function* () {
        const t = server(({ at }) => (at >= 1_000 ? completed : running))
        const wait = Jobs.settle("ep", "job-1", { hold: false, timeout: "1500 millis" })
        const job = yield* finish(Effect.provide(wait, t.layer()))
        assert.strictEqual(job.status, "COMPLETED")
      })
    )
  })

  describe("watch", () => {
    const script = [
      queued,
      queued,
      running,
      json({ status: "IN_PROGRESS", output: { step: 1 } }),
      json({ status: "IN_PROGRESS", output: { step: 1 } }),
      json({ status: "IN_PROGRESS", output: { step: 2 } }),
      "reset",
      completed
    ] as const
    const answers = (_: Scripted.Asked, polls: number) => script[Math.min(polls, script.length) - 1]!

    it.effect("emits the job when its status or its progress has changed, and ends after a terminal status", () =>
      Effect.gen(function* () {
        const t = server(answers)
        const jobs = yield* finish(Effect.provide(Stream.runCollect(Jobs.watch("ep", "job-1")), t.layer()))
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(jobs).map((job) => [job.status, job.output]),
          [
            ["IN_QUEUE", undefined],
            ["IN_PROGRESS", undefined],
            ["IN_PROGRESS", { step: 1 }],
            ["IN_PROGRESS", { step: 2 }],
            ["COMPLETED", { sum: 3 }]
          ]
        )
      })
    )

    it.effect("onProgress gets the same, with typed progress", () =>
      Effect.gen(function* () {
        const t = server(answers)
        const seen: Array<unknown> = []
        const onProgress: Endpoint.CallOptions<{ readonly step: number }>["onProgress"] = (job) =>
          Effect.sync(() => seen.push(job.progress?.step ?? job.status))
        yield* finish(Effect.provide(call({ onProgress }), t.layer()))
        assert.deepStrictEqual(seen, ["IN_QUEUE", "IN_PROGRESS", 1, 2, "COMPLETED"])
      })
    )

    it.effect("does not cancel the job when its reader stops", () =>
      Effect.gen(function* () {
        const t = server(answers)
        yield* finish(Effect.provide(Stream.runDrain(Stream.take(Jobs.watch("ep", "job-1"), 1)), t.layer()))
        assert.strictEqual(t.of("cancel").length, 0)
      })
    )
  })

  describe("settle and result", () => {
    const ends: Record<string, readonly [Answer, string]> = {
      FAILED: [json({ status: "FAILED", error: "no memory" }), "JobFailedError"],
      CANCELLED: [json({ status: "CANCELLED" }), "JobCancelledError"],
      TIMED_OUT: [json({ status: "TIMED_OUT" }), "JobTimedOutError"],
      "COMPLETED without an output": [json({ status: "COMPLETED" }), "OutputMissingError"],
      "COMPLETED with an output its schema does not accept": [
        json({ status: "COMPLETED", output: { sum: "three" } }),
        "OutputDecodeError"
      ]
    }
    for (const [name, [answer, tag]] of Object.entries(ends)) {
      it.effect(`a job that is ${name}: settle returns it, result fails with ${tag}`, () =>
        Effect.gen(function* () {
          const t = server(() => answer)
          const job = yield* finish(
            Effect.provide(
              Effect.flatMap(endpoint, (ep) => ep.attach("job-1").settle()),
              t.layer()
            )
          )
          assert.isTrue(name.startsWith(job.status))
          const error = failure(
            yield* settled(
              t,
              Effect.flatMap(endpoint, (ep) => ep.attach("job-1").result())
            )
          )
          assert.strictEqual(error._tag, tag)
          assert.strictEqual(failure(yield* settled(t, call()))._tag, tag)
          assert.strictEqual(t.of("cancel").length, 0)
        })
      )
    }
  })

  describe("cancel", () => {
    it.effect("call fails exactly at its deadline, and the cancel follows in the background", () =>
      Effect.gen(function* () {
        const t = server((asked) => (operationOf(asked) === "cancel" ? cancelled : "hang"))
        let failedAt = -1
        const timed = Effect.tapError(call({ timeout: "1500 millis" }), () =>
          Effect.map(Clock.currentTimeMillis, (now) => (failedAt = now))
        )
        const error = failure(yield* settled(t, timed))
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(failedAt, 1_500)
        assert.strictEqual(error.cancel, "Pending")
        assert.strictEqual(error.jobId, "job-1")
        assert.strictEqual(t.of("cancel").length, 1)
      })
    )

    it.effect("interrupting a call cancels its job once, and waits for that", () =>
      Effect.gen(function* () {
        const t = server(() => "hang")
        const fiber = yield* Effect.fork(Effect.provide(call(), t.layer()))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(t.of("cancel").length, 1)
      })
    )

    it.effect("a cancel that gets a 503 is sent again", () =>
      Effect.gen(function* () {
        let cancels = 0
        const t = Scripted.make((asked) => {
          switch (operationOf(asked)) {
            case "run":
              return queued
            case "cancel":
              return ++cancels === 1 ? { status: 503, body: "" } : cancelled
            default:
              return "hang"
          }
        })
        const fiber = yield* Effect.fork(Effect.provide(call(), t.layer()))
        yield* TestClock.adjust("1 second")
        const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(interrupting)
        assert.strictEqual(cancels, 2)
      })
    )

    it.effect("a cancel goes on through an outage for its cancelGrace", () =>
      Effect.gen(function* () {
        for (const outage of [8, 60]) {
          let end = Infinity
          const answers: Array<Scripted.Answer> = []
          const t = Scripted.make((asked) => {
            if (operationOf(asked) !== "cancel") return operationOf(asked) === "run" ? queued : "hang"
            if (end === Infinity) end = asked.at + outage * 1_000
            const answer = asked.at < end ? json({}, 503) : cancelled
            answers.push(answer)
            return answer
          })
          const quiet = Logger.withMinimumLogLevel(LogLevel.None)
          const fiber = yield* Effect.fork(quiet(Effect.provide(call(), t.layer())))
          yield* TestClock.adjust("1 second")
          const [took] = yield* finishOnTestClock(Effect.timed(Fiber.interrupt(fiber)))
          // The last pause between two attempts is not cut short.
          assert.isAtMost(Duration.toMillis(took), 11_000)
          assert.isAtLeast(Duration.toMillis(took), 8_000)
          assert.strictEqual(answers.at(-1) === cancelled, outage === 8)
        }
      })
    )

    it.effect(
      "interrupting while the submit is in flight does not abort it; the job that comes back is cancelled once",
      () =>
        Effect.gen(function* () {
          const t = server(() => "hang", "500 millis")
          const fiber = yield* Effect.fork(Effect.provide(call(), t.layer()))
          yield* TestClock.adjust("200 millis")
          const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
          yield* TestClock.adjust("10 seconds")
          yield* Fiber.join(interrupting)
          assert.deepStrictEqual(t.asked.map(operationOf), ["run", "cancel"])
          assert.strictEqual(t.aborted(), 0)
        })
    )

    it.effect(
      "a submit that is in flight at the deadline does not delay it; the job that comes back is cancelled once",
      () =>
        Effect.gen(function* () {
          const t = server(() => "hang", "4 seconds")
          const scope = yield* Scope.make()
          const context = yield* Layer.buildWithScope(t.layer(), scope)
          const error = failure(
            yield* finishOnTestClock(Effect.exit(Effect.provide(call({ timeout: "1 second" }), context)), "1 second")
          )
          assert(error._tag === "WaitTimeoutError")
          assert.strictEqual(error.jobId, undefined)
          assert.strictEqual(error.cancel, "Pending")
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(t.asked.map(operationOf), ["run", "cancel"])
          yield* Scope.close(scope, Exit.void)
        })
    )

    it.effect("a call that is interrupted before its submit left sends nothing", () =>
      Effect.gen(function* () {
        const limits = RateLimits.make({ run: { concurrency: 1 } })
        const t = server(() => "hang", "1 minute")
        const two = Effect.all([call(), Effect.timeout(call(), "1 second")], { concurrency: 2 })
        const fiber = yield* Effect.fork(Effect.provide(two, t.layer({ limits })))
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(t.of("run").length, 1)
        yield* Fiber.interruptFork(fiber)
        yield* TestClock.adjust("5 minutes")
      })
    )

    it.effect("an error that ends a call cancels its job", () =>
      Effect.gen(function* () {
        const t = server(() => forbidden)
        assert.strictEqual(failure(yield* settled(t, call()))._tag, "PermissionDeniedError")
        assert.strictEqual(t.of("cancel").length, 1)
      })
    )

    it.effect("a defect in onProgress cancels the job", () =>
      Effect.gen(function* () {
        const t = server(() => running)
        yield* settled(t, call({ onProgress: () => Effect.die("boom") }))
        assert.strictEqual(t.of("cancel").length, 1)
      })
    )

    it.effect("waits on a handle leave the job alone when they are interrupted or time out", () =>
      Effect.gen(function* () {
        const t = server(() => running)
        const wait = Effect.flatMap(endpoint, (ep) =>
          Effect.flatMap(ep.run(input), (job) => job.result({ timeout: "10 seconds" }))
        )
        const error = failure(yield* settled(t, wait))
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(error.cancel, "No")
        const fiber = yield* Effect.fork(Effect.provide(wait, t.layer()))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(t.of("cancel").length, 0)
      })
    )

    it.effect("a wait on a handle cancels when it is told to", () =>
      Effect.gen(function* () {
        const t = server(() => running)
        const wait = Effect.flatMap(endpoint, (ep) =>
          ep.attach("job-1").result({ timeout: "10 seconds", cancelOnTimeout: true })
        )
        const error = failure(yield* settled(t, wait))
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(error.cancel, "Pending")
        assert.strictEqual(t.of("cancel").length, 1)
      })
    )

    it.effect("call leaves its job alone when it is told to", () =>
      Effect.gen(function* () {
        const t = server(() => running)
        const error = failure(yield* settled(t, call({ timeout: "10 seconds", cancelOnTimeout: false })))
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(error.cancel, "No")
        const fiber = yield* Effect.fork(Effect.provide(call({ cancelOnInterrupt: false }), t.layer()))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(t.of("cancel").length, 0)
      })
    )

    it.effect("cancelGrace counts from the permit, and what was not cancelled is logged with its id", () =>
      VirtualTime.run(
        Effect.gen(function* () {
          const logs: Array<string> = []
          const logger = Logger.make(({ message }) => {
            logs.push(String(message))
          })
          // The cancel's lane is taken by a slow one for 25 seconds; then no cancel is answered.
          const limits = RateLimits.make({ cancel: { concurrency: 1 } })
          let cancels = 0
          const t = Scripted.make((asked) => {
            if (operationOf(asked) === "run") return queued
            if (operationOf(asked) === "cancel") cancels++
            return "hang"
          })
          const program = Effect.gen(function* () {
            const runPod = yield* RunPod.RunPod
            yield* Effect.fork(RunPod.withDeadline(runPod.cancel("ep", "other"), "25 seconds"))
            yield* Effect.exit(call({ timeout: "1 second" }))
          })
          const fiber = yield* Effect.fork(
            Effect.provide(program, Layer.merge(t.layer({ limits }), Logger.replace(Logger.defaultLogger, logger)))
          )
          yield* Effect.sleep("30 seconds")
          assert.strictEqual(cancels, 2)
          assert.deepStrictEqual(logs, [])
          yield* Effect.sleep("6 seconds")
          assert.isNotNull(fiber.unsafePoll())
          assert.strictEqual(logs.length, 1)
          assert.include(logs[0]!, "job-1")
        })
      )
    )

    describe("under RunPod.withDeadline", () => {
      const batchOf = Effect.flatMap(endpoint, (_) => Stream.runDrain(Batch.run(_, [input])))
      const waits: Readonly<Record<string, Effect.Effect<unknown, unknown, RunPod.RunPod>>> = {
        call: call(),
        runSync: Effect.flatMap(endpoint, (_) => _.runSync(input)),
        "call with a timeout of its own": call({ timeout: "1 minute" }),
        result: Effect.flatMap(endpoint, (_) => _.attach("job-1").result({ cancelOnTimeout: true })),
        settle: Jobs.settle("ep", "job-1", { cancelOnTimeout: true }),
        watch: Stream.runDrain(
          Stream.unwrap(Effect.map(endpoint, (_) => _.attach("job-1").watch({ cancelOnTimeout: true })))
        ),
        "Batch.run": batchOf
      }
      for (const [name, wait] of Object.entries(waits)) {
        it.effect(`${name} ends at the deadline, and its job is cancelled`, () =>
          VirtualTime.run(
            Effect.gen(function* () {
              const t = server(() => running)
              const program = RunPod.withDeadline(Effect.exit(wait), "5 seconds")
              yield* Effect.provide(program, t.layer())
              const ended = yield* Clock.currentTimeMillis
              assert.isAtMost(ended, 7_000)
              const cancels = t.asked.filter((asked) => operationOf(asked) === "cancel")
              assert.deepStrictEqual(
                cancels.map(({ at }) => at >= 5_000),
                [true]
              )
            })
          )
        )
      }

      it.effect("is a WaitTimeoutError", () =>
        VirtualTime.run(
          Effect.gen(function* () {
            const t = server(() => running)
            const error = yield* Effect.flip(Effect.provide(RunPod.withDeadline(call(), "5 seconds"), t.layer()))
            assert.strictEqual(error._tag, "WaitTimeoutError")
          })
        )
      )
    })

    it.effect("closing the layer waits for the cancels that are left", () =>
      Effect.gen(function* () {
        const t = Scripted.make(
          (asked) => (operationOf(asked) === "run" ? queued : operationOf(asked) === "cancel" ? cancelled : running),
          "2 seconds"
        )
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(t.layer(), scope)
        const fiber = yield* Effect.fork(Effect.exit(Effect.provide(call({ timeout: "3 seconds" }), context)))
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(fiber)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("1 second")
        assert.isNull(closing.unsafePoll())
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        assert.strictEqual(t.asked.filter((asked) => operationOf(asked) === "cancel").length, 1)
      })
    )

    const waits: Readonly<Record<string, Effect.Effect<unknown, unknown, RunPod.RunPod>>> = {
      "a call": call(),
      "a call whose submit is in flight": Effect.zipRight(Effect.sleep("9500 millis"), call()),
      "a result with cancelOnInterrupt": Jobs.result("ep", "job-1", { cancelOnInterrupt: true })
    }
    for (const [name, wait] of Object.entries(waits)) {
      it.effect(`closing the layer under ${name} interrupts it, and its job is cancelled`, () =>
        Effect.gen(function* () {
          const t = Scripted.make(
            (asked) => (operationOf(asked) === "run" ? queued : operationOf(asked) === "cancel" ? cancelled : running),
            "2 seconds"
          )
          const scope = yield* Scope.make()
          const context = yield* Layer.buildWithScope(t.layer(), scope)
          const fiber = yield* Effect.fork(Effect.provide(wait, context))
          yield* TestClock.adjust("10 seconds")
          const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
          yield* TestClock.adjust("5 seconds")
          yield* Fiber.join(closing)
          assert.strictEqual(t.asked.filter((asked) => operationOf(asked) === "cancel").length, 1)
          assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
        })
      )
    }

    it.effect("closing the layer under a wait that leaves its job running does not touch it", () =>
      Effect.gen(function* () {
        const t = Scripted.make(() => running)
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(t.layer(), scope)
        const fiber = yield* Effect.fork(Effect.provide(Jobs.result("ep", "job-1"), context))
        yield* TestClock.adjust("10 seconds")
        yield* Scope.close(scope, Exit.void)
        assert.isNull(fiber.unsafePoll())
        assert.isTrue(t.asked.every((asked) => operationOf(asked).startsWith("status")))
      })
    )

    it.effect("closing the layer logs the ids of the jobs that could not be cancelled", () =>
      Effect.gen(function* () {
        const { entries, layer } = Recorder.makeLogger()
        const t = Scripted.make((asked) => (operationOf(asked) === "run" ? queued : "hang"))
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(t.layer(), scope)
        const calls = Effect.exit(Effect.provide(call({ timeout: "3 seconds" }), context))
        const fiber = yield* Effect.fork(Effect.provide(calls, layer))
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(fiber)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("9 seconds")
        assert.isNull(closing.unsafePoll())
        assert.strictEqual(entries.length, 0)
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        assert.strictEqual(entries.length, 1)
        assert.include(String(entries[0]?.message), "job-1")
      })
    )

    for (const [name, options] of Object.entries({ hold: {}, "plain poll": { hold: false } } as const)) {
      it.effect(`a ${name} in flight is aborted`, () =>
        Effect.gen(function* () {
          const t = server(() => "hang")
          const fiber = yield* Effect.fork(Effect.provide(call(options), t.layer()))
          yield* TestClock.adjust("5 seconds")
          assert.strictEqual(t.polls().length, 1)
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(t.aborted(), 1)
        })
      )
    }

    it.effect("a submit in flight goes on until its attempt's deadline, and so does the interruption", () =>
      Effect.gen(function* () {
        const t = Scripted.make(() => "hang")
        const fiber = yield* Effect.fork(Effect.provide(call(), t.layer({ requestTimeout: "20 seconds" })))
        yield* TestClock.adjust("1 second")
        const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* TestClock.adjust("18 seconds")
        assert.isNull(interrupting.unsafePoll())
        assert.strictEqual(t.aborted(), 0)
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(interrupting)
        assert.deepStrictEqual(t.asked.map(operationOf), ["run"])
      })
    )

    it.effect("run, interrupted while its submit is in flight, cancels the job nobody else knows of", () =>
      Effect.gen(function* () {
        const t = server(() => running, "500 millis")
        const fiber = yield* Effect.fork(
          Effect.provide(
            Effect.flatMap(endpoint, (ep) => ep.run(input)),
            t.layer()
          )
        )
        yield* TestClock.adjust("200 millis")
        yield* Fiber.interruptFork(fiber)
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(t.asked.map(operationOf), ["run", "cancel"])
      })
    )
  })
})
