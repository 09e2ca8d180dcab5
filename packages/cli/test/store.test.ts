import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { Endpoint } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { BatchStore, Sql } from "effect-runpod-cluster"
import { clientOf, newPrefix, postgresUrl } from "../../cluster/test/support/databases.js"
import { run } from "./support/command.js"

const Numbered = Schema.Struct({ n: Schema.Number })
const items = Array.from({ length: 30 }, (_, n) => ({ key: `k${n}`, input: { n } }))

const json = (text: string): unknown => JSON.parse(text)

/** Two batches: all chunks of one are driven, and the first of the other. */
const stored = Effect.gen(function* () {
  const prefix = newPrefix()
  const sql = yield* SqlClient.SqlClient
  const store = yield* Sql.batchStore({ prefix })
  const endpoint = yield* Endpoint.make("ep", { input: Numbered, output: Schema.Unknown })
  for (const id of ["one", "two"]) yield* store.create({ id, endpointId: "ep", chunkSize: 10 }, Stream.make(items))
  const drive = (id: string, chunk: number) =>
    Effect.provideService(BatchStore.drive(endpoint, { id, chunk, input: Numbered }), BatchStore.BatchStore, store)
  for (const chunk of [0, 1, 2]) yield* drive("one", chunk)
  yield* drive("two", 0)
  return { prefix, sql }
})

/** A user who may read the tables of a prefix, and no more. */
const readerOf = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, prefix: string) {
  const name = `${prefix}reader`
  yield* sql.unsafe(`CREATE ROLE ${name} LOGIN PASSWORD 'read-only-secret'`)
  yield* Effect.addFinalizer(() => Effect.orDie(sql.unsafe(`DROP OWNED BY ${name}; DROP ROLE ${name}`)))
  yield* sql.unsafe(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${name}`)
  const url = new URL(postgresUrl())
  url.username = name
  url.password = ""
  return url.href
})

const services = Layer.merge(
  Emulator.layerRunPod({
    endpoints: {
      ep: {
        workers: 30,
        handler: ({ n }) => (Number(n) % 10 === 3 ? Effect.fail("three") : Effect.succeed({ n }))
      }
    }
  }),
  Layer.suspend(() => clientOf({ pg: postgresUrl() }))
)

describe("batches of a store", () => {
  it.live("are listed, inspected and reported by a user who may only read", () =>
    Effect.gen(function* () {
      const { prefix, sql } = yield* stored
      const place = ["--store", yield* readerOf(sql, prefix), "--prefix", prefix, "-o", "json"]
      const env = { PGPASSWORD: "read-only-secret" }
      const ask = (...args: ReadonlyArray<string>) => run(["batch", ...args, ...place], { env })

      const list = yield* ask("list")
      assert.strictEqual(list.code, 0, list.stderr)
      const [newest, oldest] = json(list.stdout) as ReadonlyArray<Record<string, unknown>>
      assert.deepInclude(newest, { id: "two", endpointId: "ep", total: 30, settled: 10, waiting: 20, failed: 1 })
      assert.deepInclude(oldest, { id: "one", settled: 30, waiting: 0, failed: 3 })
      assert.lengthOf(json((yield* ask("list", "--limit", "1")).stdout) as ReadonlyArray<unknown>, 1)

      assert.deepInclude(json((yield* ask("inspect", "two")).stdout), { id: "two", chunks: 3, done: 1, waiting: 20 })
      const all = json((yield* ask("inspect", "one", "--all")).stdout) as ReadonlyArray<Record<string, unknown>>
      assert.deepStrictEqual(
        all.map(({ key }) => key),
        items.map(({ key }) => key)
      )
      assert.deepInclude(all[2], { state: "Completed", status: "COMPLETED", output: { n: 2 } })
      assert.deepInclude(all[3], { state: "JobFailedError", status: "FAILED" })

      const report = json((yield* ask("report", "one")).stdout)
      assert.deepInclude(report, { endpointId: "ep", items: 30, counts: { Completed: 27, JobFailedError: 3 } })

      // As a database has it that no program of this version has opened.
      yield* sql.unsafe(`DELETE FROM "${prefix}migrations" WHERE version > 1`)
      const old = yield* ask("list")
      assert.deepStrictEqual([old.code, old.stdout], [2, ""])
      assert.include(old.stderr, "The tables are of an earlier version")
      yield* Sql.batchStore({ prefix })

      const unknown = yield* ask("report", "three")
      assert.deepStrictEqual([unknown.code, unknown.stdout], [4, ""])
      assert.include(unknown.stderr, `no batch "three"`)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("are not looked for where there are none, and no table is made for that", () =>
    Effect.gen(function* () {
      const prefix = newPrefix()
      const sql = yield* SqlClient.SqlClient
      const { code, stderr, stdout } = yield* run(["batch", "list", "--store", "DATABASE_URL", "--prefix", prefix], {
        env: { DATABASE_URL: postgresUrl() }
      })
      assert.deepStrictEqual([code, stdout], [2, ""])
      assert.include(stderr, `it has no table ${prefix}batches`)
      const tables = yield* sql`SELECT tablename FROM pg_tables WHERE tablename LIKE ${`${prefix}%`}`
      assert.lengthOf(tables, 0)
    }).pipe(Effect.provide(Layer.suspend(() => clientOf({ pg: postgresUrl() }))))
  )
})
