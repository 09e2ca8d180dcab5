import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Pool } from "../../layers/Permits.js"
import type { Limit, RateLimits } from "../../layers/RateLimits.js"
import { holdsInterruption, matchCauseEffect } from "../effect/cause.js"
import type { Restore } from "../effect/fiber.js"
import { takeAtOnce } from "../effect/semaphore.js"
import { monotonicMillis, sleepUntil, timeoutAt, withClock } from "./monotonic.js"
import * as SlidingWindow from "./slidingWindow.js"
import * as WaitQueue from "./waitQueue.js"

/** The right to send a request. */
export interface Permit {
  /** How often the gate had closed by then. Answers from before it last closed say nothing new. */
  readonly closings: number
  /** When its start was taken, on the monotonic clock. */
  startedAt: number
}

/** That of a request which has none yet. */
export const noPermit: Permit = { closings: 0, startedAt: -Infinity }

export interface Until<A, E> extends WaitQueue.Until {
  readonly onLate: () => Effect.Effect<A, E>
}

/** `waited` is how many milliseconds it was kept. */
type Use<A, E, R> = (permit: Permit, waited: number) => Effect.Effect<A, E, R>

/** Who stands in line, since when. */
interface Waiter<A, E> {
  readonly since: number
  readonly onInterrupt: (() => void) | undefined
  readonly until: Until<A, E> | undefined
}

/** The wait of a request for its permit: when it began, and what `windowWaitUntil` was then. */
export interface Wait {
  readonly since: number
  readonly windowWait: number
}

const firstCooldown = 1_000
const longestCooldown = 60_000
/** A server that has answered nothing for so long is down: our window, RunPod's for cancels is 10 seconds, has reopened twice. In milliseconds. */
const longestSilence = 25_000
/**
 * How long after its permit a request may leave with the start it has of what processes share, in milliseconds, where its answer tells nothing of its
 * arrival: half of what the documented windows are longer than RunPod's for.
 */
const longestHandOff = 100
/** With this many requests in flight and none refused, a gate is open again. */
const fullyOpen = 256

/**
 * Limits the requests of one kind: a `Semaphore` for those in flight, exact sliding windows, a gate that a 429 closes, and the pool
 * of a budget that other processes have a part in.
 *
 * First come, first served: a 3.22 `Semaphore` wakes all who wait at each release, so fibers stand in a queue of our own, and
 * only its head waits on the `Semaphore`, which alone knows what is in flight.
 */
export class Limiter {
  private readonly queue = new WaitQueue.WaitQueue()
  private readonly semaphore: Effect.Semaphore
  /** Places are whole: of 2.5 only 2 can be taken. */
  private readonly concurrency: number
  private readonly windows: ReadonlyArray<SlidingWindow.SlidingWindow>
  private readonly pool: Pool | undefined
  private readonly isHeld: boolean
  private readonly longestHandOff: number
  private cooldown = firstCooldown
  /** How many may be in flight while a gate that was closed reopens; `undefined` when it is open. */
  private reopening: number | undefined
  private closings = 0
  /** When the gate opens, and when it was closed, on the monotonic clock. */
  opensAt = -Infinity
  private closedAt = -Infinity
  /** Since when requests get no answer at all, or are told to wait: `Infinity` after any other answer. */
  private troubledSince = Infinity
  /** When the head of the queue waited for a window of ours, the last time, and how long it did before that. */
  private windowWait = { from: 0, until: 0, before: 0 }

  constructor(options: {
    readonly concurrency: number
    readonly windows: ReadonlyArray<SlidingWindow.SlidingWindow>
    readonly pool?: Pool | undefined
    /** Whether the server may keep its answers back, so that they say nothing of when requests arrive. Default: false. */
    readonly isHeld?: boolean | undefined
  }) {
    this.concurrency = Math.floor(options.concurrency)
    this.windows = options.windows
    this.pool = options.pool
    this.isHeld = options.isHeld ?? false
    // Where the answer tells, there must be time for it before the start leaves its window.
    const shortest = Math.min(...options.windows.map(({ length }) => length))
    this.longestHandOff = this.isHeld ? longestHandOff : Math.max(longestHandOff, shortest / 2)
    this.semaphore = Effect.unsafeMakeSemaphore(this.concurrency)
  }

