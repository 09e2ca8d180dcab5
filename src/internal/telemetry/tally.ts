import * as FiberRefs from "../effect/fiberRef.js"

/** The job that requests are for, which is told what happens to them. */
export interface Events {
  readonly event: (name: string, attributes: Readonly<Record<string, string | number>>) => void
}

/** What the requests of some fibers come to, and the job they are for. Plain state. */
export interface Tally {
  requests: number
  retries: number
  throttles: number
  /** Of what these fibers are a part. */
  readonly outer?: Tally | undefined
  readonly job?: Events | undefined
}

export const make = (of: Pick<Tally, "outer" | "job"> = {}): Tally => ({ requests: 0, retries: 0, throttles: 0, ...of })

export const currentTally = FiberRefs.make<Tally | undefined>("currentTally", undefined)

/** Counts in the tally and in all that it is a part of. */
export const add = (tally: Tally | undefined, count: "requests" | "retries" | "throttles"): void => {
  for (let at = tally; at !== undefined; at = at.outer) at[count]++
}
