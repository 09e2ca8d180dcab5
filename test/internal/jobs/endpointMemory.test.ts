import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { make } from "../../../src/internal/jobs/endpointMemory.js"
import { plainPause } from "../../../src/internal/jobs/pollPace.js"
import type * as Job from "../../../src/schemas/Job.js"

const completed = (delayTime: number, executionTime: number, more: Partial<Job.SyncJob> = {}): Job.SyncJob => ({
  status: "COMPLETED",
  delayTime,
  executionTime,
  raw: {},
  ...more
})

const makeMemory = () => make(() => Effect.never, Effect.forkDaemon)

const learned = (jobs: ReadonlyArray<Job.SyncJob>) => {
  const forecasts = makeMemory()
  for (const job of jobs) forecasts.learn("ep", job)
  return forecasts
}

const fresh = { age: 0, queuedAt: 0, delayTime: undefined }
const same = (count: number, delay = 10_000, execution = 50_000) =>
  Array.from({ length: count }, () => completed(delay, execution))

describe("forecasts", () => {
  it("say nothing of an endpoint with fewer than three jobs", () => {
    const forecasts = learned(same(2))
    assert.isUndefined(forecasts.expectedEnd("ep", fresh))
    assert.isUndefined(forecasts.usualDelay("ep"))
    assert.isUndefined(forecasts.remaining("ep", fresh))
    assert.isUndefined(learned(same(9)).expectedEnd("other", fresh))
  })

  it("learn from completed jobs only, and not from times that are no times", () => {
    const jobs = [
      ...same(9).map((job) => ({ ...job, status: "FAILED" as const })),
      ...same(9).map((job) => ({ ...job, status: "CANCELLED" as const })),
      ...same(9).map((job) => ({ ...job, executionTime: -1 })),
      ...same(9).map(({ status }) => ({ status, raw: {} }))
    ]
    assert.isUndefined(learned(jobs).expectedEnd("ep", { ...fresh, delayTime: 0 }))
  })

  it("do not count the queue of a job that was dispatched twice", () => {
    const forecasts = learned(same(9).map((job) => ({ ...job, retries: 1 })))
    assert.isUndefined(forecasts.usualDelay("ep"))
    assert.isUndefined(forecasts.expectedEnd("ep", fresh))
    assert.isDefined(forecasts.expectedEnd("ep", { ...fresh, delayTime: 10 }))
  })

  it("expect the end around the sum of both times, and around the execution once that has begun", () => {
    const forecasts = learned(same(9))
    assert.deepStrictEqual(forecasts.expectedEnd("ep", fresh), { from: 60_000, to: 60_100 })
    assert.deepStrictEqual(forecasts.expectedEnd("ep", { ...fresh, delayTime: 500 }), { from: 50_500, to: 50_600 })
  })

  it("expect a job that is still in the queue no sooner than an execution from then", () => {
    const forecasts = learned(same(9))
    assert.deepStrictEqual(forecasts.expectedEnd("ep", { ...fresh, age: 30_000, queuedAt: 30_000 }), {
      from: 80_000,
      to: 80_100
    })
  })

  it("follow the newest jobs", () => {
    const forecasts = learned([...same(100, 0, 10_000), ...same(32, 0, 90_000)])
    assert.deepStrictEqual(forecasts.expectedEnd("ep", fresh), { from: 90_000, to: 90_100 })
  })

  it("leave out an outlier among many", () => {
    const forecasts = learned([...same(31, 0, 10_000), completed(0, 900_000)])
    assert.isAtMost(forecasts.expectedEnd("ep", fresh)!.to, 10_100)
  })

  it("say what is left: by the median, never less than nothing", () => {
    const forecasts = learned([1, 2, 3, 4, 5].map((n) => completed(n * 1_000, 10_000)))
    assert.strictEqual(forecasts.usualDelay("ep"), 3_000)
    assert.strictEqual(forecasts.remaining("ep", fresh), 13_000)
    assert.strictEqual(forecasts.remaining("ep", { age: 6_000, queuedAt: 6_000, delayTime: undefined }), 10_000)
    assert.strictEqual(forecasts.remaining("ep", { age: 6_000, queuedAt: 4_000, delayTime: 5_000 }), 9_000)
    assert.strictEqual(forecasts.remaining("ep", { age: 60_000, queuedAt: 4_000, delayTime: 5_000 }), 0)
  })

  it.prop(
    "always span their samples' middle, whatever the jobs were",
    [FastCheck.array(FastCheck.tuple(FastCheck.nat(100_000), FastCheck.nat(1_000_000)), { minLength: 3 })],
    ([times]) => {
      const forecasts = learned(times.map(([delay, execution]) => completed(delay, execution)))
      const end = forecasts.expectedEnd("ep", fresh)!
      const left = forecasts.remaining("ep", fresh)!
      assert.isTrue(0 <= end.from && end.from <= left && left <= end.to && Number.isFinite(end.to))
    }
  )

  it("forget the endpoint that was not used for longest", () => {
    const forecasts = makeMemory()
    const learn = (endpointId: string) => same(3).forEach((job) => forecasts.learn(endpointId, job))
    learn("a")
    learn("b")
    for (let n = 0; n < 254; n++) learn(`ep-${n}`)
    learn("a")
    learn("c")
    assert.deepStrictEqual(
      ["a", "b", "c"].map((endpointId) => forecasts.usualDelay(endpointId)),
      [10_000, undefined, 10_000]
    )
  })

  it("remember so many endpoints and no more", () => {
    const forecasts = makeMemory()
    for (let n = 0; n < 5_000; n++) for (const job of same(3)) forecasts.learn(`ep-${n}`, job)
    assert.isUndefined(forecasts.usualDelay("ep-0"))
    assert.isDefined(forecasts.usualDelay("ep-4999"))
    assert.strictEqual(
      Array.from({ length: 5_000 }, (_, n) => forecasts.usualDelay(`ep-${n}`)).filter(Boolean).length,
      256
    )
  })
})

describe("plainPause", () => {
  const numbers = { initial: 3_000, interval: 6_000, ageShare: 0.1, cap: 60_000 }
  const pause = (age: number, end?: readonly [number, number]) =>
    plainPause(age, age === 0, numbers, end === undefined ? undefined : { from: end[0], to: end[1] })

  it("without a forecast: the initial delay, the interval, a tenth of the age, the cap", () => {
    assert.deepStrictEqual(
      [0, 3_000, 60_000, 200_000, 3_600_000].map((age) => pause(age)),
      [3_000, 6_000, 6_000, 20_000, 60_000]
    )
  })

  it("with one: a look half-way, then small steps while the end is due, then larger ones", () => {
    const end = [57_000, 63_000] as const
    const polls = [0]
    while (polls.at(-1)! < 80_000) polls.push(polls.at(-1)! + pause(polls.at(-1)!, end))
    assert.deepStrictEqual(
      polls.slice(1).map(Math.round),
      [28_950, 57_900, 58_800, 59_700, 60_600, 61_500, 62_400, 63_300, 64_200, 65_400, 67_800, 72_600, 79_860, 87_846]
    )
  })

  it.prop(
    "always goes on, and never rests for longer than five minutes where one would not without a forecast",
    [FastCheck.nat(100_000_000), FastCheck.nat(100_000_000), FastCheck.nat(100_000_000)],
    ([age, from, width]) => {
      const next = pause(age, [from, from + width + 100])
      assert.isAbove(next, 0)
      assert.isAtMost(next, 5 * 60_000)
    }
  )
})
