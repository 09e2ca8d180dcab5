/** The part of a process in what a store shares: its places, the starts it has at hand, and when it asks for more. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type * as Permits from "effect-runpod/Permits"
import type { Block, Lease, Options, Request, Service } from "../../PermitStore.js"
import { boundedMillis } from "../durations.js"
import { monotonicMillis } from "../monotonic.js"
import { nameOf } from "./poolName.js"
import { Signal } from "./signal.js"
import { Starts, surplusAfter } from "./starts.js"

interface Settings {
  readonly store: Service
  readonly goesOn: boolean
  readonly hold: number
  readonly ttl: number
  readonly scope: Scope.Scope
  /** Pools that the store may know of. */
  readonly open: Set<SharedPool>
  /** On a fiber of that scope. */
  readonly fork: (effect: Effect.Effect<unknown>) => unknown
  /** Milliseconds on the monotonic clock. */
  readonly now: () => number
}

/** How often a process says that it lives, and what it could use, in milliseconds. */
const renewEvery = 1_000
/** How long to wait for an answer, in milliseconds: without one the store is down. */
const patience = 1_000
/** Renewals without any request for which a place is kept for the next. */
const idleRenewals = 2
/** How long to wait when the store has no places to give, or is down, in milliseconds. */
const pause = 100
/** How often whoever needs a start asks for one: others may give some back before the window opens. In milliseconds. */
const askEvery = 250
/** For how long it waits at least: what comes free in that time is had with one question. In milliseconds. */
const askNoSooner = 20
/** How long all processes need to tell a store that is back what they have done meanwhile, in milliseconds. */
const comeBack = 2_000
/** How often a store that is down is tried, in milliseconds. */
const probeEvery = 250

interface Failure {
  readonly message: string
}

const tooLate: Failure = { message: `The store of permits has not answered for ${patience} milliseconds` }

/** In steps: an answer that has come while this process was busy, or suspended, is taken between two of them. */
const untilLate = Effect.repeatN(Effect.sleep(Duration.millis(patience / 10)), 9)

/** What was asked for, and when. */
interface Asked {
  readonly at: number
  readonly wanted: Block | undefined
  readonly demand: number
  readonly inFlight: number
}

/** Who stands in line. */
interface Line {
  /** How many requests it stands for. */
  readonly waiting: () => number
  /** Whether a start alone is of no use to it. */
  readonly needsPlace: boolean
}

class SharedPool implements Permits.Pool {
  /** Two pools of one name, those of two layers, are two holders. */
  private readonly holder = crypto.randomUUID()
  private readonly starts: Starts | undefined
  private readonly places: number | undefined
  /** The last part of the places, until then. */
  private part = 0
  private partUntil = -Infinity
  private inFlight = 0
  /** Those who wait in `ready` and `start`. */
  private readonly lines = new Set<Line>()
  /** Whether room was asked for in vain since the last renewal. */
  private isAskedFor = false
  private last: { readonly lease: Lease; readonly at: number; readonly demand: number } | undefined
  /** Since when the store does not answer. */
  private downSince: number | undefined
  /** Since when it answers again, where others may not have told it yet what they did. */
  private backSince: number | undefined
  private isLate = false
  /** Whether the store was told that more places are used than the part has by now: others wait for these. */
  private owes = false
  private isActive = false
  private isGivingBack = false
  private idle = 0
  /** The store has answered, a place was given back to who waits for one, or it is time to ask again. */
  private readonly changed: Signal
  private awaitsPlace = false
  private name: string | undefined
  private readonly lock = Effect.unsafeMakeSemaphore(1)
  /** How many questions are under way. */
  private asks = 0

  constructor(
    private readonly options: Permits.PoolOptions,
    private readonly settings: Settings
  ) {
    const { concurrency, limit, window } = options.limit
    const { fork, hold } = settings
    this.changed = new Signal(pause, fork)
    this.starts = Number.isFinite(limit)
      ? new Starts({ limit: Math.floor(limit), window: Duration.toMillis(window), hold, isHeld: options.isHeld })
      : undefined
    this.places = Number.isFinite(concurrency) ? Math.floor(concurrency) : undefined
  }

  hasRoom(): boolean {
    const now = this.now()
    if (this.hasPlace(now) && (this.hasStart(now) || this.expectsStart())) return true
    this.isAskedFor = true
    this.wake()
    return false
  }

  tryTake(): boolean {
    this.wake()
    const now = this.now()
    if (!this.hasPlace(now) || this.starts?.take(now) === false) return false
    this.inFlight++
    return true
  }

  keepPlace(): void {
    this.inFlight++
  }

