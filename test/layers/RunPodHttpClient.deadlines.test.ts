import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"
import { anyJob, call, errorOf, errorTag, job, request, status, timed } from "../support/pipeline.js"

describe("RunPodHttpClient: attempt deadlines", () => {
  const once = { retry: RetryPolicy.none }

  const deadlines: ReadonlyArray<
    readonly [
      name: string,
      Effect.Effect<unknown, RunPodError, RunPod.RunPod>,
      seconds: number,
      RunPod.Options["requestTimeout"]?
    ]
  > = [
    ["status waits 30 seconds", call("status"), 30],
    ["health waits 30 seconds", call("health"), 30],
    ["cancel waits 30 seconds", call("cancel"), 30],
    ["requestTimeout changes that", call("status"), 7, "7 seconds"],
    ["statusSync waits RunPod's hold of 90 seconds and 10 more", call("statusSync"), 100],
    ["requestTimeout does not shorten a hold", call("statusSync"), 100, "7 seconds"],
    [
      "statusSync with `wait` waits so long and 10 seconds more",
      Effect.flatMap(RunPod.RunPod, (_) => _.statusSync("ep", "job-1", { wait: "20 seconds" })),
      30
    ],
    [
      "stream waits RunPod's hold of 10 seconds and 10 more",
      Effect.flatMap(RunPod.RunPod, (_) => Stream.runDrain(_.stream("ep", "job-1"))),
      20
    ],
    [
      "stream with `wait` waits so long and 10 seconds more",
      Effect.flatMap(RunPod.RunPod, (_) => Stream.runDrain(_.stream("ep", "job-1", { wait: 60_000 }))),
      70
    ]
  ]

  for (const [name, effect, seconds, requestTimeout] of deadlines) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const transport = Scripted.make(["hang"])
        const layer = transport.layer({ ...once, ...(requestTimeout === undefined ? {} : { requestTimeout }) })
        const { at, exit } = yield* finish(Effect.provide(timed(effect), layer))
        const error = errorOf(exit)
        assert(error._tag === "RequestTimeoutError")
        assert.strictEqual(at, seconds * 1000)
        assert.deepStrictEqual(error.timeout, Duration.seconds(seconds))
        assert.strictEqual(error.phase, "Headers")
        assert.strictEqual(error.sent, "Maybe")
        assert.strictEqual(transport.aborted(), 1)
      })
    )
  }

  for (const [wait, seconds] of [
    [undefined, 100],
    ["5 seconds", 15]
  ] as const) {
    it.effect(`runSync with wait ${wait ?? "left out"} waits ${seconds} seconds and is ambiguous then`, () =>
      Effect.gen(function* () {
        const transport = Scripted.make(["hang"])
        const effect = Effect.flatMap(RunPod.RunPod, (_) =>
          _.runSync("ep", request, wait === undefined ? {} : { wait })
        )
        const { at, exit } = yield* finish(Effect.provide(timed(effect), transport.layer()))
        const error = errorOf(exit)
        assert(error._tag === "SubmitAmbiguousError" && error.cause?._tag === "RequestTimeoutError")
        assert.strictEqual(at, seconds * 1000)
        assert.deepStrictEqual(error.cause.timeout, Duration.seconds(seconds))
        assert.strictEqual(transport.asked.length, 1)
      })
    )
  }

  it.effect("a body that stands still for 5 seconds is given up", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(["stall"], "29 seconds")
      const { at, exit } = yield* finish(Effect.provide(timed(status()), transport.layer(once)))
      const error = errorOf(exit)
      assert(error._tag === "RequestTimeoutError")
      assert.strictEqual(at, 34_000)
      assert.strictEqual(error.phase, "Body")
      assert.deepStrictEqual(error.timeout, Duration.seconds(5))
    })
  )

  it.effect("a body that drips a byte every 4 seconds is read to its end", () =>
    Effect.gen(function* () {
      const stream = Scripted.drip(`{"status":"IN_QUEUE"}`, "4 seconds")
      const transport = Scripted.make([{ status: 200, stream }])
      const { at, exit } = yield* finish(Effect.provide(timed(status()), transport.layer(once)))
      assert(Exit.isSuccess(exit))
      assert.strictEqual(exit.value.status, "IN_QUEUE")
      assert.strictEqual(at, 84_000)
      assert.strictEqual(transport.aborted(), 0)
    })
  )

  it.effect("a body that drips a byte every 6 seconds is not", () =>
    Effect.gen(function* () {
      let isClosed = false
      const stream = Stream.ensuring(
        Scripted.drip(`{"status":"IN_QUEUE"}`, "6 seconds"),
        Effect.sync(() => (isClosed = true))
      )
      const transport = Scripted.make([{ status: 200, stream }])
      const { at, exit } = yield* finish(Effect.provide(timed(status()), transport.layer(once)))
      assert.strictEqual(errorTag(exit), "RequestTimeoutError")
      assert.strictEqual(at, 5_000)
      assert.isTrue(isClosed)
    })
  )

  it.effect("the permit of an attempt that was given up comes back", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(["hang", "stall", anyJob])
      const limits = RateLimits.make({ status: { concurrency: 1 } })
      const three = Effect.forEach(["a", "b", "c"], (jobId) => Effect.exit(status("ep", jobId)), {
        concurrency: "unbounded"
      })
      const exits = yield* finish(Effect.provide(three, transport.layer({ ...once, limits })))
      assert.deepStrictEqual(exits.map(errorTag), ["RequestTimeoutError", "RequestTimeoutError", "Success"])
      assert.deepStrictEqual(transport.times(), [0, 30_000, 35_000])
    })
  )

  it.effect("a transport that is slow to give up delays neither the error nor others, only its own permit", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(["hang", job])
      const transformClient = HttpClient.transformResponse(Effect.onInterrupt(() => Effect.sleep("10 seconds")))
      const limits = RateLimits.make({ status: { concurrency: 1 } })
      const two = Effect.all([timed(status()), timed(status())], { concurrency: "unbounded" })
      const [first, second] = yield* finish(Effect.provide(two, transport.layer({ ...once, limits, transformClient })))
      assert.strictEqual(errorTag(first.exit), "RequestTimeoutError")
      assert.strictEqual(first.at, 30_000)
      assert.strictEqual(errorTag(second.exit), "Success")
      assert.deepStrictEqual(transport.times(), [0, 40_000])
    })
  )

  it.effect("a requestTimeout of nothing fails every attempt, typed", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(["hang"])
      const { at, exit } = yield* finish(
        Effect.provide(timed(status()), transport.layer({ ...once, requestTimeout: 0 }))
      )
      assert.strictEqual(errorTag(exit), "RequestTimeoutError")
      assert.strictEqual(at, 0)
    })
  )

  it.effect("an attempt that ends leaves no alarm behind that could hit a later one", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([job], "29 seconds")
      const four = Effect.all([status(), status(), status(), status()])
      yield* finish(Effect.provide(four, transport.layer(once)))
      assert.deepStrictEqual(transport.times(), [0, 29_000, 58_000, 87_000])
      assert.strictEqual(transport.aborted(), 0)
    })
  )
})
