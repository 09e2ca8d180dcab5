/**
 * The whole benchmark: `npm run bench`, on the built package. It reports, and never fails for what it measures.
 *
 *     npm run bench -- [--json] [--full] [--quick] [requests] [waiting] [batch]
 */
import { cpus } from "node:os"
import { performance } from "node:perf_hooks"
import { type BatchFigures, measureBatch, profiles } from "./batch/measure.js"
import { clients, kinds, variants } from "./requests/clients.js"
import { measure, type Row } from "./requests/measure.js"
import { measureHeap } from "./waiting/measure.js"
import type { Heap } from "./waiting/worker.js"

interface Results {
  readonly machine: string
  readonly node: string
  requests?: ReadonlyArray<Row>
  waiting?: Heap
  batches?: ReadonlyArray<BatchFigures>
}

const args = new Set(process.argv.slice(2))
const isJson = args.has("--json")
const all = ["requests", "waiting", "batch"]
const chosen = all.some((part) => args.has(part)) ? all.filter((part) => args.has(part)) : all

const say = (line: string) => {
  if (!isJson) console.log(line)
}

const results: Results = { machine: `${cpus().length} × ${cpus()[0]?.model ?? "?"}`, node: process.version }
say(`${results.machine}, Node ${results.node}`)

if (chosen.includes("requests")) {
  results.requests = await measure({
    names: [...Object.keys(clients), ...Object.keys(variants)],
    kinds,
    ...(args.has("--quick") ? { requests: 1_000, rounds: 3 } : { requests: 8_000, rounds: 3 }),
    concurrency: 64
  })
  const line = (name: string, columns: ReadonlyArray<string>) =>
    `${name.padEnd(32)} ${columns.map((column) => column.padStart(10)).join(" ")}`
  for (const kind of kinds) {
    say(`\n${line(kind, ["CPU µs", "ratio", "collector", "promoted", "requests/s", "peak MiB"])}`)
    for (const row of results.requests.filter((row) => row.kind === kind)) {
      const { collector, cpu, peak, perSecond, promoted, ratio } = row
      const columns = [
        cpu.toFixed(1),
        `${ratio.toFixed(2)} ×`,
        `${collector.toFixed(1)} µs`,
        `${(promoted / 1024).toFixed(1)} KiB`,
        perSecond.toFixed(0),
        peak.toFixed(0)
      ]
      say(line(row.name, columns))
    }
  }
}

if (chosen.includes("waiting")) {
  const waiters = args.has("--quick") ? 1_000 : 10_000
  results.waiting = await measureHeap(waiters)
  const { cpu, fiber, job } = results.waiting
  say(`\n${waiters} waiting jobs, 400 of them holding, after a minute`)
  say(`  heap of each          ${(job / 1024).toFixed(1)} KiB; of a fiber that sleeps ${(fiber / 1024).toFixed(1)} KiB`)
  say(`  CPU of each           ${cpu.toFixed(0)} µs`)
}

if (chosen.includes("batch")) {
  const counts = args.has("--quick") ? [100] : args.has("--full") ? [100, 1_000, 10_000] : [100, 1_000]
  const batches: Array<BatchFigures> = []
  for (const profile of args.has("--full") ? profiles : profiles.slice(0, 1)) {
    for (const count of profile.faults.length === 0 ? counts : [1_000]) {
      const figures = await measureBatch(profile, count)
      batches.push(figures)
      say(`\n${figures.text}`)
    }
  }
  results.batches = batches
}

if (isJson) console.log(JSON.stringify(results, null, 2))
else say(`\nTook ${(performance.now() / 1000).toFixed(0)} s`)
process.exit(0)