  release(took?: number): void {
    this.inFlight--
    if (took !== undefined) this.answered(took)
    if (this.awaitsPlace) this.tell()
    if (this.owes && this.inFlight <= this.part) this.settle()
  }

  private answered(took: number): void {
    const now = this.now()
    this.starts?.answered(now - took, now)
  }

  ready(waiting: () => number): Effect.Effect<void> {
    return this.inLine({ waiting, needsPlace: true }, this.untilReady(true))
  }

  readonly start: Effect.Effect<void> = Effect.suspend(() => {
    const take: Effect.Effect<void> = Effect.suspend(() =>
      this.starts === undefined || this.starts.take(this.now())
        ? Effect.void
        : Effect.zipRight(this.untilReady(false), take)
    )
    return this.inLine({ waiting: () => 1, needsPlace: false }, take)
  })

  private inLine(line: Line, wait: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.uninterruptibleMask((restore) => {
      this.lines.add(line)
      this.wake()
      return Effect.ensuring(
        restore(wait),
        Effect.sync(() => {
          this.lines.delete(line)
          this.giveBackSurplus()
        })
      )
    })
  }

  // --- what is at hand ----------------------------------------------------------------------------------------------

  private now(): number {
    return this.settings.now()
  }

  private get goesOn(): boolean {
    return this.downSince !== undefined && this.settings.goesOn
  }

  /** How many may be in flight. */
  private partAt(now: number): number {
    return now < this.partUntil || this.goesOn ? this.part : 0
  }

  private freePlaces(now: number): number {
    return this.places === undefined ? Infinity : this.partAt(now) - this.inFlight
  }

  private hasPlace(now: number): boolean {
    return this.freePlaces(now) > 0
  }

  private hasStart(now: number): boolean {
    return this.starts === undefined || this.starts.has(now)
  }

  /** Whether the store had starts left when it was asked last: a request that asks now will most likely get one. */
  private expectsStart(): boolean {
    return this.downSince === undefined && this.last !== undefined && this.last.lease.free > 0
  }

  /** Wakes those who wait. */
  private tell(): void {
    this.awaitsPlace = false
    this.changed.give()
  }

  // --- waiting ------------------------------------------------------------------------------------------------------

