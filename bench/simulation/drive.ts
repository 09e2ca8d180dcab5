/** A chunk, and what a process does with one: as `internal/drive.ts`, `journal.ts` and `lease.ts` of the package do it. */
import type { Item, Lane } from "./lane.js"
import type { Runner } from "./runner.js"
import { chunkStatements, times } from "./setup.js"

/** Its row in the database. */
export class Chunk {
  epoch = 0
  /** Until when its owner has it; 0 when it was given back. */
  until = 0
  isDone = false
  /** When the owner it had was killed or stopped, and has no successor yet. */
  orphanedAt: number | undefined
  /** Who drives it now, as far as that one knows. */
  driver: Drive | undefined

  constructor(
    readonly lane: Lane,
    readonly shard: number,
    readonly items: ReadonlyArray<Item>
  ) {}
}

export class Drive {
  private epoch = 0
  private takenAt = 0
  /** Items without an outcome. */
  private open = 0
  /** Submits and other steps under way that an interruption waits for. */
  private inFlight = 0
  /** It submits nothing more: it was interrupted, or another has its chunk. */
  isOver = false
  private isClosed = false

  constructor(
    readonly runner: Runner,
    readonly chunk: Chunk
  ) {}

  private get now(): number {
    return this.runner.world.events.now
  }

  // --- who has the chunk --------------------------------------------------------------------------------------------

  take(): void {
    if (this.isOver) return this.close()
    const { chunk, runner } = this
    const { counts } = runner.world
    counts.chunks += 2
    this.inFlight++
    runner.connections.statement(
      () => {
        if (chunk.until > this.now) return undefined
        const isCrashed = chunk.until !== 0
        chunk.epoch++
        chunk.until = this.now + times.lease
        return { epoch: chunk.epoch, isCrashed }
      },
      (taken) => {
        this.inFlight--
        if (taken === undefined) return runner.after(times.look, () => this.take())
        this.epoch = taken.epoch
        if (this.isOver) return this.closeIfIdle()
        this.takenAt = this.now
        this.renew()
        this.look()
        if (taken.isCrashed) this.awaitFacts(this.now + times.grace)
        else this.load()
      }
    )
  }

  private renew(): void {
    this.runner.after(times.lease / 3, () => {
      if (this.isClosed) return
      this.runner.world.counts.renewals++
      this.runner.connections.statement(() => {
        if (this.chunk.epoch === this.epoch) this.chunk.until = this.now + times.lease
      })
      this.renew()
    })
  }

  /** Whether the batch was cancelled. */
  private look(): void {
    this.runner.after(times.batchLook, () => {
      if (this.isClosed) return
      this.runner.world.counts.looks++
      this.runner.connections.statement(() => undefined)
      this.look()
    })
  }

  /** The owner before may live, and know the ids of jobs it was submitting. */
  private awaitFacts(until: number): void {
    this.runner.world.counts.chunks++
    this.runner.connections.statement(
      () => this.chunk.items.some(({ state }) => state === "Intent"),
      (areMissing) => {
        if (this.isOver) return
        if (areMissing && this.now < until) this.runner.after(times.look, () => this.awaitFacts(until))
        else this.load()
      }
    )
  }

  /** Submits nothing more, and gives the chunk back when what is under way has come to an end. */
  interrupt(): void {
    this.isOver = true
    this.closeIfIdle()
  }

  private closeIfIdle(): void {
    if (!this.isOver || this.isClosed || this.inFlight > 0) return
    this.runner.connections.statement(() => {
      if (this.chunk.epoch === this.epoch) this.chunk.until = 0
    })
    this.close()
  }

  private close(): void {
    if (this.isClosed) return
    this.isClosed = true
    if (this.chunk.driver === this) this.chunk.driver = undefined
    this.runner.ended(this)
  }

  // --- its items ----------------------------------------------------------------------------------------------------

  private load(): void {
    const { chunk, runner } = this
    const { counts } = runner.world
    counts.chunks += chunkStatements.begin
    counts.cluster += chunkStatements.cluster
    runner.after(chunkStatements.begin * runner.world.assumed.statement, () => {
      if (this.isOver) return
      const { orphanedAt } = chunk
      chunk.orphanedAt = undefined
      if (orphanedAt !== undefined) runner.world.takeovers.push({ orphanedAt, takenAt: this.takenAt, at: this.now })
      const doubtful = chunk.items.filter(({ state }) => state === "Intent")
      this.open = chunk.items.filter(({ state }) => state !== "Settled" && state !== "Ambiguous").length
      if (doubtful.length > 0) counts.chunks++
      for (const item of doubtful) this.note(item)
      const pool = runner.poolOf(chunk.lane)
      for (const item of chunk.items) {
        if (item.state === "New") {
          item.drive = this
          pool.add(item)
        }
        if (item.state === "Submitted") chunk.lane.wait(item, this)
      }
      if (this.open === 0) this.finish()
    })
  }

  /** Nobody knows whether it has a job. */
  private note(item: Item): void {
    item.state = "Ambiguous"
    item.outcomes++
    this.runner.world.onOutcome(this.runner)
    this.open--
  }

  /** It has a start and a place. */
  submit(item: Item): void {
    this.inFlight++
    item.submitter = this
    item.since = this.now
    this.runner.appends.decide(this, item)
  }

  intend(item: Item): boolean {
    if (this.chunk.epoch !== this.epoch) return false
    item.state = "Intent"
    item.intent = this
    return true
  }

  onIntent(item: Item, isWritten: boolean): void {
    const pool = this.runner.poolOf(this.chunk.lane)
    if (isWritten) return pool.leave(item, this)
    this.isOver = true
    pool.release(item.since)
    this.submitEnded()
  }

  /** Its start is fresh. */
  send(item: Item): void {
    const { chunk, runner } = this
    const { cpu, oneWay } = runner.world.assumed
    runner.compute(cpu.submit, () => {
      const there = runner.world.between(oneWay)
      const back = runner.world.between(oneWay)
      runner.world.events.after(there, () => chunk.lane.arrive(item))
      runner.after(there + back, () => {
        runner.poolOf(chunk.lane).release(item.since)
        runner.appends.tell(this, item)
      })
    })
  }

  tellJob(item: Item): boolean {
    if (item.state !== "Intent" || item.intent !== this) return false
    item.state = "Submitted"
    return true
  }

  onJobTold(item: Item, isWritten: boolean): void {
    if (isWritten) this.chunk.lane.wait(item, this)
    this.submitEnded()
  }

  private submitEnded(): void {
    this.inFlight--
    this.closeIfIdle()
  }

  /** The job of an item has ended. */
  onEnd(item: Item): void {
    const { runner } = this
    runner.compute(runner.world.assumed.cpu.outcome, () => {
      item.isEnding = true
      runner.appends.tell(this, item)
    })
  }

  settle(item: Item): boolean {
    if (item.state !== "Submitted") return false
    item.state = "Settled"
    item.outcomes++
    this.runner.world.onOutcome(this.runner)
    return true
  }

  onSettled(): void {
    this.open--
    if (this.open === 0 && !this.isOver) this.finish()
  }

  private finish(): void {
    this.runner.world.counts.chunks += chunkStatements.end
    this.runner.connections.statement(
      () => {
        if (this.chunk.epoch !== this.epoch) return
        this.chunk.isDone = true
        this.chunk.until = 0
      },
      () => this.close()
    )
  }
}
