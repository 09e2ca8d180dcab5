import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Recorder from "../support/recorder.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

const endpoint = Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })
const gone = json({ status: 404, title: "Not Found", detail: "job not found" }, 404)

/** A RunPod whose jobs run for ever; `onCancel` answers the n-th cancel of a job. */
const server = (onCancel: (jobId: string, nth: number, asked: Scripted.Asked) => Scripted.Answer) => {
  let jobs = 0
  const cancels = new Map<string, number>()
  const cancelled = new Set<string>()
  const transport = Scripted.make((asked) => {
    const [, , , operation = "", jobId = ""] = asked.url.split("?")[0]?.split("/") ?? []
    if (operation === "run") return json({ id: `job-${++jobs}`, status: "IN_QUEUE" })
    if (operation !== "cancel") return json({ id: jobId, status: "IN_PROGRESS" })
    const nth = (cancels.get(jobId) ?? 0) + 1
    cancels.set(jobId, nth)
    const answer = onCancel(jobId, nth, asked)
    if (typeof answer === "object" && "status" in answer && answer.status === 200) cancelled.add(jobId)
    return answer
  })
  const cancelTimes = () => transport.asked.filter(({ url }) => url.includes("/cancel/")).map(({ at }) => at)
  return { ...transport, cancelled, cancels, cancelTimes, jobs: () => jobs }
}

/** RunPod's limits of cancels, made five times as narrow: fewer jobs stand in line. */
const narrow = RateLimits.make({ cancel: { limit: 20, window: "10 seconds", concurrency: 20 } })

const stopped = (jobId: string) => json({ id: jobId, status: "CANCELLED" })

/** Interrupts so many calls after a second, all at once. Gives how long that took, and what was logged. */
const interruptCalls = (
  t: ReturnType<typeof server>,
  {
    count,
    limits = narrow,
    use = (ep) => ep.call({ n: 1 }, { poll: { initial: "1 hour" } })
  }: {
    readonly count: number
    readonly limits?: RateLimits.RateLimits | undefined
    readonly use?: (ep: Endpoint.Endpoint<{ readonly n: number }, unknown>) => Effect.Effect<unknown, unknown>
  }
) =>
  Effect.suspend(() => {
    const logger = Recorder.makeLogger()
    const program = Effect.gen(function* () {
      const ep = yield* endpoint
      const calls = Effect.forEach(Array.from({ length: count }), () => use(ep), { concurrency: "unbounded" })
      const fiber = yield* Effect.fork(calls)
      yield* Effect.sleep("1 second")
      const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
      return { took: Duration.toSeconds(took), logs: logger.entries.map(({ message }) => String(message)) }
    })
    return finish(Effect.provide(program, Layer.merge(t.layer({ limits }), logger.layer)), "30 minutes")
  })