  /** Until there is a start, and a place for those who need one. */
  private untilReady(needsPlace: boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      const now = this.now()
      if (this.goesOn && !this.hasStart(now)) this.takeOwnPart(now)
      const hasPlace = !needsPlace || this.hasPlace(now)
      if (hasPlace && this.hasStart(now)) return Effect.void
      const again = this.untilReady(needsPlace)
      if (!hasPlace) this.awaitsPlace = true
      // What has come to stand in line since then is to be told at once.
      const isTold = now < this.partUntil && this.last !== undefined && this.last.demand > this.part
      const wasAsked = this.last !== undefined && now < this.last.at + pause
      // `renew` asks while the store is down.
      const waits = this.downSince !== undefined || this.asks > 0 || (!hasPlace && isTold && wasAsked)
      if (waits) return Effect.zipRight(this.changed.wait, again)
      return Effect.flatMap(this.ask, (retryAfter) => {
        const now = this.now()
        if ((needsPlace && !this.hasPlace(now)) || this.hasStart(now)) return again
        const until = now + Math.ceil(Math.max(askNoSooner, Math.min(retryAfter, askEvery)))
        return Effect.zipRight(this.untilStart(until), again)
      })
    })
  }

  /** Until there is a start, by another question than one's own, or until then. */
  private untilStart(until: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const now = this.now()
      if (now >= until || this.hasStart(now)) return Effect.void
      const changed = Effect.raceFirst(this.changed.wait, Effect.sleep(Duration.millis(until - now)))
      return Effect.zipRight(changed, this.untilStart(until))
    })
  }

  /** How many places could be used now. */
  private get demand(): number {
    let demand = this.inFlight
    for (const { waiting } of this.lines) demand += waiting()
    return demand
  }

  /** Whether somebody could use a start, and there is none at hand. */
  private needsStarts(now: number): boolean {
    if (this.hasStart(now)) return false
    const mayHavePlace = this.hasPlace(now) || now >= this.partUntil
    for (const { needsPlace } of this.lines) if (mayHavePlace || !needsPlace) return true
    return false
  }

  // --- the store ----------------------------------------------------------------------------------------------------

  /**
   * Asks the store, for a block, too, when somebody needs one by then; gives when to ask again, in milliseconds. Its answer is of use to
   * the next request when this one is interrupted.
   */
  private readonly ask: Effect.Effect<number> = Effect.uninterruptibleMask((restore) => {
    const asked = this.lock.withPermits(1)(
      Effect.suspend(() => {
        const at = this.now()
        // Where it has not heard of its part, it may have all.
        const places = at < this.partUntil ? this.part : (this.places ?? Infinity)
        const { free = Infinity, holders = 1 } = this.last?.lease ?? {}
        const expected = { spare: Math.floor(free / Math.max(1, holders)), places }
        const wanted = this.needsStarts(at) ? this.starts?.wanted(this.waiting, at, expected) : undefined
        const request = this.requestOf(wanted, at)
        const lose = Effect.sync(() => this.starts?.lost(wanted, at))
        return Effect.matchEffect(
          Effect.onError(
            Effect.flatMap(this.poolName, (pool) => this.leased({ ...request, pool })),
            () => lose
          ),
          {
            onFailure: (error) => this.onFailure(error),
            onSuccess: (lease) => this.onLease(lease, { ...request, at })
          }
        )
      })
    )
    const counted = Effect.ensuring(
      Effect.interruptible(asked),
      Effect.sync(() => void this.asks--)
    )
    this.asks++
    return Effect.flatMap(Effect.forkIn(counted, this.settings.scope), (fiber) => restore(Fiber.join(fiber)))
  })

  private get waiting(): number {
    return this.demand - this.inFlight
  }

  private readonly poolName: Effect.Effect<string> = Effect.suspend(() =>
    this.name === undefined
      ? Effect.tap(nameOf(this.options), (name) => Effect.sync(() => (this.name = name)))
      : Effect.succeed(this.name)
  )

  private leased(request: Request): Effect.Effect<Lease, Failure> {
    return Effect.raceFirst(this.settings.store.lease(request), Effect.zipRight(untilLate, Effect.fail(tooLate)))
  }

  private requestOf(wanted: Block | undefined, at: number): Omit<Request, "pool"> {
    const { places, starts } = this
    starts?.giveUpSurplus(at, this.lines.size > 0)
    // One that was just here, or could not be told that there is room, may come again.
    const isExpected = this.idle <= idleRenewals || this.isAskedFor
    const demand = Math.max(this.demand, isExpected ? 1 : 0)
    this.isAskedFor = false
    if (demand === 0) this.part = 0
    return {
      holder: this.holder,
      window: starts?.window,
      places,
      wanted,
      demand,
      // Until the answer is here it may fill what it has now.
      inFlight: places === undefined ? this.inFlight : Math.max(this.inFlight, this.partAt(at)),
      ttl: this.settings.ttl,
      unsaved: starts?.unsaved(at) ?? [],
      known: () => starts?.known(this.now()) ?? []
    }
  }

  /** Whether there are starts at hand for which nobody waits. */
  private get hasSurplus(): boolean {
    return this.lines.size === 0 && this.starts?.has(this.now()) === true
  }

  /** Others need at once what nobody here waits for. */
  private giveBackSurplus(): void {
    if (this.isGivingBack || !this.hasSurplus) return
    this.isGivingBack = true
    const giveBack: Effect.Effect<unknown> = Effect.suspend(() => {
      if (this.hasSurplus && this.starts?.isSurplus(this.now()) === true) return this.ask
      // Those at hand may be newer than these were.
      return this.hasSurplus ? Effect.delay(giveBack, Duration.millis(surplusAfter)) : Effect.void
    })
    const done = Effect.sync(() => void (this.isGivingBack = false))
    this.settings.fork(Effect.ensuring(Effect.delay(giveBack, Duration.millis(surplusAfter)), done))
  }

  private settle(): void {
    this.owes = false
    this.settings.fork(this.ask)
  }

  private onLease(lease: Lease, { at, demand, inFlight, wanted }: Asked): Effect.Effect<number> {
    return Effect.suspend(() => {
      const { ttl } = this.settings
      const { hold = 0 } = this.starts ?? {}
      const isBack = this.downSince !== undefined
      if (isBack && !this.mayResume(this.downSince ?? at)) {
        this.starts?.saved()
        this.starts?.lost(wanted, at)
        return Effect.succeed(pause)
      }
      const isLess = lease.places < this.partAt(this.now())
      this.downSince = undefined
      this.backSince = undefined
      this.starts?.saved()
      this.last = { lease, at, demand }
      this.part = lease.places
      this.partUntil = at + ttl
      if (wanted !== undefined) this.starts?.granted(wanted.id, lease.granted, at)
      if (lease.granted > 0) this.giveBackSurplus()
      this.tell()
      const isLate = lease.granted > 0 && this.now() >= at + hold
      const says = isBack
        ? Effect.logInfo("The store of permits answers again.")
        : isLate && !this.isLate
          ? Effect.logWarning(
              `The store of permits answers later than starts are good for. If it always does, give a longer \`hold\` than ${hold} milliseconds.`
            )
          : Effect.void
      if (lease.granted > 0) this.isLate = isLate
      this.owes = inFlight > lease.places
      // Others get what it has less of as soon as it has said that it does not use it.
      if (isLess && this.inFlight <= this.part) this.settle()
      return Effect.as(says, isLate ? pause : lease.retryAfter)
    })
  }

  /**
   * Whether what the store says after an outage is all. It does not know of starts without it, which begin after a window, nor of places whose
   * holders it took for dead: until all have told it again, everybody goes on as without it.
   */
  private mayResume(downSince: number): boolean {
    const now = this.now()
    const shortest = Math.min(this.starts?.span ?? Infinity, this.settings.ttl) - comeBack
    if (this.last !== undefined && this.backSince === undefined && now - downSince < shortest) return true
    this.backSince ??= now
    return now - this.backSince >= comeBack
  }

  private onFailure({ message }: Failure): Effect.Effect<number> {
    return Effect.suspend(() => {
      const isKnown = this.downSince !== undefined
      this.downSince ??= this.now()
      this.backSince = undefined
      this.tell()
      const what =
        this.settings.goesOn && this.last !== undefined ? "go on with the part they had" : "wait until it is back"
      return Effect.as(isKnown ? Effect.void : Effect.logWarning(`${message}. Requests ${what}.`), pause)
    })
  }

  private takeOwnPart(now: number): void {
    const { downSince, last, starts } = this
    if (last === undefined || downSince === undefined) return
    starts?.takeOwnPart(this.waiting, now, downSince, last)
  }

  // --- renewal ------------------------------------------------------------------------------------------------------

  private wake(): void {
    this.idle = 0
    if (this.isActive) return
    this.isActive = true
    const { fork, open } = this.settings
    open.add(this)
    fork(this.renew)
  }

  /**
   * Tells the store that this process lives, and what it could use: while there are requests, and as long as starts of it count, which a
   * store that forgets is told.
   */
  private readonly renew: Effect.Effect<void> = Effect.suspend(() => {
    const once: Effect.Effect<void> = Effect.suspend(() => {
      this.idle = this.demand === 0 && !this.isAskedFor ? this.idle + 1 : 0
      const isOver = this.idle > idleRenewals + 1 && (this.starts?.known(this.now()) ?? []).length === 0
      if (isOver) return Effect.sync(() => void this.settings.open.delete(this))
      const every = Math.min(renewEvery, this.settings.ttl / 3)
      const next = Effect.suspend(() =>
        Effect.sleep(this.downSince === undefined ? every : Math.min(every, probeEvery))
      )
      return Effect.zipRight(this.ask, Effect.zipRight(next, once))
    })
    return Effect.ensuring(
      once,
      Effect.sync(() => (this.isActive = false))
    )
  })

  /** Gives the store back what this process has. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const { downSince, inFlight, last, starts } = this
    if (downSince !== undefined || last === undefined) return Effect.void
    starts?.giveUp()
    const request = { ...this.requestOf(undefined, this.now()), demand: inFlight, inFlight }
    const told = Effect.flatMap(this.poolName, (pool) => this.leased({ ...request, pool }))
    return Effect.ignore(Effect.disconnect(Effect.interruptible(told)))
  })
}

/** In milliseconds: a place is renewed three times in it. */
const shortestTtl = 100

export const make = (
  store: Service,
  { hold = "200 millis", onStoreDown = "share", ttl = "10 seconds" }: Options
): Effect.Effect<Permits.Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const holdMillis = boundedMillis("hold", hold, 0)
    const ttlMillis = boundedMillis("ttl", ttl, shortestTtl)
    const clock = yield* Effect.clock
    const scope = yield* Effect.scope
    const runtime = yield* Effect.runtime<never>()
    const open = new Set<SharedPool>()
    yield* Effect.addFinalizer(() => Effect.forEach(open, ({ close }) => close, { concurrency: 16, discard: true }))
    const settings: Settings = {
      store,
      goesOn: onStoreDown === "share",
      hold: holdMillis,
      ttl: ttlMillis,
      scope,
      open,
      fork: (effect) => Runtime.runFork(runtime)(effect, { scope }),
      now: () => monotonicMillis(clock)
    }
    return { pool: (options) => new SharedPool(options, settings) }
  })
