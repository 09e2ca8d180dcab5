/** Processes with one journal in a database, that are killed, stopped and taken over, and a database that crashes under them. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Random } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator } from "effect-runpod/Node"
import type { ChildProcess } from "node:child_process"
import { program } from "../../../test/support/program.js"
import { clientOf, everyDatabase, newPrefix, ownPostgres } from "./support/databases.js"
import type { JournalChild } from "./support/journalChild.js"
import { startProcess, until } from "./support/processes.js"

const { Fault } = Emulator

/** Starts a process that runs the batch; it does not outlive the test. */
const start = (options: JournalChild) => startProcess(program("journalChild"), options)

/** Stops a process, but not where it holds the lock of a file that no other could write to then. */
const stopBetweenWrites = (
  child: ChildProcess,
  { journal, place }: Pick<JournalChild, "journal" | "place">
): Effect.Effect<void> => {
  const write = Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql.unsafe(`UPDATE "${journal.prefix ?? ""}batches" SET state = state`)
  ).pipe(Effect.provide(clientOf(place)), Effect.scoped)
  const stop = Effect.sync(() => child.kill("SIGSTOP"))
  const goOn = Effect.sync(() => child.kill("SIGCONT"))
  return Effect.zipRight(stop, write).pipe(
    // It runs for a while before it is stopped again.
    Effect.tapError(() => Effect.zipRight(goOn, Effect.sleep("5 millis"))),
    Effect.retry({ times: 50 }),
    Effect.orDie,
    Effect.asVoid
  )
}

/** How each item came out, once a process has run the batch to its end. */
const outcomesIn = (output: string): ReadonlyArray<readonly [string, string]> | undefined => {
  const line = output.split("\n").find((line) => line.startsWith("[["))
  return line === undefined ? undefined : JSON.parse(line)
}

/** No input has two jobs, and each has come out: with its job's output, or in doubt. Gives how many are in doubt. */
const check = (server: NodeEmulator.Server, count: number, outcomes: ReadonlyArray<readonly [string, string]>) =>
  Effect.map(server.jobs("ep"), (jobs) => {
    assert.deepStrictEqual(
      outcomes.map(([key]) => key),
      Array.from({ length: count }, (_, n) => String(n))
    )
    for (const [key, kind] of outcomes) {
      const own = jobs.filter(({ input }) => String(input["n"]) === key).length
      assert.include(["Completed", "SubmitAmbiguousError"], kind)
      assert.isAtMost(own, 1, `jobs of input ${key}`)
      if (kind === "Completed") assert.strictEqual(own, 1)
    }
    return outcomes.filter(([, kind]) => kind === "SubmitAmbiguousError").length
  })

