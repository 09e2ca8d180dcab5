/** What is simulated, and the numbers it goes by: those of the packages where they have them, assumptions where they cannot. */
import { Duration } from "effect"
import { RateLimits } from "effect-runpod"
import { pace } from "../../packages/cluster/src/internal/appends.js"
import { defaults } from "../../packages/cluster/src/internal/batches.js"
import { usualChunks } from "../../packages/cluster/src/internal/cluster/execution.js"
import { config, usualLease } from "../../packages/cluster/src/internal/cluster/engine.js"
import { waitDefaults } from "../../src/internal/jobs/waitPolicy.js"

const millis = (duration: Duration.DurationInput): number => Duration.toMillis(duration)

const { run, statusSync } = RateLimits.documented.operations

/** In milliseconds. */
export const times = {
  /** Of a chunk, and of a process's shards. */
  lease: millis(usualLease),
  lockExpiration: millis(config.shardLockExpiration),
  lockRefresh: millis(config.shardLockRefreshInterval),
  refresh: millis(config.refreshAssignmentsInterval),
  grace: millis(defaults.grace),
  /** The documented window, as RunPod counts, and as the limiter does. */
  window: millis(RateLimits.table.run.window),
  ownWindow: millis(run.window),
  /** `PermitStore.Options`. */
  hold: 200,
  ttl: 10_000,
  renewal: 1_000,
  /** How often a process that needs starts asks for some. */
  ask: 250,
  pause: 100,
  askNoSooner: 20,
  ...pace,
  /** How often it is looked for the facts of an owner before, and whether a chunk is free. */
  look: 500,
  batchLook: 1_000
} as const

export const polls = {
  initial: millis(waitDefaults.poll.initial),
  interval: millis(waitDefaults.poll.interval),
  ageShare: waitDefaults.poll.ageShare,
  cap: millis(waitDefaults.poll.cap)
}

export const limits = {
  starts: run.limit,
  places: run.concurrency,
  held: statusSync.concurrency,
  chunks: usualChunks,
  chunkSize: 250,
  /** Connections of a process to the database. */
  connections: 5,
  /** Entries of a statement. */
  group: 500
} as const

/** Statements for a chunk, besides those of its items, as a run over PostgreSQL has them (`docs/cluster.md`, sizing). */
export const chunkStatements = { cluster: 6, begin: 9, end: 2 } as const

/** What depends on the network and the machines: assumed. In milliseconds. */
export interface Assumptions {
  /** From a process to RunPod, or back: from, to. */
  readonly oneWay: readonly [number, number]
  /** A statement of the database. */
  readonly statement: number
  /** A lease of permits. */
  readonly permits: number
  /** What a submit and an outcome take of a process's core. */
  readonly cpu: { readonly submit: number; readonly outcome: number }
  /** From the end of a job to its webhook. */
  readonly webhook: number
}

export const assumed: Assumptions = {
  oneWay: [20, 40],
  statement: 5,
  permits: 2,
  cpu: { submit: 0.6, outcome: 0.3 },
  webhook: 100
}

export interface LaneSetup {
  readonly items: number
  /** Jobs at once at RunPod. */
  readonly workers: number
}

/** Processes that are killed, or stopped for so many milliseconds. */
export interface Failure {
  readonly at: number
  readonly runners: number
  readonly stoppedFor?: number
}

export interface Setup {
  readonly seed: number
  readonly runners: number
  /** Endpoints, or keys, each with limits of its own, and one batch. */
  readonly lanes: ReadonlyArray<LaneSetup>
  /** How long jobs take, in milliseconds: from, to. */
  readonly execution: readonly [number, number]
  readonly waits: "held" | "webhooks"
  readonly failures?: ReadonlyArray<Failure>
  /** How many chunks of a lane a process drives at once. */
  readonly chunks?: number
  readonly assumptions?: Partial<Assumptions>
}