  readonly hasRoom: Effect.Effect<boolean> = withClock((clock) =>
    this.isOpenAt(monotonicMillis(clock)) && this.pool?.hasRoom() !== false
      ? Effect.map(this.semaphore.release(0), (free) => free > 0)
      : Effect.succeed(false)
  )

  /**
   * Runs `use` with a permit, which is given back when it ends; before that, `onInterrupt` when `use` is interrupted. Without
   * `until` it waits for as long as it takes. Interruptible while it waits: nothing is taken then.
   */
  withPermit<A, E, R>(use: Use<A, E, R>, onInterrupt?: () => void, until?: Until<A, E>): Effect.Effect<A, E, R> {
    return withClock((clock) => {
      const now = monotonicMillis(clock)
      if (!this.isOpenAt(now)) return this.inLine(use, { since: now, onInterrupt, until })
      return Effect.uninterruptibleMask((restore) =>
        // `release(-1)` takes a place without the suspension of `take`; below 0 there was none.
        Effect.flatMap(this.semaphore.release(-1), (free) => {
          if (free < 0 || !this.takeShared()) {
            const inLine = restore(this.inLine(use, { since: now, onInterrupt, until }))
            return Effect.zipRight(this.semaphore.release(1), inLine)
          }
          const permit = this.admit(now)
          return this.used(restore(use(permit, 0)), permit, onInterrupt)
        })
      )
    })
  }

  /** Whether the gate was closed and may not let all through yet: then it is to be told of each answer. */
  get isReopening(): boolean {
    return this.reopening !== undefined
  }

  /** A request begins to wait for its permit. */
  beginWait(since: number): Wait {
    return { since, windowWait: this.windowWaitUntil(since) }
  }

  /**
   * How many of the milliseconds that a request has waited until `now` are due to our own limits; the rest is due to the server, which
   * answers nothing or has closed the gate. Our windows keep the queue waiting meanwhile, too, which counts as ours until the server has
   * been silent for long.
   */
  ownWait({ since, windowWait }: Wait, now: number): number {
    const troubledSince = this.opensAt > now ? Math.min(this.closedAt, this.troubledSince) : this.troubledSince
    const troubledFrom = Math.min(now, Math.max(since, troubledSince))
    const isSilent = now - this.troubledSince > longestSilence
    const ownMeanwhile = isSilent ? 0 : Math.min(this.windowWaitUntil(now) - windowWait, now - troubledFrom)
    return troubledFrom - since + ownMeanwhile
  }

  /** For how many milliseconds, up to `now`, the queue has waited for our own windows. */
  private windowWaitUntil(now: number): number {
    const { before, from, until } = this.windowWait
    return before + Math.max(0, Math.min(now, until) - from)
  }

  private waitsForWindow(from: number, until: number): void {
    const { windowWait } = this
    if (until <= Math.max(from, windowWait.until)) return
    if (from > windowWait.until) this.windowWait = { before: this.windowWaitUntil(from), from, until }
    else windowWait.until = until
  }

  /** A request was answered, though perhaps with an error. */
  answered(): void {
    this.troubledSince = Infinity
  }

  /** No answer came. */
  unanswered(now: number): void {
    this.troubledSince = Math.min(this.troubledSince, now)
  }

  accepted(permit: Permit): Effect.Effect<void> {
    if (this.reopening === undefined || permit.closings < this.closings) return Effect.void
    // Refusals between answers that are taken, rather than in a row, do not add up.
    this.cooldown = Math.max(firstCooldown, this.cooldown / 2)
    const next = this.reopening < fullyOpen ? Math.min(this.reopening * 2, this.concurrency) : this.concurrency
    const isOpen = next === this.concurrency
    this.reopening = isOpen ? undefined : next
    if (isOpen) this.cooldown = firstCooldown
    return this.semaphore.resize(next)
  }

