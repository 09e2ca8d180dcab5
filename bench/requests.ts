import { clients, variants } from "./requests/clients.js"
import { measure } from "./requests/measure.js"
const only = process.argv.slice(2)
const names = only.length > 0 ? only : [...Object.keys(clients), ...Object.keys(variants)]
const rows = await measure({ names, kinds: ["status", "run"], requests: 5000, rounds: 5, concurrency: 50 })
for (const row of rows) {
  console.log(
    `${row.kind.padEnd(7)} ${row.name.padEnd(34)} ${row.cpu.toFixed(1).padStart(8)} µs ${row.ratio.toFixed(2).padStart(6)} × ${row.perSecond.toFixed(0).padStart(7)}/s ${row.peak.toFixed(0).padStart(5)} MiB`
  )
}