describe.concurrent("a batch with a journal in a database", () => {
  for (const { name, place } of everyDatabase) {
    it.scopedLive(
      `whose processes are killed again and again settles every input once and submits none twice (${name})`,
      () =>
        Effect.gen(function* () {
          const count = 60
          const server = yield* NodeEmulator.serve({
            endpoints: { ep: { workers: 12, execution: { min: "50 millis", max: "300 millis" } } },
            faults: [Fault.delay({ operations: ["run"], by: "40 millis" })],
            seed: name
          })
          const journal = { id: "a", prefix: newPrefix(), lease: 400, wait: 10_000, grace: 50 }
          const batch = { url: server.url, place: yield* place, count, journal, concurrency: 12 }
          let outcomes: ReadonlyArray<readonly [string, string]> | undefined
          let runs = 0
          while (outcomes === undefined && runs < 30) {
            runs++
            const requests = (yield* server.counts).total + (yield* Random.nextIntBetween(15, 50))
            const run = yield* start(batch)
            const moment = Effect.zipRight(
              until(Effect.map(server.counts, ({ total }) => total >= requests)),
              Effect.sleep(yield* Random.nextIntBetween(0, 50))
            )
            yield* Effect.raceFirst(moment, run.ended)
            run.child.kill("SIGKILL")
            yield* run.ended
            outcomes = outcomesIn(run.output())
          }
          assert.isAbove(runs, 2)
          yield* check(server, count, outcomes ?? [])
        }),
      120_000
    )

    it.scopedLive(
      `that another process takes over from a stopped one is not driven by both, and loses no job the stopped one knew (${name})`,
      () =>
        Effect.gen(function* () {
          const count = 40
          const server = yield* NodeEmulator.serve({
            endpoints: { ep: { workers: 50, execution: "50 millis" } },
            // So that the stopped process has submits in flight whose answers it finds when it goes on.
            faults: [Fault.delay({ operations: ["run"], by: "300 millis" })],
            seed: `zombie ${name}`
          })
          const journal = { id: "a", prefix: newPrefix(), lease: 1_000, wait: 20_000, grace: 100 }
          const batch = { url: server.url, place: yield* place, count, journal, concurrency: 5 }
          const zombie = yield* start(batch)
          yield* until(Effect.map(server.counts, ({ byOperation }) => byOperation.run.total >= 15))
          yield* stopBetweenWrites(zombie.child, batch)
          const second = yield* start({ ...batch, concurrency: 20 })
          assert.strictEqual(yield* second.ended, 0, second.output())
          const doubts = yield* check(server, count, outcomesIn(second.output()) ?? [])
          assert.isAtMost(doubts, 5)

          zombie.child.kill("SIGCONT")
          assert.notStrictEqual(yield* zombie.ended, 0, zombie.output())
          assert.include(zombie.output(), "another run")
          const third = yield* start(batch)
          assert.strictEqual(yield* third.ended, 0, third.output())
          // Every job that RunPod has started is one whose id came in an answer.
          assert.strictEqual(yield* check(server, count, outcomesIn(third.output()) ?? []), 0)
          assert.strictEqual((yield* server.counts).submitted, count)
        }),
      120_000
    )

    it.scopedLive(
      `is refused to a second process while the first lives, and given to it at its end (${name})`,
      () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const server = yield* NodeEmulator.serve({
            endpoints: { ep: { workers: 5, handler: ({ n }) => Effect.as(gate, { n }) } }
          })
          const journal = { id: "a", prefix: newPrefix() }
          const batch = { url: server.url, place: yield* place, count: 20, journal, concurrency: 5 }
          const first = yield* start(batch)
          yield* until(Effect.sync(() => first.output().includes("begun")))
          const refused = yield* start(batch)
          assert.strictEqual(yield* refused.ended, 1)
          assert.include(refused.output(), "another run has chunk 0")
          const waiting = yield* start({ ...batch, journal: { ...journal, wait: 30_000 } })
          first.child.kill("SIGTERM")
          assert.strictEqual(yield* first.ended, 143)
          yield* Deferred.succeed(gate, undefined)
          assert.strictEqual(yield* waiting.ended, 0, waiting.output())
          assert.strictEqual(yield* check(server, 20, outcomesIn(waiting.output()) ?? []), 0)
          assert.strictEqual((yield* server.counts).submitted, 20)
        }),
      60_000
    )
  }

  it.scopedLive(
    "waits for a database that crashes and comes back: nothing is lost, in doubt or submitted twice",
    () =>
      Effect.gen(function* () {
        const { crash, place } = yield* ownPostgres("batch")
        const count = 400
        const server = yield* NodeEmulator.serve({
          endpoints: { ep: { workers: 200, execution: { min: "50 millis", max: "300 millis" } } },
          faults: [Fault.delay({ operations: ["run"], by: "100 millis" })]
        })
        const batch = { url: server.url, place, count, journal: { id: "a" }, concurrency: 40 }
        const run = yield* start(batch)
        for (const submits of [60, 200]) {
          yield* until(Effect.map(server.counts, ({ submitted }) => submitted >= submits))
          yield* crash
        }
        assert.strictEqual(yield* run.ended, 0, run.output())
        assert.strictEqual(yield* check(server, count, outcomesIn(run.output()) ?? []), 0)
        assert.strictEqual((yield* server.counts).submitted, count)
      }),
    60_000
  )
})
