import type * as Job from "../../schemas/Job.js"
import type { Seen, Span } from "../../services/JobRuntime.js"
import { LruCache } from "./lru.js"

/** So many of an endpoint's newest jobs say what the next will be like. */
const remembered = 32
/** Fewer say too little. */
const fewest = 3
const mostEndpoints = 256
/** What RunPod does not count: the way there and back. */
const overhead = 100

/** The newest numbers, and what they say of the next. */
class Samples {
  private readonly values: Array<number> = []
  private next = 0
  private sorted: ReadonlyArray<number> | undefined

  add(value: number): void {
    this.values[this.next] = value
    this.next = (this.next + 1) % remembered
    this.sorted = undefined
  }

  private inOrder(): ReadonlyArray<number> {
    return (this.sorted ??= [...this.values].sort((a, b) => a - b))
  }

  median(): number | undefined {
    const sorted = this.inOrder()
    return sorted.length < fewest ? undefined : sorted[sorted.length >> 1]
  }

  /** Where the next one is to be expected: between the extremes, less some of many, and beyond them the more the fewer are known. */
  span(): Span | undefined {
    const sorted = this.inOrder()
    const trim = Math.floor(sorted.length / 16)
    const from = sorted[trim]
    const to = sorted[sorted.length - 1 - trim]
    if (sorted.length < fewest || from === undefined || to === undefined) return undefined
    const gap = (to - from) / (sorted.length - 1 - 2 * trim)
    const beyond = gap * (trim + 1) * (1 + 3 / sorted.length)
    return { from: Math.max(0, from - beyond), to: to + beyond + overhead }
  }
}

/** An endpoint's past: milliseconds in the queue, on the worker, and both. */
interface Past {
  readonly delay: Samples
  readonly execution: Samples
  readonly total: Samples
}

/** What the jobs that were seen to end say of those that follow, by endpoint. Its memory is bounded. */
export class Forecasts {
  private readonly past = new LruCache<Past>(mostEndpoints)

  learn(endpointId: string, job: Job.SyncJob): void {
    const { delayTime, executionTime, retries = 0, status } = job
    // A job that failed says little of one that works.
    if (status !== "COMPLETED" || executionTime === undefined || !(executionTime >= 0)) return
    const past = this.past.get(endpointId, () => ({
      delay: new Samples(),
      execution: new Samples(),
      total: new Samples()
    }))
    past.execution.add(executionTime)
    // What was dispatched twice does not count its first time in the queue.
    if (delayTime === undefined || !(delayTime >= 0) || retries > 0) return
    past.delay.add(delayTime)
    past.total.add(delayTime + executionTime)
  }

  /** How long jobs of this endpoint usually are in the queue, in milliseconds. */
  usualDelay(endpointId: string): number | undefined {
    return this.past.peek(endpointId)?.delay.median()
  }

  /** The ages between which the job is expected to end. */
  end(endpointId: string, { delayTime, queuedAt }: Seen): Span | undefined {
    const past = this.past.peek(endpointId)
    const execution = past?.execution.span()
    if (past === undefined || execution === undefined) return undefined
    if (delayTime !== undefined) return { from: delayTime + execution.from, to: delayTime + execution.to }
    const total = past.total.span()
    return total === undefined
      ? undefined
      : { from: Math.max(total.from, queuedAt + execution.from), to: Math.max(total.to, queuedAt + execution.to) }
  }

  /** How many milliseconds the job probably has left. */
  remaining(endpointId: string, { age, delayTime, queuedAt }: Seen): number | undefined {
    const past = this.past.peek(endpointId)
    const execution = past?.execution.median()
    if (past === undefined || execution === undefined) return undefined
    const total = past.total.median()
    if (delayTime === undefined && total === undefined) return undefined
    const end = delayTime === undefined ? Math.max(total ?? 0, queuedAt + execution) : delayTime + execution
    return Math.max(0, end - age)
  }
}