describe("cancels of interrupted calls", () => {
  for (const [name, limits, atMost] of [
    ["without limits", RateLimits.unlimited, 2],
    ["under RunPod's limits, five times as narrow", narrow, 70]
  ] as const) {
    it.effect(`60 whose first cancel gets a 503 are all cancelled, ${name}`, () =>
      Effect.gen(function* () {
        const t = server((jobId, nth) => (nth === 1 ? json({}, 503) : stopped(jobId)))
        const { logs, took } = yield* interruptCalls(t, { count: 60, limits })
        assert.strictEqual(t.jobs(), 60)
        assert.strictEqual(t.cancelled.size, 60)
        assert.isAtMost(took, atMost)
        assert.deepStrictEqual(logs, [])
      })
    )
  }

  const modes: Readonly<Record<string, (nth: number, at: number) => Scripted.Answer | undefined>> = {
    "is reset": (nth) => (nth === 1 ? "reset" : undefined),
    "is reset in an outage of two seconds": (_, at) => (at < 3_000 ? "reset" : undefined),
    "and second get a 503": (nth) => (nth <= 2 ? json({}, 503) : undefined),
    "and second get a gateway's page": (nth) => (nth <= 2 ? { status: 404, body: "<html>nginx</html>" } : undefined)
  }
  for (const [name, fault] of Object.entries(modes)) {
    it.effect(`30 whose first ${name} are all cancelled`, () =>
      Effect.gen(function* () {
        for (const limits of [narrow, RateLimits.documented]) {
          const t = server((jobId, nth, { at }) => fault(nth, at) ?? stopped(jobId))
          const { logs } = yield* interruptCalls(t, { count: 30, limits })
          assert.strictEqual(t.cancelled.size, 30)
          assert.deepStrictEqual(logs, [])
        }
      })
    )
  }

  it.effect("one of 30 that is not answered keeps no other", () =>
    Effect.gen(function* () {
      const t = server((jobId, nth) => (jobId === "job-7" && nth === 1 ? "hang" : stopped(jobId)))
      yield* interruptCalls(t, { count: 30 })
      assert.strictEqual(t.cancelled.size, 30)
    })
  )

  it.effect("a job that RunPod says goes on after its cancel is named", () =>
    Effect.gen(function* () {
      const t = server((jobId) => json({ id: jobId, status: "IN_PROGRESS" }))
      const { logs } = yield* interruptCalls(t, { count: 2 })
      assert.strictEqual(notCancelled(logs).size, 2)
    })
  )

  const notCancelled = (logs: ReadonlyArray<string>) => {
    const ids = logs.map(
      (log) => /^Job (job-\d+) on endpoint ep was not cancelled and may go on running: /.exec(log)?.[1]
    )
    return new Set(ids)
  }

  it.effect("a long Retry-After holds no interruption, and each job that goes on is named", () =>
    Effect.gen(function* () {
      const t = server(() => json({}, 429, { "retry-after": "600" }))
      const { logs, took } = yield* interruptCalls(t, { count: 24 })
      assert.isAtMost(took, 10)
      assert.strictEqual(notCancelled(logs).size, 24)
      assert.strictEqual(logs.length, 24)
      assert.isAtMost(t.cancelTimes().length, 20)
    })
  )

  it.effect("a Retry-After within the grace is waited for, also by those behind it", () =>
    Effect.gen(function* () {
      let refused = 0
      const t = server((jobId) => (++refused <= 3 ? json({}, 429, { "retry-after": "6" }) : stopped(jobId)))
      const { logs, took } = yield* interruptCalls(t, { count: 24 })
      assert.strictEqual(t.cancelled.size, 24)
      assert.isAtMost(took, 40)
      assert.deepStrictEqual(logs, [])
    })
  )

  it.effect("a server that refuses each cancel without a Retry-After is given up", () =>
    Effect.gen(function* () {
      const t = server(() => json({}, 429))
      const { logs, took } = yield* interruptCalls(t, { count: 24 })
      assert.isAtMost(took, 36)
      assert.strictEqual(notCancelled(logs).size, 24)
    })
  )

  it.effect("a server that answers no cancel is given up, too", () =>
    Effect.gen(function* () {
      const t = server(() => "hang")
      const { logs, took } = yield* interruptCalls(t, { count: 24 })
      assert.isAtMost(took, 36)
      assert.strictEqual(notCancelled(logs).size, 24)
    })
  )

  it.effect("a server that cannot be reached is given up when RunPod's window has reopened twice", () =>
    Effect.gen(function* () {
      const t = server(() => "refused")
      const { logs, took } = yield* interruptCalls(t, { count: 24 })
      assert.isAtMost(took, 36)
      assert.strictEqual(notCancelled(logs).size, 24)
    })
  )

  it.effect("cancelGrace is what one says", () =>
    Effect.gen(function* () {
      const t = server(() => json({}, 503))
      const use = (ep: Endpoint.Endpoint<{ readonly n: number }, unknown>) =>
        ep.call({ n: 1 }, { cancelGrace: "3 seconds", poll: { initial: "1 hour" } })
      const { logs, took } = yield* interruptCalls(t, { count: 1, use })
      assert.isAtLeast(took, 2)
      assert.isAtMost(took, 4)
      assert.strictEqual(logs.length, 1)
    })
  )

  it.effect("a deadline bounds a cancel in a finalizer, where nothing can interrupt it", () =>
    Effect.gen(function* () {
      const t = server(() => json({}, 429, { "retry-after": "60" }))
      const program = Effect.gen(function* () {
        const runPod = yield* RunPod.RunPod
        const bounded = Effect.exit(RunPod.withDeadline(runPod.cancel("ep", "job-1"), "5 seconds"))
        yield* Effect.exit(runPod.cancel("ep", "job-0")).pipe(Effect.fork)
        yield* Effect.sleep("1 second")
        return yield* Effect.timed(Effect.uninterruptible(bounded))
      })
      const [took, exit] = yield* finish(Effect.provide(program, t.layer()), "30 minutes")
      assert.isAtMost(Duration.toSeconds(took), 5)
      assert.isTrue(Exit.isFailure(exit))
    })
  )

  it.effect("closing a layer that holds interruptions ends within a minute, whatever its users do", () =>
    Effect.gen(function* () {
      const t = server((jobId) => stopped(jobId))
      const program = Effect.gen(function* () {
        const ep = yield* endpoint
        const endless = Effect.onInterrupt(ep.call({ n: 1 }), () => Effect.never)
        yield* Effect.forkDaemon(
          Effect.onInterrupt(
            ep.call({ n: 1 }, { onProgress: () => Effect.uninterruptible(Effect.never) }),
            () => Effect.void
          )
        )
        yield* Effect.forkDaemon(endless)
        yield* Effect.sleep("5 seconds")
      })
      const [took] = yield* finish(Effect.timed(Effect.provide(program, t.layer())), "30 minutes")
      assert.isAtMost(Duration.toSeconds(took), 66)
      assert.strictEqual(t.cancelled.size, 2)
    })
  )
})

