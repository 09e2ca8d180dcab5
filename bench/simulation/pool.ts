/** The part of one process in a lane's submits: when it asks the store for starts and places, and who gets them. */
import type { Block, Request } from "../../packages/cluster/src/PermitStore.js"
import { Starts, surplusAfter } from "../../packages/cluster/src/internal/permits/starts.js"
import type { Drive } from "./drive.js"
import type { Item, Lane } from "./lane.js"
import type { Runner } from "./runner.js"
import { limits, times } from "./setup.js"

/** Renewals without any request for which a place is kept. */
const idleRenewals = 2

/** A start that is older has to be taken anew before the request leaves. */
const longestHandOff = times.ownWindow / 2

export class Pool {
  private readonly starts = new Starts({
    limit: limits.starts,
    window: times.ownWindow,
    hold: times.hold,
    isHeld: false
  })
  private readonly line: Array<Item> = []
  private first = 0
  /** Submits that have a place, and were kept for too long. */
  private readonly kept: Array<{ readonly item: Item; readonly drive: Drive }> = []
  private inFlight = 0
  private part = 0
  private partUntil = -Infinity
  private owes = false
  private isAsking = false
  /** How many questions wait for the answer to the one before. */
  private asks = 0
  private isPaused = false
  private isGivingBack = false
  private spare = Infinity
  private isActive = false
  private idle = 0

  constructor(
    private readonly lane: Lane,
    private readonly runner: Runner
  ) {}

  /** Has the item submitted when there is a start and a place, unless it is not wanted any more by then. */
  add(item: Item): void {
    this.line.push(item)
    this.wake()
    this.pump()
  }

  /** A submit leaves that got its start at `since`: with another one, if that is too long ago. */
  leave(item: Item, drive: Drive): void {
    if (this.now - item.since <= longestHandOff) return drive.send(item)
    this.kept.push({ item, drive })
    this.wake()
    this.pump()
  }

  private wake(): void {
    this.idle = 0
    if (!this.isActive) {
      this.isActive = true
      this.renew()
    }
  }

  /** A submit that had its start at `startedAt` was answered. */
  release(startedAt: number): void {
    this.inFlight--
    this.starts.answered(startedAt, this.now)
    if (this.owes && this.inFlight <= this.part) {
      this.owes = false
      this.ask()
    }
    this.pump()
  }

  private get now(): number {
    return this.runner.world.events.now
  }

  private get waiting(): number {
    return this.line.length - this.first + this.kept.length
  }

  private hasPlace(): boolean {
    return this.inFlight < (this.now < this.partUntil ? this.part : 0)
  }

  private pump(): void {
    while (this.kept.length > 0 && this.starts.take(this.now)) {
      const { drive, item } = this.kept.shift()!
      item.since = this.now
      drive.send(item)
    }
    while (this.kept.length === 0 && this.first < this.line.length) {
      const item = this.line[this.first]!
      const { drive } = item
      // An item stands in line twice when its chunk has come back to this process.
      if (drive?.runner === this.runner && !drive.isOver && item.submitter !== drive) {
        if (!this.hasPlace() || !this.starts.take(this.now)) break
        this.inFlight++
        drive.submit(item)
      }
      this.first++
    }
    if (this.first === this.line.length) {
      this.line.length = 0
      this.first = 0
    }
    if (this.waiting === 0) this.giveBackSurplus()
    if (this.waiting === 0 || this.isAsking || this.isPaused) return
    if (this.needsStarts()) this.ask()
    else this.pause(times.pause)
  }

  private giveBackSurplus(): void {
    if (this.isGivingBack || !this.starts.has(this.now)) return
    this.isGivingBack = true
    this.runner.after(surplusAfter, () => {
      this.isGivingBack = false
      if (this.waiting > 0 || !this.starts.has(this.now)) return
      if (this.starts.isSurplus(this.now)) this.ask()
      else this.giveBackSurplus()
    })
  }

  private pause(millis: number): void {
    if (this.isPaused) return
    this.isPaused = true
    this.runner.after(millis, () => {
      this.isPaused = false
      if (this.waiting > 0 && !this.isAsking && !this.hasPlace()) this.ask()
      this.pump()
    })
  }

  /** Whether somebody could use a start, and there is none at hand. */
  private needsStarts(): boolean {
    if (this.waiting === 0 || this.starts.has(this.now)) return false
    return this.kept.length > 0 || this.hasPlace() || this.now >= this.partUntil
  }

  private ask(): void {
    if (this.isAsking) this.asks++
    else this.askNow()
  }

  private askNow(): void {
    const { runner, starts } = this
    const at = this.now
    const expected = { spare: this.spare, places: at < this.partUntil ? this.part : limits.places }
    const wanted = this.needsStarts() ? starts.wanted(this.waiting, at, expected) : undefined
    starts.giveUpSurplus(at, this.waiting > 0)
    const demand = Math.max(this.inFlight + this.waiting, this.idle <= idleRenewals ? 1 : 0)
    const request: Request = {
      pool: "",
      holder: runner.name,
      window: starts.window,
      places: limits.places,
      wanted,
      demand,
      inFlight: Math.max(this.inFlight, at < this.partUntil ? this.part : 0),
      ttl: times.ttl,
      unsaved: starts.unsaved(at),
      known: () => starts.known(this.now)
    }
    this.isAsking = true
    runner.world.counts.leases++
    const took = runner.world.assumed.permits
    runner.world.events.after(took / 2, () => {
      const lease = this.lane.lease(request)
      runner.after(took / 2, () => {
        this.isAsking = false
        this.owes = lease.places < (this.now < this.partUntil ? this.part : 0)
        this.part = lease.places
        this.partUntil = at + times.ttl
        this.spare = Math.floor(lease.free / Math.max(1, lease.holders))
        starts.saved()
        this.onStarts(wanted, lease.granted, at)
        if (this.waiting > 0 && !starts.has(this.now) && lease.retryAfter > 0) {
          this.pause(Math.ceil(Math.max(times.askNoSooner, Math.min(lease.retryAfter, times.ask))))
        }
        if (this.asks > 0) {
          this.asks--
          this.askNow()
        }
        this.pump()
      })
    })
  }

  private onStarts(wanted: Block | undefined, granted: number, at: number): void {
    if (wanted !== undefined) this.starts.granted(wanted.id, granted, at)
  }

  private renew(): void {
    this.idle = this.inFlight + this.waiting === 0 ? this.idle + 1 : 0
    if (this.idle > idleRenewals + 1 && this.starts.known(this.now).length === 0) {
      this.isActive = false
      return
    }
    this.ask()
    this.runner.after(times.renewal, () => this.renew())
  }
}
