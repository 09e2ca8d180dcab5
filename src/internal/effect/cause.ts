/** Why a fiber has ended. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/** The error an effect failed with; `undefined` when it was interrupted or died. */
export const failureOf = <E>(cause: Cause.Cause<E>): E | undefined => Option.getOrUndefined(Cause.failureOption(cause))

export const isInterruption: (cause: Cause.Cause<unknown>) => boolean = Cause.isInterruptedOnly

export const holdsInterruption: (cause: Cause.Cause<unknown>) => boolean = Cause.isInterrupted

/** The error, else the defect. */
export const squash: (cause: Cause.Cause<unknown>) => unknown = Cause.squash

/** The error itself: Effect fails with a proxy of it where a span is to be remembered. */
export const original: <E>(error: E) => E = Cause.originalError

/** The exit with other errors and defects; interruptions stay. */
export const mapFailures = <A, E, E2>(
  exit: Exit.Exit<A, E>,
  { onDie, onFail }: { readonly onFail: (error: E) => E2; readonly onDie: (defect: unknown) => unknown }
): Exit.Exit<A, E2> =>
  Exit.mapErrorCause(
    exit,
    Cause.match({
      onEmpty: Cause.empty,
      onFail: (error): Cause.Cause<E2> => Cause.fail(onFail(error)),
      onDie: (defect) => Cause.die(onDie(defect)),
      onInterrupt: (fiberId) => Cause.interrupt(fiberId),
      onSequential: (left, right) => Cause.sequential(left, right),
      onParallel: (left, right) => Cause.parallel(left, right)
    })
  )

/**
 * Handlers that live as long as a request. An object literal would do, but V8 allocates literals that have outlived a few
 * collections in its old generation, where they keep all they point to: 4 KiB a request, and half of the collector's time.
 */
class Handlers<A, E, B, E2, R2> {
  constructor(
    readonly onFailure: (cause: Cause.Cause<E>) => Effect.Effect<B, E2, R2>,
    readonly onSuccess: (value: A) => Effect.Effect<B, E2, R2>
  ) {}
}

/** `Effect.matchCauseEffect` for what each request goes through. */
export const matchCauseEffect = <A, E, R, B, E2, R2>(
  self: Effect.Effect<A, E, R>,
  onFailure: (cause: Cause.Cause<E>) => Effect.Effect<B, E2, R2>,
  onSuccess: (value: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E2, R | R2> => Effect.matchCauseEffect(self, new Handlers(onFailure, onSuccess))

/** `Effect.catchAll` for what each request goes through: without handlers of its own. */
export const catchFailure = <A, E, R, E2, R2>(
  self: Effect.Effect<A, E, R>,
  f: (error: E) => Effect.Effect<A, E2, R2>
): Effect.Effect<A, E2, R | R2> =>
  Effect.catchAllCause(self, (cause): Effect.Effect<A, E2, R2> => {
    const failure = Cause.failureOrCause(cause)
    return Either.isLeft(failure) ? f(failure.left) : Effect.failCause(failure.right)
  })
