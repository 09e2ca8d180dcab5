/** Which rounds chunks begin with, by the processes that they are for then. */
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Hash, HashRing } from "effect"
import { Placement, roundsOf } from "../src/internal/cluster/placement.js"
import { chunkWorkflow } from "../src/internal/cluster/workflow.js"

const shards = 300

/** How many chunks each of so many processes gets, the fewest first, and in how many rounds. */
const partsOf = (runners: number, chunks: number) =>
  Effect.gen(function* () {
    const addresses = Array.from({ length: runners }, (_, n) => RunnerAddress.make("10.0.0.1", 40_000 + 7 * n))
    const placed = HashRing.getShards(
      HashRing.addMany(HashRing.make<RunnerAddress.RunnerAddress>(), addresses),
      shards
    )!
    const runnerOf = (entityId: string) => placed[Math.abs(Hash.string(entityId) % shards)]
    const workflow = chunkWorkflow("numbers")
    const idOf = (chunk: number, round: number) => workflow.executionId({ batch: "numbers/a", chunk, round })
    const rounds = yield* roundsOf(chunks, idOf).pipe(
      Effect.provideService(Placement, Effect.succeed({ count: runners, runnerOf }))
    )
    const parts = new Map(addresses.map((address) => [address, 0]))
    for (const [chunk, round] of rounds.entries()) {
      const runner = runnerOf(yield* idOf(chunk, round))!
      parts.set(runner, parts.get(runner)! + 1)
    }
    return { parts: [...parts.values()].sort((a, b) => a - b), rounds }
  })

describe("the rounds of chunks", () => {
  it.effect("give each process as many chunks", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* partsOf(3, 12)).parts, [4, 4, 4])
      assert.deepStrictEqual((yield* partsOf(3, 2)).parts, [0, 1, 1])
      const { parts } = yield* partsOf(20, 1_000)
      assert.isAtLeast(parts[0]!, 45)
      assert.isAtMost(parts.at(-1)!, 52)
    })
  )

  it.effect("are the first where it makes no difference", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* partsOf(1, 4)).rounds, [0, 0, 0, 0])
      assert.deepStrictEqual(yield* roundsOf(2, () => Effect.die("asked")), [0, 0])
    })
  )
})
