import type * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"

/** A function of options that is also the effect it gives for the usual ones. */
export const callable = <A, O>(
  make: (options: O) => Effect.Effect<A>,
  usual: NoInfer<O>
): ((options: O) => Effect.Effect<A>) & Effect.Effect<A> =>
  Object.assign((options: O) => make(options), Effectable.CommitPrototype, { commit: () => make(usual) })
