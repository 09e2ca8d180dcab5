/**
 * What happened, in two tables: the jobs as the client measured them, and the requests as both sides counted them.
 */
import { Operation, RunPodMetrics } from "effect-runpod"
import type * as Emulator from "effect-runpod/Emulator"
import { Console, Effect, Metric } from "effect"

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map(
      (row) =>
        `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ")}`
    )
    .join("\n")
}

const endpoint = "upscaler"

/** The value of one of the client's metrics for the demo's endpoint. */
const valueOf = <Type, In, Out>(metric: Metric.Metric<Type, In, Out>): Effect.Effect<Out> =>
  Metric.value(Metric.tagged(metric, "endpoint", endpoint))

const seconds = (seconds: number): string => `${seconds.toFixed(2)} s`

const timesOf = (name: string, metric: Metric.Metric.Histogram<number>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(valueOf(metric), ({ count, max, min, sum }) => [
    name,
    ...(count === 0 ? ["-", "-", "-"] : [seconds(min), seconds(sum / count), seconds(max)])
  ])

/** The value of one of the client's counters for an operation. */
const countOf = (counter: Metric.Metric.Counter<number>, operation: Operation.Operation): Effect.Effect<number> => {
  const ofEndpoint = Metric.tagged(counter, "endpoint", endpoint)
  return Effect.map(Metric.value(Metric.tagged(ofEndpoint, "operation", operation)), ({ count }) => count)
}

/** Prints the summary. */
export const print = (emulator: Emulator.Service): Effect.Effect<void> =>
  Effect.gen(function* () {
    const counts = yield* emulator.counts
    const { ended } = counts
    yield* Console.log(
      `\n${counts.submitted} jobs: ${ended.COMPLETED} completed, ${ended.FAILED} failed, ${ended.CANCELLED} cancelled, ${ended.TIMED_OUT} timed out`
    )
    yield* Console.log(
      table([
        ["", "shortest", "mean", "longest"],
        yield* timesOf("in the queue", RunPodMetrics.delayTime),
        yield* timesOf("on a worker", RunPodMetrics.executionTime),
        yield* timesOf("until its end was seen", RunPodMetrics.waitTime)
      ])
    )

    const rows = yield* Effect.forEach(Operation.names, (operation) =>
      Effect.gen(function* () {
        const { byStatus, total } = counts.byOperation[operation]
        const answered = Object.values(byStatus).reduce((sum, count) => sum + count, 0)
        return [
          operation,
          yield* countOf(RunPodMetrics.requests, operation),
          total,
          byStatus[200] ?? 0,
          byStatus[429] ?? 0,
          byStatus[503] ?? 0,
          total - answered,
          yield* countOf(RunPodMetrics.retries, operation)
        ] as const
      })
    )
    const faults = Object.entries(counts.faults).map(([fault, times]) => `${times} ${fault}`)
    yield* Console.log(`\n${counts.total} requests; faults on the way: ${faults.join(", ")}`)
    yield* Console.log(
      table([
        ["", "sent", "received", "200", "429", "503", "no answer", "sent again"],
        ...rows.filter(([, sent]) => sent > 0).map((row) => row.map(String))
      ])
    )
  })
