import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { WebhookStoreError } from "../../errors/WebhookError.js"
import type { Match, Service as Store, Stored } from "../../layers/WebhookStore.js"
import type { Received } from "../../services/Webhooks.js"
import type { RuntimeFiber } from "../effect/fiber.js"
import { matches, MultiMap } from "./deliveryTable.js"
import { Follower } from "./follower.js"

/** How many deliveries a subscriber takes from the store at once. */
const pageSize = 16

const indexOf = ({ jobId, key }: Match): string => (jobId === undefined ? `key ${key}` : `job ${jobId}`)

interface Wait {
  readonly match: Match
  readonly received: Deferred.Deferred<Received>
}

/** Those who wait for deliveries: for one (`next`), or for all (`eventsSince`). Touched only synchronously. */
export class Subscribers {
  /** By the job id or the key they wait for. */
  private readonly waits = new MultiMap<Wait>()
  /**
   * Completed and replaced with each delivery. Not a `PubSub`: that would hold deliveries for slow subscribers, who read
   * them from the store; nor a `Latch`: a delivery between reading the store and waiting would be missed.
   */
  private published = Deferred.unsafeMake<void>(FiberId.none)
  private readonly follower: Follower

  /** `read` makes a delivery of what is stored. */
  constructor(
    private readonly store: Store,
    private readonly read: (stored: Stored) => Option.Option<Received>,
    fork: (effect: Effect.Effect<void>) => RuntimeFiber<void>
  ) {
    const listeners = {
      hasWaits: () => this.waits.size > 0,
      tell: (stored: Stored) => {
        if (this.isAwaited(stored)) Option.map(read(stored), (received) => this.tell(received))
      },
      wake: () => this.wake(),
      lookAgain: this.lookAgain
    }
    this.follower = new Follower(store, listeners, fork)
  }

  /** This process has stored it. */
  publish(received: Received): void {
    this.tell(received)
    this.wake()
    this.follower.onOwn(received.sequence)
  }

  private isAwaited({ jobId, key }: Stored): boolean {
    return this.waits.get(indexOf({ jobId })).size > 0 || this.waits.get(indexOf({ key })).size > 0
  }

  private tell(received: Received): void {
    const { endpointId, job, key, sequence } = received
    for (const index of [indexOf({ jobId: job.id }), indexOf({ key })]) {
      for (const wait of this.waits.get(index)) {
        const isMatch = matches(wait.match, { endpointId, jobId: job.id, key, sequence })
        if (isMatch) Deferred.unsafeDone(wait.received, Effect.succeed(received))
      }
    }
  }

  private wake(): void {
    Deferred.unsafeDone(this.published, Effect.void)
    this.published = Deferred.unsafeMake(FiberId.none)
  }

  private readonly find = (match: Match): Effect.Effect<Option.Option<Received>, WebhookStoreError> =>
    Effect.map(this.store.find(match), Option.flatMap(this.read))

  private readonly lookAgain = Effect.suspend(() => {
    this.wake()
    return Effect.forEach(
      this.waits.values(),
      ({ match, received }) =>
        Effect.flatMap(this.find(match), (found) =>
          Option.isNone(found) ? Effect.void : Deferred.succeed(received, found.value)
        ),
      { discard: true }
    )
  })

  /** The newest delivery that fits, or else the first to come. */
  next(match: Match): Effect.Effect<Received, WebhookStoreError> {
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        const wait = { match, received: Deferred.unsafeMake<Received>(FiberId.none) }
        // Before the store is asked, so that no delivery comes between.
        this.waits.add(indexOf(match), wait)
        this.follower.join()
        return wait
      }),
      ({ received }) =>
        Effect.flatMap(
          this.find(match),
          Option.match({ onNone: () => Deferred.await(received), onSome: Effect.succeed })
        ),
      (wait) =>
        Effect.sync(() => {
          this.waits.delete(indexOf(match), wait)
          this.follower.leave()
        })
    )
  }

  eventsSince(sequence: number): Stream.Stream<Received, WebhookStoreError> {
    // One page at a time: the deliveries for a slow subscriber stay in the store.
    const pages = Stream.paginateChunkEffect(sequence, (after) =>
      Effect.map(this.nextPage(after), (page) => [
        Chunk.filterMap(Chunk.unsafeFromArray(page), this.read),
        Option.some(page.at(-1)?.sequence ?? after)
      ])
    )
    const waiting = Stream.acquireRelease(
      Effect.sync(() => this.follower.join()),
      () => Effect.sync(() => this.follower.leave())
    )
    return Stream.flatMap(waiting, () => pages)
  }

  /** The next deliveries in the store; waits for one when there is none. */
  private nextPage(after: number): Effect.Effect<ReadonlyArray<Stored>, WebhookStoreError> {
    return Effect.suspend(() => {
      const { published } = this
      return Effect.flatMap(this.store.after(after, pageSize), (page) =>
        page.length > 0 ? Effect.succeed(page) : Effect.zipRight(Deferred.await(published), this.nextPage(after))
      )
    })
  }
}
