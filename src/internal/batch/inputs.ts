import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import { hasProperty } from "effect/Predicate"
import * as Stream from "effect/Stream"
import { takeAtOnce } from "../effect/semaphore.js"
import type * as Batch from "../../services/Batch.js"

/** An input and its place. */
export interface Indexed<out I> {
  readonly index: number
  readonly input: I
}

const isStream = <I, E>(inputs: Batch.Inputs<I, E>): inputs is Stream.Stream<I, E> =>
  hasProperty(inputs, Stream.StreamTypeId)

export const sizeOf = (inputs: Batch.Inputs<unknown, unknown>): number | undefined => {
  if (Array.isArray(inputs)) return inputs.length
  return inputs instanceof Set || inputs instanceof Map ? inputs.size : undefined
}

const oneByOne = function* <I>(inputs: Iterable<I>): Generator<I> {
  yield* inputs
}

/** The inputs as a stream that takes nothing before it is asked for, and closes the iterator of an iterable. */
export const toStream = <I, E>(inputs: Batch.Inputs<I, E>): Stream.Stream<I, E> =>
  isStream(inputs)
    ? inputs
    : Stream.suspend(() => {
        const iterator = oneByOne(inputs)
        const close = Effect.sync(() => void iterator.return(undefined))
        return Stream.ensuring(Stream.fromIteratorSucceed(iterator, 1), close)
      })

/** Counts inputs that nothing was done with yet, of which there may be so many. Who waits for there to be fewer stands in line. */
class Ahead implements Batch.Ahead {
  private count = 0
  private readonly line = new Set<Deferred.Deferred<void>>()

  constructor(
    readonly most: number,
    readonly until: Batch.Ahead["until"]
  ) {}

  /** One more; the function, called at any time and as often as one likes, takes it off again. */
  add(): () => void {
    this.count++
    let isAhead = true
    return () => {
      if (!isAhead) return
      isAhead = false
      this.count--
      this.tell()
    }
  }

  readonly room: Effect.Effect<void> = Effect.suspend(() =>
    this.count < this.most && this.line.size === 0 ? Effect.void : this.inLine
  )

  private readonly inLine: Effect.Effect<void> = Effect.uninterruptibleMask((restore) => {
    const turn = Deferred.unsafeMake<void>(FiberId.none)
    this.line.add(turn)
    this.tell()
    const leave = Effect.sync(() => {
      this.line.delete(turn)
      // It may be interrupted, or find that there are no more inputs.
      this.tell()
    })
    return Effect.ensuring(restore(Deferred.await(turn)), leave)
  })

  /** Wakes who is the first in line. */
  private tell(): void {
    const [first] = this.line
    if (first !== undefined && this.count < this.most) Deferred.unsafeDone(first, Effect.void)
  }
}

/** What limits let through much later would take CPU from what they let through now. */
const usualAhead = 32

export const ahead = (most = usualAhead, { until = "sent" }: Batch.AheadOptions = {}): Batch.Ahead => {
  if (!(most >= 1)) throw new RangeError(`A batch must take at least 1 input ahead, got ${most}`)
  return new Ahead(most, until)
}

/**
 * Runs `use` for each input, for so many at once, and takes an input only when there is room for it, until `stopped`
 * completes. Of those in use at most `ahead` have not called `takeNext` yet, or one more for each batch that shares that number. A failure of the
 * inputs and an interruption interrupt what is in use.
 *
 * `Effect.forEach` would take all of an iterable before it begins; `Stream.mapEffect` costs 440 µs of CPU an input, this 40.
 */
export const forEachInput = <I, E>(
  inputs: Stream.Stream<I, E>,
  options: {
    readonly concurrency: number
    /** Default: as many as are in use. */
    readonly ahead?: Batch.Ahead
    readonly use: (indexed: Indexed<I>, takeNext: () => void) => Effect.Effect<void>
    readonly stopped?: Deferred.Deferred<void>
  }
): Effect.Effect<void, E> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { ahead = new Ahead(Infinity, "sent"), concurrency, stopped, use } = options
      // A fiber that is interrupted before it begins takes nothing off, and one of a race may begin when all is over: others would wait for ever.
      const untaken = new Set<() => void>()
      let isOver = false
      const takeAllOff = Effect.sync(() => {
        isOver = true
        for (const takeNext of untaken) takeNext()
      })
      yield* Effect.addFinalizer(() => takeAllOff)
      const inUse = yield* FiberSet.make<void, never>()
      const places = Effect.unsafeMakeSemaphore(concurrency)
      const takePlace = takeAtOnce(places)
      let index = 0
      const start = (input: I) => {
        if (isOver) return Effect.interrupt
        const takeOff = ahead.add()
        const takeNext = () => {
          untaken.delete(takeNext)
          takeOff()
        }
        untaken.add(takeNext)
        const used = Effect.ensuring(
          use({ index: index++, input }, takeNext),
          Effect.suspend(() => {
            takeNext()
            return places.release(1)
          })
        )
        return Effect.zipRight(FiberSet.run(inUse, used), Effect.zipRight(ahead.room, takePlace))
      }
      const taking = Effect.zipRight(Effect.zipRight(ahead.room, takePlace), Stream.runForEach(inputs, start))
      const taken = stopped === undefined ? taking : Effect.raceFirst(taking, Deferred.await(stopped))
      // A defect in `use` ends it all.
      yield* Effect.raceFirst(Effect.zipRight(taken, FiberSet.awaitEmpty(inUse)), FiberSet.join(inUse))
    })
  )
