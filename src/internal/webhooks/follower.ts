import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { WebhookStoreError } from "../../errors/WebhookError.js"
import type { Service as Store, Stored } from "../../layers/WebhookStore.js"
import { interruptLater, type RuntimeFiber } from "../effect/fiber.js"

/** How many deliveries are taken from the store at once. */
const pageSize = 16
/** How long to wait before the changes are subscribed again, in milliseconds: twice as long after each failure. */
const firstPause = 500
const longestPause = 30_000

/** Those who are told. */
interface Listeners {
  /** Whether somebody waits for one delivery, and not for all. */
  readonly hasWaits: () => boolean
  readonly tell: (stored: Stored) => void
  /** Lets those who wait for all read the store. */
  readonly wake: () => void
  /** Lets all look into the store once more. */
  readonly lookAgain: Effect.Effect<void, WebhookStoreError>
}

/** One subscription, from the first who waits to the last. */
interface Following {
  /** Everything up to this sequence number has been told; missing at the start. */
  position: number | undefined
  /** How many subscriptions have ended in a row. */
  failures: number
}

/**
 * Reads what other processes store, by one subscription to the store's changes, while somebody waits. Its state is touched only
 * synchronously.
 */
export class Follower {
  private waiting = 0
  private following: Following | undefined
  private fiber: RuntimeFiber<void> | undefined

  constructor(
    private readonly store: Store,
    private readonly listeners: Listeners,
    /** Not on the fiber of whoever waits first: others go on waiting when that has ended. */
    private readonly fork: (effect: Effect.Effect<void>) => RuntimeFiber<void>
  ) {}

  /** Somebody begins to wait, and has not looked into the store yet. */
  join(): void {
    this.waiting++
    const { changes } = this.store
    if (this.waiting > 1 || changes === undefined) return
    const following: Following = { position: undefined, failures: 0 }
    this.following = following
    // Also where the layer was built uninterruptibly.
    this.fiber = this.fork(Effect.interruptible(this.follow(following, changes)))
  }

  leave(): void {
    this.waiting--
    if (this.waiting > 0 || this.fiber === undefined) return
    interruptLater(this.fiber)
    this.following = this.fiber = undefined
  }

  /** This process has stored a delivery, and told of it. */
  onOwn(sequence: number): void {
    const { following } = this
    if (following?.position === sequence - 1) following.position = sequence
  }

  private follow(following: Following, changes: Stream.Stream<number, WebhookStoreError>): Effect.Effect<void> {
    const subscribed = Effect.zipRight(
      this.begin(following),
      Stream.runForEach(changes, (latest) => this.readUntil(latest, following))
    )
    const round = Effect.gen(function* () {
      const since = yield* Clock.currentTimeMillis
      const exit = yield* Effect.exit(subscribed)
      // One that has lasted is no further failure in a row.
      if ((yield* Clock.currentTimeMillis) - since > longestPause) following.failures = 0
      if (Exit.isFailure(exit)) {
        const log = following.failures > 0 ? Effect.logDebug : Effect.logWarning
        yield* log("What other processes store is not seen until the changes of the store are read again", exit.cause)
      }
      yield* Effect.sleep(Math.min(firstPause * 2 ** following.failures++, longestPause))
    })
    return Effect.forever(round)
  }

  /** Whoever waits already may have looked before the delivery with the first number was there. */
  private begin(following: Following): Effect.Effect<void, WebhookStoreError> {
    return Effect.suspend(() => {
      if (following.position !== undefined) return Effect.void
      return Effect.flatMap(this.store.latest, (latest) =>
        Effect.map(this.listeners.lookAgain, () => {
          following.position = latest
        })
      )
    })
  }

  private readonly readUntil = Effect.fnUntraced(function* (this: Follower, latest: number, following: Following) {
    const { listeners, store } = this
    const positionNow = () => following.position ?? latest
    if (positionNow() >= latest) return
    while (listeners.hasWaits() && positionNow() < latest) {
      const page = yield* store.after(positionNow(), pageSize)
      const last = page.at(-1)
      // It was too old, or too much, to be kept.
      if (last === undefined) break
      page.forEach(listeners.tell)
      following.position = Math.max(positionNow(), last.sequence)
    }
    // Who begins to wait from now on finds what is stored.
    if (!listeners.hasWaits()) following.position = Math.max(positionNow(), latest)
    listeners.wake()
  })
}
