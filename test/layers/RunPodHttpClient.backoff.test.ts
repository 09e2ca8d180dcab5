import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import { call, errorOf, errorTag, job, status, text, timed } from "../support/pipeline.js"
import * as Scripted from "../support/scripted.js"

const unlimited = { limits: RateLimits.unlimited }

describe("RunPodHttpClient: when it is sent again", () => {
  /** When the attempts were made, and the error they ended with. */
  const attempts = (
    answers: ReadonlyArray<Scripted.Answer>,
    retry: RetryPolicy.Options,
    within: Duration.DurationInput = "1 hour"
  ) =>
    Effect.gen(function* () {
      const transport = Scripted.make(answers)
      const layer = transport.layer({ retry: RetryPolicy.make({ jitter: "none", ...retry }) })
      const exit = yield* finish(Effect.exit(Effect.provide(call("status"), layer)), within)
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

  const headers: ReadonlyArray<readonly [name: string, Scripted.Answer, second: number, asked: number | undefined]> = [
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
        const error = errorOf((yield* attempts([answer], { maxAttempts: 1 }, 0)).exit)
        assert.deepStrictEqual(RetryPolicy.retryAfter(error), asked === undefined ? undefined : Duration.millis(asked))
        const { times } = yield* attempts([answer, job], {}, "30 days")
        assert.deepStrictEqual(times, [0, second])
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
    const whole = [250, 500, 1000, 2000, 3000, 3000]

    /** The delays under a seed. */
    const jittered = (seed: string) => {
      const transport = Scripted.make([text(503)])
      const layer = transport.layer({ retry: RetryPolicy.make({ maxAttempts: 7, cap: "3 seconds" }) })
      return Effect.exit(Effect.provide(status(), layer)).pipe(
        Effect.withRandom(Random.make(seed)),
        Effect.map(() =>
          transport
            .times()
            .slice(1)
            .map((at, i) => at - transport.times()[i]!)
        )
      )
    }

    const manySeeds = Array.from({ length: 30 }, (_, i) => `seed ${i}`)

    it.effect("waits between nothing and the whole delay", () =>
      Effect.gen(function* () {
        const delays = yield* finish(Effect.forEach(manySeeds, jittered, { concurrency: "unbounded" }))
        for (const [i, longest] of whole.entries()) {
          const nth = delays.map((of) => of[i]!)
          assert.isTrue(nth.every((delay) => delay >= 0 && delay <= longest))
          // Spread over the whole span, not about its middle.
          assert.isBelow(Math.min(...nth), longest * 0.25)
          assert.isAbove(Math.max(...nth), longest * 0.75)
        }
      })
    )

    it.effect("is the n-th number of a seeded `Random` times the n-th delay, in whole milliseconds", () =>
      Effect.gen(function* () {
        const numbers = yield* Effect.withRandom(
          Effect.forEach(whole, () => Random.next),
          Random.make("a seed")
        )
        const [first, again, other] = yield* finish(
          Effect.forEach(["a seed", "a seed", "another seed"], jittered, { concurrency: "unbounded" })
        )
        assert.deepStrictEqual(
          first,
          whole.map((longest, i) => Math.round(longest * numbers[i]!))
        )
        assert.deepStrictEqual(again, first)
        assert.notDeepEqual(other, first)
      })
    )
  })

  describe("under the deadline of a caller", () => {
    const within = (answers: ReadonlyArray<Scripted.Answer>, seconds: number) =>
      Effect.gen(function* () {
        const transport = Scripted.make(answers)
        const layer = transport.layer({ retry: RetryPolicy.make({ jitter: "none" }) })
        const { at, exit } = yield* finish(
          Effect.provide(timed(RunPod.withDeadline(status(), Duration.seconds(seconds))), layer)
        )
        return { at, error: errorOf(exit), times: transport.times() }
      })

    it.effect("a Retry-After beyond it fails at once, with the time", () =>
      Effect.gen(function* () {
        const { at, error, times } = yield* within([retryAfter("20")], 19)
        assert(error._tag === "RateLimitedError")
        assert.deepStrictEqual(error.retryAfter, Duration.seconds(20))
        assert.deepStrictEqual([at, times], [0, [0]])
      })
    )

    it.effect("a request that finds the gate closed beyond it fails at once, with the time", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([retryAfter("20"), job])
        const two = Effect.gen(function* () {
          yield* Effect.fork(status())
          yield* Effect.sleep("5 seconds")
          return yield* timed(RunPod.withDeadline(status(), "10 seconds"))
        })
        const { at, exit } = yield* finish(Effect.provide(two, transport.layer()))
        const error = errorOf(exit)
        assert(error._tag === "RateLimitedError")
        assert.deepStrictEqual(error.retryAfter, Duration.seconds(15))
        assert.strictEqual(at, 5_000)
      })
    )

    it.effect("a Retry-After before it is waited", () =>
      Effect.gen(function* () {
        const { at, error, times } = yield* within([retryAfter("20"), text(401)], 21)
        assert.strictEqual(error._tag, "AuthenticationError")
        assert.deepStrictEqual([at, times], [20_000, [0, 20_000]])
      })
    )

    it.effect("a backoff that crosses it ends there", () =>
      Effect.gen(function* () {
        const { at, error, times } = yield* within([text(503)], 1)
        assert.strictEqual(error._tag, "ServerError")
        assert.deepStrictEqual([at, times], [1_000, [0, 250, 750]])
      })
    )

    it.effect("an attempt is cut short by it", () =>
      Effect.gen(function* () {
        const { at, error, times } = yield* within([text(503), "hang"], 7)
        assert(error._tag === "RequestTimeoutError")
        assert.deepStrictEqual(error.timeout, Duration.millis(6_750))
        assert.deepStrictEqual([at, times], [7_000, [0, 250]])
      })
    )
  })
})

describe("RunPodHttpClient: the retry budget", () => {
  const policy = (budget?: number) =>
    RetryPolicy.make({ jitter: "none", base: 1, ...(budget === undefined ? {} : { budget }) })

  it.effect("an outage drains its 500 tokens, 5 for each retry, and errors are final then", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([text(503)])
      const outage = Effect.forEach(Array.from({ length: 120 }), () => Effect.exit(status()), {
        concurrency: "unbounded"
      })
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
      const transport = Scripted.make([text(503), text(503), text(503), text(502), job])
      const only502 = Schedule.whileInput(
        Schedule.intersect(Schedule.recurs(1), Schedule.identity<RunPodError>()),
        (error: RunPodError) => error.status === 502
      )
      const retry = RetryPolicy.fromSchedule(only502, { budget: 5 })
      const four = Effect.forEach(Array.from({ length: 4 }), () => Effect.exit(status()))
      const exits = yield* finish(Effect.provide(four, transport.layer({ retry })))
      assert.deepStrictEqual(exits.map(errorTag), ["ServerError", "ServerError", "ServerError", "Success"])
    })
  )

  it.effect("Infinity is no budget at all", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([text(503)])
      const outage = Effect.forEach(Array.from({ length: 40 }), () => Effect.exit(status()), {
        concurrency: "unbounded"
      })
      const retry = RetryPolicy.make({ jitter: "none", base: 1, maxAttempts: 10, budget: Infinity })
      yield* finish(Effect.provide(outage, transport.layer({ ...unlimited, retry })))
      assert.strictEqual(transport.asked.length, 400)
    })
  )
})
