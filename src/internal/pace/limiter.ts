/**
 * Keeps requests within RunPod's limits: by endpoint and operation, a `Semaphore` for those in flight, an exact sliding
 * window, and a gate that a 429 closes.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Line, type Until } from "./waitQueue.js"
import { monotonicMillis, sleepUntil } from "./monotonic.js"
import type { Restore } from "./mask.js"
import * as SlidingWindow from "./slidingWindow.js"
import type { Operation } from "../../schemas/Operation.js"
import type { RateLimits } from "../../layers/RateLimits.js"

/**
 * The right to send one request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Permit {
  /** Gives the place in flight back. */
  readonly release: Effect.Effect<void>
  /** Tells the gate that RunPod took the request. */
  readonly accepted: Effect.Effect<void>
  /** Tells the gate that RunPod answered 429. */
  readonly throttled: (retryAfter: Duration.Duration | undefined) => Effect.Effect<void>
}

/**
 * The requests of one endpoint and operation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lane {
  /**
   * Waits for a permit, first come, first served: until the gate is open, a place in flight is free, and the window has
   * room. Interruptible while it waits; nothing is taken then.
   */
  readonly acquire: Effect.Effect<Permit>
  /**
   * `acquire` for an uninterruptible region, with the `restore` of its `Effect.uninterruptibleMask`: only the waiting is
   * interruptible. With `restore(acquire)` an interruption just after its last step would lose the permit.
   */
  readonly acquireWith: (restore: Restore) => Effect.Effect<Permit>
  /** The same; `undefined` when the deadline comes first. */
  readonly acquireBefore: (restore: Restore, until: Until) => Effect.Effect<Permit | undefined>
  /** Whether `acquire` would return at once. */
  readonly isFree: Effect.Effect<boolean>
  /** When the gate opens, on the monotonic clock in milliseconds; in the past when it is open. */
  readonly opensAt: () => number
}

/**
 * The limiter of one layer: a lane for each endpoint and operation.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestLimiter {
  readonly lane: (endpointId: string, operation: Operation) => Lane
}

const firstCooldown = 1_000
const longestCooldown = 60_000
/** With this many requests in flight and none refused, a gate is open again. */
const fullyOpen = 256

