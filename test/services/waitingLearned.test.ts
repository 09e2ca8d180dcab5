/** Waits on an endpoint whose earlier jobs say how long the next will take. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import type * as RunPod from "../../src/services/RunPod.js"
import type { WaitOptions, WatchedJob } from "../../src/services/WaitOptions.js"
import * as Scripted from "../support/scripted.js"
import * as VirtualTime from "../support/virtualTime.js"

const { json } = Scripted

interface Times {
  readonly delay: number
  readonly execution: number
}

/** A RunPod whose n-th job takes the n-th times; the last are repeated. */
const model = (times: ReadonlyArray<Times>) => {
  const jobs: Array<Times & { readonly at: number; requests: number }> = []
  const endOf = (job: (typeof jobs)[number]) => job.at + job.delay + job.execution
  const jobOf = (url: string) => jobs[Number(/job-(\d+)/.exec(url)?.[1])]!
  const waitOf = (url: string) => Number(/wait=(\d+)/.exec(url)?.[1] ?? 0)
  const holdOf = ({ at, url }: Scripted.Asked) =>
    url.endsWith("/run") ? 0 : Math.max(0, Math.min(waitOf(url), endOf(jobOf(url)) - at))
  const transport = Scripted.make((asked) => {
    if (asked.url.endsWith("/run")) {
      const job = { ...times[Math.min(jobs.length, times.length - 1)]!, at: asked.at, requests: 1 }
      jobs.push(job)
      return json({ id: `job-${jobs.length - 1}`, status: "IN_QUEUE" })
    }
    const job = jobOf(asked.url)
    job.requests++
    const now = asked.at + holdOf(asked)
    if (now >= endOf(job)) {
      const { delay: delayTime, execution: executionTime } = job
      return json({ status: "COMPLETED", delayTime, executionTime, output: 1 })
    }
    return json(now < job.at + job.delay ? { status: "IN_QUEUE" } : { status: "IN_PROGRESS", delayTime: job.delay })
  }, holdOf)
  return { ...transport, jobs, endOf }
}

const endpoint = Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })

/** What one job cost, submit included, and how long after its end that was seen. */
interface Seen {
  readonly requests: number
  readonly lag: number
  readonly age: number
}

/** Calls one after the other, each with the times of its turn. */
const callAll = (times: ReadonlyArray<Times>, options: WaitOptions = {}) =>
  Effect.gen(function* () {
    const t = model(times)
    const seen: Array<Seen> = []
    const calls = Effect.flatMap(endpoint, (ep) =>
      Effect.forEach(times, () =>
        Effect.gen(function* () {
          yield* ep.call({ n: 1 }, options)
          const job = t.jobs.at(-1)!
          const lag = (yield* Clock.currentTimeMillis) - t.endOf(job)
          seen.push({ requests: job.requests, lag, age: job.delay + job.execution })
        })
      )
    )
    yield* VirtualTime.run(Effect.provide(calls, t.layer()))
    return seen
  })

const p95 = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.ceil(values.length * 0.95) - 1]!

const seeded = <A, E, R>(seed: string, effect: Effect.Effect<A, E, R>) => Effect.withRandom(effect, Random.make(seed))

/** Times around `usual`, at most `spread` of it off. */
const timesAround = (usual: Times, spread: number, count: number) =>
  Effect.replicateEffect(
    Effect.map(Effect.all([Random.nextRange(-spread, spread), Random.nextRange(-spread, spread)]), ([a, b]) => ({
      delay: Math.round(usual.delay * (1 + a)),
      execution: Math.round(usual.execution * (1 + b))
    })),
    count
  )

const plain = { hold: false } as const

