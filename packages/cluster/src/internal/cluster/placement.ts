/** Which process a chunk is for. The cluster decides it by a hash of the workflow's id; of several ids that a chunk may have, one is chosen by which each process gets as many. */
import * as EntityId from "@effect/cluster/EntityId"
import type { RunnerAddress } from "@effect/cluster/RunnerAddress"
import * as RunnerStorage from "@effect/cluster/RunnerStorage"
import * as Sharding from "@effect/cluster/Sharding"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HashRing from "effect/HashRing"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

/** The processes that work, and which of them an entity is for. */
interface Runners {
  readonly count: number
  readonly runnerOf: (entityId: string) => RunnerAddress | undefined
}

/** The processes there are now. */
export class Placement extends Context.Tag("effect-runpod-cluster/internal/Placement")<
  Placement,
  Effect.Effect<Runners>
>() {}

/** The group of shards that workflows are in. */
const group = "default"
/** How many ids are tried for a chunk. */
const mostRounds = 16

const none: Runners = { count: 0, runnerOf: () => undefined }

/** Of a cluster of one process. */
export const alone = Layer.succeed(Placement, Effect.succeed(none))

export const layer = Layer.effect(
  Placement,
  Effect.gen(function* () {
    const { getRunners } = yield* RunnerStorage.RunnerStorage
    const { getShardId } = yield* Sharding.Sharding
    const { shardsPerGroup } = yield* ShardingConfig.ShardingConfig
    return Effect.map(getRunners, (runners) => {
      // As each process does it for itself.
      const healthy = runners.flatMap(([runner, isHealthy]) => (isHealthy ? [runner] : []))
      const ring = healthy.reduce(
        (ring, { address, weight }) => HashRing.add(ring, address, { weight }),
        HashRing.make<RunnerAddress>()
      )
      const shards = HashRing.getShards(ring, shardsPerGroup) ?? []
      return {
        count: healthy.length,
        runnerOf: (entityId: string) => shards[getShardId(EntityId.make(entityId), group).id - 1]
      }
    }).pipe(Effect.orElseSucceed(() => none))
  })
)

/** The rounds that so many chunks begin with: the first, where that is as well as any other. */
export const roundsOf = (
  chunks: number,
  executionId: (chunk: number, round: number) => Effect.Effect<string>
): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function* () {
    const placement = yield* Effect.serviceOption(Placement)
    const { count, runnerOf } = Option.isSome(placement) ? yield* placement.value : none
    if (count < 2) return Array.from({ length: chunks }, () => 0)
    const has = new Map<RunnerAddress | undefined, number>()
    return yield* Effect.forEach(Array.from({ length: chunks }), (_, chunk) =>
      Effect.gen(function* () {
        const part = Math.floor(chunk / count)
        let best = { round: 0, runner: undefined as RunnerAddress | undefined, chunks: Infinity }
        for (let round = 0; round < mostRounds && best.chunks > part; round++) {
          const runner = runnerOf(yield* executionId(chunk, round))
          const chunks = has.get(runner) ?? 0
          if (chunks < best.chunks) best = { round, runner, chunks }
        }
        has.set(best.runner, best.chunks + 1)
        return best.round
      })
    )
  })