/**
 * A lane with these windows; for limiters that know no endpoints and operations.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeLane = (places: number, windows: ReadonlyArray<SlidingWindow.SlidingWindow>): Lane => {
  // Places are whole: of 2.5 only 2 can be taken.
  const concurrency = Math.floor(places)
  const line = new Line()
  const semaphore = Effect.unsafeMakeSemaphore(concurrency)
  let inFlight = 0
  let opensAt = -Infinity
  let cooldown = firstCooldown
  // How many may be in flight: all of `concurrency`, or fewer while a gate that was closed reopens.
  let permits = concurrency
  let reopening = false
  // Counts the times the gate closed. An answer to a request admitted before the last of them says nothing new.
  let closings = 0

  const resize = (to: number) => {
    permits = to
    return semaphore.resize(to)
  }

  const accepted = (closing: number) =>
    Effect.suspend(() => {
      if (!reopening || closing < closings) return Effect.void
      // Refusals between answers that are taken, rather than in a row, do not add up.
      cooldown = Math.max(firstCooldown, cooldown / 2)
      const next = permits < fullyOpen ? Math.min(permits * 2, concurrency) : concurrency
      if (next === concurrency) {
        reopening = false
        cooldown = firstCooldown
      }
      return resize(next)
    })

  const throttled = (closing: number, retryAfter: Duration.Duration | undefined) =>
    Effect.clockWith((clock) => {
      const now = monotonicMillis(clock)
      const asked = retryAfter === undefined ? 0 : Duration.toMillis(retryAfter)
      if (asked > 0) opensAt = Math.max(opensAt, now + asked)
      if (closing < closings) return Effect.void
      closings++
      reopening = true
      if (asked === 0) opensAt = Math.max(opensAt, now + cooldown)
      cooldown = Math.min(cooldown * 2, longestCooldown)
      return resize(1)
    })

  const nextAt = (now: number) =>
    windows.reduce((at, window) => Math.max(at, SlidingWindow.nextAt(window, now)), Math.max(now, opensAt))

  const permit = (): Permit => {
    const closing = closings
    return {
      release: Effect.suspend(() => {
        inFlight--
        return semaphore.release(1)
      }),
      accepted: accepted(closing),
      throttled: (retryAfter) => throttled(closing, retryAfter)
    }
  }

  const isFreeAt = (now: number) => line.isEmpty && inFlight < permits && nextAt(now) <= now

  const admitAt = (now: number): Permit => {
    for (const window of windows) SlidingWindow.admit(window, now)
    inFlight++
    return permit()
  }

  // For the head of the line, which alone takes places. The fiber must not yield, and so not be interrupted, between the
  // taking and the end of the interruptible region.
  const acquireAtHead = (restore: Restore): Effect.Effect<Permit> => {
    const place = Effect.suspend(() =>
      inFlight < permits ? semaphore.take(1) : Effect.withMaxOpsBeforeYield(restore(semaphore.take(1)), Infinity)
    )
    // With its place in flight taken. Gate and windows move while it sleeps: look again.
    const admit: Effect.Effect<Permit> = Effect.clockWith((clock) => {
      const now = monotonicMillis(clock)
      const at = nextAt(now)
      return at > now ? Effect.zipRight(restore(sleepUntil(at)), admit) : Effect.succeed(admitAt(now))
    })
    return Effect.zipRight(
      place,
      Effect.onInterrupt(admit, () => semaphore.release(1))
    )
  }

  /** `acquireAtHead`, unless the deadline comes first. */
  const acquireAtHeadBefore = (restore: Restore, { deadline, timer }: Until): Effect.Effect<Permit | undefined> =>
    Effect.suspend(() => {
      let permit: Permit | undefined
      const acquire = Effect.uninterruptibleMask((restore) =>
        Effect.map(acquireAtHead(restore), (acquired) => (permit = acquired))
      )
      // A permit that came together with the deadline or an interruption belongs to nobody.
      const giveBack = Effect.suspend(() => permit?.release ?? Effect.void)
      const timed = Effect.timeoutOption(acquire, Math.max(0, deadline - timer.now()))
      return Effect.onInterrupt(restore(timed), () => giveBack).pipe(
        Effect.tap((acquired) => (Option.isNone(acquired) ? giveBack : Effect.void)),
        Effect.map(Option.getOrUndefined)
      )
    })

  const thenLeave = <A>(head: Effect.Effect<A>) =>
    Effect.ensuring(
      head,
      Effect.sync(() => line.leave())
    )

  const atOnceOr = <A>(inLine: () => Effect.Effect<A>): Effect.Effect<A | Permit> =>
    Effect.clockWith((clock): Effect.Effect<A | Permit> => {
      const now = monotonicMillis(clock)
      // Giving back minus one takes a place that is free at once; `take` would suspend the fiber all the same.
      return isFreeAt(now) ? Effect.as(semaphore.release(-1), admitAt(now)) : inLine()
    })

  const acquireWith: Lane["acquireWith"] = (restore) =>
    atOnceOr(() => Effect.zipRight(line.enter(restore), thenLeave(acquireAtHead(restore))))

  const acquireBefore: Lane["acquireBefore"] = (restore, until) =>
    atOnceOr(() =>
      Effect.flatMap(line.enter(restore, until), (isHead) =>
        isHead ? thenLeave(acquireAtHeadBefore(restore, until)) : Effect.succeed(undefined)
      )
    )

  return {
    acquire: Effect.suspend(() => {
      let acquired: Permit | undefined
      return Effect.onInterrupt(
        Effect.uninterruptibleMask((restore) => Effect.map(acquireWith(restore), (permit) => (acquired = permit))),
        () => acquired?.release ?? Effect.void
      )
    }),
    acquireWith,
    acquireBefore,
    isFree: Effect.clockWith((clock) => Effect.succeed(isFreeAt(monotonicMillis(clock)))),
    opensAt: () => opensAt
  }
}

/**
 * A limiter for these limits. Its state is plain and touched only synchronously; it grows with the endpoints used and
 * the requests inside the windows.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (limits: RateLimits): RequestLimiter => {
  const lanes = new Map<string, Lane>()
  const makeWindow = (limit: number, window: Duration.DurationInput) =>
    Number.isFinite(limit) ? [SlidingWindow.make(limit, Duration.toMillis(window))] : []
  const overall = limits.overall === undefined ? [] : makeWindow(limits.overall.limit, limits.overall.window)
  return {
    lane: (endpointId, operation) => {
      const key = `${operation} ${endpointId}`
      const known = lanes.get(key)
      if (known !== undefined) return known
      const { concurrency, limit, window } = limits.operations[operation]
      const lane = makeLane(concurrency, [...makeWindow(limit, window), ...overall])
      lanes.set(key, lane)
      return lane
    }
  }
}
