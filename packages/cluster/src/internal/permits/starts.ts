/** The starts of one process: those at hand, and the blocks they were leased in as long as these count. */
import type { Block, Lease } from "../../PermitStore.js"

/** So many count since then. */
interface Known {
  readonly at: number
  readonly count: number
}

/** Own blocks, as the process saw them; times on its monotonic clock. */
interface Own {
  readonly id: number
  readonly leasedAt: number
  at: number
  count: number
  /** How many were taken, and are not answered yet. */
  open: number
  /** What the store knows of it; `undefined` for nothing. */
  known: Known | undefined
  /** What it knows when it has answered. */
  told: Known | undefined
}

/** What is known where a block is asked for. */
interface Expected {
  /** The part of one process in what was left in the window when the store was asked last. */
  readonly spare?: number
  /** How many may be in flight. */
  readonly places?: number
}

/** The most starts of a block: what is not used within `hold` was kept from others. */
const largestBlock = 100
const smallestBlock = 10
/** How long starts may be used whose requests tell when they were answered, in milliseconds: what arrives late counts from then on. */
const longestUse = 1_000
/** What was answered within so long counts as one block, in milliseconds. */
const together = 100
/** When starts that nobody waits for are given back after they were asked for, in milliseconds. */
export const surplusAfter = 100

/** Times are milliseconds on the monotonic clock of the process. */
export class Starts {
  private readonly limit: number
  /** How long a block counts. */
  readonly span: number
  /** How long starts may be used after they were asked for. */
  readonly hold: number
  private atHand = 0
  /** What is at hand is of this block. */
  private current: Own | undefined
  /** The last block of those that were answered. */
  private last: Own | undefined
  private goodUntil = -Infinity
  private nextId = 1
  private largest = 25
  private own: Array<Own> = []
  /** How many were taken since `slotAt`, and in the `hold` before that. */
  private taken = 0
  private takenBefore = 0
  private slotAt = -Infinity

  /** `hold`: how long starts may be used where answers tell nothing. A block counts that much longer then, since the last one may be as late. */
  constructor(options: {
    readonly limit: number
    readonly window: number
    readonly hold: number
    readonly isHeld: boolean
  }) {
    this.limit = options.limit
    const { hold, isHeld, window } = options
    // Each answer has to come before the block leaves the window.
    this.hold = isHeld ? hold : Math.max(hold, Math.min(longestUse, window / 10))
    this.span = isHeld ? window + hold : window
  }

  /** What a store is told of them. */
  get window(): { readonly limit: number; readonly span: number } {
    return { limit: this.limit, span: this.span }
  }

  has(now: number): boolean {
    return this.atHand > 0 && now < this.goodUntil
  }

  take(now: number): boolean {
    if (!this.has(now)) return false
    this.atHand--
    if (this.current !== undefined) this.current.open++
    this.slide(now)
    this.taken++
    return true
  }

  /**
   * A request whose start was taken at `startedAt` was answered, or given up. RunPod counts it when it arrives, which may be as late as that: it
   * counts from then on, in a block with others that were answered with it. So does what is left of its own, whose requests leave later.
   */
  answered(startedAt: number, now: number): void {
    const block = this.own.findLast(({ leasedAt, open }) => open > 0 && leasedAt <= startedAt)
    // One whose answer comes behind its window was counted as late as that, too.
    if (block !== undefined) {
      block.open--
      block.count--
      block.at = now
    }
    const { last } = this
    // What the store was told of a block only gets less.
    if (last !== undefined && last.told === undefined && now < last.leasedAt + together && now < last.at + this.span) {
      last.count++
      last.at = now
      return
    }
    this.last = { id: this.nextId++, leasedAt: now, at: now, count: 1, open: 0, known: undefined, told: undefined }
    this.own.push(this.last)
  }

  /**
   * The block to ask for: for those who wait, and for as many as came in the last time that a block is good for, but not for many more than can be
   * in flight. Where few are left, others may wait for them: beyond those who wait it asks for no more than its part of these.
   */
  wanted(waiting: number, now: number, { places = Infinity, spare = Infinity }: Expected = {}): Block {
    this.slide(now)
    const useful = Math.max(1, waiting, Math.min(spare, Math.max(this.taken, this.takenBefore)))
    const count = Math.min(this.largest, useful, Math.max(places, smallestBlock))
    return { id: this.nextId++, count, age: 0 }
  }

