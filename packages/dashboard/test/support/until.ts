import { Effect } from "effect"

/** Until something holds of what is read again and again. */
export const until = <A, E, R>(read: Effect.Effect<A, E, R>, holds: (value: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.repeat(Effect.delay(read, "10 millis"), { until: holds })