describe.sequential("plain polls on an endpoint that has been learned", () => {
  const mixes: Record<string, Times> = {
    "runs at once": { delay: 200, execution: 59_800 },
    "is in the queue for a while": { delay: 20_000, execution: 40_000 },
    "is in the queue for most of it": { delay: 55_000, execution: 5_000 }
  }
  for (const [name, usual] of Object.entries(mixes)) {
    it.live(`a 60 s job that ${name}, ± 5 %: at most 10 requests, seen within 1 s (p95)`, () =>
      seeded(
        name,
        Effect.gen(function* () {
          const seen = (yield* callAll(yield* timesAround(usual, 0.05, 60), plain)).slice(10)
          assert.isAtMost(Math.max(...seen.map(({ requests }) => requests)), 10)
          assert.isAtMost(p95(seen.map(({ lag }) => lag)), 1_000)
        })
      )
    )
  }

  it.live("jobs of always the same length take the submit, a look or two, and the end", () =>
    Effect.gen(function* () {
      const seen = yield* callAll(
        Array.from({ length: 10 }, () => ({ delay: 0, execution: 60_000 })),
        plain
      )
      for (const { lag, requests } of seen.slice(3)) {
        assert.isAtMost(requests, 4)
        assert.isAtMost(lag, 200)
      }
    })
  )

  it.live("short jobs are seen soon, where without learning the first look comes late", () =>
    seeded(
      "short",
      Effect.gen(function* () {
        const seen = yield* callAll(yield* timesAround({ delay: 100, execution: 600 }, 0.3, 60), plain)
        assert.isAtLeast(seen[0]!.lag, 2_000)
        for (const { lag, requests } of seen.slice(10)) {
          assert.isAtMost(lag, 1_000)
          assert.isAtMost(requests, 3)
        }
      })
    )
  )

  it.live("whatever was learned, a 60 s job takes at most 12 requests and is seen within a tenth of its age", () =>
    seeded(
      "wide",
      Effect.gen(function* () {
        for (let run = 0; run < 3; run++) {
          const past = yield* timesAround({ delay: 5_000, execution: 65_000 }, 0.9, 30)
          const seen = (yield* callAll([...past, { delay: 5_000, execution: 55_000 }], plain)).at(-1)!
          assert.isAtMost(seen.requests, 12)
          assert.isAtMost(seen.lag, 6_000)
        }
      })
    )
  )

  it.live("an outlier does not spoil it", () =>
    seeded(
      "outlier",
      Effect.gen(function* () {
        const times = yield* timesAround({ delay: 0, execution: 60_000 }, 0.05, 100)
        const withOutliers = times.map((time, n) => (n % 40 === 20 ? { ...time, execution: 400_000 } : time))
        const seen = (yield* callAll(withOutliers, plain)).filter(({ age }) => age < 100_000).slice(40)
        assert.isAtMost(p95(seen.map(({ lag }) => lag)), 1_000)
        assert.isAtMost(p95(seen.map(({ requests }) => requests)), 10)
      })
    )
  )

  it.live("a job far over its time is polled as on an endpoint that is not known", () =>
    Effect.gen(function* () {
      const past = Array.from({ length: 10 }, () => ({ delay: 0, execution: 10_000 }))
      const seen = (yield* callAll([...past, { delay: 0, execution: 600_000 }], plain)).at(-1)!
      assert.isAtMost(seen.lag, 60_000)
      assert.isAtMost(seen.requests, 50)
    })
  )

  it.live("a long job is left alone for some minutes at most", () =>
    Effect.gen(function* () {
      const past = Array.from({ length: 4 }, () => ({ delay: 0, execution: 5 * 3_600_000 }))
      const t = model(past)
      yield* VirtualTime.run(
        Effect.provide(
          Effect.flatMap(endpoint, (ep) => Effect.forEach(past, () => ep.call({ n: 1 }, plain))),
          t.layer()
        )
      )
      const times = t.times().slice(-50)
      for (const [index, at] of times.slice(1).entries()) assert.isAtMost(at - times[index]!, 10 * 60_000)
    })
  )
})

