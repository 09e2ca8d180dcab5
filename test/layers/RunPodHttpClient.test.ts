import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { Scheduler } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import { within } from "../../src/internal/deadline.js"
import { monotonicMillis } from "../../src/internal/monotonic.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPodHttpClient from "../../src/layers/RunPodHttpClient.js"
import * as RunPodMetrics from "../../src/layers/RunPodMetrics.js"
import * as Job from "../../src/schemas/Job.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Recorder from "../support/recorder.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

const exact = RetryPolicy.make({ jitter: "none", maxAttempts: 4 })

type Operation = "run" | "runSync" | "status" | "statusSync" | "cancel" | "retry" | "purgeQueue" | "health" | "requests"

const job = json({ id: "job-1", status: "IN_QUEUE" })

const good: Record<Operation, Scripted.Answer> = {
  run: job,
  runSync: job,
  status: job,
  statusSync: job,
  cancel: json({ id: "job-1", status: "CANCELLED" }),
  retry: job,
  purgeQueue: json({ removed: 3, status: "completed" }),
  health: json({ jobs: { inQueue: 1 }, workers: { idle: 2 } }),
  requests: json({ requests: null })
}

const request = { input: { prompt: "a cat" } }

const call = (operation: Operation): Effect.Effect<unknown, RunPodError, RunPod.RunPod> =>
  Effect.flatMap(RunPod.RunPod, (runPod): Effect.Effect<unknown, RunPodError> => {
    switch (operation) {
      case "run":
        return runPod.run("ep", request)
      case "runSync":
        return runPod.runSync("ep", request)
      case "purgeQueue":
      case "health":
      case "requests":
        return runPod[operation]("ep")
      default:
        return runPod[operation]("ep", "job-1")
    }
  })

const errorTag = (exit: Exit.Exit<unknown, RunPodError>): string =>
  Exit.match(exit, {
    onSuccess: () => "Success",
    onFailure: (cause) => (cause._tag === "Fail" ? cause.error._tag : cause._tag)
  })

const errorOf = (exit: Exit.Exit<unknown, RunPodError>): RunPodError =>
  Exit.match(exit, {
    onSuccess: () => assert.fail("it succeeded"),
    onFailure: (cause) => (cause._tag === "Fail" ? cause.error : assert.fail(Cause.pretty(cause)))
  })

