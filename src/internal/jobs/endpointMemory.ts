import * as Effect from "effect/Effect"
import type { RunPodError } from "../../errors/RunPodError.js"
import type { Health } from "../../schemas/Health.js"
import type { Service as JobRuntime, Span } from "../../services/JobRuntime.js"
import { once } from "../http/requestOptions.js"
import { monotonicMillis } from "../pace/monotonic.js"

/** So many of an endpoint's newest jobs say what the next will be like, and fewer than `fewest` say too little. */
const remembered = 32
const fewest = 3
const mostEndpoints = 256
/** What RunPod does not count: the way there and back. */
const overhead = 100
/** The least time between two questions for an endpoint's health, answered or not. */
const freshFor = 15_000
/** Health that is older says nothing of now. */
const staleAfter = 120_000
/** How long an answer about health may take. */
const patience = 10_000

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

  /** Where the next is to be expected: between the extremes, less some of many, and beyond them the more the fewer are known. */
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

/** What is remembered of an endpoint: the times its jobs took, in milliseconds, and its health when last asked. */
const makeEntry = () => ({
  delay: new Samples(),
  execution: new Samples(),
  /** In the queue and on the worker. */
  total: new Samples(),
  askedAt: -Infinity,
  condition: undefined as Health | "Paused" | undefined
})

/** What ended jobs say of those that follow, and the health of endpoints, asked rarely and for all waits together. */
export const make = (
  ask: (endpointId: string) => Effect.Effect<Health, RunPodError>,
  fork: (effect: Effect.Effect<void>) => Effect.Effect<unknown>
): Pick<JobRuntime, "learn" | "usualDelay" | "expectedEnd" | "remaining" | "health" | "lastHealth"> => {
  const entries = new Map<string, ReturnType<typeof makeEntry>>()
  /** The entry of an endpoint, made when there is none; the one that was not used for longest makes room for it. */
  const entryOf = (endpointId: string) => {
    const entry = entries.get(endpointId) ?? makeEntry()
    entries.delete(endpointId)
    entries.set(endpointId, entry)
    const [oldest] = entries.keys()
    if (entries.size > mostEndpoints && oldest !== undefined) entries.delete(oldest)
    return entry
  }
  return {
    learn: (endpointId, { delayTime, executionTime, retries = 0, status }) => {
      // A job that failed says little of one that works.
      if (status !== "COMPLETED" || executionTime === undefined || !(executionTime >= 0)) return
      const past = entryOf(endpointId)
      past.execution.add(executionTime)
      // What was dispatched twice does not count its first time in the queue.
      if (delayTime === undefined || !(delayTime >= 0) || retries > 0) return
      past.delay.add(delayTime)
      past.total.add(delayTime + executionTime)
    },
    usualDelay: (endpointId) => entries.get(endpointId)?.delay.median(),
    expectedEnd: (endpointId, { delayTime, queuedAt }) => {
      const past = entries.get(endpointId)
      const execution = past?.execution.span()
      if (execution === undefined) return undefined
      if (delayTime !== undefined) return { from: delayTime + execution.from, to: delayTime + execution.to }
      const total = past?.total.span()
      return (
        total && {
          from: Math.max(total.from, queuedAt + execution.from),
          to: Math.max(total.to, queuedAt + execution.to)
        }
      )
    },
    remaining: (endpointId, { age, delayTime, queuedAt }) => {
      const past = entries.get(endpointId)
      const execution = past?.execution.median()
      if (execution === undefined) return undefined
      if (delayTime !== undefined) return Math.max(0, delayTime + execution - age)
      const total = past?.total.median()
      return total === undefined ? undefined : Math.max(0, total - age, queuedAt + execution - age)
    },
    health: (endpointId) =>
      Effect.clockWith((clock) => {
        const now = monotonicMillis(clock)
        const entry = entryOf(endpointId)
        if (now - entry.askedAt < freshFor) return Effect.succeed(entry.condition)
        if (now - entry.askedAt > staleAfter) entry.condition = undefined
        entry.askedAt = now
        const answer = Effect.match(once(ask(endpointId), now + patience), {
          onSuccess: (health) => health,
          onFailure: (error) => (error._tag === "EndpointPausedError" ? "Paused" : undefined)
        })
        const refresh = Effect.map(answer, (condition) => void (entry.condition = condition))
        return Effect.map(fork(refresh), () => entry.condition)
      }),
    lastHealth: (endpointId) => entries.get(endpointId)?.condition
  }
}