  /** Closes the gate: for as long as the server asks, else for a cooldown that grows, up to `longest` milliseconds. */
  throttled(permit: Permit, retryAfter: Duration.Duration | undefined, longest = longestCooldown): Effect.Effect<void> {
    return withClock((clock) => {
      const now = monotonicMillis(clock)
      const asked = retryAfter === undefined ? 0 : Duration.toMillis(retryAfter)
      this.unanswered(now)
      if (this.opensAt <= now) this.closedAt = now
      if (asked > 0) this.opensAt = Math.max(this.opensAt, now + asked)
      if (permit.closings < this.closings) return Effect.void
      this.closings++
      if (asked === 0) this.opensAt = Math.max(this.opensAt, now + Math.min(this.cooldown, longest))
      this.cooldown = Math.min(this.cooldown * 2, longest)
      this.reopening = 1
      return this.semaphore.resize(1)
    })
  }

  /** Keeps one more place taken until `release` is run: for a request that has ended here, but not yet on the wire. */
  readonly keepPlace: Effect.Effect<{ readonly release: Effect.Effect<void> }> = Effect.suspend(() => {
    this.pool?.keepPlace()
    return Effect.as(this.semaphore.release(-1), {
      release: Effect.asVoid(Effect.suspend(() => this.giveBack(undefined)))
    })
  })

  /**
   * What a request waits for that leaves at `now`: another start of what processes share, if an observer has kept it for long, such as a journal
   * whose database is away; else `undefined`.
   */
  beforeLeaving(permit: Permit, now: number): Effect.Effect<void> | undefined {
    if (this.pool === undefined || now - permit.startedAt <= this.longestHandOff) return undefined
    return Effect.zipRight(
      this.pool.start,
      withClock((clock) => Effect.sync(() => void (permit.startedAt = monotonicMillis(clock))))
    )
  }

  /** Takes a start and a place of what processes share. */
  private takeShared(): boolean {
    return this.pool === undefined || this.pool.tryTake()
  }

  /** The end of a request: it was answered, or nobody waits for its answer any more. */
  private end({ startedAt }: Permit): Effect.Effect<unknown> {
    return withClock((clock) => {
      const now = monotonicMillis(clock)
      for (const window of this.windows) SlidingWindow.answered(window, now)
      return this.giveBack(this.isHeld ? undefined : now - startedAt)
    })
  }

  private giveBack(took: number | undefined): Effect.Effect<unknown> {
    this.pool?.release(took)
    return this.semaphore.release(1)
  }

  private nextAt(now: number): number {
    let at = Math.max(now, this.opensAt)
    for (const window of this.windows) at = Math.max(at, SlidingWindow.nextAt(window, now))
    return at
  }

  private isOpenAt(now: number): boolean {
    return this.queue.isEmpty && this.nextAt(now) <= now
  }

  private admit(now: number): Permit {
    for (const window of this.windows) SlidingWindow.admit(window, now)
    return { closings: this.closings, startedAt: now }
  }

