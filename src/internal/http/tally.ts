import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"

/** What the requests of some fibers came to; plain state, counted where the metrics are. */
export interface Tally {
  requests: number
  retries: number
  throttles: number
}

export const make = (): Tally => ({ requests: 0, retries: 0, throttles: 0 })

/** The tally of the fiber and of those it forks, when somebody counts. */
export const currentTally: FiberRef.FiberRef<Tally | undefined> = globalValue("effect-runpod/currentTally", () =>
  FiberRef.unsafeMake<Tally | undefined>(undefined)
)
