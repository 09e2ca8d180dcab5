import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { maxTimerMillis } from "./monotonic.js"

/** How the delays between tries grow. Times are milliseconds. */
export interface Backoff {
  readonly base: number
  readonly factor?: number | undefined
  readonly cap: number
  /** `full`: a random time between 0 and the delay; `half`: between half of it and all; `none`: the delay itself. */
  readonly jitter: "full" | "half" | "none"
}

/** The delay after so many tries, in whole milliseconds: a TestClock between two of them has no nanoseconds, which spans need. */
export const delayAfter = (backoff: Backoff, tries: number): Effect.Effect<number> => {
  const { base, cap, factor = 2, jitter } = backoff
  const longest = Math.min(base * factor ** tries, cap, maxTimerMillis)
  switch (jitter) {
    case "none":
      return Effect.succeed(Math.round(longest))
    case "full":
      return Effect.map(Random.next, (random) => Math.round(Math.round(longest) * random))
    case "half":
      return Effect.map(Random.next, (random) => Math.round(longest * (0.5 + random / 2)))
  }
}
