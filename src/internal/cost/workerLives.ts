import type { Summary, Work } from "../../layers/Cost.js"

/** What is known of an endpoint's workers: times in milliseconds. */
interface Settings {
  readonly workers: "flex" | "active"
  /** How many jobs one runs at once. */
  readonly concurrency: number
  readonly startTime: number
  readonly idleTimeout: number
  /** What one costs, in USD a second. */
  readonly rateOf: (workerId: string | undefined) => number
}

/** What one worker did, all in milliseconds. */
class Life {
  executed = 0
  private readonly spans: Array<readonly [from: number, to: number]> = []

  add(executionTime: number, startedAt: number | undefined): void {
    this.executed += executionTime
    if (startedAt !== undefined) this.spans.push([startedAt, startedAt + executionTime])
  }

  /** How long it is billed: from its start to the end of its idle time, once for each time that it was started. */
  billed({ idleTimeout, startTime, workers }: Settings): number {
    const mayStop = workers === "flex"
    this.spans.sort(([a], [b]) => a - b)
    let millis = 0
    let end = -Infinity
    for (const [from, to] of this.spans) {
      const gap = from - end
      if (gap === Infinity) millis += mayStop ? startTime : 0
      else if (gap > 0) millis += mayStop && gap > idleTimeout ? idleTimeout + startTime : gap
      millis += Math.max(0, to - Math.max(from, end))
      end = Math.max(end, to)
    }
    return this.spans.length > 0 && mayStop ? millis + idleTimeout : millis
  }
}

/** The time of a work on its worker; a job that no worker got before it was cancelled took none. */
export const timeOf = ({ executionTime, status, workerId }: Pick<Work, "executionTime" | "status" | "workerId">) =>
  executionTime ?? (status === "CANCELLED" && workerId === undefined ? 0 : undefined)

export const summarize = (works: Iterable<Work>, settings: Settings): Summary => {
  const { concurrency, rateOf } = settings
  const sums = { floor: 0, failed: 0, retried: 0, unknown: 0 }
  const lives = new Map<string | undefined, Life>()
  for (const work of works) {
    const time = timeOf(work)
    if (time === undefined) {
      sums.unknown++
      continue
    }
    const { end, startedAt, workerId } = work
    const cost = (rateOf(workerId) * time) / 1000 / concurrency
    sums.floor += cost
    if (end === "Failed") sums.failed += cost
    if (end === "Retried") sums.retried += cost
    const life = lives.get(workerId) ?? new Life()
    lives.set(workerId, life)
    life.add(time, workerId === undefined || time === 0 ? undefined : startedAt)
  }
  let estimate = 0
  for (const [workerId, life] of lives) {
    // A worker lived at least as long as it worked, also where times do not say when.
    estimate += (rateOf(workerId) * Math.max(life.billed(settings), life.executed / concurrency)) / 1000
  }
  return { currency: "USD", ...sums, estimate: Math.max(estimate, sums.floor) }
}
