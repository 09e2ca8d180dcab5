import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as SlidingWindow from "../../../src/internal/pace/slidingWindow.js"

/** The same by definition: of all admissions, those less than `length` ago count. */
class Model {
  readonly admissions: Array<number> = []
  constructor(
    readonly limit: number,
    readonly length: number
  ) {}
  fits(now: number): boolean {
    return this.admissions.filter((at) => at + this.length > now).length < this.limit
  }
  /** Room can only come when an admission leaves. */
  nextAt(now: number): number {
    const times = [now, ...this.admissions.map((at) => at + this.length).filter((at) => at > now)]
    return times.sort((a, b) => a - b).find((at) => this.fits(at))!
  }
}

/** Any span that begins with an admission, its end excluded, holds at most the limit. So does any other span. */
const assertWithin = (admissions: ReadonlyArray<number>, limit: number, length: number) => {
  for (let i = 0; i + limit < admissions.length; i++) {
    assert.isAtLeast(admissions[i + limit]!, admissions[i]! + length)
  }
}

const steps = FastCheck.array(
  FastCheck.record({
    // Quarters, so that sums are exact.
    wait: FastCheck.oneof(FastCheck.constant(0), FastCheck.nat({ max: 40 })).map((quarters) => quarters / 4),
    patient: FastCheck.boolean()
  }),
  { maxLength: 120, size: "max" }
)

