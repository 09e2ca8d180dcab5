/** Compares clients: each in its own process, rounds interleaved, medians. */
import type { ChildProcess } from "node:child_process"
import { nextMessage, start } from "../processes.js"
import type { Kind } from "./clients.js"
import type { BaseUrls } from "./server.js"
import type { Figures, Order } from "./worker.js"

export interface Row extends Figures {
  readonly name: string
  readonly kind: Kind
  /** CPU time relative to the first client's in the same round. */
  readonly ratio: number
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? NaN
}

export const measure = async (options: {
  readonly names: ReadonlyArray<string>
  readonly kinds: ReadonlyArray<Kind>
  readonly requests: number
  readonly rounds: number
  readonly concurrency: number
}): Promise<ReadonlyArray<Row>> => {
  const { concurrency, kinds, names, requests, rounds } = options
  const server = start(new URL("./server.ts", import.meta.url), [])
  const urls = await nextMessage<BaseUrls>(server)
  const workers: Array<readonly [string, ChildProcess]> = []
  for (const name of names) {
    const worker = start(new URL("./worker.ts", import.meta.url), [name, urls.plain, urls.tls])
    await nextMessage(worker)
    workers.push([name, worker])
  }
  const ask = (worker: ChildProcess, order: Order): Promise<Figures> => {
    worker.send(order)
    return nextMessage(worker)
  }
  const rows: Array<Row> = []
  for (const kind of kinds) {
    const results = new Map<string, Array<Figures>>(names.map((name) => [name, []]))
    // Until most of the code has been compiled.
    const warmUp = { kind, requests: Math.max(requests, 4_000), concurrency }
    for (const [, worker] of workers) await ask(worker, warmUp)
    for (let round = 0; round < rounds; round++) {
      for (const [name, worker] of workers) results.get(name)?.push(await ask(worker, { kind, requests, concurrency }))
    }
    const base = results.get(names[0] ?? "") ?? []
    for (const [name, figures] of results) {
      const medianOf = (key: keyof Figures) => median(figures.map((figure) => figure[key]))
      rows.push({
        name,
        kind,
        cpu: medianOf("cpu"),
        ratio: median(figures.map((figure, round) => figure.cpu / (base[round]?.cpu ?? NaN))),
        collector: medianOf("collector"),
        promoted: medianOf("promoted"),
        perSecond: medianOf("perSecond"),
        peak: Math.max(...figures.map((figure) => figure.peak))
      })
    }
  }
  for (const [, worker] of workers) worker.disconnect()
  server.disconnect()
  return rows
}