describe("cancels of jobs that RunPod does not know yet", () => {
  const invisibleFor = (millis: number) => server((jobId, _, { at }) => (at < 1_000 + millis ? gone : stopped(jobId)))

  const submitted = Effect.flatMap(endpoint, (ep) => ep.run({ n: 1 }))

  it.effect("a handle's cancel waits until it does", () =>
    Effect.gen(function* () {
      const t = invisibleFor(3_000)
      const program = Effect.flatMap(submitted, (job) => Effect.delay(job.cancel, "1 second"))
      const job = yield* finish(Effect.provide(program, t.layer()))
      assert.strictEqual(job.status, "CANCELLED")
      assert.deepStrictEqual(t.cancelTimes(), [1_000, 2_000, 3_000, 4_000])
    })
  )

  it.effect("for 10 seconds, and says then that it is not visible yet", () =>
    Effect.gen(function* () {
      const t = invisibleFor(Infinity)
      const program = Effect.flatMap(submitted, (job) => Effect.timed(Effect.flip(job.cancel)))
      const [took, error] = yield* finish(Effect.provide(program, t.layer()))
      assert(error._tag === "JobNotFoundError")
      assert.strictEqual(error.reason, "NotVisibleYet")
      assert.isAtMost(Duration.toSeconds(took), 10)
      assert.isAtLeast(Duration.toSeconds(took), 9)
    })
  )

  it.effect("not for a handle that nothing is known of", () =>
    Effect.gen(function* () {
      const t = invisibleFor(Infinity)
      const program = Effect.flatMap(endpoint, (ep) => Effect.flip(ep.attach("job-7").cancel))
      const error = yield* finish(Effect.provide(program, t.layer()))
      assert(error._tag === "JobNotFoundError")
      assert.strictEqual(error.reason, "Unknown")
      assert.strictEqual(t.cancelTimes().length, 1)
    })
  )

  it.effect("Batch.submit and Batch.wait cancel them too, those that had no turn as well", () =>
    Effect.gen(function* () {
      const t = invisibleFor(3_000)
      const program = Effect.gen(function* () {
        const ep = yield* endpoint
        const submissions = yield* Batch.submit(
          ep,
          Array.from({ length: 30 }, (_, n) => ({ n }))
        )
        const handles = submissions.flatMap(({ result }) => (Exit.isSuccess(result) ? [result.value] : []))
        const fiber = yield* Effect.fork(Batch.wait(ep, handles, { cancelOnInterrupt: true, concurrency: 4 }))
        yield* Effect.sleep("1 second")
        yield* Fiber.interrupt(fiber)
        const endless = Stream.concat(Stream.range(1, 20), Stream.never).pipe(Stream.map((n) => ({ n })))
        const submitting = yield* Effect.fork(Batch.submit(ep, endless))
        yield* Effect.sleep("1 second")
        yield* Fiber.interrupt(submitting)
      })
      yield* finish(Effect.provide(program, t.layer()))
      assert.strictEqual(t.jobs(), 50)
      assert.strictEqual(t.cancelled.size, 50)
    })
  )
})

