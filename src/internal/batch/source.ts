import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { makeLane } from "../pace/limiter.js"
import type { Inputs } from "../../services/Batch.js"

/** An input and its place. */
export interface Indexed<out I> {
  readonly index: number
  readonly input: I
}

/** The inputs of a batch, one at a time for whoever asks. */
export interface Source<out I, out E> {
  /** How many there are, when it is known. */
  readonly size: number | undefined
  /** The next one; none at the end. A failure is the end, too. */
  readonly next: Effect.Effect<Option.Option<Indexed<I>>, E>
  /** Makes this the end, also for those who wait for the next one. */
  readonly close: Effect.Effect<void>
}

const isStream = <I, E>(inputs: Inputs<I, E>): inputs is Stream.Stream<I, E> => hasProperty(inputs, Stream.StreamTypeId)

export const make = <I, E>(inputs: Inputs<I, E>): Effect.Effect<Source<I, E>, never, Scope.Scope> =>
  isStream(inputs) ? fromStream(inputs) : Effect.sync(() => fromIterable(inputs))

const sizeOf = (inputs: object): number | undefined => {
  if (Array.isArray(inputs)) return inputs.length
  return inputs instanceof Set || inputs instanceof Map ? inputs.size : undefined
}

const fromIterable = <I>(inputs: Iterable<I>): Source<I, never> => {
  const iterator = inputs[Symbol.iterator]()
  let index = 0
  let hasEnded = false
  return {
    size: sizeOf(inputs),
    next: Effect.sync(() => {
      if (hasEnded) return Option.none()
      const next = iterator.next()
      if (next.done !== true) return Option.some({ index: index++, input: next.value })
      hasEnded = true
      return Option.none()
    }),
    close: Effect.sync(() => {
      if (hasEnded) return
      hasEnded = true
      iterator.return?.()
    })
  }
}

const fromStream = <I, E>(inputs: Stream.Stream<I, E>): Effect.Effect<Source<I, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const closed = Deferred.unsafeMake<void>(FiberId.none)
    const pull = yield* Stream.toPull(Stream.interruptWhenDeferred(inputs, closed))
    // Those who wait stand in a line: a semaphore would wake them all for each input.
    const line = makeLane(1, [])
    let chunk: ReadonlyArray<I> = []
    let at = 0
    let index = 0
    let hasEnded = false
    const take: Effect.Effect<Option.Option<Indexed<I>>, E> = Effect.suspend(() => {
      const [input] = chunk.slice(at, at + 1)
      if (at < chunk.length && !hasEnded) {
        at++
        return Effect.succeedSome({ index: index++, input: input as I })
      }
      if (hasEnded) return Effect.succeedNone
      return Effect.matchEffect(pull, {
        onSuccess: (more) => {
          chunk = Chunk.toReadonlyArray(more)
          at = 0
          return take
        },
        onFailure: (end) => {
          hasEnded = true
          return Option.match(end, { onNone: () => Effect.succeedNone, onSome: Effect.fail })
        }
      })
    })
    return {
      size: undefined,
      next: Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(line.acquireWith(restore), (permit) => Effect.ensuring(restore(take), permit.release))
      ),
      close: Effect.suspend(() => {
        hasEnded = true
        return Effect.asVoid(Deferred.succeed(closed, undefined))
      })
    }
  })
