import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

/** How long the end of a body may take when its answer is whole. A connection that has ended is used again; one that is left is not. */
const patience = "1 second"

/** A stream that ends when its answer is whole, whatever its connection does behind that. */
export const endAt = <A, E, R>(stream: Stream.Stream<A, E, R>, isWhole: () => boolean): Stream.Stream<A, E, R> =>
  Stream.unwrapScoped(
    Effect.map(Stream.toPull(stream), (pull) => {
      const rest = Effect.forever(pull).pipe(
        Effect.ignore,
        Effect.timeoutOption(patience),
        Effect.zipRight(Effect.fail(Option.none()))
      )
      return Stream.repeatEffectChunkOption(Effect.suspend(() => (isWhole() ? rest : pull)))
    })
  )
