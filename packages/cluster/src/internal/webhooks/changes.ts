/** Whether other processes have added deliveries: by asking now and then, and at once where the database says so. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** What a client of PostgreSQL can do, that of `@effect/sql-pg` for one. */
export interface Listening {
  readonly listen: (channel: string) => Stream.Stream<string, unknown>
}

export const canListen = (client: object): client is Listening =>
  hasProperty(client, "listen") && typeof client.listen === "function"

interface Options<E> {
  /** The highest sequence number that can be seen. */
  readonly latest: Effect.Effect<number, E>
  /** In milliseconds. */
  readonly poll: number
  /** What the database says; only a hint, since its connection may end without a word. */
  readonly hints: Stream.Stream<unknown, unknown> | undefined
}

/** How soon the number is read again after listening has begun, which may not be at once; twice as long each time. */
const firstPoll = 50
/** How long a connection that listens is left alone at least, in polls: a pooler may pass on nothing for ever. */
const leaveAlone = 10

/** Those who listen, and when they have begun. */
interface Listener {
  readonly fiber: Fiber.RuntimeFiber<void>
  readonly since: number
}

class Poll {
  private pause: number
  private listener: Listener | undefined

  constructor(
    private readonly options: Options<unknown>,
    private readonly heard: Queue.Queue<void>
  ) {
    this.pause = options.poll
  }

  /**
   * Listens until it is stopped, and again after a failure. A connection that has died is given back first: the client opens a
   * new one when nobody has the old one any more.
   */
  readonly listen: Effect.Effect<void> = Effect.suspend(() => {
    const { heard, listener, options } = this
    if (options.hints === undefined) return Effect.void
    const pause = Effect.sleep(options.poll)
    const givenBack = listener === undefined ? Effect.void : Effect.raceFirst(Fiber.interrupt(listener.fiber), pause)
    const hearing = Stream.runForEach(options.hints, () => Queue.offer(heard, undefined))
    const repeated = Effect.forever(Effect.zipRight(Effect.exit(hearing), pause))
    this.pause = Math.min(firstPoll, options.poll)
    return Effect.flatMap(Clock.currentTimeMillis, (since) =>
      Effect.map(Effect.forkDaemon(Effect.interruptible(Effect.zipRight(givenBack, repeated))), (fiber) => {
        this.listener = { fiber, since }
      })
    )
  })

  /** Not waited for: on a connection that is cut off it may take for ever. */
  readonly stop: Effect.Effect<void> = Effect.suspend(() =>
    this.listener === undefined ? Effect.void : Fiber.interruptFork(this.listener.fiber)
  )

  /** Waits for a hint, or until it is time to ask; gives whether a new number, if there is one, was to be heard of. */
  readonly wait: Effect.Effect<boolean> = Effect.suspend(() => {
    const { pause } = this
    const isSteady = pause >= this.options.poll
    this.pause = Math.min(pause * 2, this.options.poll)
    return Effect.map(
      Effect.timeoutOption(Queue.take(this.heard), Duration.millis(pause)),
      (hint) => Option.isNone(hint) && isSteady
    )
  })

  /** What came was not heard of: the connection that listens may be dead. */
  readonly missed: Effect.Effect<void> = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    this.listener === undefined || now - this.listener.since < leaveAlone * this.options.poll
      ? Effect.void
      : this.listen
  )
}

const make = <E>(options: Options<E>): Effect.Effect<Stream.Stream<number, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const poll = new Poll(options, yield* Queue.sliding<void>(1))
    yield* Effect.acquireRelease(poll.listen, () => poll.stop)
    const next = (last: number, shouldHear: boolean): Effect.Effect<number, E> =>
      Effect.flatMap(options.latest, (latest) => {
        if (latest <= last) return Effect.flatMap(poll.wait, (shouldHear) => next(last, shouldHear))
        return Effect.as(shouldHear ? poll.missed : Effect.void, latest)
      })
    return Stream.unfoldEffect(-1, (last) =>
      Effect.map(next(last, false), (latest) => Option.some([latest, latest] as const))
    )
  })

/** The highest sequence number, at once and whenever it has risen. */
export const changes = <E>(options: Options<E>): Stream.Stream<number, E> => Stream.unwrapScoped(make(options))