  /** Whether those at hand were asked for so long ago that they are given back when nobody waits for them. */
  isSurplus(now: number): boolean {
    return now >= this.goodUntil - this.hold + surplusAfter
  }

  /** Gives up what has become too old to be used, or what nobody `waits` for. */
  giveUpSurplus(now: number, waits: boolean): void {
    if (this.atHand === 0 || (now < this.goodUntil && (waits || !this.isSurplus(now)))) return
    this.giveUp()
    this.largest = Math.max(smallestBlock, Math.ceil(this.largest / 2))
  }

  /** Gives up all that is at hand. */
  giveUp(): void {
    const block = this.current
    if (block !== undefined) block.count -= this.atHand
    this.atHand = 0
  }

  /** The store has given so many of the block, which it was asked for at `at`. */
  granted(id: number, count: number, at: number): void {
    if (count === 0) return
    this.lease({ id, count, leasedAt: at, known: { at, count } })
    if (count === this.largest) this.largest = Math.min(largestBlock, count * 2)
  }

  /** The store was asked for the block at `at`, and may have given it: nothing of it is used, which it is told. */
  lost(wanted: Block | undefined, at: number): void {
    if (wanted === undefined) return
    this.own.push({ id: wanted.id, leasedAt: at, at, count: 0, open: 0, known: { at, count: 1 }, told: undefined })
  }

  /**
   * Starts without the store, which does not answer since `downSince`. For a window others may use all that they were given until then: one that
   * was alone has what was left. After that each holder has the limit by their number.
   */
  takeOwnPart(waiting: number, now: number, downSince: number, last: { readonly lease: Lease; readonly at: number }) {
    this.forget(now)
    const { free, holders } = last.lease
    const sumSince = (from: number) => this.own.reduce((sum, block) => (block.at > from ? sum + block.count : sum), 0)
    const isPast = now - downSince > this.span
    const left = isPast
      ? Math.floor(this.limit / holders) - sumSince(now - this.span)
      : holders === 1
        ? free - sumSince(last.at)
        : 0
    if (left <= 0) return
    const { count, id } = this.wanted(waiting, now)
    // What is at hand of an older block was counted, and is not used any more.
    this.lease({ id, count: Math.min(count, left), leasedAt: now, known: undefined })
  }

  private lease(leased: Pick<Own, "id" | "count" | "leasedAt" | "known">): void {
    const block = { ...leased, at: leased.leasedAt, open: 0, told: undefined }
    this.own.push(block)
    this.current = block
    this.atHand = block.count
    this.goodUntil = block.leasedAt + this.hold
  }

  /** Blocks that the store does not know as they are, those of which nothing is left among them. */
  unsaved(now: number): ReadonlyArray<Block> {
    const unsaved = this.blocks(now, ({ at, count, known }) => at !== known?.at || count !== known.count)
    for (const own of this.own) own.told = { at: own.at, count: own.count }
    return unsaved
  }

  /** All blocks that count, or of which the store does not know that none is left. */
  known(now: number): ReadonlyArray<Block> {
    return this.blocks(now, () => true)
  }

  /** The store knows what it was told. */
  saved(): void {
    for (const own of this.own) own.known = own.told ?? own.known
  }

  private blocks(now: number, which: (block: Own) => boolean): ReadonlyArray<Block> {
    this.forget(now)
    return this.own.filter(which).map(({ at, count, id }) => ({ id, count, age: Math.max(0, now - at) }))
  }

  private forget(now: number): void {
    const counts = ({ at, count, known }: Own) => at + this.span > now && (count > 0 || (known?.count ?? 0) > 0)
    this.own = this.own.filter(counts)
  }

  private slide(now: number): void {
    if (now - this.slotAt < this.hold) return
    this.takenBefore = now - this.slotAt < 2 * this.hold ? this.taken : 0
    this.taken = 0
    this.slotAt = now
  }
}