describe("what is learned", () => {
  const firstPolls = (
    t: ReturnType<typeof model>,
    wait: Effect.Effect<unknown, unknown, RunPod.RunPod>
  ): Effect.Effect<number, unknown, RunPod.RunPod> =>
    Effect.gen(function* () {
      const before = t.asked.length
      yield* wait
      const [submit, first] = t.asked.slice(before)
      return first!.at - submit!.at
    })

  const usual = Array.from({ length: 5 }, () => ({ delay: 0, execution: 20_000 }))
  const call = (options: WaitOptions = plain, id = "ep") =>
    Effect.flatMap(Endpoint.make(id, { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown }), (ep) =>
      ep.call({ n: 1 }, options)
    )
  const inTime = <A>(t: ReturnType<typeof model>, effect: Effect.Effect<A, unknown, RunPod.RunPod>) =>
    VirtualTime.run(Effect.provide(effect, t.layer()))

  it.live("is shared by all waits of a layer on the endpoint, holding ones too, and by nothing else", () =>
    Effect.gen(function* () {
      const t = model(usual)
      const first = yield* inTime(
        t,
        Effect.zipRight(
          Effect.replicateEffect(call({}), 3),
          Effect.all([firstPolls(t, call()), firstPolls(t, call(plain, "other"))])
        )
      )
      assert.isAtLeast(first[0], 19_000)
      assert.strictEqual(first[1], 3_000)
      assert.strictEqual(yield* inTime(t, firstPolls(t, call())), 3_000)
    })
  )

  it.live("leaves alone what the caller's policy says", () =>
    Effect.gen(function* () {
      const t = model(usual)
      const poll = { initial: "2 seconds" } as const
      const first = yield* inTime(t, Effect.zipRight(Effect.replicateEffect(call(), 3), firstPolls(t, call({ poll }))))
      assert.strictEqual(first, 2_000)
    })
  )

  it.live("is not used for a job of unknown age", () =>
    Effect.gen(function* () {
      const t = model(usual)
      const wait = Effect.gen(function* () {
        yield* Effect.replicateEffect(call(), 3)
        yield* Effect.flatMap(endpoint, (ep) => ep.run({ n: 1 }))
        const before = t.asked.length
        yield* Jobs.settle("ep", "job-3", plain)
        return t.asked[before]!.at - t.asked[before - 1]!.at
      })
      assert.strictEqual(yield* inTime(t, wait), 3_000)
    })
  )
})

describe("holding", () => {
  it.live("is never slower to notice than Schedule.spaced(1 second), at a sixth of its calls at most", () =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(
          FastCheck.integer({ min: 0, max: 50_000 }),
          FastCheck.integer({ min: 6_000, max: 100_000 }),
          (delay, execution) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const times = [{ delay, execution }]
                const [held] = yield* callAll(times)
                const [spaced] = yield* callAll(times, { poll: Schedule.spaced("1 second") })
                assert.isAtMost(held!.lag, spaced!.lag)
                assert.isAtMost(held!.requests - 1, (spaced!.requests - 1) / 6)
              })
            )
        ),
        { numRuns: 8 }
      )
    )
  )

  it.live("takes three requests at most for a 60 s job, seen within a second, also with a timeout", () =>
    Effect.gen(function* () {
      for (const options of [{}, { timeout: "5 minutes" }] as const) {
        for (const delay of [0, 20_000, 55_000]) {
          const [seen] = yield* callAll([{ delay, execution: 60_000 - delay }], options)
          assert.isAtMost(seen!.requests, 3)
          assert.isAtMost(seen!.lag, 1_000)
        }
      }
    })
  )
})

