/** Clusters of processes over a PostgreSQL and an emulated RunPod, and what holds of their batches. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert } from "@effect/vitest"
import { Cause, Chunk, Context, Effect, Exit, Layer, Option, Redacted, Schema, type Scope, Stream } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator } from "effect-runpod/Node"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { program } from "../../../../test/support/program.js"
import type { ClusterChild } from "./clusterChild.js"
import { newPrefix } from "./databases.js"
import { freePort, type Running, startProcess, until } from "./processes.js"

const { Fault } = Emulator

type Choices = Omit<ClusterChild, "url" | "port" | "prefix">

/** What tests do not choose. */
export const usual = { chunkSize: 40, concurrency: 40, requestTimeout: 10_000, grace: 12_000 }

const Input = Schema.Struct({ n: Schema.Number, since: Schema.optional(Schema.Number) })

const batch = "a"

const kindOf = ({ result }: BatchCluster.Outcome<unknown, unknown>): string =>
  Exit.match(result, {
    onSuccess: () => "Completed",
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onNone: () => "Defect",
        onSome: (error) => (error._tag === "ItemError" ? error.reason : error._tag)
      })
  })

interface Row {
  readonly outcomes: number
  readonly intents: number
  readonly taken: ReadonlyArray<string>
}

/** A cluster with tables of its own, whose batch this process starts and reads. Its processes do not outlive the test. */
export const makeCluster = (server: NodeEmulator.Server, choices: Choices) =>
  Effect.gen(function* () {
    const prefix = newPrefix()
    const services = yield* Layer.build(BatchCluster.layerPostgres({ url: Redacted.make(choices.pg), prefix }))
    const sql = Context.get(services, SqlClient.SqlClient)
    const numbers = BatchCluster.make({
      name: "numbers",
      endpoint: "ep",
      input: Input,
      output: Input,
      chunkSize: choices.chunkSize
    })

    const look = Effect.map(
      sql.unsafe<Row>(
        `SELECT count(*) FILTER (WHERE state = 'Settled' OR kind IS NOT NULL)::int AS outcomes,
           count(*) FILTER (WHERE state = 'Intent' AND kind IS NULL)::int AS intents,
           ARRAY(SELECT chunk || '/' || epoch FROM "${prefix}chunks" WHERE crashed = 1) AS taken
         FROM "${prefix}items"`
      ),
      ([row]) => row ?? { outcomes: 0, intents: 0, taken: [] }
    )
    /** When outcomes came, and when chunks were taken that their owner had not given back, by `performance.now()`. */
    const outcomesAt: Array<number> = []
    const takenAt = new Map<string, number>()
    const watch = Effect.gen(function* () {
      let known = 0
      for (;;) {
        const { outcomes, taken } = yield* Effect.orElseSucceed(look, () => ({ outcomes: known, taken: [] }))
        const now = performance.now()
        if (outcomes > known) outcomesAt.push(now)
        known = outcomes
        for (const one of taken) if (!takenAt.has(one)) takenAt.set(one, now)
        yield* Effect.sleep("100 millis")
      }
    })
    yield* Effect.forkScoped(watch)

    const runner = (more: Partial<Choices> = {}): Effect.Effect<Running, never, Scope.Scope> =>
      Effect.gen(function* () {
        const options: ClusterChild = { ...choices, ...more, url: server.url, port: yield* freePort, prefix }
        const running = yield* startProcess(program("clusterChild"), options)
        const begun = until(Effect.sync(() => running.output().includes("begun\n")))
        const failed = Effect.flatMap(running.ended, () => Effect.dieMessage(running.output()))
        yield* Effect.raceFirst(begun, failed)
        return running
      })
    const shardsOf = Effect.map(
      sql.unsafe<{ readonly n: number }>(`SELECT count(*)::int AS n FROM "${prefix}cluster_locks" GROUP BY address`),
      (rows) => rows.map(({ n }) => n)
    )

    return {
      prefix,
      outcomesAt,
      takenAt,
      look,
      /** Starts a process, which works when it has begun. */
      runner,
      /** Starts three processes, and waits until each has its part of the shards. */
      threeRunners: (more: readonly [Partial<Choices>, Partial<Choices>, Partial<Choices>] = [{}, {}, {}]) =>
        Effect.zipLeft(
          Effect.all([runner(more[0]), runner(more[1]), runner(more[2])], { concurrency: 3 }),
          until(Effect.map(shardsOf, (shards) => shards.length === 3 && Math.min(...shards) > 90))
        ),
      start: (inputs: Iterable<typeof Input.Type>) => Effect.provide(numbers.start(batch, inputs), services),
      /** How many chunks are for each process, as the cluster has their workflows, the fewest first. */
      parts: Effect.map(
        sql.unsafe<{ readonly n: number }>(
          `SELECT count(DISTINCT m.entity_id)::int AS n FROM "${prefix}cluster_messages" AS m JOIN "${prefix}cluster_locks" AS l USING (shard_id)
           WHERE m.entity_type = 'Workflow/runpod-numbers' GROUP BY l.address ORDER BY n`
        ),
        (rows) => rows.map(({ n }) => n)
      ),
      progress: Effect.provide(numbers.progress(batch), services),
      end: Effect.provide(numbers.awaitEnd(batch, { poll: "200 millis" }), services),
      report: Effect.provide(numbers.report(batch), services),
      outcomes: Effect.map(Effect.provide(Stream.runCollect(numbers.outcomes(batch)), services), Chunk.toReadonlyArray)
    }
  })

