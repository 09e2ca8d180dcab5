/**
 * The report of a batch as a page in one file, which needs no network and no script.
 *
 * @since 0.1.0
 */
import * as Batch from "effect-runpod/Batch"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import { escape, histogram, table } from "./internal/html.js"
import { bounds, histogramOf } from "./internal/jobIndex.js"

const style = `:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse}td,th{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #8886;overflow-wrap:anywhere}
svg{width:100%;height:auto}text{fill:currentColor;font-size:12px}rect{fill:#4a54d8}pre{white-space:pre-wrap}`

/** At most so many failed items are listed. */
const listed = 200

const seconds = (millis: number): string => `${(millis / 1_000).toFixed(2)} s`

const failuresOf = (report: Batch.Report<unknown, unknown>) =>
  report.results.flatMap(({ jobId = "–", key, result }) => {
    if (Exit.isSuccess(result)) return []
    const [line = ""] = Cause.pretty(result.cause).split("\n")
    return [[key, jobId, line]]
  })

/**
 * The report as HTML: numbers, histograms on a logarithmic scale, costs and the items that failed. It has keys, job ids and the texts of errors,
 * but no inputs and outputs.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toHtml = (report: Batch.Report<unknown, unknown>): string => {
  const { cost, counts, endpointId, executionTime, queueTime, results, wallTime } = report
  const failures = failuresOf(report)
  const more = failures.length > listed ? `<p>And ${failures.length - listed} more.</p>` : ""
  const spread = (name: string, of: Batch.Spread) => [name, ...[of.min, of.p50, of.p90, of.p99, of.max].map(seconds)]
  const costs =
    cost === undefined
      ? ""
      : `<h2>Cost</h2>${table(
          ["At least", "Estimate", "Failed", "Retried"],
          [[cost.floor, cost.estimate, cost.failed, cost.retried].map((usd) => `$${usd.toFixed(4)}`)]
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
<pre>${escape(Batch.toText(report))}</pre>
<h2>Outcomes</h2>
${table(
  ["Outcome", "Items"],
  Object.entries(counts).map(([kind, count]) => [kind, String(count)])
)}
<p>${results.length} items in ${escape(Duration.format(wallTime))}.</p>
<h2>Times</h2>
${table(["", "Least", "Median", "90 %", "99 %", "Most"], [spread("In the queue", queueTime), spread("On a worker", executionTime)])}
${histogram("Time in the queue, on a logarithmic scale", bounds, histogramOf(results.map(({ delayTime }) => delayTime)))}
${histogram("Time on a worker, on a logarithmic scale", bounds, histogramOf(results.map(({ executionTime }) => executionTime)))}
${costs}
${failures.length === 0 ? "" : `<h2>Failed items</h2>${table(["Key", "Job", "Error"], failures.slice(0, listed))}${more}`}
</body>
</html>
`
}