describe("Batch.wait with more jobs than have a turn at once", () => {
  it.effect("waits for a job as long as RunPod keeps it, which its handle knows", () =>
    Effect.gen(function* () {
      const t = server((jobId) => stopped(jobId))
      const program = Effect.gen(function* () {
        const ep = yield* endpoint
        const options = { policy: { ttl: "1 hour" } } as const
        const submissions = yield* Batch.submit(ep, [{ n: 1 }, { n: 2 }], options)
        const handles = submissions.flatMap(({ result }) => (Exit.isSuccess(result) ? [result.value] : []))
        assert.deepStrictEqual(
          handles.map(({ ttl }) => ttl && Duration.toHours(ttl)),
          [1, 1]
        )
        return yield* Effect.timed(Batch.wait(ep, handles, { concurrency: 1 }))
      })
      const [took, outcomes] = yield* finish(Effect.provide(program, t.layer()), "5 days")
      const [first] = outcomes
      assert(first !== undefined && Exit.isFailure(first.result) && first.result.cause._tag === "Fail")
      assert.strictEqual(first.result.cause.error._tag, "WaitTimeoutError")
      assert.isAtLeast(Duration.toHours(took), 1)
      assert.isAtMost(Duration.toHours(took), 1.2)
    })
  )
})

describe("progress callbacks", () => {
  const running = (): ReturnType<typeof server> => server((jobId) => stopped(jobId))

  for (const [name, callback] of [
    ["never ends", Effect.never],
    ["can be neither ended nor interrupted", Effect.uninterruptible(Effect.never)]
  ] as const) {
    it.effect(`one that ${name} holds no wait beyond its timeout, and its job is cancelled`, () =>
      Effect.gen(function* () {
        const t = running()
        const program = Effect.flatMap(endpoint, (ep) =>
          Effect.timed(Effect.flip(ep.call({ n: 1 }, { timeout: "20 seconds", onProgress: () => callback })))
        )
        const [took, error] = yield* finish(Effect.provide(program, t.layer()))
        assert.strictEqual(error._tag, "WaitTimeoutError")
        assert.isAtMost(Duration.toMillis(took), 20_050)
        assert.strictEqual(t.cancelled.size, 1)
      })
    )

    it.effect(`an interruption while one runs that ${name} cancels the job`, () =>
      Effect.gen(function* () {
        const t = running()
        const use = (ep: Endpoint.Endpoint<{ readonly n: number }, unknown>) =>
          ep.call({ n: 1 }, { onProgress: () => callback })
        const { took } = yield* interruptCalls(t, { count: 3, use })
        assert.isAtMost(took, 1)
        assert.strictEqual(t.cancelled.size, 3)
      })
    )
  }

  it.effect("one that dies ends the wait with its defect, and its job is cancelled", () =>
    Effect.gen(function* () {
      const t = running()
      const program = Effect.flatMap(endpoint, (ep) =>
        Effect.exit(ep.call({ n: 1 }, { onProgress: () => Effect.die("broken") }))
      )
      const exit = yield* finish(Effect.provide(program, t.layer()))
      assert.deepStrictEqual(exit, Exit.die("broken"))
      assert.strictEqual(t.cancelled.size, 1)
    })
  )

  it.effect("one that throws, too", () =>
    Effect.gen(function* () {
      const t = running()
      const onProgress = () => {
        throw new Error("broken")
      }
      const program = Effect.flatMap(endpoint, (ep) => Effect.exit(ep.call({ n: 1 }, { onProgress })))
      const exit = yield* finish(Effect.provide(program, t.layer()))
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
      assert.strictEqual(t.cancelled.size, 1)
    })
  )

  it.effect("a result that is known is not lost to one that does not end", () =>
    Effect.gen(function* () {
      const t = Scripted.make((asked) =>
        asked.url.endsWith("/run")
          ? json({ id: "job-1", status: "IN_QUEUE" })
          : json({ id: "job-1", status: "COMPLETED", output: "done" })
      )
      const program = Effect.flatMap(endpoint, (ep) =>
        ep.call({ n: 1 }, { timeout: "20 seconds", onProgress: () => Effect.never })
      )
      assert.strictEqual(yield* finish(Effect.provide(program, t.layer())), "done")
    })
  )

  it.effect("watch, which has the callback as well, ends in time", () =>
    Effect.gen(function* () {
      const t = running()
      const program = Effect.flatMap(endpoint, (ep) =>
        ep
          .attach("job-1")
          .watch({ timeout: "20 seconds", onProgress: () => Effect.never })
          .pipe(Stream.runCollect, Effect.flip, Effect.timed)
      )
      const [took, error] = yield* finish(Effect.provide(program, t.layer()))
      assert.strictEqual(error._tag, "WaitTimeoutError")
      assert.isAtMost(Duration.toMillis(took), 20_050)
    })
  )
})