describe("a job that no request can be held for", () => {
  /** Calls three jobs one after the other, then two that overlap, where one request may be held. Gives what the last of them cost. */
  const last = ({
    learned = 10_000,
    start = 4_000,
    times: [before, after],
    ...options
  }: WaitOptions & {
    readonly learned?: number
    readonly times: readonly [before: number, after: number]
    readonly start?: number
  }) =>
    Effect.gen(function* () {
      const t = model([learned, learned, learned, before, after].map((execution) => ({ delay: 0, execution })))
      const limits = RateLimits.make({ statusSync: { concurrency: 1 } })
      const calls = Effect.gen(function* () {
        const ep = yield* endpoint
        for (let n = 0; n < 3; n++) yield* ep.call({ n })
        const [, seenAt] = yield* Effect.all(
          [
            ep.call({ n: 3 }),
            Effect.zipRight(ep.call({ n: 4 }, options), Clock.currentTimeMillis).pipe(Effect.delay(start))
          ],
          { concurrency: 2 }
        )
        return seenAt
      })
      const seenAt = yield* VirtualTime.run(Effect.provide(calls, t.layer({ limits })))
      const job = t.jobs.at(-1)!
      return { requests: job.requests, lag: seenAt - t.endOf(job) }
    })

  it.live("is seen at its end when one can be shortly before that", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* last({ times: [10_000, 10_000] }), { requests: 2, lag: 0 })
    })
  )

  it.live("is seen at its end when one can be just then", () =>
    Effect.gen(function* () {
      const { lag, requests } = yield* last({ times: [13_900, 10_000] })
      assert.strictEqual(requests, 2)
      assert.isAtMost(lag, 10)
    })
  )

  it.live("is asked for once, soon after its end, when none can be then either", () =>
    Effect.gen(function* () {
      for (const end of [14_000, 14_200]) {
        const { lag, requests } = yield* last({ times: [end, 10_000], start: 4_001 })
        assert.strictEqual(requests, 2)
        assert.isAtMost(lag, 150)
      }
    })
  )

  it.live("is looked at once more before its time is over", () =>
    Effect.gen(function* () {
      const { lag, requests } = yield* last({ times: [14_000, 8_500], timeout: 9_000 })
      assert.strictEqual(requests, 2)
      assert.isAtMost(lag, 300)
    })
  )

  it.live("is looked at for its progress, where that is wanted", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const onProgress = ({ status }: WatchedJob) => Effect.sync(() => void seen.push(status))
      const { requests } = yield* last({ learned: 20_000, times: [30_000, 20_000], onProgress })
      assert.deepStrictEqual(seen, ["IN_PROGRESS", "COMPLETED"])
      assert.isAtMost(requests, 5)
    })
  )

  it.live("is looked at now and then when its end is far", () =>
    Effect.gen(function* () {
      const { lag, requests } = yield* last({ learned: 3_600_000, times: [3_700_000, 60_000] })
      assert.isAtMost(lag, 8 * 60_000)
      assert.isAtMost(requests, 4)
    })
  )
})

describe("the emulator's jobs", () => {
  it.live("are learned as RunPod's are: a 60 s job on a warm endpoint, ± 5 %, in 10 requests and within 1 s", () =>
    Effect.gen(function* () {
      const layer = Emulator.layerRunPod({
        endpoints: { ep: { workers: 1, execution: { min: 57_000, max: 63_000 } } }
      })
      const program = Effect.gen(function* () {
        const emulator = yield* Emulator.Emulator
        const ep = yield* endpoint
        const seen: Array<Seen> = []
        for (let n = 0; n < 60; n++) {
          yield* emulator.resetCounts
          yield* ep.call({ n }, plain)
          const now = yield* Clock.currentTimeMillis
          const job = (yield* emulator.jobs("ep")).at(-1)!
          const { total } = yield* emulator.counts
          seen.push({ requests: total, age: job.finishedAt! - job.createdAt, lag: now - job.finishedAt! })
        }
        return seen.slice(10)
      })
      const seen = yield* VirtualTime.run(Effect.provide(program, layer))
      assert.isAtMost(p95(seen.map(({ lag }) => lag)), 1_000)
      assert.isAtMost(Math.max(...seen.map(({ requests }) => requests)), 10)
    })
  )
})
