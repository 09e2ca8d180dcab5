import * as Batch from "effect-runpod/Batch"
import type { Item } from "effect-runpod/BatchJournal"
import { isJobError } from "effect-runpod/JobError"
import { isRunPodError } from "effect-runpod/RunPodError"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/** What is counted of an item. */
interface Counted {
  /** `Completed`, or what it failed with. */
  readonly kind: string
  readonly message?: string | undefined
  readonly delayTime?: number | undefined
  readonly executionTime?: number | undefined
  /** What attempts before the last were on a worker. */
  readonly earlierExecutionTime?: number | undefined
  readonly replayed: boolean
}

/** An item as it is written out, without its input. */
export interface Row extends Counted {
  readonly index: number
  readonly key: string
  readonly jobId?: string | undefined
  readonly attempts: number
  readonly output?: unknown
}

/** The row of an outcome. */
export const rowOf = (outcome: Batch.Outcome<unknown, unknown>): Row => {
  const { attempts, delayTime, executionTime, index, jobId, key, replayed, result } = outcome
  const common = { index, key, jobId, attempts, delayTime, executionTime, replayed }
  if (Exit.isSuccess(result)) return { ...common, kind: "Completed", output: result.value }
  const error = Option.getOrUndefined(Cause.failureOption(result.cause))
  if (isJobError(error) || isRunPodError(error)) return { ...common, kind: error._tag, message: error.message }
  return { ...common, kind: "Defect", message: Cause.pretty(result.cause) }
}

/** A row as data. */
export const rowData = ({ kind, message, ...row }: Row) => ({
  ...row,
  result: kind,
  ...(message === undefined ? {} : { error: message })
})

/** What the ends of jobs are called. */
export const settledKinds = {
  COMPLETED: "Completed",
  FAILED: "JobFailedError",
  CANCELLED: "JobCancelledError",
  TIMED_OUT: "JobTimedOutError"
}
const open = { Intent: "in doubt", Submitted: "in flight", Released: "to be submitted again" }

/** The state of an item of a journal, in one word. */
export const stateOf = (item: Item): string => (item._tag === "Settled" ? settledKinds[item.status] : open[item._tag])

/** What a batch came to. Only numbers are kept of its items, since they may be many. */
export class Tally {
  private readonly counts = new Map<string, number>()
  private readonly samples = new Map<string, string>()
  private readonly delays: Array<number> = []
  private readonly executions: Array<number> = []
  private onWorkers = 0
  private replayed = 0
  private items = 0

  /** `rate`: what a worker costs in USD a second, where that is known. */
  constructor(
    readonly endpointId: string | undefined,
    private readonly rate?: number
  ) {}

  add({ delayTime, earlierExecutionTime = 0, executionTime, kind, message, replayed }: Counted): void {
    this.items++
    this.counts.set(kind, this.countOf(kind) + 1)
    if (message !== undefined && !this.samples.has(kind)) this.samples.set(kind, message)
    if (delayTime !== undefined) this.delays.push(delayTime)
    if (executionTime !== undefined) this.executions.push(executionTime)
    this.onWorkers += earlierExecutionTime + (executionTime ?? 0)
    if (replayed) this.replayed++
  }

  /** Counts an item of a journal. */
  addItem(item: Item): void {
    const { delayTime, executionTime } = item._tag === "Settled" ? item : {}
    const { earlierExecutionTime } = item
    this.add({ kind: stateOf(item), delayTime, executionTime, earlierExecutionTime, replayed: false })
  }

  countOf(kind: string): number {
    return this.counts.get(kind) ?? 0
  }

  get failed(): number {
    return this.items - this.countOf("Completed")
  }

  /** What the time on workers costs at least, in USD. */
  private get floor(): number | undefined {
    if (this.rate === undefined) return undefined
    return (this.onWorkers / 1000) * this.rate
  }

  toJson() {
    const { floor } = this
    return {
      endpointId: this.endpointId ?? null,
      items: this.items,
      counts: Object.fromEntries(this.counts),
      replayed: this.replayed,
      queueTime: Batch.spreadOf(this.delays),
      executionTime: Batch.spreadOf(this.executions),
      ...(floor === undefined ? {} : { cost: { currency: "USD", floor } }),
      errors: Object.fromEntries(this.samples)
    }
  }

  toText(): string {
    const { counts, executionTime, items, queueTime } = this.toJson()
    const spread = ({ count, max, p50, p90 }: Batch.Spread) =>
      count === 0 ? "not known" : [p50, p90, max].map((time) => `${(time / 1000).toFixed(1)} s`).join(" / ")
    const oneLine = (kind: string) => (this.samples.get(kind) ?? "").replace(/\s+/g, " ").slice(0, 160)
    return [
      `endpoint ${this.endpointId ?? "not known"}: ${items} items${this.replayed === 0 ? "" : `, ${this.replayed} of an earlier run`}`,
      ...Object.entries(counts).map(([kind, count]) =>
        `  ${String(count).padStart(6)} ${kind} ${oneLine(kind)}`.trimEnd()
      ),
      `in the queue (median / 90 % / longest): ${spread(queueTime)}`,
      `on a worker  (median / 90 % / longest): ${spread(executionTime)}`,
      ...(this.floor === undefined ? [] : [`time on workers cost at least ${this.floor.toFixed(4)} USD`])
    ].join("\n")
  }
}
