/** Why a fiber has ended. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/** The error an effect failed with; `undefined` when it was interrupted or died. */
export const failureOf = <E>(cause: Cause.Cause<E>): E | undefined => Option.getOrUndefined(Cause.failureOption(cause))

/** Whether nothing but an interruption has ended it. */
export const isInterruption: (cause: Cause.Cause<unknown>) => boolean = Cause.isInterruptedOnly

/** Whether an interruption is among what has ended it. */
export const holdsInterruption: (cause: Cause.Cause<unknown>) => boolean = Cause.isInterrupted

/** What `Effect.runPromise` would reject with: the error, else the defect. */
export const squash: (cause: Cause.Cause<unknown>) => unknown = Cause.squash

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
