import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { BatchStoppedError, type RunError } from "../../errors/BatchError.js"
import type { Inputs, Options, Outcome, Report, Spread } from "../../services/Batch.js"
import type { Endpoint } from "../../services/Endpoint.js"
import type * as Cost from "../../layers/Cost.js"
import { quantile } from "../cost/quantile.js"
import { failureOf } from "../effect/cause.js"
import * as FiberRefs from "../effect/fiberRef.js"
import * as Tally from "../telemetry/tally.js"
import { monotonicMillis, wallMillis } from "../pace/monotonic.js"
import { excerpt, formatUsd } from "../text/excerpt.js"
import { defined, type JsonObject } from "../text/json.js"
import { kindOf } from "./rules.js"
import { drive } from "./run.js"
import { costOf, type OnWork } from "./spend.js"

export const spreadOf = (values: ReadonlyArray<number | undefined>): Spread => {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b)
  const sum = sorted.reduce((sum, value) => sum + value, 0)
  return {
    count: sorted.length,
    min: sorted[0] ?? 0,
    mean: sorted.length === 0 ? 0 : sum / sorted.length,
    p50: quantile(sorted, 0.5) ?? 0,
    p90: quantile(sorted, 0.9) ?? 0,
    p99: quantile(sorted, 0.99) ?? 0,
    max: sorted[sorted.length - 1] ?? 0
  }
}

const isStopped = (error: unknown): error is BatchStoppedError => error instanceof BatchStoppedError

/** What the jobs of a batch did on workers, in it and in earlier runs with its journal. */
class Works {
  private readonly works: Record<Parameters<OnWork>[1], Array<Cost.Work>> = { This: [], Earlier: [] }

  readonly add: OnWork = ({ end, executionTime, startedAt, status, workerId }, run) =>
    void this.works[run].push({ end, executionTime, startedAt, status, workerId })

  /** `from` and `to` are when the batch began and ended, on the wall clock. */
  report(
    { billed, summarize }: Cost.Service,
    { endpointId, from, to }: { readonly endpointId: string; readonly from: number; readonly to: number }
  ): Effect.Effect<Cost.Report | undefined> {
    const summary = summarize(endpointId, this.works.This)
    const before = summarize(endpointId, this.works.Earlier)
    if (summary === undefined || before === undefined) return Effect.succeed(undefined)
    const earlier = { floor: before.floor, estimate: before.estimate }
    return Effect.map(billed?.(endpointId, from, to) ?? Effect.succeed(undefined), (billed) => ({
      ...summary,
      ...defined({ billed }),
      earlier
    }))
  }
}

export const collect = <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options: Options<I> = {}
): Effect.Effect<Report<I, O>, RunError<E>> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const startedAt = monotonicMillis(clock)
    const from = wallMillis(clock)
    const cost = yield* costOf(endpoint)
    const works = cost === undefined ? undefined : new Works()
    const tally = Tally.make({ outer: yield* FiberRef.get(Tally.currentTally) })
    const outcomes: Array<Outcome<I, O>> = []
    const emit = (outcome: Outcome<I, O>) => Effect.sync(() => outcomes.push(outcome))
    const driven = drive({ endpoint, inputs, options, emit, onWork: works?.add })
    const end = yield* Effect.either(FiberRefs.provide(driven, Tally.currentTally, tally))
    if (Either.isLeft(end) && !isStopped(end.left)) return yield* Effect.fail(end.left)
    const wallTime = monotonicMillis(clock) - startedAt
    const counts: Record<string, number> = {}
    for (const outcome of outcomes) {
      const kind = kindOf(outcome.result)
      counts[kind] = (counts[kind] ?? 0) + 1
    }
    const completed = counts["Completed"] ?? 0
    const window = { endpointId: endpoint.id, from, to: wallMillis(clock) }
    const spent = cost && works && (yield* works.report(cost, window))
    return {
      endpointId: endpoint.id,
      results: outcomes.sort((a, b) => a.index - b.index),
      counts,
      completed,
      failed: outcomes.length - completed,
      replayed: outcomes.filter(({ replayed }) => replayed).length,
      ...(Either.isLeft(end) && isStopped(end.left) ? { stopped: end.left.reason } : {}),
      queueTime: spreadOf(outcomes.map(({ delayTime }) => delayTime)),
      executionTime: spreadOf(outcomes.map(({ executionTime }) => executionTime)),
      ...defined({ cost: spent }),
      wallTime: Duration.millis(Math.round(wallTime)),
      requests: tally.requests,
      retries: tally.retries,
      throttles: tally.throttles
    }
  })

