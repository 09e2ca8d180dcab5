/**
 * A batch whose journal is in a database, here SQLite. This program starts itself a second time as a child, kills that with
 * SIGKILL in the middle of its batch, and takes the batch over once the lease of the dead one has ended. With `PgClient` in the place
 * of `LibsqlClient` that is any other process, on any machine.
 */
import { NodeContext } from "@effect/platform-node"
import { FileSystem } from "@effect/platform"
import * as SqlClient from "@effect/sql/SqlClient"
import { LibsqlClient } from "@effect/sql-libsql"
import { Batch, Endpoint } from "effect-runpod"
import { Sql } from "effect-runpod-cluster"
import { NodeRunPod } from "effect-runpod/Node"
import { Array, Console, Effect, Option, Schema, Stream } from "effect"
import { killedRun, sharedRunPod } from "./support/killedRun.js"
import { endpointId } from "./support/runpod.js"

const inputs = Array.makeBy(40, (seed) => ({ prompt: "a red bicycle", seed }))

/** What both processes open: the second one waits until the lease of the first has ended. */
const batch = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
    output: Schema.Unknown
  })
  const journal = yield* Sql.journal({ id: "bicycles", lease: "2 seconds", wait: "10 seconds", grace: "1 second" })
  const key = ({ seed }: { readonly seed: number }) => `bicycle-${seed}`
  return { endpoint, options: { key, concurrency: 8, journal } }
})

const database = (file: string) => LibsqlClient.layer({ url: `file:${file}` })

/** The tables can be asked, by whoever may read them. */
const settledRows = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly n: number }>`SELECT count(*) AS n FROM runpod_items WHERE state = 'Settled'`,
    ([row]) => row?.n ?? 0
  )
)

const parent = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/batches.db`
  const runPod = yield* sharedRunPod({ min: "100 millis", max: "400 millis" })

  yield* killedRun(file, runPod.variables)
  yield* Effect.provide(
    Effect.gen(function* () {
      yield* Console.log(`killed after ${yield* settledRows} of ${inputs.length} outcomes`)
      const { endpoint, options } = yield* batch
      const report = yield* Batch.collect(endpoint, inputs, options)
      yield* Console.log(Batch.toText(report))
      yield* Console.log(`replayed from the journal: ${report.replayed}`)
      yield* Console.log(`outcomes in the database: ${yield* settledRows}`)
    }).pipe(Effect.scoped),
    [database(file), runPod.layer]
  )
  const submitted = yield* runPod.submitted
  if (Option.isSome(submitted)) yield* Console.log(`jobs submitted by both runs: ${submitted.value}`)
}).pipe(Effect.scoped)

const child = (file: string) =>
  Effect.flatMap(batch, ({ endpoint, options }) =>
    Stream.runForEach(Batch.run(endpoint, inputs, options), ({ key }) => Console.log(key))
  ).pipe(Effect.scoped, Effect.provide([database(file), NodeRunPod.layerConfig()]))

const [file] = process.argv.slice(2)

const main = Effect.gen(function* () {
  if (file === undefined) yield* parent
  else yield* child(file)
})

NodeRunPod.runMain(Effect.provide(main, NodeContext.layer))
