import type * as Cost from "effect-runpod/Cost"
import type { Job, Update } from "../Source.js"

/** The buckets of histograms, in milliseconds: each ends at twice the one before; the last has no end. */
export const bounds: ReadonlyArray<number> = Array.from({ length: 18 }, (_, i) => 50 * 2 ** i)

const emptyBuckets = () => new Array<number>(bounds.length + 1).fill(0)

const bucketOf = (millis: number): number => {
  const index = bounds.findIndex((bound) => millis <= bound)
  return index === -1 ? bounds.length : index
}

/** How many of some times fall into each bucket. */
export const histogramOf = (times: ReadonlyArray<number | undefined>): ReadonlyArray<number> => {
  const buckets = emptyBuckets()
  for (const time of times) {
    if (time === undefined) continue
    const index = bucketOf(time)
    buckets[index] = (buckets[index] ?? 0) + 1
  }
  return buckets
}

/** Which jobs are listed, the newest first. */
export interface Query {
  readonly status?: string | undefined
  /** What is in the id, the worker or the error, whatever its case. */
  readonly search?: string | undefined
}

const statuses = { queued: "IN_QUEUE", running: "IN_PROGRESS", completed: "COMPLETED" }
const ended = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "REFUSED", "INTERRUPTED"]
const isOpen = (status: string) => !ended.includes(status)

/** What a failure is called: its first words, so that those of one kind count together. */
const kindOf = ({ error, status }: Job): string => {
  const [line = ""] = (error ?? "").split("\n")
  return line === "" ? status : `${status}: ${line.slice(0, 80)}`
}

/** The jobs of a source, and what they come to. Each change costs as much as what has changed. */
export class JobIndex {
  private readonly jobs = new Map<string, Job>()
  private readonly counts = new Map<string, number>()
  private readonly failures = new Map<string, number>()
  private readonly delays = emptyBuckets()
  private readonly executions = emptyBuckets()
  private listed: { readonly key: string; readonly jobs: ReadonlyArray<Job> } | undefined
  private spent = 0
  private wasted = 0
  private ended = 0
  /** Jobs that have ended whose cost is known, and those that were on a worker whose rate is not. */
  private priced = 0
  private unpriced = 0
  /** Rises with each change. */
  version = 0

  /** `costOf` is missing where there are no rates. */
  constructor(private readonly costOf: ((job: Job) => number | undefined) | undefined) {}

  apply({ isReset, jobs, removed }: Update): void {
    if (!isReset && jobs.length === 0 && removed.length === 0) return
    this.version++
    if (isReset) for (const job of [...this.jobs.values()]) this.remove(job)
    for (const id of removed) {
      const job = this.jobs.get(id)
      if (job !== undefined) this.remove(job)
    }
    for (const job of jobs) {
      const before = this.jobs.get(job.id)
      if (before !== undefined) this.count(before, -1)
      this.jobs.set(job.id, job)
      this.count(job, 1)
    }
  }

  private remove(job: Job): void {
    this.jobs.delete(job.id)
    this.count(job, -1)
  }

  private count(job: Job, by: 1 | -1): void {
    const add = (counts: Map<string, number>, name: string) => {
      const next = (counts.get(name) ?? 0) + by
      if (next === 0) counts.delete(name)
      else counts.set(name, next)
    }
    add(this.counts, job.status)
    if (isOpen(job.status)) return
    this.ended += by
    const known = this.costOf?.(job)
    if (known !== undefined) this.priced += by
    else if (job.executionTime !== undefined) this.unpriced += by
    const cost = known ?? 0
    this.spent += by * cost
    if (job.status !== statuses.completed) {
      this.wasted += by * cost
      add(this.failures, kindOf(job))
    }
    const observe = (buckets: Array<number>, millis: number | undefined) => {
      if (millis === undefined) return
      const index = bucketOf(millis)
      buckets[index] = (buckets[index] ?? 0) + by
    }
    observe(this.delays, job.delayTime)
    observe(this.executions, job.executionTime)
  }

  get(id: string): Job | undefined {
    return this.jobs.get(id)
  }

  countOf(status: string): number {
    return this.counts.get(status) ?? 0
  }

  get done(): number {
    return this.ended
  }

  get total(): number {
    return this.jobs.size
  }

  /** When the job was submitted that is queued longest. */
  get oldestQueuedAt(): number | undefined {
    if (this.countOf(statuses.queued) === 0) return undefined
    let oldest: number | undefined
    for (const { createdAt, status } of this.jobs.values()) {
      if (status === statuses.queued && createdAt !== undefined && createdAt < (oldest ?? Infinity)) oldest = createdAt
    }
    return oldest
  }

  list({ search = "", status = "" }: Query): ReadonlyArray<Job> {
    const key = JSON.stringify([this.version, search, status])
    if (this.listed?.key === key) return this.listed.jobs
    const text = search.toLowerCase()
    const has = (value: string | undefined) => value !== undefined && value.toLowerCase().includes(text)
    const jobs = [...this.jobs.values()]
      .filter(
        (job) =>
          (status === "" || job.status === status) &&
          (text === "" || has(job.id) || has(job.jobId) || has(job.workerId) || has(job.error))
      )
      .reverse()
    this.listed = { key, jobs }
    return jobs
  }

  /** In USD; `undefined` where there are no rates, or none for any job so far. */
  get spentSoFar(): number | undefined {
    if (this.costOf === undefined) return undefined
    return this.unpriced > 0 && this.priced === 0 ? undefined : this.spent
  }

  /** What the jobs that have ended come to, and what those still open are expected to. */
  summary(budget: Cost.BudgetState | undefined) {
    const open = this.jobs.size - this.ended
    // Those that were on no worker cost nothing.
    const known = this.ended - this.unpriced
    const mean = known === 0 ? undefined : this.spent / known
    const spent = this.spentSoFar
    return {
      total: this.jobs.size,
      counts: Object.fromEntries(this.counts),
      failures: [...this.failures]
        .map(([kind, count]) => ({ kind, count }))
        .sort((a, b) => b.count - a.count)
        .slice(0, 50),
      bounds,
      delays: [...this.delays],
      executions: [...this.executions],
      cost: {
        ...(spent === undefined ? {} : { spent, wasted: this.wasted }),
        ...(spent === undefined || mean === undefined ? {} : { expected: spent + open * mean }),
        ...(budget === undefined ? {} : { budget: budget.maxCost }),
        unpriced: this.unpriced
      }
    }
  }
}
