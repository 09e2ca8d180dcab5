/** Which chunk runs on which shard, and which runner has which shards: as `@effect/cluster` decides it. */
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import { Effect, Hash, HashRing } from "effect"
import { chunkWorkflow } from "../../packages/cluster/src/internal/cluster/definition.js"

export const shards = ShardingConfig.defaults.shardsPerGroup

/** As `Sharding.getShardId` has it; from 0. */
export const shardOfEntity = (entityId: string): number => Math.abs(Hash.string(entityId) % shards)

/** The shards of a batch's chunks. */
export const shardsOfBatch = (name: string, chunks: number): Effect.Effect<ReadonlyArray<number>> => {
  const workflow = chunkWorkflow(name)
  return Effect.forEach(Array.from({ length: chunks }), (_, chunk) =>
    Effect.map(workflow.executionId({ batch: `${name}/batch`, chunk, round: 0 }), shardOfEntity)
  )
}

/** The runner of each shard, for those that are up. */
export class Placement {
  private readonly known = new Map<string, ReadonlyArray<number>>()

  runnersOf(up: ReadonlyArray<number>): ReadonlyArray<number> {
    const name = up.join()
    const known = this.known.get(name)
    if (known !== undefined) return known
    const byAddress = new Map(up.map((runner) => [RunnerAddress.make(`10.0.0.${runner}`, 34431), runner]))
    const ring = HashRing.addMany(HashRing.make<RunnerAddress.RunnerAddress>(), byAddress.keys())
    const placed = (HashRing.getShards(ring, shards) ?? []).map((address) => byAddress.get(address)!)
    this.known.set(name, placed)
    return placed
  }
}