export type Cluster = Effect.Effect.Success<ReturnType<typeof makeCluster>>

/** The longest time without a new outcome, in milliseconds. */
export const longestPause = ({ outcomesAt }: Cluster): number =>
  Math.max(0, ...outcomesAt.map((at, i) => at - (outcomesAt[i - 1] ?? at)))

/**
 * Each input has one outcome and no second job, as RunPod sees it: its job's output, or doubt. Gives how many are in doubt.
 */
export const check = (server: NodeEmulator.Server, { outcomes, report }: Cluster, count: number) =>
  Effect.gen(function* () {
    const jobs = new Map<number, number>()
    for (const { input } of yield* server.jobs("ep")) {
      const n = Number(input["n"])
      jobs.set(n, (jobs.get(n) ?? 0) + 1)
    }
    const all = yield* outcomes
    assert.deepStrictEqual(
      all.map(({ index, input: { n } }) => [index, n]),
      Array.from({ length: count }, (_, n) => [n, n])
    )
    for (const outcome of all) {
      const kind = kindOf(outcome)
      assert.include(["Completed", "SubmitAmbiguousError"], kind)
      assert.isAtMost(jobs.get(outcome.index) ?? 0, 1, `jobs of input ${outcome.index}`)
      if (kind === "Completed") assert.strictEqual(jobs.get(outcome.index), 1, `jobs of input ${outcome.index}`)
    }
    const ambiguous = all.filter((outcome) => kindOf(outcome) === "SubmitAmbiguousError").length
    assert.deepInclude(yield* report, { open: 0, completed: count - ambiguous, failed: ambiguous })
    return ambiguous
  })

export const numbered = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

/** A RunPod whose answers to submits take a while: there are always some under way. */
export const serve = (faults: Emulator.Options["faults"], seed: string) =>
  NodeEmulator.serve({
    endpoints: { ep: { workers: 400, execution: { min: "500 millis", max: "2 seconds" } } },
    faults: [...(faults ?? []), Fault.delay({ operations: ["run"], by: "500 millis" })],
    seed
  })

export const submitted = ({ counts }: NodeEmulator.Server, count: number) =>
  until(Effect.map(counts, ({ submitted }) => submitted >= count))

/** Tells of figures, in seconds and counts: they are in docs/cluster.md. */
export const say = (what: string, figures: Readonly<Record<string, number>>) =>
  Effect.sync(() =>
    console.log(
      `${what}: ${Object.entries(figures)
        .map(([name, n]) => `${name} ${n.toFixed(1)}`)
        .join(", ")}`
    )
  )
