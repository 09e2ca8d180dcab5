/** One endpoint of one key: its jobs at RunPod, and what the store knows of its permits. */
import type { Lease, Request } from "../../packages/cluster/src/PermitStore.js"
import { leaseIn, noState } from "../../packages/cluster/src/internal/permits/lease.js"
import { plainPause } from "../../src/internal/jobs/pollPace.js"
import type { Drive } from "./drive.js"
import { limits, polls, times } from "./setup.js"
import type { World } from "./world.js"

export type ItemState = "New" | "Intent" | "Submitted" | "Settled" | "Ambiguous"

/** An input: its row in the database, and its job. There are many, so that all is in one object. */
export class Item {
  state: ItemState = "New"
  /** Who submits it or waits for its job, as far as is known. */
  drive: Drive | undefined
  /** Who submits it, or has. */
  submitter: Drive | undefined
  /** Whose intent the row holds. */
  intent: Drive | undefined
  isWaitedFor = false
  /** Whether that is done by a held request. */
  isHeld = false
  /** When its submit got its start; later, since when it is waited for. */
  since = 0
  /** How many jobs RunPod has started for it. */
  submits = 0
  hasEnded = false
  /** Whether its outcome is being written. */
  isEnding = false
  outcomes = 0
}

export class Lane {
  private permits = noState
  /** When the last submits arrived, as many as a window allows. */
  private readonly arrivals: Array<number> = []
  private arrived = 0
  /** Submits beyond the limit of RunPod's own window. */
  throttled = 0
  private readonly queue: Array<Item> = []
  private queued = 0
  private idle: number
  private held = 0
  /** How long its jobs have taken together. */
  work = 0

  constructor(
    private readonly world: World,
    workers: number,
    readonly index: number
  ) {
    this.idle = workers
  }

  lease(request: Request): Lease {
    const { lease, state } = leaseIn(this.permits, request, this.world.events.now)
    this.permits = state
    return lease
  }

  // --- RunPod -------------------------------------------------------------------------------------------------------

  arrive(item: Item): void {
    const { now } = this.world.events
    const slot = this.arrived++ % limits.starts
    const earlier = this.arrivals[slot]
    if (earlier !== undefined && now - earlier < times.window) this.throttled++
    this.arrivals[slot] = now
    item.submits++
    if (this.idle > 0) this.execute(item)
    else this.queue.push(item)
  }

  private execute(item: Item): void {
    const { events, setup } = this.world
    this.idle--
    const took = this.world.between(setup.execution)
    this.work += took
    events.after(took, () => {
      item.hasEnded = true
      this.idle++
      if (this.queued < this.queue.length) this.execute(this.queue[this.queued++]!)
      this.tell(item)
    })
  }

  // --- waits --------------------------------------------------------------------------------------------------------

  wait(item: Item, drive: Drive): void {
    // The owner before, which was stopped or killed, waits no more.
    if (item.isHeld) this.held--
    item.drive = drive
    item.isWaitedFor = true
    item.since = this.world.events.now
    item.isHeld = this.world.setup.waits === "held" && this.held < limits.held
    if (item.isHeld) {
      this.held++
      this.world.counts.statusRequests++
    }
    if (item.hasEnded) this.tell(item)
  }

  private tell(item: Item): void {
    const { drive, isHeld, isWaitedFor } = item
    if (!isWaitedFor || drive === undefined) return
    item.isWaitedFor = false
    item.isHeld = false
    const oneWay = this.world.between(this.world.assumed.oneWay)
    const delay =
      isHeld || this.world.setup.waits === "webhooks"
        ? (isHeld ? 0 : this.world.assumed.webhook) + oneWay
        : this.untilPoll(this.world.events.now - item.since) + 2 * oneWay
    if (isHeld) this.world.events.after(delay, () => this.held--)
    drive.runner.after(delay, () => drive.onEnd(item))
  }

  /** How long until the first plain poll behind that age of the wait. */
  private untilPoll(age: number): number {
    let at = 0
    for (let isFirst = true; at < age || isFirst; isFirst = false) {
      at += plainPause(at, isFirst, polls)
      this.world.counts.statusRequests++
    }
    return at - age
  }
}
