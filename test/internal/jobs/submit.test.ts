import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import type { RunPodError } from "../../../src/errors/RunPodError.js"
import * as Submit from "../../../src/internal/jobs/submit.js"
import * as RateLimits from "../../../src/layers/RateLimits.js"
import type * as Job from "../../../src/schemas/Job.js"
import * as RunPod from "../../../src/services/RunPod.js"
import { finish } from "../../support/finish.js"
import * as Scripted from "../../support/scripted.js"

const where = { operation: "run", method: "POST", path: "/ep/run", endpointId: "ep" }
const queued = Scripted.json({ id: "job-1", status: "IN_QUEUE" })
const slowDown = Scripted.json({ error: "slow down" }, 429, { "retry-after": "300" })

type Hooks = Partial<Pick<Submit.Options<Job.Job>, "beforeSend" | "onRefused">>

const start = (hooks: Hooks = {}, options: RunPod.SubmitOptions = {}) =>
  Effect.flatMap(RunPod.RunPod, (runPod) => {
    const send: Effect.Effect<Job.Job, RunPodError> = runPod.run("ep", { input: { n: 1 } }, options)
    return Submit.start({ send, where, fork: Effect.forkDaemon, ...hooks })
  })

/** The end of a submit that is left after so many milliseconds, and how long that took. */
const leftAfter = (millis: number, hooks?: Hooks, options?: RunPod.SubmitOptions) =>
  Effect.gen(function* () {
    const submission = yield* start(hooks, options)
    yield* Effect.sleep(millis)
    let end: Submit.Submitted<Job.Job> | undefined
    const [took] = yield* Effect.timed(
      submission.leave((submitted) =>
        Effect.sync(() => {
          end = submitted
        })
      )
    )
    return { tag: end?._tag, attempts: end && "attempts" in end ? end.attempts : 0, took: Duration.toMillis(took) }
  })

describe("a submit", () => {
  it.effect("is accepted after a refusal, which does not count as an attempt", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const tell = (what: string) => Effect.sync(() => void told.push(what))
      const t = Scripted.make([Scripted.json({}, 429), queued])
      const submitted = yield* finish(
        Effect.provide(
          Effect.flatMap(
            start({ beforeSend: Effect.as(tell("beforeSend"), true), onRefused: tell("onRefused") }),
            ({ end }) => end
          ),
          t.layer()
        )
      )
      assert.deepStrictEqual(
        submitted._tag === "Accepted" && { id: String(submitted.value.id), attempts: submitted.attempts },
        { id: "job-1", attempts: 1 }
      )
      assert.deepStrictEqual(told, ["beforeSend", "onRefused", "beforeSend"])
    })
  )

  describe("that is left by its owner", () => {
    it.effect("while it waits for its permit is withdrawn at once", () =>
      Effect.gen(function* () {
        const limits = RateLimits.make({ run: { concurrency: 1 } })
        const t = Scripted.make([queued], "1 minute")
        const two = Effect.zipRight(start(), leftAfter(1_000))
        const left = yield* finish(Effect.provide(two, t.layer({ limits })))
        assert.deepStrictEqual(left, { tag: "Withdrawn", attempts: 0, took: 0 })
        assert.strictEqual(t.asked.length, 1)
      })
    )

    it.effect("while it is in flight is awaited", () =>
      Effect.gen(function* () {
        const t = Scripted.make([queued], "3 seconds")
        const left = yield* finish(Effect.provide(leftAfter(1_000), t.layer()))
        assert.deepStrictEqual(left, { tag: "Accepted", attempts: 1, took: 2_000 })
      })
    )

    it.effect("while it is in flight, and then refused, is not sent again, and no delay is waited", () =>
      Effect.gen(function* () {
        const t = Scripted.make([slowDown, queued], "3 seconds")
        const left = yield* finish(Effect.provide(leftAfter(1_000), t.layer()))
        assert.deepStrictEqual(left, { tag: "Withdrawn", attempts: 0, took: 2_000 })
        assert.strictEqual(t.asked.length, 1)
      })
    )

    it.effect("while it waits to be sent again after a refusal is withdrawn at once", () =>
      Effect.gen(function* () {
        const t = Scripted.make([slowDown, queued])
        const left = yield* finish(Effect.provide(leftAfter(10_000), t.layer()))
        assert.deepStrictEqual(left, { tag: "Withdrawn", attempts: 0, took: 0 })
      })
    )

    it.effect("while it waits to be sent again after a lost answer is ambiguous", () =>
      Effect.gen(function* () {
        const t = Scripted.make([Scripted.json({}, 503, { "retry-after": "300" }), queued])
        const left = yield* finish(Effect.provide(leftAfter(10_000, {}, { resubmit: true }), t.layer()))
        assert.deepStrictEqual(left, { tag: "Ambiguous", attempts: 1, took: 0 })
        assert.strictEqual(t.asked.length, 1)
      })
    )

    it.effect("while `beforeSend` still notes it is not sent, and `onRefused` takes the note back", () =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const tell = (what: string) => Effect.sync(() => void told.push(what))
        const beforeSend = Effect.as(Effect.delay(tell("beforeSend"), "2 seconds"), true)
        const t = Scripted.make([queued])
        const left = yield* finish(
          Effect.provide(leftAfter(1_000, { beforeSend, onRefused: tell("onRefused") }), t.layer())
        )
        assert.deepStrictEqual(left, { tag: "Withdrawn", attempts: 0, took: 1_000 })
        assert.deepStrictEqual([told, t.asked.length], [["beforeSend", "onRefused"], 0])
      })
    )
  })

  it.effect("goes on when the wait for its end is interrupted", () =>
    Effect.gen(function* () {
      const t = Scripted.make([queued], "3 seconds")
      const program = Effect.gen(function* () {
        const { end } = yield* start()
        yield* Effect.timeoutOption(end, "1 second")
        return yield* end
      })
      assert.strictEqual((yield* finish(Effect.provide(program, t.layer())))._tag, "Accepted")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(t.asked.length, 1)
    })
  )
})
