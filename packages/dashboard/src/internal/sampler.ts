import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Cost from "effect-runpod/Cost"
import * as QueueDiagnosis from "effect-runpod/QueueDiagnosis"
import type { Sample } from "../Api.js"
import type { Job, Source } from "../Source.js"
import { JobIndex } from "./jobIndex.js"
import { LimitUses } from "./limitUse.js"
import * as ProcessMetrics from "./processMetrics.js"

/** A source with what was read of it. */
export interface Watched {
  readonly source: Source
  readonly index: JobIndex
  /** The newest samples, the oldest first. */
  readonly history: ReadonlyArray<Sample>
  /** Tells that `history` has a new sample. */
  readonly sampled: PubSub.PubSub<void>
}

/** The rate is that of the last so many milliseconds. */
const rateWindow = 30_000

/** Jobs a second of late, and how many milliseconds the rest takes at that. */
const paceOf = (history: ReadonlyArray<Sample>, at: number, done: number, open: number) => {
  const first = history.find((sample) => sample.at >= at - rateWindow)
  if (first === undefined || at <= first.at) return { rate: 0 }
  const rate = Math.max(0, ((done - first.done) * 1000) / (at - first.at))
  return rate > 0 ? { rate, eta: Math.round((open / rate) * 1000) } : { rate }
}

/** Reads a source once in each interval, for all who look at it. The `PubSub` ends with the scope. */
export const watch = (
  source: Source,
  { interval, kept }: { readonly interval: Duration.DurationInput; readonly kept: number }
): Effect.Effect<Watched, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { cost, endpointId, limits } = source
    const costOf = (cost: Cost.Service) => (job: Job) => {
      const status = job.status === "COMPLETED" || job.status === "FAILED" ? job.status : undefined
      return cost.costOf(endpointId ?? "", { executionTime: job.executionTime, workerId: job.workerId, status })
    }
    const index = new JobIndex(cost && costOf(cost))
    const uses = new LimitUses(limits)
    const history: Array<Sample> = []
    const sampled = yield* Effect.acquireRelease(PubSub.sliding<void>(1), PubSub.shutdown)
    const state = { cursor: 0, seq: 0 }
    const sample = Effect.gen(function* () {
      const update = yield* source.read(state.cursor)
      state.cursor = update.cursor
      index.apply(update)
      const at = yield* Clock.currentTimeMillis
      const client = yield* ProcessMetrics.read(endpointId)
      const { health } = update
      const waited = [...client.operations.values()].reduce((sum, operation) => sum + operation.waited, 0)
      const oldest = index.oldestQueuedAt
      const oldestQueued = oldest === undefined ? undefined : Math.max(0, at - oldest)
      const diagnosis =
        health === undefined || (health.jobs.inQueue ?? 0) === 0
          ? undefined
          : QueueDiagnosis.fromHealth({ ...health, raw: {} }, { queuedFor: oldestQueued ?? 0, usualDelay: undefined })
      const { idle, initializing, running, throttled, unhealthy } = health?.workers ?? {}
      const next: Sample = {
        seq: ++state.seq,
        at,
        version: index.version,
        workers: { idle, initializing, running, throttled, unhealthy },
        inQueue: health?.jobs.inQueue ?? index.countOf("IN_QUEUE"),
        inProgress: health?.jobs.inProgress ?? index.countOf("IN_PROGRESS") + index.countOf("SUBMITTED"),
        done: index.done,
        total: index.total,
        failed: index.done - index.countOf("COMPLETED"),
        ...paceOf(history, at, index.done, index.total - index.done),
        oldestQueued,
        diagnosis: diagnosis && `${diagnosis.reason}: ${diagnosis.message}`,
        requests: update.requests?.total ?? (endpointId === undefined ? undefined : client.requests),
        retries: endpointId === undefined ? undefined : client.retries,
        throttles: update.requests?.throttled ?? client.throttles,
        limiterWait: waited,
        limits: endpointId === undefined ? [] : uses.add({ at, metrics: client }),
        spent: index.spentSoFar,
        faults: update.faults,
        problem: update.problem
      }
      history.push(next)
      if (history.length > kept) history.shift()
      yield* PubSub.publish(sampled, undefined)
    })
    yield* sample
    yield* Effect.forkScoped(Effect.schedule(sample, Schedule.spaced(interval)))
    return { source, index, history, sampled }
  })