describe("a layer within another", () => {
  it.effect("owns its calls: its end cancels their jobs, and the outer one knows nothing of them", () =>
    Effect.gen(function* () {
      const inner = server((jobId) => stopped(jobId))
      const outer = server((jobId) => stopped(jobId))
      const program = Effect.gen(function* () {
        const tenant = Effect.gen(function* () {
          const ep = yield* endpoint
          yield* Effect.forkDaemon(ep.call({ n: 1 }))
          yield* Effect.sleep("1 second")
        })
        const [took] = yield* Effect.timed(Effect.provide(tenant, inner.layer()))
        assert.isAtMost(Duration.toSeconds(took), 2)
        assert.strictEqual(inner.cancelled.size, 1)
      })
      yield* finish(Effect.provide(program, outer.layer()))
      assert.strictEqual(outer.asked.length, 0)
    })
  )
})

describe("a call that ends before its submit was sent", () => {
  for (const [name, answer, lastError] of [
    ["refused connections", "refused", /ECONNREFUSED/],
    ["a long Retry-After", json({}, 429, { "retry-after": "60" }), /rate limit/]
  ] as const) {
    it.effect(`says so, and why: ${name}`, () =>
      Effect.gen(function* () {
        const t = Scripted.make(() => answer)
        const program = Effect.flatMap(endpoint, (ep) => Effect.flip(ep.call({ n: 1 }, { timeout: "700 millis" })))
        // With jitter, all attempts may be over before the timeout is.
        const retry = RetryPolicy.make({ jitter: "none" })
        const error = yield* finish(Effect.provide(program, t.layer({ retry })))
        assert(error._tag === "WaitTimeoutError")
        assert.isTrue(error.isUnsent)
        assert.strictEqual(error.cancel, "No")
        assert.match(error.lastError ?? "", lastError)
        assert.match(error.message, /was not submitted within 700ms, and nothing was started/)
      })
    )
  }
})
