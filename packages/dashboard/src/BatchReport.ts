/**
 * The report of a batch as a page in one file, which needs no network and no script.
 *
 * @since 0.1.0
 */
import * as Batch from "effect-runpod/Batch"
import type { Snapshot } from "effect-runpod/BatchJournal"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import { escape, histogram, table } from "./internal/html.js"
import { bounds, histogramOf } from "./internal/jobIndex.js"
import { errorOf } from "./internal/text.js"

const style = `:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse}td,th{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #8886;overflow-wrap:anywhere}
svg{width:100%;height:auto}text{fill:currentColor;font-size:12px}rect{fill:#4a54d8}pre{white-space:pre-wrap}`

/** At most so many failed items are listed. */
const listed = 200

const seconds = (millis: number): string => `${(millis / 1_000).toFixed(2)} s`

const usd = (amount: number): string => `$${amount.toFixed(4)}`

/** What the page of a batch shows. */
interface Facts {
  readonly endpointId: string
  readonly summary: string
  readonly counts: Readonly<Record<string, number>>
  /** What is said below the counts. */
  readonly sentence: string
  /** Times in the queue and on workers, in milliseconds. */
  readonly delays: ReadonlyArray<number | undefined>
  readonly executions: ReadonlyArray<number | undefined>
  /** Amounts by their names, in USD. */
  readonly costs: Readonly<Record<string, number>>
  /** Key, job and error. */
  readonly failures: ReadonlyArray<readonly [string, string, string]>
}

const pageOf = ({ costs, counts, delays, endpointId, executions, failures, sentence, summary }: Facts): string => {
  const more = failures.length > listed ? `<p>And ${failures.length - listed} more.</p>` : ""
  const spread = (name: string, times: ReadonlyArray<number | undefined>) => {
    const { max, min, p50, p90, p99 } = Batch.spreadOf(times)
    return [name, ...[min, p50, p90, p99, max].map(seconds)]
  }
  const amounts = Object.entries(costs)
  const cost =
    amounts.length === 0
      ? ""
      : `<h2>Cost</h2>${table(
          amounts.map(([name]) => name),
          [amounts.map(([, amount]) => usd(amount))]
        )}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Batch on ${escape(endpointId)}</title>
<style>${style}</style>
</head>
<body>
<h1>Batch on ${escape(endpointId)}</h1>
${summary === "" ? "" : `<pre>${escape(summary)}</pre>`}
<h2>Outcomes</h2>
${table(
  ["Outcome", "Items"],
  Object.entries(counts).map(([kind, count]) => [kind, String(count)])
)}
<p>${escape(sentence)}</p>
<h2>Times</h2>
${table(["", "Least", "Median", "90 %", "99 %", "Most"], [spread("In the queue", delays), spread("On a worker", executions)])}
${histogram("Time in the queue, on a logarithmic scale", bounds, histogramOf(delays))}
${histogram("Time on a worker, on a logarithmic scale", bounds, histogramOf(executions))}
${cost}
${failures.length === 0 ? "" : `<h2>Failed items</h2>${table(["Key", "Job", "Error"], failures.slice(0, listed))}${more}`}
</body>
</html>
`
}

/**
 * The report as HTML: numbers, histograms on a logarithmic scale, costs and the items that failed. It has keys, job ids and the texts of errors,
 * but no inputs and outputs.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toHtml = (report: Batch.Report<unknown, unknown>): string => {
  const { cost, counts, endpointId, results, wallTime } = report
  return pageOf({
    endpointId,
    summary: Batch.toText(report),
    counts,
    sentence: `${results.length} items in ${Duration.format(wallTime)}.`,
    delays: results.map(({ delayTime }) => delayTime),
    executions: results.map(({ executionTime }) => executionTime),
    costs:
      cost === undefined
        ? {}
        : { "At least": cost.floor, Estimate: cost.estimate, Failed: cost.failed, Retried: cost.retried },
    failures: results.flatMap(({ jobId = "–", key, result }) => {
      if (Exit.isSuccess(result)) return []
      const [line = ""] = Cause.pretty(result.cause).split("\n")
      return [[key, jobId, line] as const]
    })
  })
}

const ends = {
  COMPLETED: "Completed",
  FAILED: "JobFailedError",
  CANCELLED: "JobCancelledError",
  TIMED_OUT: "JobTimedOutError"
}
const open = { Intent: "In doubt", Submitted: "In flight", Released: "To be submitted again" }

/**
 * Options of `journalToHtml`.
 *
 * @since 0.1.0
 * @category models
 */
export interface JournalOptions {
  /** What a worker costs in USD a second: then the page has what the time on workers has cost at least. Default: not known. */
  readonly rate?: number | undefined
}

/**
 * How the batch of a journal stands as HTML, also while it runs: what `toHtml` shows, as far as a journal has it, and how many items are in
 * flight and in doubt. `BatchJournal.read` gives a snapshot.
 *
 * @since 0.1.0
 * @category conversions
 */
export const journalToHtml = ({ endpointId = "not known", items }: Snapshot, { rate }: JournalOptions = {}): string => {
  const settled = items.filter((item) => item._tag === "Settled")
  const counts: Record<string, number> = {}
  for (const item of items) {
    const kind = item._tag === "Settled" ? ends[item.status] : open[item._tag]
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  const last = items.reduce((last, { at }) => Math.max(last, at), 0)
  const changed = items.length === 0 ? "" : ` The last of them changed at ${new Date(last).toISOString()}.`
  const onWorkers = items.reduce(
    (sum, item) => sum + (item.earlierExecutionTime ?? 0) + (item._tag === "Settled" ? (item.executionTime ?? 0) : 0),
    0
  )
  return pageOf({
    endpointId,
    summary: "",
    counts,
    sentence: `${items.length} items, ${items.length - settled.length} of them without an end.${changed}`,
    delays: settled.map(({ delayTime }) => delayTime),
    executions: settled.map(({ executionTime }) => executionTime),
    costs: rate === undefined ? {} : { "At least": (onWorkers / 1_000) * rate },
    failures: settled.flatMap(({ error, jobId, key, status }) =>
      status === "COMPLETED" ? [] : [[key, jobId, error === undefined ? status : errorOf(error)] as const]
    )
  })
}