// --- rendering ----------------------------------------------------------------------------------------------------

const seconds = (millis: number): string => `${(millis / 1000).toFixed(millis < 10_000 ? 2 : 1)} s`

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd()
  )
}

const spreadRow = (name: string, spread: Spread): ReadonlyArray<string> => [
  name,
  ...(spread.count === 0
    ? ["-", "-", "-", "-", "-"]
    : [spread.min, spread.p50, spread.p90, spread.p99, spread.max].map(seconds))
]

const longestSample = 240

/** The first message of a kind of error, on one line. */
const sampleOf = (results: ReadonlyArray<Outcome<unknown, unknown>>, kind: string): string | undefined => {
  const first = results.find((outcome) => kindOf(outcome.result) === kind)
  const error = first !== undefined && Exit.isFailure(first.result) ? failureOf(first.result.cause) : undefined
  // What a worker says may hold line breaks, and sequences that a terminal obeys.
  const line = error?.message.replace(/\s+/g, " ").trim()
  if (line === undefined || line === "") return undefined
  const sample = excerpt(line, longestSample)
  return sample === line ? line : `${sample}…`
}

/** Each number by its name: they are measured in different ways, and do not add up. */
const costLines = ({ billed, earlier, estimate, failed, floor, retried, unknown }: Cost.Report) => {
  const row = (name: string, amount: number | undefined) =>
    amount === undefined ? [] : [[`  ${name}`, formatUsd(amount)]]
  return [
    "cost, by the rates of this program",
    ...table([
      ...row("time on workers (at least)", floor),
      ...row("  of failed items", failed === 0 ? undefined : failed),
      ...row("  of attempts that were retried", retried === 0 ? undefined : retried),
      ...row("workers from start to stop (estimate)", estimate),
      ...row("billed for the endpoint meanwhile", billed),
      ...row("time on workers in earlier runs", earlier.floor === 0 ? undefined : earlier.floor)
    ]),
    ...(unknown === 0 ? [] : [`  not in it: ${unknown} that may have run, for a time nobody knows`])
  ]
}

export const toText = (report: Report<unknown, unknown>): string => {
  const { cost, counts, queueTime, executionTime, results, stopped } = report
  const kinds = Object.entries(counts).sort(([, a], [, b]) => b - a)
  const perSecond = results.length / Math.max(0.001, Duration.toSeconds(report.wallTime))
  return [
    `Batch on endpoint ${report.endpointId}: ${results.length} outcomes in ${seconds(Duration.toMillis(report.wallTime))} (${perSecond.toFixed(1)} a second)`,
    ...(stopped === undefined ? [] : [`It stopped before its end: ${stopped}`]),
    ...table(kinds.map(([kind, count]) => [`  ${kind}`, String(count)])).flatMap((row, index) => {
      const sample = sampleOf(results, kinds[index]?.[0] ?? "")
      return sample === undefined ? [row] : [row, `    e.g. ${sample}`]
    }),
    ...(report.replayed === 0 ? [] : [`  of them from the journal: ${report.replayed}`]),
    ...table([
      ["", "min", "p50", "p90", "p99", "max"],
      spreadRow("  in the queue", queueTime),
      spreadRow("  on a worker", executionTime)
    ]),
    ...(cost === undefined ? [] : costLines(cost)),
    `${report.requests} requests, ${report.retries} of them sent again, ${report.throttles} answered 429`
  ].join("\n")
}

const resultOf = (result: Outcome<unknown, unknown>["result"]): JsonObject =>
  Exit.match(result, {
    onSuccess: (output) => ({ output }),
    onFailure: (cause) => {
      const error = failureOf(cause)
      return { error: error === undefined ? { _tag: "Defect" } : { _tag: error._tag, message: error.message } }
    }
  })

export const toJson = (report: Report<unknown, unknown>): JsonObject => {
  const { results, wallTime, ...rest } = report
  const plain = {
    ...rest,
    wallTime: Duration.toMillis(wallTime),
    results: results.map(({ result, ...facts }) => ({ ...facts, ...resultOf(result) }))
  }
  return JSON.parse(JSON.stringify(plain)) as JsonObject
}
