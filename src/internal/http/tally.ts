import * as FiberRefs from "../effect/fiberRef.js"

/** What the requests of some fibers came to; plain state, counted where the metrics are. */
export interface Tally {
  requests: number
  retries: number
  throttles: number
}

export const make = (): Tally => ({ requests: 0, retries: 0, throttles: 0 })

export const currentTally = FiberRefs.make<Tally | undefined>("currentTally", undefined)
