/** The model of the benchmark: what it says of a million items is worth as much as this. */
import * as EntityId from "@effect/cluster/EntityId"
import * as Sharding from "@effect/cluster/Sharding"
import * as TestRunner from "@effect/cluster/TestRunner"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Figures } from "../../bench/simulation/figures.js"
import { simulate } from "../../bench/simulation/figures.js"
import { dying, killedAt, submitsOfThree } from "../../bench/simulation/measure.js"
import { Placement, shardOfEntity, shards } from "../../bench/simulation/placement.js"
import { type Setup, times } from "../../bench/simulation/setup.js"

const seconds = (millis: number) => millis / 1_000

/** What holds of each run. */
const isSound = ({ doubles, lost, throttled }: Figures) =>
  assert.deepStrictEqual({ doubles, lost, throttled }, { doubles: 0, lost: 0, throttled: 0 })

const small: Setup = {
  seed: 1,
  runners: 6,
  lanes: Array.from({ length: 4 }, () => ({ items: 1_500, workers: 200 })),
  execution: [1_000, 3_000],
  waits: "webhooks"
}

describe("the simulation of many processes", () => {
  it.effect(
    "gives each item one outcome and one job, never faster than limits and workers allow, and the same each time",
    () =>
      Effect.gen(function* () {
        const figures = yield* simulate(small)
        isSound(figures)
        assert.strictEqual(figures.items, 6_000)
        assert.strictEqual(figures.ambiguous, 0)
        assert.isAtLeast(figures.makespan, figures.bound)
        assert.isAtMost(figures.makespan, 1.6 * figures.bound)
        assert.deepStrictEqual(yield* simulate(small), figures)
        assert.notDeepEqual(yield* simulate({ ...small, seed: 2 }), figures)
      })
  )

  it.effect("agrees with what three real processes need for 3,000 submits with one key: 22 to 24 seconds", () =>
    Effect.gen(function* () {
      for (const seed of [1, 2, 3]) {
        const figures = yield* simulate(submitsOfThree(seed))
        isSound(figures)
        assert.isAtLeast(figures.makespan, 20.8)
        assert.isAtMost(figures.makespan, 24.5)
      }
    })
  )

  it.effect("has the chunks of killed processes taken over when their locks have ended, and items in doubt told", () =>
    Effect.gen(function* () {
      const figures = yield* simulate(dying([{ at: killedAt, runners: 25 }]))
      isSound(figures)
      assert.isAbove(figures.takenOver, 0)
      const [median, last] = figures.taken ?? [NaN, NaN]
      // The locks were renewed at most so long before, and are looked at as often as the assignments.
      assert.isAtLeast(median, seconds(times.lockExpiration - times.lockRefresh))
      assert.isAtMost(last, seconds(times.lockExpiration + 2 * times.refresh))
      assert.isAtMost(figures.resumed?.[1] ?? NaN, last + seconds(times.grace) + 2)
    })
  )

  it.effect("lets a process that was stopped submit nothing more when others have its chunks", () =>
    Effect.gen(function* () {
      const figures = yield* simulate(dying([{ at: killedAt, runners: 10, stoppedFor: 30_000 }]))
      isSound(figures)
      assert.isAbove(figures.takenOver, 0)
    })
  )
})

describe("the placement of chunks", () => {
  it.effect("is that of @effect/cluster", () =>
    Effect.gen(function* () {
      const sharding = yield* Sharding.Sharding
      for (const id of ["a", "2f8b1c", "0f3a9be2c4d15e6f7a8b9c0d1e2f3a4b"]) {
        assert.strictEqual(shardOfEntity(id) + 1, sharding.getShardId(EntityId.make(id), "default").id)
      }
    }).pipe(Effect.provide(TestRunner.layer))
  )

  it("gives each of 50 processes six shards, and those of a dead one to the others", () => {
    const placement = new Placement()
    const all = Array.from({ length: 50 }, (_, runner) => runner)
    const countOf = (placed: ReadonlyArray<number>, runner: number) => placed.filter((other) => other === runner).length
    const placed = placement.runnersOf(all)
    assert.strictEqual(placed.length, shards)
    for (const runner of all) assert.strictEqual(countOf(placed, runner), 6)
    assert.strictEqual(countOf(placement.runnersOf(all.slice(1)), 0), 0)
  })
})
