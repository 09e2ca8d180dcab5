/** Runs a setup, and says what came of it. */
import { Effect } from "effect"
import { shardsOfBatch } from "./placement.js"
import { limits, type Setup, times } from "./setup.js"
import { World } from "./world.js"

export interface Figures {
  readonly items: number
  /** In seconds, as all times here. */
  readonly makespan: number
  /** What the limits and the workers of the slowest lane allow at best. */
  readonly bound: number
  readonly boundBy: "limits" | "workers"
  /** Statements an item, without permits. */
  readonly statements: number
  readonly statementsFor: {
    readonly intents: number
    readonly facts: number
    readonly chunks: number
    readonly looks: number
    readonly cluster: number
  }
  /** Of all processes together. */
  readonly statementsPerSecond: number
  /** Questions to the store of permits an item, for submits. */
  readonly leases: number
  /** Requests an item that ask RunPod for the job. */
  readonly statusRequests: number
  /** The items of the busiest process by those of the average one that was up all the time. */
  readonly imbalance: number
  /** From the end of a process until another has its chunk: the median, and the last. */
  readonly taken: readonly [number, number] | undefined
  /** Until that goes on with its items: it waits for the ids of submits that were under way. */
  readonly resumed: readonly [number, number] | undefined
  readonly takenOver: number
  readonly handovers: number
  readonly ambiguous: number
  /** Submits beyond the limit of a window, and items submitted twice: none, or the model is wrong. */
  readonly throttled: number
  readonly doubles: number
  readonly lost: number
}

const boundOf = (world: World) => {
  const { execution, lanes } = world.setup
  const [shortest] = execution
  const bounds = lanes.map(({ items, workers }, i) => {
    const byLimits = Math.floor((items - 1) / limits.starts) * times.window + shortest
    const byWorkers = (world.lanes[i]?.work ?? 0) / workers
    return { byLimits, byWorkers }
  })
  const byLimits = Math.max(...bounds.map((bound) => bound.byLimits)) / 1_000
  const byWorkers = Math.max(...bounds.map((bound) => bound.byWorkers)) / 1_000
  return byLimits >= byWorkers
    ? { bound: byLimits, boundBy: "limits" as const }
    : { bound: byWorkers, boundBy: "workers" as const }
}

const figuresOf = (world: World): Figures => {
  const { counts, events, runners, setup } = world
  const items = world.chunks.flatMap((chunk) => chunk.items)
  const count = items.length
  const makespan = events.now / 1_000
  const { intents, facts, chunks, looks, renewals, cluster } = counts
  const statements = intents + facts + chunks + looks + renewals + cluster
  const failing = (setup.failures ?? []).reduce((sum, { runners }) => sum + runners, 0)
  const steady = runners.slice(failing).map(({ settled }) => settled)
  const spread = (of: (takeover: World["takeovers"][number]) => number): readonly [number, number] | undefined => {
    const all = world.takeovers.map((one) => (of(one) - one.orphanedAt) / 1_000).sort((a, b) => a - b)
    const median = all[Math.floor(all.length / 2)]
    return median === undefined ? undefined : [median, all.at(-1) ?? median]
  }
  return {
    items: count,
    makespan,
    ...boundOf(world),
    statements: statements / count,
    statementsFor: {
      intents: intents / count,
      facts: facts / count,
      chunks: chunks / count,
      looks: (looks + renewals) / count,
      cluster: cluster / count
    },
    statementsPerSecond: statements / makespan,
    leases: counts.leases / count,
    statusRequests: counts.statusRequests / count,
    imbalance: Math.max(...steady) / (steady.reduce((sum, n) => sum + n, 0) / steady.length),
    taken: spread(({ takenAt }) => takenAt),
    resumed: spread(({ at }) => at),
    takenOver: world.takeovers.length,
    handovers: counts.handovers,
    ambiguous: items.filter(({ state }) => state === "Ambiguous").length,
    throttled: world.lanes.reduce((sum, { throttled }) => sum + throttled, 0),
    doubles: items.filter(({ submits }) => submits > 1).length,
    lost: items.filter(({ outcomes }) => outcomes !== 1).length
  }
}

export const simulate = (setup: Setup): Effect.Effect<Figures> =>
  Effect.map(
    Effect.forEach(setup.lanes, ({ items }, lane) =>
      shardsOfBatch(`lane-${lane}`, { chunks: Math.ceil(items / limits.chunkSize), runners: setup.runners })
    ),
    (shards) => {
      const world = new World(setup, shards)
      world.run()
      return figuresOf(world)
    }
  )
