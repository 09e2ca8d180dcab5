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

interface Listen {
  readonly client: Listening
  readonly channel: string
}

interface Options<E> {
  /** The highest sequence number that can be seen. */
  readonly latest: Effect.Effect<number, E>
  /** In milliseconds. */
  readonly poll: number
  /** The client that can listen, and to what; only for hints, since its connection may end without a word. */
  readonly listen: Listen | undefined
}

/** How soon the number is read again after listening has begun, which may not be at once; twice as long each time. */
const firstPoll = 50
/** How long a connection that listens is left alone at least, in polls: a pooler may pass on nothing for ever. */
const leaveAlone = 10

/** How long after a failure it is listened again. */
const afterFailure = "2 seconds"
/** A client has one connection to listen with, and does not say when it has begun: by then it has, as nearly always. */
const longestBegin = "1 second"

/** A fiber that listens, and since when. */
interface Listener {
  readonly fiber: Fiber.RuntimeFiber<void>
  readonly since: number
}

/** Listens to a channel for all who read, from the first of them until the last: one that ended would have the connection listen no more. */
class ChannelListener {
  private readonly readers = new Set<Queue.Queue<void>>()
  private listener: Listener | undefined
  private isStale = false
  /** Open while nobody reads. */
  private readonly idle = Effect.unsafeMakeLatch(true)

  constructor(
    private readonly hints: Stream.Stream<unknown, unknown>,
    private readonly turn: Effect.Semaphore
  ) {}

  /** Until it is stopped, and again after a failure. */
  private readonly hearing: Effect.Effect<void> = Effect.suspend(() => {
    const told = Stream.runForEach(this.hints, () =>
      Effect.forEach(this.readers, (heard) => Queue.offer(heard, undefined), { discard: true })
    )
    return Effect.forever(Effect.zipRight(Effect.exit(told), Effect.sleep(afterFailure)))
  })

  private readonly begin: Effect.Effect<void> = Effect.suspend(() =>
    Effect.flatMap(Clock.currentTimeMillis, (since) =>
      Effect.map(Effect.forkDaemon(this.hearing), (fiber) => {
        this.listener = { fiber, since }
      })
    )
  )

  /**
   * Listens if somebody reads. A connection that has died is given back first: the client opens a new one when nobody has the old one any
   * more.
   */
  private readonly settle: Effect.Effect<void> = Effect.suspend(() => {
    const { isStale, listener, readers } = this
    if (listener !== undefined && (isStale || readers.size === 0)) {
      this.listener = undefined
      this.isStale = false
      return Effect.zipRight(Fiber.interrupt(listener.fiber), this.settle)
    }
    return listener !== undefined || readers.size === 0
      ? Effect.void
      : Effect.zipRight(this.begin, Effect.raceFirst(Effect.sleep(longestBegin), this.idle.await))
  })

  /** Not waited for: on a connection that is cut off it may take for ever. */
  private readonly settleLater: Effect.Effect<void> = Effect.suspend(() =>
    Effect.asVoid(Effect.forkDaemon(Effect.interruptible(this.turn.withPermits(1)(this.settle))))
  )

  join(heard: Queue.Queue<void>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.readers.add(heard)
      this.idle.unsafeClose()
      return this.settleLater
    })
  }

  leave(heard: Queue.Queue<void>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.readers.delete(heard)
      if (this.readers.size === 0) this.idle.unsafeOpen()
      return this.settleLater
    })
  }

  /** What came was not heard of: the connection that listens may be dead. Gives whether it listens anew, when it has for so long. */
  missed(leftAlone: number): Effect.Effect<boolean> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (this.listener === undefined || now - this.listener.since < leftAlone) return Effect.succeed(false)
      this.isStale = true
      return Effect.as(this.settleLater, true)
    })
  }
}

/** What listens on the one connection that a client has for it: begins and ends are one after the other. */
interface ClientListeners {
  readonly turn: Effect.Semaphore
  readonly byChannel: Map<string, ChannelListener>
}

const listenersOf = new WeakMap<Listening, ClientListeners>()

const channelListenerOf = ({ channel, client }: Listen): ChannelListener => {
  const listeners = listenersOf.get(client) ?? {
    turn: Effect.unsafeMakeSemaphore(1),
    byChannel: new Map<string, ChannelListener>()
  }
  listenersOf.set(client, listeners)
  const channelListener =
    listeners.byChannel.get(channel) ?? new ChannelListener(client.listen(channel), listeners.turn)
  listeners.byChannel.set(channel, channelListener)
  return channelListener
}

class Poll {
  private pause: number

  constructor(
    private readonly poll: number,
    private readonly channelListener: ChannelListener | undefined,
    private readonly heard: Queue.Queue<void>
  ) {
    this.pause = channelListener === undefined ? poll : Math.min(firstPoll, poll)
  }

  /** Waits for a hint, or until it is time to ask; gives whether a new number, if there is one, was to be heard of. */
  readonly wait: Effect.Effect<boolean> = Effect.suspend(() => {
    const { pause, poll } = this
    const isSteady = pause >= poll
    this.pause = Math.min(pause * 2, poll)
    return Effect.map(
      Effect.timeoutOption(Queue.take(this.heard), Duration.millis(pause)),
      (hint) => Option.isNone(hint) && isSteady
    )
  })

  /** What came was not heard of. */
  readonly missed: Effect.Effect<void> = Effect.suspend(() =>
    this.channelListener === undefined
      ? Effect.void
      : Effect.map(this.channelListener.missed(leaveAlone * this.poll), (listensAnew) => {
          if (listensAnew) this.pause = Math.min(firstPoll, this.poll)
        })
  )
}

const follow = <E>(
  { latest, poll: every }: Options<E>,
  channelListener: ChannelListener | undefined
): Effect.Effect<Stream.Stream<number, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const heard = yield* Queue.sliding<void>(1)
    const poll = new Poll(every, channelListener, heard)
    if (channelListener !== undefined)
      yield* Effect.acquireRelease(channelListener.join(heard), () => channelListener.leave(heard))
    const next = (last: number, shouldHear: boolean): Effect.Effect<number, E> =>
      Effect.flatMap(latest, (now) => {
        if (now <= last) return Effect.flatMap(poll.wait, (shouldHear) => next(last, shouldHear))
        return Effect.as(shouldHear ? poll.missed : Effect.void, now)
      })
    return Stream.unfoldEffect(-1, (last) =>
      Effect.map(next(last, false), (latest) => Option.some([latest, latest] as const))
    )
  })

/** The highest sequence number, at once and whenever it has risen. */
export const changes = <E>(options: Options<E>): Stream.Stream<number, E> =>
  Stream.unwrapScoped(follow(options, options.listen === undefined ? undefined : channelListenerOf(options.listen)))