  private inLine<A, E, R>(use: Use<A, E, R>, { onInterrupt, since, until }: Waiter<A, E>) {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(this.acquireInLine(restore, until), (permit) =>
        permit === undefined
          ? (until?.onLate() ?? Effect.never)
          : withClock((clock) => this.used(restore(use(permit, monotonicMillis(clock) - since)), permit, onInterrupt))
      )
    )
  }

  /** `Effect.ensuring` for an uninterruptible region. */
  private used<A, E, R>(
    use: Effect.Effect<A, E, R>,
    permit: Permit,
    onInterrupt: (() => void) | undefined
  ): Effect.Effect<A, E, R> {
    return matchCauseEffect(
      use,
      (cause) => {
        if (onInterrupt !== undefined && holdsInterruption(cause)) onInterrupt()
        return Effect.zipRight(this.end(permit), Effect.failCause(cause))
      },
      (value) => Effect.as(this.end(permit), value)
    )
  }

  /** Waits for the head of the queue, then for a place, then for windows and gate. `undefined` at the deadline. */
  private acquireInLine(restore: Restore, until: Until<unknown, unknown> | undefined) {
    const leave = Effect.sync(() => this.queue.leave())
    return Effect.flatMap(this.queue.enter(restore, until), (isHead) => {
      if (!isHead) return Effect.succeed(undefined)
      const isTimed = until !== undefined && until.deadline() !== Infinity
      return Effect.ensuring(isTimed ? this.acquireAtHeadBefore(restore, until) : this.acquireAtHead(restore), leave)
    })
  }

  private acquireAtHead(restore: Restore): Effect.Effect<Permit> {
    // Gate and windows move while it sleeps: look again.
    const admit: Effect.Effect<Permit> = withClock((clock) => {
      const now = monotonicMillis(clock)
      const at = this.nextAt(now)
      if (at > now) this.waitsForWindow(Math.max(now, this.opensAt), at)
      if (at > now) return Effect.zipRight(restore(sleepUntil(at)), admit)
      return this.takeShared() ? Effect.succeed(this.admit(now)) : Effect.zipRight(restore(this.sharedFrom(now)), admit)
    })
    return Effect.zipRight(
      this.takePlace(restore),
      Effect.onInterrupt(admit, () => this.semaphore.release(1))
    )
  }

  /** Waits for a place where there is none. */
  private takePlace(restore: Restore): Effect.Effect<unknown> {
    // The fiber must not yield, and so not be interrupted, between the taking and the end of the interruptible region.
    return takeAtOnce(this.semaphore, (take) => Effect.withMaxOpsBeforeYield(restore(take), Infinity))
  }

  /** Waits for what processes share, as for a window of ours. */
  private sharedFrom(since: number): Effect.Effect<void> {
    const ready = this.pool?.ready(() => this.queue.size + 1) ?? Effect.void
    return Effect.zipRight(
      ready,
      withClock((clock) => Effect.sync(() => this.waitsForWindow(since, monotonicMillis(clock))))
    )
  }

  private acquireAtHeadBefore(restore: Restore, until: WaitQueue.Until): Effect.Effect<Permit | undefined> {
    return Effect.suspend(() => {
      let permit: Permit | undefined
      const acquire = Effect.uninterruptibleMask((restore) =>
        Effect.map(this.acquireAtHead(restore), (acquired) => (permit = acquired))
      )
      // A permit that came together with the deadline or an interruption belongs to nobody.
      const giveBack = Effect.suspend(() => (permit === undefined ? Effect.void : this.end(permit)))
      const acquired = Effect.onInterrupt(restore(timeoutAt(acquire, until.deadline())), () => giveBack)
      return Effect.flatMap(acquired, (acquired) => {
        if (Option.isSome(acquired)) return Effect.succeed(acquired.value)
        const isLate = until.deadline() <= until.timer.now()
        return Effect.zipRight(giveBack, isLate ? Effect.succeed(undefined) : this.acquireAtHeadBefore(restore, until))
      })
    })
  }
}

/** The limiters of one layer, one for each key; all share the window of the layer where there is one. */
export class Limiters {
  private readonly limiters = new Map<string, Limiter>()
  private readonly overall: ReadonlyArray<SlidingWindow.SlidingWindow>

  constructor(
    overall: RateLimits["overall"],
    private readonly poolOf?: (name: string, limit: Limit, isHeld: boolean) => Pool
  ) {
    this.overall = overall === undefined ? [] : windowsOf(overall)
  }

  get(key: string, isHeld: boolean, limitOf: () => Limit): Limiter {
    let limiter = this.limiters.get(key)
    if (limiter === undefined) {
      const limit = limitOf()
      const isLimited = Number.isFinite(limit.limit) || Number.isFinite(limit.concurrency)
      limiter = new Limiter({
        concurrency: limit.concurrency,
        windows: [...windowsOf(limit, !isHeld), ...this.overall],
        pool: isLimited ? this.poolOf?.(key, limit, isHeld) : undefined,
        isHeld
      })
      this.limiters.set(key, limiter)
    }
    return limiter
  }
}

export const windowsOf = (
  of: Pick<Limit, "limit" | "window">,
  countsAnswers = false
): ReadonlyArray<SlidingWindow.SlidingWindow> =>
  Number.isFinite(of.limit) ? [SlidingWindow.make(of.limit, Duration.toMillis(of.window), countsAnswers)] : []
