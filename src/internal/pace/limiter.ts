import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Limit, RateLimits } from "../../layers/RateLimits.js"
import { holdsInterruption, matchCauseEffect } from "../effect/cause.js"
import type { Restore } from "../effect/fiber.js"
import { monotonicMillis, sleepUntil, timeoutAt, withClock } from "./monotonic.js"
import * as SlidingWindow from "./slidingWindow.js"
import * as WaitQueue from "./waitQueue.js"

/** The right to send a request: how often the gate had closed by then. Answers from before it last closed say nothing new. */
export type Permit = number

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
/** With this many requests in flight and none refused, a gate is open again. */
const fullyOpen = 256

/**
 * Limits the requests of one kind: a `Semaphore` for those in flight, exact sliding windows, and a gate that a 429 closes.
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

  constructor(options: { readonly concurrency: number; readonly windows: ReadonlyArray<SlidingWindow.SlidingWindow> }) {
    this.concurrency = Math.floor(options.concurrency)
    this.windows = options.windows
    this.semaphore = Effect.unsafeMakeSemaphore(this.concurrency)
  }

  readonly hasRoom: Effect.Effect<boolean> = withClock((clock) =>
    this.isOpenAt(monotonicMillis(clock))
      ? Effect.map(this.semaphore.withPermitsIfAvailable(1)(Effect.void), Option.isSome)
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
        Effect.flatMap(this.semaphore.release(-1), (free) =>
          free >= 0
            ? this.used(restore(use(this.admit(now), 0)), onInterrupt)
            : Effect.zipRight(this.semaphore.release(1), restore(this.inLine(use, { since: now, onInterrupt, until })))
        )
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
    if (this.reopening === undefined || permit < this.closings) return Effect.void
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
      if (permit < this.closings) return Effect.void
      this.closings++
      if (asked === 0) this.opensAt = Math.max(this.opensAt, now + Math.min(this.cooldown, longest))
      this.cooldown = Math.min(this.cooldown * 2, longest)
      this.reopening = 1
      return this.semaphore.resize(1)
    })
  }

  /** Keeps one more place taken until `release` is run: for a request that has ended here, but not yet on the wire. */
  readonly keepPlace: Effect.Effect<{ readonly release: Effect.Effect<void> }> = Effect.suspend(() =>
    Effect.as(this.semaphore.release(-1), { release: Effect.asVoid(this.semaphore.release(1)) })
  )

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
    return this.closings
  }

  private inLine<A, E, R>(use: Use<A, E, R>, { onInterrupt, since, until }: Waiter<A, E>) {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(this.acquireInLine(restore, until), (permit) =>
        permit === undefined
          ? (until?.onLate() ?? Effect.never)
          : withClock((clock) => this.used(restore(use(permit, monotonicMillis(clock) - since)), onInterrupt))
      )
    )
  }

  /** `Effect.ensuring` for an uninterruptible region. */
  private used<A, E, R>(use: Effect.Effect<A, E, R>, onInterrupt: (() => void) | undefined): Effect.Effect<A, E, R> {
    return matchCauseEffect(
      use,
      (cause) => {
        if (onInterrupt !== undefined && holdsInterruption(cause)) onInterrupt()
        return Effect.zipRight(this.semaphore.release(1), Effect.failCause(cause))
      },
      (value) => Effect.as(this.semaphore.release(1), value)
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
    // The fiber must not yield, and so not be interrupted, between the taking and the end of the interruptible region.
    const take = Effect.withMaxOpsBeforeYield(restore(this.semaphore.take(1)), Infinity)
    // Gate and windows move while it sleeps: look again.
    const admit: Effect.Effect<Permit> = withClock((clock) => {
      const now = monotonicMillis(clock)
      const at = this.nextAt(now)
      if (at > now) this.waitsForWindow(Math.max(now, this.opensAt), at)
      return at > now ? Effect.zipRight(restore(sleepUntil(at)), admit) : Effect.succeed(this.admit(now))
    })
    return Effect.zipRight(
      take,
      Effect.onInterrupt(admit, () => this.semaphore.release(1))
    )
  }

  private acquireAtHeadBefore(restore: Restore, until: WaitQueue.Until): Effect.Effect<Permit | undefined> {
    return Effect.suspend(() => {
      let permit: Permit | undefined
      const acquire = Effect.uninterruptibleMask((restore) =>
        Effect.map(this.acquireAtHead(restore), (acquired) => (permit = acquired))
      )
      // A permit that came together with the deadline or an interruption belongs to nobody.
      const giveBack = Effect.when(this.semaphore.release(1), () => permit !== undefined)
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

  constructor(overall: RateLimits["overall"]) {
    this.overall = overall === undefined ? [] : windowsOf(overall)
  }

  get(key: string, limitOf: () => Limit): Limiter {
    let limiter = this.limiters.get(key)
    if (limiter === undefined) {
      const limit = limitOf()
      limiter = new Limiter({ concurrency: limit.concurrency, windows: [...windowsOf(limit), ...this.overall] })
      this.limiters.set(key, limiter)
    }
    return limiter
  }
}

export const windowsOf = (of: Pick<Limit, "limit" | "window">): ReadonlyArray<SlidingWindow.SlidingWindow> =>
  Number.isFinite(of.limit) ? [SlidingWindow.make(of.limit, Duration.toMillis(of.window))] : []
