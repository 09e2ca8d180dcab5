import { describe, expect, it } from "@effect/vitest"
import { Effect, Array, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import { post } from "./support.js"

const submit = (n: number) => Effect.forEach(Array.range(1, n), (i) => post("/v2/e/run", { input: { i } }))

const layer = (endpoint: Emulator.EndpointOptions) =>
  Emulator.layer({ endpoints: { e: endpoint }, limits: RateLimits.unlimited })

describe("changes of an emulator's jobs", () => {
  it.effect("tell each job once, as it is, and then only what has changed", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      yield* submit(3)
      const first = yield* emulator.changes("e")
      expect(first.isReset).toBe(true)
      expect(first.jobs.map(({ status }) => status).sort()).toEqual(["IN_PROGRESS", "IN_QUEUE", "IN_QUEUE"])
      const [job] = first.jobs.filter(({ status }) => status === "IN_PROGRESS")
      expect(job).not.toHaveProperty("input")

      const none = yield* emulator.changes("e", { after: first.cursor })
      expect(none).toEqual({ cursor: first.cursor, isReset: false, hasMore: false, jobs: [], removed: [] })

      yield* TestClock.adjust("1 second")
      const second = yield* emulator.changes("e", { after: first.cursor })
      expect(second.isReset).toBe(false)
      expect(second.jobs.map(({ id, status }) => [id === job!.id, status])).toEqual([
        [true, "COMPLETED"],
        [false, "IN_PROGRESS"]
      ])
    }).pipe(Effect.provide(layer({ workers: 1, execution: "1 second" })))
  )

  it.effect("are read in pages, and name what is no longer kept", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      yield* submit(5)
      const pages: Array<Emulator.JobChanges> = []
      let after = 0
      do {
        const page = yield* emulator.changes("e", { after, limit: 2 })
        pages.push(page)
        after = page.cursor
      } while (pages.at(-1)!.hasMore)
      expect(pages.map(({ isReset, jobs }) => [isReset, jobs.length])).toEqual([
        [true, 2],
        [false, 2],
        [false, 1]
      ])
      yield* TestClock.adjust("1 minute")
      const { jobs, removed } = yield* emulator.changes("e", { after })
      expect(jobs).toEqual([])
      expect([...removed].sort()).toEqual(pages.flatMap((page) => page.jobs.map(({ id }) => id)).sort())
    }).pipe(Effect.provide(layer({ workers: 9, retention: { run: "30 seconds" } })))
  )

  it.effect("begin anew for a reader that has missed a removal", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      yield* submit(1)
      const { cursor } = yield* emulator.changes("e")
      yield* submit(1_000)
      yield* TestClock.adjust("1 minute")
      yield* emulator.jobs("e")
      yield* submit(1_000)
      const { isReset, jobs, removed } = yield* emulator.changes("e", { after: cursor })
      expect([isReset, jobs.length, removed.length]).toEqual([true, 1_000, 0])
    }).pipe(Effect.provide(layer({ workers: 9, retention: { run: "30 seconds" } })))
  )

  it.effect("say how much of the time in the queue a worker took to start", () =>
    Effect.gen(function* () {
      const emulator = yield* Emulator.Emulator
      yield* submit(2)
      yield* TestClock.adjust("10 seconds")
      const { jobs } = yield* emulator.changes("e")
      expect(jobs.map(({ coldStart, delayTime }) => [coldStart, delayTime])).toEqual([
        [3_000, 3_000],
        [3_000, 4_000]
      ])
      expect((yield* emulator.health("e")).jobs).toMatchObject({ completed: 2, inQueue: 0 })
    }).pipe(Effect.provide(layer({ workers: 1, coldStart: "3 seconds", execution: "1 second" })))
  )
})