/** How an effect ended, and when. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.zipWith(Effect.exit(effect), Clock.currentTimeMillis, (exit, at) => ({ exit, at }))

const status = (endpointId = "ep", jobId = "job-1") =>
  Effect.flatMap(RunPod.RunPod, (runPod) => runPod.status(endpointId, jobId))

const unlimited = { limits: RateLimits.unlimited }

const text = (status: number, headers: Record<string, string> = {}, body = ""): Scripted.Answer => ({
  status,
  body,
  headers
})

describe("RunPodHttpClient", () => {
  describe("method-aware retries", () => {
    const reads: ReadonlyArray<Operation> = ["status", "statusSync", "cancel", "health", "requests"]
    const submits: ReadonlyArray<Operation> = ["run", "runSync"]
    const once: ReadonlyArray<Operation> = ["retry", "purgeQueue"]

    const faults: Record<string, Scripted.Answer> = {
      "429": { status: 429, body: "" },
      refused: "refused",
      reset: "reset",
      "503 text": { status: 503, body: "warming up" },
      "500 JSON": json({ status: 500, title: "Internal Server Error" }, 500),
      "524 HTML": { status: 524, body: "<html>timeout</html>" },
      "408": { status: 408, body: "" },
      "HTML on 200": { status: 200, body: "<html>gateway</html>" },
      "empty 200": { status: 200, body: "" },
      "truncated JSON": { status: 200, body: `{"id":"job-1","sta` }
    }
    const provesNothingSent = new Set(["429", "refused"])

    const final: Record<string, readonly [Scripted.Answer, string]> = {
      "400": [json({ status: 400, title: "Bad Request", detail: "no" }, 400), "BadRequestError"],
      "401": [{ status: 401, body: "" }, "AuthenticationError"],
      "403": [{ status: 403, body: "" }, "PermissionDeniedError"],
      "404 endpoint": [json({ error: "endpoint not found" }, 404), "EndpointNotFoundError"],
      "409 paused": [json({ status: 409, code: "ENDPOINT_PAUSED" }, 409), "EndpointPausedError"]
    }

    for (const [name, fault] of Object.entries(faults)) {
      for (const operation of [...reads, ...submits, ...once]) {
        const isRetried = reads.includes(operation) || provesNothingSent.has(name)
        it.effect(`${operation} ${isRetried ? "is sent again" : "is not sent again"} after ${name}`, () =>
          Effect.gen(function* () {
            const transport = Scripted.make([fault, good[operation]])
            const exit = yield* finish(Effect.exit(Effect.provide(call(operation), transport.layer({ retry: exact }))))
            if (isRetried) {
              assert.strictEqual(errorTag(exit), "Success")
              assert.strictEqual(transport.asked.length, 2)
            } else {
              assert.strictEqual(transport.asked.length, 1)
              assert.strictEqual(errorTag(exit) === "SubmitAmbiguousError", submits.includes(operation))
              assert.notStrictEqual(errorTag(exit), "Success")
            }
          })
        )
      }
    }

    for (const [name, [answer, tag]] of Object.entries(final)) {
      for (const operation of [...reads, ...submits, ...once]) {
        it.effect(`${operation} fails at once after ${name}`, () =>
          Effect.gen(function* () {
            const transport = Scripted.make([answer, good[operation]])
            const exit = yield* finish(Effect.exit(Effect.provide(call(operation), transport.layer({ retry: exact }))))
            assert.strictEqual(errorTag(exit), tag)
            assert.strictEqual(transport.asked.length, 1)
          })
        )
      }
    }

    it.effect("a submit with `resubmit` is sent again after a lost answer", () =>
      Effect.gen(function* () {
        const transport = Scripted.make(["reset", "hang", { status: 502, body: "" }, job])
        const submit = Effect.flatMap(RunPod.RunPod, (_) => _.run("ep", request, { resubmit: true }))
        const result = yield* finish(Effect.provide(submit, transport.layer({ retry: exact })))
        assert.strictEqual(result.id, "job-1")
        assert.strictEqual(transport.asked.length, 4)
      })
    )

    it.effect("a doubt from an earlier attempt survives a later error that proves nothing about it", () =>
      Effect.gen(function* () {
        const transport = Scripted.make(["reset", { status: 401, body: "" }])
        const submit = Effect.flatMap(RunPod.RunPod, (_) => _.run("ep", request, { resubmit: true }))
        const exit = yield* finish(Effect.exit(Effect.provide(submit, transport.layer({ retry: exact }))))
        assert.strictEqual(errorTag(exit), "SubmitAmbiguousError")
      })
    )

    it.effect("a paused endpoint is asked again when the policy has a schedule for it", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([final["409 paused"]![0], final["409 paused"]![0], job])
        const retry = RetryPolicy.make({ whilePaused: Schedule.spaced("30 seconds") })
        yield* finish(Effect.provide(call("run"), transport.layer({ retry })))
        assert.deepStrictEqual(transport.times(), [0, 30_000, 60_000])
      })
    )
  })

  describe("times of retries", () => {
    /** When the attempts were made, and the error they ended with. */
    const attempts = (answers: ReadonlyArray<Scripted.Answer>, retry: RetryPolicy.Options, within?: string) =>
      Effect.gen(function* () {
        const transport = Scripted.make(answers)
        const layer = transport.layer({ retry: RetryPolicy.make({ jitter: "none", ...retry }) })
        const exit = yield* finish(
          Effect.exit(Effect.provide(call("status"), layer)),
          (within ?? "1 hour") as Duration.DurationInput
        )
        return { times: transport.times(), exit }
      })

    const table: ReadonlyArray<
      readonly [name: string, ReadonlyArray<Scripted.Answer>, RetryPolicy.Options, ReadonlyArray<number>]
    > = [
      ["the defaults: 250 ms, doubled, 5 attempts", [text(503)], {}, [0, 250, 750, 1750, 3750]],
      ["a base of one's own", [text(503)], { base: 100, maxAttempts: 3 }, [0, 100, 300]],
      ["a factor of one's own", [text(503)], { base: 100, factor: 3, maxAttempts: 4 }, [0, 100, 400, 1300]],
      ["a factor of 1", [text(503)], { base: 100, factor: 1, maxAttempts: 4 }, [0, 100, 200, 300]],
      [
        "the cap of 8 seconds",
        [text(503)],
        { base: "3 seconds", maxAttempts: 6 },
        [0, 3_000, 9_000, 17_000, 25_000, 33_000]
      ],
      ["a cap of one's own", [text(503)], { base: 100, cap: 150, maxAttempts: 4 }, [0, 100, 250, 400]],
      ["one attempt", [text(503)], { maxAttempts: 1 }, [0]],
      ["no attempts are one", [text(503)], { maxAttempts: 0 }, [0]],
      ["a 429 starts at 1 second", [text(429)], {}, [0, 1_000, 3_000, 7_000, 15_000]],
      ["a 429 has a base of its own", [text(429), job], { throttleBase: "5 seconds" }, [0, 5_000]],
      ["resets", ["reset"], {}, [0, 250, 750, 1750, 3750]],
      ["refused connections", ["refused"], {}, [0, 250, 750, 1750, 3750]],
      ["an attempt that timed out: its delay counts from its end", ["hang", job], {}, [0, 30_250]]
    ]

    for (const [name, answers, retry, times] of table) {
      it.effect(name, () =>
        Effect.gen(function* () {
          assert.deepStrictEqual((yield* attempts(answers, retry)).times, times)
        })
      )
    }

    const retryAfter = (value: string, status = 429) => text(status, { "retry-after": value })
    const longest = 2 ** 31 - 1

    const headers: ReadonlyArray<readonly [name: string, Scripted.Answer, second: number, asked: number | undefined]> =
      [
        ["whole seconds", retryAfter("2"), 2_000, 2_000],
        ["decimals", retryAfter("0.5"), 500, 500],
        ["white space around it", retryAfter(" 3 "), 3_000, 3_000],
        ["an HTTP date", retryAfter("Thu, 01 Jan 1970 00:00:07 GMT"), 7_000, 7_000],
        ["a date of RFC 850", retryAfter("Thursday, 01-Jan-70 00:00:07 GMT"), 7_000, 7_000],
        ["a date that has passed", retryAfter("Wed, 31 Dec 1969 23:59:00 GMT"), 1_000, 0],
        ["0", retryAfter("0"), 1_000, 0],
        ["longer than the cap", retryAfter("20"), 20_000, 20_000],
        ["more than a timer can wait", retryAfter("99999999999999999999"), longest, longest],
        ["a date in the far future", retryAfter("Fri, 31 Dec 2999 23:59:59 GMT"), longest, longest],
        ["on a 503", retryAfter("2", 503), 2_000, 2_000],
        ...["", "soon", "-5", "5s", "1e3", "1,5", "Infinity", "NaN", "wait 2099", "Thu, nonsense 00:00:07"].map(
          (value) => [`garbage: "${value}"`, retryAfter(value), 1_000, undefined] as const
        )
      ]

    for (const [name, answer, second, asked] of headers) {
      it.effect(`Retry-After: ${name}`, () =>
        Effect.gen(function* () {
          const { times } = yield* attempts([answer, job], {}, "30 days")
          assert.deepStrictEqual(times, [0, second])
          const error = errorOf((yield* attempts([answer], { maxAttempts: 1 })).exit)
          assert.deepStrictEqual(
            RetryPolicy.retryAfter(error),
            asked === undefined ? undefined : Duration.millis(asked)
          )
        })
      )
    }

    it.effect("a Retry-After in decimals between others is waited exactly each time", () =>
      Effect.gen(function* () {
        const answers = [retryAfter("0.25"), retryAfter("12"), retryAfter("1.75", 503), job]
        const { times } = yield* attempts(answers, { jitter: "full" })
        assert.deepStrictEqual(times, [0, 250, 12_250, 14_000])
      })
    )

    describe("full jitter", () => {
      const jittered = (seed: string, policy: RetryPolicy.Options = {}) =>
        Effect.map(
          Effect.withRandom(
            attempts([text(503)], { jitter: "full", maxAttempts: 7, cap: 3_000, ...policy }),
            Random.make(seed)
          ),
          ({ times }) => times.slice(1).map((at, i) => at - times[i]!)
        )

      it.effect("waits between nothing and the whole delay", () =>
        Effect.gen(function* () {
          const whole = [250, 500, 1000, 2000, 3000, 3000]
          const delays = yield* Effect.forEach(
            Array.from({ length: 30 }, (_, i) => `seed ${i}`),
            (seed) => jittered(seed)
          )
          for (const [i, longest] of whole.entries()) {
            const nth = delays.map((of) => of[i]!)
            assert.isTrue(nth.every((delay) => delay >= 0 && delay <= longest))
            // Spread over the whole span, not about its middle.
            assert.isBelow(Math.min(...nth), longest * 0.25)
            assert.isAbove(Math.max(...nth), longest * 0.75)
          }
        })
      )

      it.effect("is the same for the same seed", () =>
        Effect.gen(function* () {
          const first = yield* jittered("a seed")
          assert.deepStrictEqual(yield* jittered("a seed"), first)
          assert.notDeepEqual(yield* jittered("another seed"), first)
        })
      )
    })
  })

  describe("the gate of a 429", () => {
    const program = <A, E>(
      transport: ReturnType<typeof Scripted.make>,
      effect: Effect.Effect<A, E, RunPod.RunPod>,
      options: Partial<RunPod.Options> = {}
    ) => finish(Effect.provide(effect, transport.layer({ ...unlimited, retry: exact, ...options })))

    it.effect("overlaps the backoff: the later of both counts, not their sum", () =>
      Effect.gen(function* () {
        for (const [throttleBase, times] of [
          ["100 millis", [0, 1_000, 3_000]],
          ["1 second", [0, 1_000, 3_000]],
          ["4 seconds", [0, 4_000, 12_000]]
        ] as const) {
          const transport = Scripted.make([text(429), text(429), job])
          const retry = RetryPolicy.make({ jitter: "none", throttleBase })
          yield* program(transport, status(), { retry })
          assert.deepStrictEqual(transport.times(), [...times])
        }
      })
    )

    it.effect("delays only its own endpoint and operation", () =>
      Effect.gen(function* () {
        let refusals = 0
        const transport = Scripted.make((asked) => {
          const isOurs = asked.url === "/v2/ep/status/job-1" && refusals++ === 0
          return isOurs ? text(429, { "retry-after": "10" }) : asked.url.includes("health") ? good.health : job
        })
        const others = Effect.gen(function* () {
          const runPod = yield* RunPod.RunPod
          yield* Effect.sleep("1 second")
          yield* runPod.status("ep2", "job-1")
          yield* runPod.statusSync("ep", "job-1")
          yield* runPod.run("ep", request)
          yield* runPod.health("ep")
          yield* runPod.status("ep", "job-2")
        })
        yield* program(transport, Effect.all([status(), others], { concurrency: "unbounded" }))
        assert.deepStrictEqual(
          transport.asked.map(({ at, url }) => [url, at]),
          [
            ["/v2/ep/status/job-1", 0],
            ["/v2/ep2/status/job-1", 1_000],
            ["/v2/ep/status-sync/job-1", 1_000],
            ["/v2/ep/run", 1_000],
            ["/v2/ep/health", 1_000],
            ["/v2/ep/status/job-1", 10_000],
            ["/v2/ep/status/job-2", 10_000]
          ]
        )
      })
    )

    it.effect("holds back all requests of its key, also those that waited in line before", () =>
      Effect.gen(function* () {
        const transport = Scripted.make((asked) => (asked.at === 0 ? text(429, { "retry-after": "7" }) : job), 100)
        const limits = RateLimits.make({ status: { concurrency: 1 } })
        yield* program(
          transport,
          Effect.forEach(["a", "b", "c"], (jobId) => status("ep", jobId), { concurrency: "unbounded" }),
          { limits }
        )
        assert.strictEqual(transport.times()[0], 0)
        assert.isTrue(
          transport
            .times()
            .slice(1)
            .every((at) => at >= 7_100)
        )
      })
    )

    it.effect("opens slowly: one request, then twice as many with every answer", () =>
      Effect.gen(function* () {
        const transport = Scripted.make((asked) => (asked.at === 0 ? text(429, { "retry-after": "10" }) : job), 1_000)
        const jobs = Array.from({ length: 12 }, (_, i) => `job-${i}`)
        const later = Effect.delay(
          Effect.forEach(jobs, (id) => status("ep", id), { concurrency: "unbounded" }),
          2_000
        )
        yield* program(transport, Effect.all([status(), later], { concurrency: 2 }))
        // The first answer came at 1 second.
        const counts = [11_000, 12_000, 13_000].map((at) => transport.times().filter((time) => time === at).length)
        assert.deepStrictEqual(counts, [1, 2, 10])
      })
    )

    it.effect("several answers 429 to requests sent together close it once", () =>
      Effect.gen(function* () {
        const transport = Scripted.make((asked) => (asked.at === 0 ? text(429) : job))
        const three = Effect.forEach(["a", "b", "c"], (jobId) => status("ep", jobId), { concurrency: "unbounded" })
        yield* program(transport, three)
        assert.deepStrictEqual(transport.times(), [0, 0, 0, 1_000, 1_000, 1_000])
      })
    )

    it.effect("a failed attempt that proves nothing to it leaves it as it is", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(429, { "retry-after": "2" }), "reset", job, job])
        yield* program(transport, Effect.zipRight(status(), status()))
        assert.deepStrictEqual(transport.times(), [0, 2_000, 2_500, 2_500])
      })
    )
  })

  describe("attempt deadlines", () => {
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
        const transport = Scripted.make(["hang", "stall", job])
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
        const [first, second] = yield* finish(
          Effect.provide(two, transport.layer({ ...once, limits, transformClient }))
        )
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

  describe("the retry budget", () => {
    const policy = (budget?: number) =>
      RetryPolicy.make({ jitter: "none", base: 1, ...(budget === undefined ? {} : { budget }) })

    it.effect("an outage drains its 500 tokens, 5 for each retry, and errors are final then", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(503)])
        const outage = Effect.forEach(Array.from({ length: 120 }), () => Effect.exit(status()))
        const exits = yield* finish(Effect.provide(outage, transport.layer({ ...unlimited, retry: policy() })))
        assert.isTrue(exits.every((exit) => errorTag(exit) === "ServerError"))
        assert.strictEqual(transport.asked.length, 120 + 500 / 5)
      })
    )

    for (const fault of ["reset", "refused", "stall"] as const) {
      it.effect(`a retry costs 10 after ${fault}`, () =>
        Effect.gen(function* () {
          const transport = Scripted.make([fault])
          const outage = Effect.forEach(Array.from({ length: 10 }), () => Effect.exit(status()))
          yield* finish(Effect.provide(outage, transport.layer({ ...unlimited, retry: policy(65) })))
          assert.strictEqual(transport.asked.length, 10 + 6)
        })
      )
    }

    it.effect("all operations and endpoints of a layer share it", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(503)])
        const outage = Effect.all([status(), call("health"), status("ep2"), call("cancel")].map(Effect.exit))
        yield* finish(Effect.provide(outage, transport.layer({ ...unlimited, retry: policy(30) })))
        assert.deepStrictEqual(
          transport.asked.map(({ url }) => url.split("/")[3]),
          [...Array.from({ length: 5 }, () => "status"), "health", "health", "health", "status", "cancel"]
        )
      })
    )

    it.effect("success gives back what its retries took", () =>
      Effect.gen(function* () {
        // Every operation needs two retries, and there are tokens for two.
        const transport = Scripted.make([text(503), text(503), job, "reset", job, text(503), text(503), job])
        const retry = policy(10)
        yield* finish(Effect.provide(Effect.all([status(), status(), status()]), transport.layer({ retry })))
        assert.strictEqual(transport.asked.length, 8)
      })
    )

    it.effect("success without retries gives back 1, up to the whole budget", () =>
      Effect.gen(function* () {
        const sound = Array.from({ length: 20 }, () => job)
        const outage = [text(503), text(503), text(503)]
        const transport = Scripted.make([...outage, ...sound.slice(0, 5), text(503), text(503), ...sound, text(503)])
        const retry = policy(10)
        const some = (count: number) => Effect.forEach(Array.from({ length: count }), () => status())
        const program = Effect.gen(function* () {
          // 10 tokens: two retries, none left.
          const first = yield* Effect.exit(status())
          const asked = transport.asked.length
          yield* some(5)
          // 5 tokens: one.
          const second = yield* Effect.exit(status())
          yield* some(20)
          // 10 tokens again, not 20.
          const third = yield* Effect.exit(status())
          return { exits: [first, second, third], asked }
        })
        const { asked, exits } = yield* finish(Effect.provide(program, transport.layer({ ...unlimited, retry })))
        assert.deepStrictEqual(exits.map(errorTag), ["ServerError", "ServerError", "ServerError"])
        assert.strictEqual(asked, 3)
        assert.strictEqual(transport.asked.length, 3 + 5 + 2 + 20 + 3)
      })
    )

    it.effect("a retry that the schedule does not grant costs nothing", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(503)])
        const retry = RetryPolicy.make({ maxAttempts: 1, budget: 5 })
        const layer = transport.layer({ ...unlimited, retry: { ...policy(5), schedule: retry.schedule } })
        const { asked } = transport
        yield* finish(
          Effect.provide(
            Effect.forEach([1, 2, 3], () => Effect.exit(status())),
            layer
          )
        )
        assert.strictEqual(asked.length, 3)
        // Its tokens are still there for another schedule's one retry.
        const two = RetryPolicy.fromSchedule(
          Schedule.recurs(1).pipe(Schedule.intersect(Schedule.identity<RunPodError>())),
          { budget: 5 }
        )
        const again = Scripted.make([text(503)])
        yield* finish(Effect.provide(Effect.exit(status()), again.layer({ retry: two })))
        assert.strictEqual(again.asked.length, 2)
      })
    )

    it.effect("Infinity is no budget at all", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(503)])
        const outage = Effect.forEach(Array.from({ length: 40 }), () => Effect.exit(status()))
        const retry = RetryPolicy.make({ jitter: "none", base: 1, maxAttempts: 10, budget: Infinity })
        yield* finish(Effect.provide(outage, transport.layer({ ...unlimited, retry })))
        assert.strictEqual(transport.asked.length, 400)
      })
    )
  })

  describe("interruption", () => {
    const interruptAfter = (
      effect: Effect.Effect<unknown, RunPodError, RunPod.RunPod>,
      transport: ReturnType<typeof Scripted.make>,
      wait: Duration.DurationInput,
      options: Partial<RunPod.Options> = {}
    ) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.fork(Effect.provide(effect, transport.layer(options)))
        yield* TestClock.adjust(wait)
        const exit = yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("10 minutes")
        return exit
      })

    for (const operation of ["run", "runSync", "status", "retry"] as const) {
      it.effect(`of ${operation} aborts its request at once`, () =>
        Effect.gen(function* () {
          const transport = Scripted.make(["hang"])
          const exit = yield* interruptAfter(call(operation), transport, "1 second")
          assert.isTrue(Exit.isInterrupted(exit))
          assert.strictEqual(transport.aborted(), 1)
          assert.strictEqual(transport.asked.length, 1)
        })
      )
    }

    it.effect("while a body comes aborts its request", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([{ status: 200, stream: Stream.never }])
        const transformClient = HttpClient.transformResponse(Effect.tap((response) => Effect.sync(() => response)))
        const exit = yield* interruptAfter(status(), transport, "1 second", { transformClient })
        assert.isTrue(Exit.isInterrupted(exit))
      })
    )

    it.effect("between two attempts sends nothing more", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([text(429, { "retry-after": "60" })])
        const exit = yield* interruptAfter(call("run"), transport, "30 seconds")
        assert.isTrue(Exit.isInterrupted(exit))
        assert.strictEqual(transport.asked.length, 1)
      })
    )

    it.effect("of a request that waits in the limiter sends nothing and leaves its place to the next", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([job], "10 seconds")
        const limits = RateLimits.make({ run: { concurrency: 1 } })
        const submit = (name: string) =>
          Effect.flatMap(RunPod.RunPod, (runPod) => runPod.run("ep", { input: { name } }))
        const program = Effect.gen(function* () {
          const first = yield* Effect.fork(submit("first"))
          yield* Effect.sleep("1 second")
          const second = yield* Effect.fork(submit("second"))
          yield* Effect.sleep("1 second")
          const third = yield* Effect.fork(submit("third"))
          yield* Effect.sleep("1 second")
          const exit = yield* Fiber.interrupt(second)
          yield* Fiber.join(first)
          yield* Fiber.join(third)
          return exit
        })
        const exit = yield* finish(Effect.provide(program, transport.layer({ limits })))
        assert.isTrue(Exit.isInterrupted(exit))
        assert.deepStrictEqual(
          transport.asked.map(({ body }) => body),
          [`{"input":{"name":"first"}}`, `{"input":{"name":"third"}}`]
        )
        assert.deepStrictEqual(transport.times(), [0, 10_000])
      })
    )
  })

  // A fiber can be interrupted between any two steps when its scheduler lets it yield there. These run a call step by
  // step, and interrupt it after each number of steps.
  describe("an interruption between any two steps leaves no permit behind", () => {
    const answer = HttpClient.make((request) => {
      const response = Object.create(null) as Record<string, unknown>
      return Effect.succeed(
        Object.assign(response, {
          request,
          status: 200,
          headers: {},
          stream: Stream.succeed(new TextEncoder().encode(`{"status":"IN_QUEUE"}`))
        }) as never
      )
    })

    /** Runs one task of its fibers at a time. */
    class Steps implements Scheduler {
      private readonly tasks: Array<() => void> = []
      shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
        const count = (fiber as unknown as { readonly currentOpCount: number }).currentOpCount
        return count > fiber.getFiberRef(FiberRef.currentMaxOpsBeforeYield) ? 0 : false
      }
      scheduleTask(task: () => void): void {
        this.tasks.push(task)
      }
      run(most = 100_000): void {
        for (let i = 0; i < most; i++) {
          const task = this.tasks.shift()
          if (task === undefined) return
          task()
        }
      }
    }

    const read: RunPodHttpClient.Call<Job.Job> = {
      operation: "status",
      endpointId: "ep",
      jobId: "job-1",
      read: (body) => Job.fromReply(body, "job-1")
    }

    /** Interrupts the second of two calls, which waits for the first or not, after so many steps. */
    const interruptAt = (steps: number, opsBeforeYield: number, options: { deadline: number; waits: boolean }) => {
      const scheduler = new Steps()
      const scope = Effect.runSync(Scope.make())
      const hold = Deferred.unsafeMake<void>(FiberId.none)
      let calls = 0
      const transport = HttpClient.transformResponse(answer, (response) =>
        ++calls === 1 && options.waits ? Effect.zipRight(Deferred.await(hold), response) : response
      )
      const client = Effect.runSync(
        RunPodHttpClient.make({
          apiKey: "test-key",
          retry: RetryPolicy.none,
          limits: RateLimits.make({ status: { concurrency: 1 } })
        }).pipe(Effect.provideService(HttpClient.HttpClient, transport), Scope.extend(scope))
      )
      const fork = (effect: Effect.Effect<unknown, RunPodError>) =>
        Effect.runFork(Effect.withMaxOpsBeforeYield(effect, opsBeforeYield), { scheduler })
      if (options.waits) {
        fork(client.execute(read))
        scheduler.run()
      }
      const now = Effect.runSync(Effect.clockWith((clock) => Effect.succeed(monotonicMillis(clock))))
      const fiber = fork(within(client.execute(read), now + options.deadline))
      if (options.waits) {
        scheduler.run()
        Deferred.unsafeDone(hold, Exit.void)
      }
      scheduler.run(steps)
      const isDone = fiber.unsafePoll() !== null
      fiber.unsafeInterruptAsFork(FiberId.none)
      scheduler.run()
      assert.isNotNull(fiber.unsafePoll(), `the call is stuck, interrupted after ${steps} steps`)
      assert.isTrue(Effect.runSync(client.hasRoom("ep", "status")), `a permit is lost, after ${steps} steps`)
      Effect.runFork(Scope.close(scope, Exit.void))
      return isDone
    }

    for (const [name, options] of Object.entries({
      "with a free limiter": { deadline: Infinity, waits: false },
      "with a full limiter": { deadline: Infinity, waits: true },
      "with a deadline and a free limiter": { deadline: 100_000, waits: false },
      "with a deadline and a full limiter": { deadline: 100_000, waits: true }
    })) {
      for (const opsBeforeYield of [1, 2, 3]) {
        it(`${name}, yielding every ${opsBeforeYield} operations`, () => {
          let steps = 0
          while (!interruptAt(steps, opsBeforeYield, options)) steps++
          assert.isAbove(steps, 20)
        })
      }
    }
  })

  describe("a submit that is not aborted", () => {
    const submit = (
      ends: Array<Exit.Exit<Job.Job, RunPodError>>,
      client: RunPodHttpClient.RunPodHttpClient
    ): Effect.Effect<Job.Job, RunPodError> =>
      client.execute({
        operation: "run",
        endpointId: "ep",
        body: new TextEncoder().encode(`{"input":{"n":1}}`),
        read: Job.fromSubmitReply,
        onOrphan: (end) => Effect.sync(() => ends.push(end))
      })

    const interrupted = (answer: Scripted.Answer, latency: Duration.DurationInput = 0) =>
      Effect.gen(function* () {
        const transport = Scripted.make([answer], latency)
        const ends: Array<Exit.Exit<Job.Job, RunPodError>> = []
        const scope = yield* Scope.make()
        const client = yield* RunPodHttpClient.make({ apiKey: "test-key", retry: exact }).pipe(
          Effect.provideService(HttpClient.HttpClient, transport.client),
          Scope.extend(scope)
        )
        const fiber = yield* Effect.fork(submit(ends, client))
        yield* TestClock.adjust("1 second")
        const interruption = yield* Effect.fork(timed(Fiber.interrupt(fiber)))
        const closing = yield* Effect.fork(timed(Scope.close(scope, Exit.void)))
        yield* TestClock.adjust("10 minutes")
        const { at, exit } = yield* Fiber.join(interruption)
        return { transport, ends, at, exit, closed: (yield* Fiber.join(closing)).at }
      })

    it.effect("gives its job to its orphanage, and the interruption and the layer's end wait for that", () =>
      Effect.gen(function* () {
        const { at, closed, ends, exit, transport } = yield* interrupted(job, "8 seconds")
        assert(Exit.isSuccess(exit) && Exit.isInterrupted(exit.value))
        assert.deepStrictEqual(
          ends.map((end) => (Exit.isSuccess(end) ? String(end.value.id) : undefined)),
          ["job-1"]
        )
        assert.deepStrictEqual([at, closed], [8_000, 8_000])
        assert.strictEqual(transport.aborted(), 0)
      })
    )

    it.effect("still has its attempt's deadline, and is ambiguous then", () =>
      Effect.gen(function* () {
        const { at, ends, transport } = yield* interrupted("hang")
        assert.deepStrictEqual(ends.map(errorTag), ["SubmitAmbiguousError"])
        assert.strictEqual(at, 30_000)
        assert.strictEqual(transport.aborted(), 1)
      })
    )

    it.effect("is not sent again", () =>
      Effect.gen(function* () {
        const { ends, transport } = yield* interrupted(text(429), "8 seconds")
        assert.deepStrictEqual(ends.map(errorTag), ["RateLimitedError"])
        assert.strictEqual(transport.asked.length, 1)
      })
    )
  })

  describe("spans", () => {
    const traced = (
      operation: Operation,
      answers: ReadonlyArray<Scripted.Answer>,
      options: Partial<RunPod.Options> = {}
    ) =>
      Effect.gen(function* () {
        const { spans, tracer } = Recorder.makeTracer()
        const transport = Scripted.make(answers)
        const program = Effect.exit(Effect.provide(call(operation), transport.layer({ retry: exact, ...options })))
        const exit = yield* finish(Effect.withTracer(Effect.withSpan(program, "caller"), tracer))
        return { exit, transport, spans: spans.filter(({ name }) => name !== "caller") }
      })

    for (const operation of [...Object.keys(good)] as ReadonlyArray<Operation>) {
      it.effect(`RunPod.${operation} is one span, and the only one, and no trace headers are sent`, () =>
        Effect.gen(function* () {
          const { spans, transport } = yield* traced(operation, [text(429), good[operation]])
          assert.deepStrictEqual(
            spans.map(({ name }) => name),
            [`RunPod.${operation}`]
          )
          const [span] = spans
          assert.strictEqual(span?.kind, "client")
          const hasJob = !["health", "purgeQueue", "requests"].includes(operation)
          assert.deepStrictEqual(Object.fromEntries(span?.attributes ?? []), {
            "runpod.endpoint_id": "ep",
            ...(hasJob ? { "runpod.job_id": "job-1" } : {}),
            "runpod.attempt": 2,
            "http.response.status_code": 200
          })
          assert.isTrue(span?.exit !== undefined && Exit.isSuccess(span.exit))
          assert.deepStrictEqual(
            transport.asked
              .flatMap(({ headers }) => Object.keys(headers))
              .filter((key) => /^(?:b3|x-b3|trace)/.test(key)),
            []
          )
        })
      )
    }

    it.effect("it belongs to the span of its caller", () =>
      Effect.gen(function* () {
        const { spans } = yield* traced("status", [job])
        const parent = Option.getOrThrow(spans[0]!.parent)
        assert(parent._tag === "Span")
        assert.strictEqual(parent.name, "caller")
      })
    )

    it.effect("its end is the operation's error", () =>
      Effect.gen(function* () {
        const { exit, spans } = yield* traced("run", [text(500)])
        assert.strictEqual(spans[0]?.attributes.get("http.response.status_code"), 500)
        assert.deepStrictEqual(spans[0]?.exit, exit)
      })
    )
  })

  describe("metrics", () => {
    const counts = (operation: Operation) =>
      Effect.forEach([RunPodMetrics.requests, RunPodMetrics.retries, RunPodMetrics.throttles], (counter) =>
        Effect.map(Metric.value(Metric.tagged(counter, "operation", operation)), ({ count }) => count)
      )

    it.effect("count every attempt, the retries among them, and the answers 429", () =>
      Effect.gen(function* () {
        const before = yield* counts("requests")
        const transport = Scripted.make([text(429), text(503), text(429), good.requests])
        yield* finish(
          Effect.provide(Effect.zipRight(call("requests"), call("requests")), transport.layer({ retry: exact }))
        )
        const after = yield* counts("requests")
        assert.deepStrictEqual(
          after.map((count, i) => count - before[i]!),
          [5, 3, 2]
        )
      })
    )

    it.effect("count no request that was refused before sending or waits in vain", () =>
      Effect.gen(function* () {
        const before = yield* counts("health")
        const transport = Scripted.make(["hang"])
        const refused = Effect.flatMap(RunPod.RunPod, (_) => Effect.exit(_.health("a/b")))
        yield* finish(Effect.provide(refused, transport.layer()))
        assert.deepStrictEqual(yield* counts("health"), before)
      })
    )
  })

  describe("transformClient", () => {
    it.effect("sees every attempt, with the base URL and the key on it", () =>
      Effect.gen(function* () {
        const seen: Array<readonly [string, string | undefined]> = []
        const transport = Scripted.make([text(503), text(429), job])
        const transformClient = HttpClient.mapRequest((request) => {
          seen.push([request.url, request.headers["authorization"]])
          return HttpClientRequest.setHeader(request, "x-own", String(seen.length))
        })
        yield* finish(Effect.provide(status(), transport.layer({ retry: exact, transformClient })))
        const attempt = ["https://runpod.test/v2/ep/status/job-1", "Bearer test-key"] as const
        assert.deepStrictEqual(seen, [attempt, attempt, attempt])
        assert.deepStrictEqual(
          transport.asked.map(({ headers }) => headers["x-own"]),
          ["1", "2", "3"]
        )
      })
    )

    it.effect("is made once, not for every request", () =>
      Effect.gen(function* () {
        let made = 0
        const transport = Scripted.make([job])
        const transformClient = (client: HttpClient.HttpClient) => {
          made++
          return client
        }
        yield* finish(Effect.provide(Effect.zipRight(status(), status()), transport.layer({ transformClient })))
        assert.strictEqual(made, 1)
      })
    )

    const statuses: ReadonlyArray<readonly [Scripted.Answer, string]> = [
      [json({ status: 400, title: "Bad Request", detail: "no" }, 400), "BadRequestError"],
      [text(401), "AuthenticationError"],
      [json({ error: "job not found" }, 404), "JobNotFoundError"],
      [text(429, { "retry-after": "3" }), "RateLimitedError"],
      [text(502, {}, "<html>"), "ServerError"]
    ]
    for (const [answer, tag] of statuses) {
      it.effect(`that makes errors of statuses itself still leads to ${tag}, with the body`, () =>
        Effect.gen(function* () {
          const transport = Scripted.make([answer])
          const plain = yield* finish(
            Effect.exit(Effect.provide(status(), transport.layer({ retry: RetryPolicy.none })))
          )
          const filtered = yield* finish(
            Effect.exit(
              Effect.provide(
                status(),
                transport.layer({ retry: RetryPolicy.none, transformClient: HttpClient.filterStatusOk })
              )
            )
          )
          assert.strictEqual(errorTag(filtered), tag)
          assert.deepStrictEqual(filtered, plain)
        })
      )
    }
  })
})
