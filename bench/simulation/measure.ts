/** What does not fit on one machine, as a model: many items, endpoints and processes, and processes that die. */
import { Effect } from "effect"
import { type Figures, simulate } from "./figures.js"
import type { LaneSetup, Setup } from "./setup.js"

const seed = 20_261_126

const evenLanes = (count: number, lane: LaneSetup): ReadonlyArray<LaneSetup> =>
  Array.from({ length: count }, () => lane)

/** Some endpoints have more to do than others: the first of 500 two and a half times as much as the last. */
const unevenLanes = (count: number, items: number): ReadonlyArray<LaneSetup> => {
  const weights = Array.from({ length: count }, (_, i) => (i + 1) ** -0.15)
  const sum = weights.reduce((sum, weight) => sum + weight, 0)
  const sizes = weights.map((weight) => Math.floor((items * weight) / sum))
  const missing = items - sizes.reduce((sum, size) => sum + size, 0)
  return sizes.map((size, i) => ({ items: size + (i < missing ? 1 : 0), workers: Infinity }))
}

/** 3,000 submits of three processes, as `npm run bench -- permits` sends them for real. */
export const submitsOfThree = (seed: number): Setup => ({
  seed,
  runners: 3,
  lanes: evenLanes(1, { items: 3_000, workers: Infinity }),
  execution: [0, 0],
  waits: "webhooks",
  chunks: Infinity,
  assumptions: { oneWay: [1, 3], statement: 0, permits: 1, cpu: { submit: 0.6, outcome: 0 }, webhook: 0 }
})

const large: Setup = {
  seed,
  runners: 50,
  lanes: unevenLanes(500, 1_000_000),
  execution: [1_000, 3_000],
  waits: "webhooks"
}

const oneEndpoint = (runners: number): Setup => ({
  seed,
  runners,
  lanes: evenLanes(1, { items: 20_500, workers: Infinity }),
  execution: [1_000, 3_000],
  waits: "held"
})

/** Bound by workers, so that all chunks are under way when processes die. */
export const dying = (failures: Setup["failures"]): Setup => ({
  seed,
  runners: 50,
  lanes: evenLanes(20, { items: 2_500, workers: 50 }),
  execution: [1_000, 3_000],
  waits: "webhooks",
  failures: failures ?? []
})

/** While the submits of the second window are under way. */
export const killedAt = 11_000

const setupsOf = (isQuick: boolean): ReadonlyArray<readonly [string, Setup]> => [
  ...[1, 2, 3].map((seed) => [`3 processes, 3,000 submits, chance ${seed}`, submitsOfThree(seed)] as const),
  ...(isQuick ? [] : [["50 processes, 500 endpoints, 1,000,000 items", large] as const]),
  ...[1, 3, 10, 50].map(
    (runners) =>
      [`1 endpoint, 20,500 items, ${runners} process${runners > 1 ? "es" : ""}`, oneEndpoint(runners)] as const
  ),
  ...[1, 5, 25].map(
    (runners) => [`50 processes, ${runners} killed (kill -9)`, dying([{ at: killedAt, runners }])] as const
  ),
  ["50 processes, 5 stopped for 30 s (SIGSTOP)", dying([{ at: killedAt, runners: 5, stoppedFor: 30_000 }])]
]

export interface Simulated extends Figures {
  readonly name: string
}

const text = (figures: Figures): ReadonlyArray<string> => {
  const { bound, boundBy, doubles, handovers, leases, lost, makespan, resumed, statements, statementsFor, taken } =
    figures
  const { chunks, cluster, facts, intents, looks } = statementsFor
  const lines = [
    `${makespan.toFixed(1)} s, ${(makespan / bound).toFixed(2)} × what ${boundBy} allow (${bound.toFixed(0)} s); the busiest process has ${figures.imbalance.toFixed(2)} × the average`,
    `${statements.toFixed(2)} statements an item (intents ${intents.toFixed(2)}, facts ${facts.toFixed(2)}, looks and leases ${looks.toFixed(2)}, chunks ${chunks.toFixed(2)}, cluster ${cluster.toFixed(2)}), ${figures.statementsPerSecond.toFixed(0)} a second; ${leases.toFixed(2)} leases of permits an item, ${figures.statusRequests.toFixed(1)} requests for its status`
  ]
  if (taken !== undefined && resumed !== undefined) {
    lines.push(
      `${figures.takenOver} chunks taken over after ${taken[0].toFixed(1)} s (the last ${taken[1].toFixed(1)}), gone on with after ${resumed[0].toFixed(1)} (${resumed[1].toFixed(1)}); ${handovers} handed over by the living; ${figures.ambiguous} items in doubt`
    )
  }
  lines.push(`${figures.throttled} submits beyond a limit, ${doubles} items with two jobs, ${lost} without one outcome`)
  return lines
}

export const runAll = async ({
  isQuick,
  say
}: {
  readonly isQuick: boolean
  readonly say: (line: string) => void
}): Promise<ReadonlyArray<Simulated>> => {
  const all: Array<Simulated> = []
  for (const [name, setup] of setupsOf(isQuick)) {
    const figures = await Effect.runPromise(simulate(setup))
    all.push({ name, ...figures })
    say(`\n${name}`)
    for (const line of text(figures)) say(`  ${line}`)
  }
  const { maxRSS } = process.resourceUsage()
  say(`\n${(process.cpuUsage().user / 1e6).toFixed(0)} s of CPU, at most ${(maxRSS / 1024).toFixed(0)} MiB`)
  return all
}
