/** A process that works: its shards, the chunks it drives, and whether it is up. */
import { Appends } from "./appends.js"
import { type Chunk, Drive } from "./drive.js"
import type { Owner } from "./events.js"
import { Connections } from "./group.js"
import type { Lane } from "./lane.js"
import { Pool } from "./pool.js"
import { limits, times } from "./setup.js"
import type { World } from "./world.js"

export class Runner implements Owner {
  readonly name: string
  readonly connections = new Connections(this)
  readonly appends: Appends
  /** When it last said that it lives. */
  heartbeat = 0
  settled = 0
  private state: "Up" | "Stopped" | "Killed" = "Up"
  /** What a stopped process does when it goes on. */
  private postponed: Array<() => void> = []
  private busyUntil = 0
  private readonly pools = new Map<Lane, Pool>()
  private readonly shards = new Set<number>()
  private readonly leaving = new Set<number>()
  private readonly drives = new Set<Drive>()
  /** Chunks that wait for a place, and places that are left, by lane. */
  private readonly waiting = new Map<Lane, Array<Chunk>>()
  private readonly places = new Map<Lane, number>()

  constructor(
    readonly world: World,
    readonly index: number
  ) {
    this.appends = new Appends(this)
    this.name = `runner-${String(index).padStart(3, "0")}`
  }

  // --- time ---------------------------------------------------------------------------------------------------------

  /** What it does after so long, or later when its core is busy then, or it is stopped; never if it was killed. */
  after(millis: number, run: () => void): void {
    this.world.events.after(millis, run, this)
  }

  /** What needs its core for so long. */
  compute(millis: number, run: () => void): void {
    this.busyUntil = Math.max(this.busyUntil, this.world.events.now) + millis
    this.world.events.at(this.busyUntil, run, this.core)
  }

  readonly go = (run: () => void): void => {
    const { events } = this.world
    if (this.busyUntil > events.now) events.at(this.busyUntil, run, this.core)
    else this.core.go(run)
  }

  private readonly core: Owner = {
    go: (run) => {
      if (this.state === "Up") run()
      else if (this.state === "Stopped") this.postponed.push(run)
    }
  }

  fail(stoppedFor: number | undefined): void {
    const { events } = this.world
    this.state = stoppedFor === undefined ? "Killed" : "Stopped"
    for (const { chunk } of this.drives) chunk.orphanedAt = events.now
    if (stoppedFor === undefined) return
    events.after(stoppedFor, () => {
      this.state = "Up"
      const postponed = this.postponed
      this.postponed = []
      for (const run of postponed) run()
    })
  }

  // --- shards -------------------------------------------------------------------------------------------------------

  start(): void {
    this.after(this.world.between([0, times.lockRefresh]), () => this.refresh())
    this.after(this.world.between([0, times.refresh]), () => this.sync())
  }

  private refresh(): void {
    this.world.counts.cluster += 2
    this.heartbeat = this.world.events.now
    for (const shard of this.shards) {
      if (this.world.holders[shard] !== this) this.leave(shard)
    }
    this.after(times.lockRefresh, () => this.refresh())
  }

  /** Who is up, which shards are its own by that, and what is to be done on them. */
  private sync(): void {
    const { counts, holders } = this.world
    // The runners, and the messages.
    counts.cluster += 2
    const wanted = this.world.shardsOf(this)
    for (const shard of this.shards) {
      if (!wanted.has(shard)) this.leave(shard)
    }
    for (const shard of this.leaving) {
      if (Array.from(this.drives).some(({ chunk }) => chunk.shard === shard)) continue
      this.leaving.delete(shard)
      if (holders[shard] === this) holders[shard] = undefined
      counts.cluster++
    }
    const missing = Array.from(wanted).filter((shard) => !this.shards.has(shard) && !this.leaving.has(shard))
    if (missing.length > 0) counts.cluster += 3
    for (const shard of missing) {
      const holder = holders[shard]
      if (holder !== undefined && holder !== this && this.world.isSeen(holder)) continue
      holders[shard] = this
      this.shards.add(shard)
      for (const chunk of this.world.chunksOf(shard)) this.enqueue(chunk)
    }
    this.after(times.refresh, () => this.sync())
  }

  private leave(shard: number): void {
    this.shards.delete(shard)
    this.leaving.add(shard)
    for (const [lane, chunks] of this.waiting) {
      this.waiting.set(
        lane,
        chunks.filter((chunk) => chunk.shard !== shard)
      )
    }
    for (const drive of this.drives) {
      if (drive.chunk.shard === shard) {
        this.world.counts.handovers++
        drive.interrupt()
      }
    }
  }

  // --- chunks -------------------------------------------------------------------------------------------------------

  poolOf(lane: Lane): Pool {
    const known = this.pools.get(lane)
    if (known !== undefined) return known
    const pool = new Pool(lane, this)
    this.pools.set(lane, pool)
    return pool
  }

  private enqueue(chunk: Chunk): void {
    if (chunk.isDone) return
    const waiting = this.waiting.get(chunk.lane) ?? []
    this.waiting.set(chunk.lane, [...waiting, chunk])
    this.next(chunk.lane)
  }

  private next(lane: Lane): void {
    const places = this.places.get(lane) ?? this.world.setup.chunks ?? limits.chunks
    const [chunk, ...rest] = this.waiting.get(lane) ?? []
    if (chunk === undefined || places === 0) return
    this.waiting.set(lane, rest)
    this.places.set(lane, places - 1)
    const drive = new Drive(this, chunk)
    this.drives.add(drive)
    drive.take()
    this.next(lane)
  }

  ended(drive: Drive): void {
    const { lane } = drive.chunk
    this.drives.delete(drive)
    this.places.set(lane, (this.places.get(lane) ?? 0) + 1)
    this.next(lane)
  }
}
