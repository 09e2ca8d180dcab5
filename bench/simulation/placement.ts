/** Which chunk runs on which shard, and which runner has which shards: as `@effect/cluster` decides it, for the round that the starter chooses. */
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import { Effect, Hash, HashRing } from "effect"
import { Placement as RunnersNow, roundsOf } from "../../packages/cluster/src/internal/cluster/placement.js"
import { chunkWorkflow } from "../../packages/cluster/src/internal/cluster/workflow.js"

export const shards = ShardingConfig.defaults.shardsPerGroup

/** As `Sharding.getShardId` has it; from 0. */
export const shardOfEntity = (entityId: string): number => Math.abs(Hash.string(entityId) % shards)

const addresses = new Map<number, RunnerAddress.RunnerAddress>()
/** The same object each time: chunks are counted by it. */
const addressOf = (runner: number): RunnerAddress.RunnerAddress => {
  const known = addresses.get(runner) ?? RunnerAddress.make(`10.0.0.${runner}`, 34431)
  addresses.set(runner, known)
  return known
}

/** The runner of each shard, for those that are up. */
export class Placement {
  private readonly known = new Map<string, ReadonlyArray<number>>()

  runnersOf(up: ReadonlyArray<number>): ReadonlyArray<number> {
    const name = up.join()
    const known = this.known.get(name)
    if (known !== undefined) return known
    const byAddress = new Map(up.map((runner) => [addressOf(runner), runner]))
    const ring = HashRing.addMany(HashRing.make<RunnerAddress.RunnerAddress>(), byAddress.keys())
    const placed = (HashRing.getShards(ring, shards) ?? []).map((address) => byAddress.get(address)!)
    this.known.set(name, placed)
    return placed
  }
}

/** Once for all batches: the ring takes longer than their chunks. */
const atFirst = new Placement()

/** The shards of a batch's chunks that begin while so many runners are up. */
export const shardsOfBatch = (
  name: string,
  { chunks, runners }: { readonly chunks: number; readonly runners: number }
): Effect.Effect<ReadonlyArray<number>> => {
  const workflow = chunkWorkflow(name)
  const executionId = (chunk: number, round: number) => workflow.executionId({ batch: `${name}/batch`, chunk, round })
  const placed = atFirst.runnersOf(Array.from({ length: runners }, (_, runner) => runner))
  const up = Effect.succeed({ count: runners, runnerOf: (id: string) => addressOf(placed[shardOfEntity(id)] ?? 0) })
  return Effect.gen(function* () {
    const rounds = yield* Effect.provideService(roundsOf(chunks, executionId), RunnersNow, up)
    return yield* Effect.forEach(rounds, (round, chunk) => Effect.map(executionId(chunk, round), shardOfEntity))
  })
}
