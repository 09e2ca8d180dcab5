/** All of it: lanes, chunks and runners, from the moment when the batches are stored until each item has its outcome. */
import { Utils } from "effect"
import { Chunk } from "./drive.js"
import { Events } from "./events.js"
import { Item, Lane } from "./lane.js"
import { Placement, shards } from "./placement.js"
import { Runner } from "./runner.js"
import { type Assumptions, assumed, limits, type Setup, times } from "./setup.js"

/** A day: what has not ended by then never will. */
const longest = 24 * 3_600_000

/** Statements by what they are for; `leases` are questions to the store of permits. */
export interface Counts {
  intents: number
  facts: number
  /** Taking a chunk, reading it, finishing it. */
  chunks: number
  /** Whether a batch was cancelled: each second for each chunk that is driven. */
  looks: number
  renewals: number
  /** Runners, locks, messages and replies. */
  cluster: number
  leases: number
  /** Held requests and polls, to RunPod. */
  statusRequests: number
  /** Chunks that one living process gave to another. */
  handovers: number
}

export class World {
  readonly events = new Events()
  readonly assumed: Assumptions
  readonly lanes: ReadonlyArray<Lane>
  readonly chunks: ReadonlyArray<Chunk>
  readonly runners: ReadonlyArray<Runner>
  /** Who has the lock of each shard. */
  readonly holders: Array<Runner | undefined> = Array.from({ length: shards })
  /** When the owner of a chunk died, when another had it, and when that one went on with its items. */
  readonly takeovers: Array<{ readonly orphanedAt: number; readonly takenAt: number; readonly at: number }> = []
  readonly counts: Counts = {
    intents: 0,
    facts: 0,
    chunks: 0,
    looks: 0,
    renewals: 0,
    cluster: 0,
    leases: 0,
    statusRequests: 0,
    handovers: 0
  }
  private readonly random
  private readonly placement = new Placement()
  private readonly byShard = new Map<number, Array<Chunk>>()
  private readonly total: number
  private outcomes = 0

  /** The shards of each lane's chunks come from outside, since they are hashed asynchronously. */
  constructor(
    readonly setup: Setup,
    shardsOfLanes: ReadonlyArray<ReadonlyArray<number>>
  ) {
    this.random = new Utils.PCGRandom(setup.seed)
    this.assumed = { ...assumed, ...setup.assumptions }
    this.total = setup.lanes.reduce((sum, { items }) => sum + items, 0)
    this.lanes = setup.lanes.map(({ workers }, index) => new Lane(this, workers, index))
    this.chunks = setup.lanes.flatMap(({ items }, i) =>
      Array.from({ length: Math.ceil(items / limits.chunkSize) }, (_, chunk) => {
        const size = Math.min(limits.chunkSize, items - chunk * limits.chunkSize)
        const all = Array.from({ length: size }, () => new Item())
        return new Chunk(this.lanes[i]!, shardsOfLanes[i]?.[chunk] ?? 0, all)
      })
    )
    for (const chunk of this.chunks) {
      const others = this.byShard.get(chunk.shard) ?? []
      others.push(chunk)
      this.byShard.set(chunk.shard, others)
    }
    this.runners = Array.from({ length: setup.runners }, (_, index) => new Runner(this, index))
  }

  between([from, to]: readonly [number, number]): number {
    return from + (to - from) * this.random.number()
  }

  /** Whether its locks count. */
  isSeen(runner: Runner): boolean {
    return runner.heartbeat + times.lockExpiration > this.events.now
  }

  shardsOf({ index }: Runner): ReadonlySet<number> {
    const seen = this.runners.filter((runner) => this.isSeen(runner)).map((runner) => runner.index)
    const mine = this.placement.runnersOf(seen).flatMap((runner, shard) => (runner === index ? [shard] : []))
    return new Set(mine)
  }

  chunksOf(shard: number): ReadonlyArray<Chunk> {
    return this.byShard.get(shard) ?? []
  }

  onOutcome(runner: Runner): void {
    this.outcomes++
    runner.settled++
  }

  run(): void {
    for (const runner of this.runners) runner.start()
    let victim = 0
    for (const { at, runners, stoppedFor } of this.setup.failures ?? []) {
      const victims = this.runners.slice(victim, victim + runners)
      victim += runners
      this.events.at(at, () => {
        for (const runner of victims) runner.fail(stoppedFor)
      })
    }
    this.events.run(() => this.outcomes === this.total || this.events.now > longest)
  }
}
