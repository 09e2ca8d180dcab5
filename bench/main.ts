/**
 * The whole benchmark: `npm run bench`, on the built package. It reports, and never fails for what it measures.
 *
 *     npm run bench -- [--json] [--full] [--quick] [requests] [waiting] [batch] [permits] [cluster] [simulation]
 *
 * `permits` starts a Redis, `cluster` a PostgreSQL, too, and `simulation` measures nothing, but says how a model of many machines ends; these run only
 * where they are asked for.
 */
import { cpus } from "node:os"
import { performance } from "node:perf_hooks"
import { type BatchFigures, measureBatch, profiles } from "./batch/measure.js"
import { type ClusterFigures, measureCluster, profiles as clusterProfiles } from "./cluster/measure.js"
import { measurePermits, modes, type PermitFigures } from "./permits/measure.js"
import { clients, kinds, variants } from "./requests/clients.js"
import { measure, type Row } from "./requests/measure.js"
import { runAll, type Simulated } from "./simulation/measure.js"
import { measureHeap } from "./waiting/measure.js"
import type { Heap } from "./waiting/worker.js"

interface Results {
  readonly machine: string
  readonly node: string
  requests?: ReadonlyArray<Row>
  waiting?: Heap
  batches?: ReadonlyArray<BatchFigures>
  permits?: ReadonlyArray<PermitFigures>
  clusters?: ReadonlyArray<ClusterFigures>
  simulation?: ReadonlyArray<Simulated>
}

const args = new Set(process.argv.slice(2))
const isJson = args.has("--json")
const all = ["requests", "waiting", "batch"]
const named = [...all, "permits", "cluster", "simulation"].filter((part) => args.has(part))
const chosen = named.length > 0 ? named : all

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

if (chosen.includes("permits")) {
  const submits = args.has("--quick") ? 1_500 : 3_000
  const permits: Array<PermitFigures> = []
  say(`\n${submits} submits with one key, 1,000 per 10 s`)
  for (const mode of modes) {
    const figures = await measurePermits(mode, submits)
    permits.push(figures)
    const { bound, cpu, seconds, throttled } = figures
    const processes = mode === "one process" ? "" : ", 3 processes"
    say(
      `  ${`${mode}${processes}`.padEnd(42)} ${seconds.toFixed(1).padStart(5)} s (bound ${bound} s), ${throttled} answered 429, ${cpu.toFixed(2)} ms CPU a submit`
    )
  }
  results.permits = permits
}

if (chosen.includes("cluster")) {
  const clusters: Array<ClusterFigures> = []
  for (const profile of args.has("--quick") ? clusterProfiles.slice(0, 1) : clusterProfiles) {
    const figures = await measureCluster(profile)
    clusters.push(figures)
    const { bound, counts, cpu, items, name, queries, requests, rss, seconds, storing, submitted, throttled } = figures
    const over = bound === undefined ? "" : `, ${(seconds / bound).toFixed(2)} × the bound of ${bound} s`
    say(`\n${items} ${name}, in a cluster of 3 processes`)
    say(`  outcomes        ${JSON.stringify(counts)}; ${submitted} jobs`)
    say(`  makespan        ${seconds.toFixed(1)} s${over}; storing the inputs took ${storing.toFixed(1)} s of it`)
    say(`  items a second  ${(items / seconds).toFixed(0)}`)
    say(`  statements      ${(queries / items).toFixed(3)} an item`)
    say(`  requests        ${(requests / items).toFixed(2)} an item, ${throttled} answered 429`)
    say(`  CPU             ${cpu.toFixed(2)} ms an item; at most ${rss.toFixed(0)} MiB a process`)
  }
  results.clusters = clusters
}

if (chosen.includes("simulation")) results.simulation = await runAll({ isQuick: args.has("--quick"), say })

if (isJson) console.log(JSON.stringify(results, null, 2))
else say(`\nTook ${(performance.now() / 1000).toFixed(0)} s`)
process.exit(0)
