import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { WebhookStoreError } from "../../errors/WebhookError.js"
import type { Match, Service as Store, Stored } from "../../layers/WebhookStore.js"
import type { Received } from "../../services/Webhooks.js"
import { matches, MultiMap } from "./deliveryTable.js"

/** How many deliveries a subscriber takes from the store at once. */
const pageSize = 16

const indexOf = ({ jobId, key }: Match): string => (jobId === undefined ? `key ${key}` : `job ${jobId}`)

/** Those who wait for deliveries: for one (`next`), or for all (`eventsSince`). Touched only synchronously. */
export class Subscribers {
  /** By the job id or the key they wait for. */
  private readonly waits = new MultiMap<{ readonly match: Match; readonly received: Deferred.Deferred<Received> }>()
  /**
   * Completed and replaced with each delivery. Not a `PubSub`: that would hold deliveries for slow subscribers, who read
   * them from the store; nor a `Latch`: a delivery between reading the store and waiting would be missed.
   */
  private published = Deferred.unsafeMake<void>(FiberId.none)

  /** `read` makes a delivery of what is stored. */
  constructor(
    private readonly store: Store,
    private readonly read: (stored: Stored) => Option.Option<Received>
  ) {}

  publish(received: Received): void {
    const { endpointId, job, key, sequence } = received
    for (const index of [indexOf({ jobId: job.id }), indexOf({ key })]) {
      for (const wait of this.waits.get(index)) {
        const isMatch = matches(wait.match, { endpointId, jobId: job.id, key, sequence })
        if (isMatch) Deferred.unsafeDone(wait.received, Effect.succeed(received))
      }
    }
    Deferred.unsafeDone(this.published, Effect.void)
    this.published = Deferred.unsafeMake(FiberId.none)
  }

  /** The newest delivery that fits, or else the first to come. */
  next(match: Match): Effect.Effect<Received, WebhookStoreError> {
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        const wait = { match, received: Deferred.unsafeMake<Received>(FiberId.none) }
        // Before the store is asked, so that no delivery comes between.
        this.waits.add(indexOf(match), wait)
        return wait
      }),
      ({ received }) =>
        Effect.map(this.store.find(match), Option.flatMap(this.read)).pipe(
          Effect.flatMap(Option.match({ onNone: () => Deferred.await(received), onSome: Effect.succeed }))
        ),
      (wait) => Effect.sync(() => this.waits.delete(indexOf(match), wait))
    )
  }

  eventsSince(sequence: number): Stream.Stream<Received, WebhookStoreError> {
    // One page at a time: the deliveries for a slow subscriber stay in the store.
    return Stream.paginateChunkEffect(sequence, (after) =>
      Effect.map(this.nextPage(after), (page) => [
        Chunk.filterMap(Chunk.unsafeFromArray(page), this.read),
        Option.some(page.at(-1)?.sequence ?? after)
      ])
    )
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