describe("SlidingWindow", () => {
  it.prop(
    "admits exactly when a window of the length has room, never more and never later",
    { limit: FastCheck.integer({ min: 1, max: 6 }), length: FastCheck.integer({ min: 1, max: 20 }), steps },
    ({ length, limit, steps }) => {
      const window = SlidingWindow.make(limit, length)
      const model = new Model(limit, length)
      let now = 0
      for (const { patient, wait } of steps) {
        now += wait
        const at = SlidingWindow.nextAt(window, now)
        assert.strictEqual(at, model.nextAt(now))
        if (at > now && !patient) continue
        now = at
        assert.strictEqual(SlidingWindow.nextAt(window, now), now)
        SlidingWindow.admit(window, now)
        model.admissions.push(now)
      }
      assertWithin(model.admissions, limit, length)
    },
    { fastCheck: { numRuns: 200 } }
  )

  it.prop(
    "keeps to the limit when its clock counts fractions",
    {
      limit: FastCheck.integer({ min: 1, max: 5 }),
      length: FastCheck.double({ min: 0.001, max: 1000, noNaN: true }),
      start: FastCheck.double({ min: 0, max: 1e12, noNaN: true }),
      waits: FastCheck.array(FastCheck.double({ min: 0, max: 500, noNaN: true }), { maxLength: 100 })
    },
    ({ length, limit, start, waits }) => {
      const window = SlidingWindow.make(limit, length)
      const admissions: Array<number> = []
      let now = start
      for (const wait of waits) {
        now = SlidingWindow.nextAt(window, now + wait)
        assert.strictEqual(SlidingWindow.nextAt(window, now), now)
        SlidingWindow.admit(window, now)
        admissions.push(now)
      }
      assertWithin(admissions, limit, length)
    }
  )

  it.prop(
    "that counts answers keeps to the limit where requests arrive, which may be at any time until then",
    {
      limit: FastCheck.integer({ min: 1, max: 5 }),
      length: FastCheck.integer({ min: 10, max: 40 }),
      requests: FastCheck.array(
        FastCheck.record({
          wait: FastCheck.oneof(FastCheck.constant(0), FastCheck.nat({ max: 20 })),
          latency: FastCheck.oneof(FastCheck.nat({ max: 10 }), FastCheck.nat({ max: 100 })),
          /** When of the latency it arrives. */
          share: FastCheck.double({ min: 0, max: 1, noNaN: true })
        }),
        { maxLength: 60, size: "max" }
      )
    },
    ({ length, limit, requests }) => {
      const window = SlidingWindow.make(limit, length, true)
      const answers: Array<number> = []
      const arrivals: Array<number> = []
      const answerUntil = (now: number) => {
        answers.sort((a, b) => a - b)
        while (answers[0] !== undefined && answers[0] <= now) SlidingWindow.answered(window, answers.shift() ?? now)
      }
      let now = 0
      for (const { latency, share, wait } of requests) {
        now += wait
        answerUntil(now)
        for (let at = SlidingWindow.nextAt(window, now); at > now; at = SlidingWindow.nextAt(window, now)) {
          now = at
          answerUntil(now)
        }
        SlidingWindow.admit(window, now)
        arrivals.push(now + share * latency)
        answers.push(now + latency)
      }
      assertWithin(
        arrivals.sort((a, b) => a - b),
        limit,
        length
      )
    },
    { fastCheck: { numRuns: 500 } }
  )

  it("that counts answers says when there is room after an answer, and what is the soonest while there is none", () => {
    const window = SlidingWindow.make(1, 10, true)
    const timesAfter = (latency: number, from: number) => {
      SlidingWindow.admit(window, from)
      SlidingWindow.answered(window, from + latency)
      return SlidingWindow.nextAt(window, from + latency)
    }
    assert.strictEqual(timesAfter(2, 0), 12)
    assert.strictEqual(timesAfter(5, 12), 27)
    SlidingWindow.admit(window, 27)
    // It is not answered yet.
    assert.strictEqual(SlidingWindow.nextAt(window, 100), 110)
    SlidingWindow.answered(window, 100)
    assert.strictEqual(SlidingWindow.nextAt(window, 104), 110)
  })

  it("takes a limit of 2.5 for 2, as requests are whole", () => {
    const window = SlidingWindow.make(2.5, 10)
    for (const now of [0, 1]) {
      assert.strictEqual(SlidingWindow.nextAt(window, now), now)
      SlidingWindow.admit(window, now)
    }
    assert.strictEqual(SlidingWindow.nextAt(window, 2), 10)
    assert.strictEqual(SlidingWindow.nextAt(window, 10), 10)
    SlidingWindow.admit(window, 10)
    assert.strictEqual(SlidingWindow.nextAt(window, 10), 11)
  })

  it("says when there will be room for one when it holds more than its limit", () => {
    const window = SlidingWindow.make(2, 10)
    for (const now of [0, 1, 2, 3]) SlidingWindow.admit(window, now)
    assert.strictEqual(SlidingWindow.nextAt(window, 3), 12)
    assert.strictEqual(SlidingWindow.nextAt(window, 12), 12)
  })

  it("costs nothing for a limit of a billion", () => {
    const window = SlidingWindow.make(1e9, 10_000)
    assert.isAtMost(window.times.length, 16)
    SlidingWindow.admit(window, 0)
    assert.isAtMost(window.times.length, 16)
    assert.strictEqual(SlidingWindow.nextAt(window, 0), 0)
  })

  it("remembers only the requests inside the window, and forgets the room for the others", () => {
    const window = SlidingWindow.make(1e9, 100)
    for (let i = 0; i < 100_000; i++) SlidingWindow.admit(window, i / 1000)
    assert.isAtLeast(window.times.length, 100_000)
    assert.isAtMost(window.times.length, 400_000)
    // One request every 10 ms: 10 of them are inside the window.
    for (let i = 0; i < 100; i++) SlidingWindow.admit(window, 1000 + i * 10)
    assert.isAtMost(window.times.length, 64)
    assert.isAtMost(window.size, 11)
  })

  it("is still exact after it grew and shrank around the end of its ring", () => {
    const window = SlidingWindow.make(40, 100)
    const model = new Model(40, 100)
    let now = 0
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < (round % 5) * 13 + 1; i++) {
        const at = SlidingWindow.nextAt(window, now)
        assert.strictEqual(at, model.nextAt(now))
        now = at
        SlidingWindow.admit(window, now)
        model.admissions.push(now)
      }
      now += (round % 7) * 9
    }
    assertWithin(model.admissions, 40, 100)
  })
})
