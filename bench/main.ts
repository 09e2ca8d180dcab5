/**
 * The whole benchmark: `npm run bench`, on the built package. It reports, and never fails for what it measures.
 *
 *     npm run bench -- [--json] [--full] [--quick] [requests] [waiting] [batch]
 */
import { cpus } from "node:os"
import { performance } from "node:perf_hooks"
import { type BatchFigures, measureBatch, profiles } from "./batch/measure.js"
import { clients, variants } from "./requests/clients.js"
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
    kinds: ["status", "run"],
    ...(args.has("--quick") ? { requests: 1_000, rounds: 3 } : { requests: 8_000, rounds: 3 }),
    concurrency: 50
  })
  for (const kind of ["status", "run"]) {
    say(`\n${kind.padEnd(36)}   CPU µs      ratio   requests/s   peak MiB`)
    for (const row of results.requests.filter((row) => row.kind === kind)) {
      const columns = [row.cpu.toFixed(1), `${row.ratio.toFixed(2)} ×`, row.perSecond.toFixed(0), row.peak.toFixed(0)]
      say(`  ${row.name.padEnd(34)} ${columns.map((column) => column.padStart(10)).join(" ")}`)
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
