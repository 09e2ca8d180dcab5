/**
 * What happened, in two tables: the jobs as the client measured them, and the requests as both sides counted them.
 */
import { Operation, RunPodMetrics } from "effect-runpod"
import type * as Emulator from "effect-runpod/Emulator"
import { Console, Effect, Metric, type MetricState } from "effect"

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map(
      (row) =>
        `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ")}`
    )
    .join("\n")
}

const seconds = (millis: number): string => `${(millis / 1000).toFixed(2)} s`

const timesOf = (name: string, { count, max, min, sum }: MetricState.MetricState.Histogram): ReadonlyArray<string> => [
  name,
  ...(count === 0 ? ["-", "-", "-"] : [seconds(min), seconds(sum / count), seconds(max)])
]

/** The value of one of the client's counters for an operation. */
const countOf = (counter: Metric.Metric.Counter<number>, operation: Operation.Operation): Effect.Effect<number> =>
  Effect.map(Metric.value(Metric.tagged(counter, "operation", operation)), ({ count }) => count)

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
        timesOf("in the queue", yield* Metric.value(RunPodMetrics.delayTime)),
        timesOf("on a worker", yield* Metric.value(RunPodMetrics.executionTime)),
        timesOf("until its end was seen", yield* Metric.value(RunPodMetrics.waitTime))
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
