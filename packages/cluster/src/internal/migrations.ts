/** The tables, made step by step: a database of an earlier version gets the steps that it lacks. */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import { BatchJournalError } from "effect-runpod/BatchError"
import { Database } from "./database.js"
import { codeOf, ioError } from "./sqlError.js"
import * as SqliteFile from "./sqliteFile.js"
import * as Webhooks from "./webhooks/statements.js"

type Statement = string | Effect.Effect<void, SqlError>

/** SQLite knows no `IF NOT EXISTS` of a column. */
const addColumn = (
  db: Database,
  { column, table, type }: { readonly column: string; readonly table: string; readonly type: string }
): Statement => {
  const added = `ALTER TABLE ${db.table(table)} ADD COLUMN`
  if (db.isPg) return `${added} IF NOT EXISTS ${column} ${type}`
  const isThere = Effect.map(
    db.run<{ readonly name: string }>(
      `SELECT name FROM pragma_table_info('${db.prefix}${table}') WHERE name = '${column}'`
    ),
    (rows) => rows.length > 0
  )
  // Of two processes that add it at once one fails, and finds it then.
  return db.run(`${added} ${column} ${type}`).pipe(
    Effect.catchAll((error) => Effect.flatMap(isThere, (found) => (found ? Effect.void : Effect.fail(error)))),
    Effect.unlessEffect(isThere),
    Effect.asVoid
  )
}

/** Every step may be run again: two processes may begin at once, and one may die in between. */
const steps: ReadonlyArray<(db: Database) => ReadonlyArray<Statement>> = [
  (db) => [
    `CREATE TABLE IF NOT EXISTS ${db.table("batches")} (
      id TEXT PRIMARY KEY, endpoint TEXT, state TEXT NOT NULL, size INTEGER, total INTEGER, created DOUBLE PRECISION NOT NULL,
      failures INTEGER, deadline DOUBLE PRECISION
    )`,
    `CREATE TABLE IF NOT EXISTS ${db.table("chunks")} (
      batch TEXT NOT NULL, chunk INTEGER NOT NULL, epoch INTEGER NOT NULL, owner TEXT, until DOUBLE PRECISION NOT NULL,
      crashed INTEGER NOT NULL, done INTEGER NOT NULL, round INTEGER NOT NULL, PRIMARY KEY (batch, chunk)
    )`,
    `CREATE TABLE IF NOT EXISTS ${db.table("items")} (
      batch TEXT NOT NULL, key TEXT NOT NULL, chunk INTEGER NOT NULL, idx INTEGER, input TEXT, hash TEXT,
      state TEXT NOT NULL, intent TEXT, job TEXT, attempts INTEGER, at DOUBLE PRECISION, entry TEXT, work TEXT, outcome TEXT,
      kind TEXT, problem TEXT,
      PRIMARY KEY (batch, key)
    )`,
    `CREATE INDEX IF NOT EXISTS ${db.table("items_idx")} ON ${db.table("items")} (batch, idx)`,
    `CREATE INDEX IF NOT EXISTS ${db.table("items_failed")} ON ${db.table("items")} (batch, chunk) WHERE kind IS NOT NULL`
  ],
  (db) => Webhooks.tables(db),
  (db) => [
    `CREATE TABLE IF NOT EXISTS ${db.table("permits")} (pool TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL)`
  ],
  // Inputs that are not stored; what a chunk has, without a look at all others; the newest batches.
  (db) => [
    addColumn(db, { table: "items", column: "input_hash", type: "TEXT" }),
    `CREATE INDEX IF NOT EXISTS ${db.table("items_chunk")} ON ${db.table("items")} (batch, chunk, idx)`,
    `CREATE INDEX IF NOT EXISTS ${db.table("batches_created")} ON ${db.table("batches")} (created, id)`
  ],
  // Two inputs have never one place.
  (db) => [
    `CREATE UNIQUE INDEX IF NOT EXISTS ${db.table("items_place")} ON ${db.table("items")} (batch, idx)`,
    `DROP INDEX IF EXISTS ${db.table("items_idx")}`
  ]
]

const prefixes = /^[a-z_][a-z0-9_]{0,39}$/

const format = (detail: string) => new BatchJournalError({ reason: "Format", detail })

/** Two processes that create a table at once: PostgreSQL tells one of them that it exists, as an error. */
const isRace = (error: unknown) =>
  hasProperty(error, "cause") && /^(?:23505|42710|42P07|40001|40P01|SQLITE_BUSY.*)$/.test(codeOf(error) ?? "")

/** Runs what creates tables where they are missing, again when another process has created one in the same moment, of which it fails or dies. */
export const amidOthers = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  effect.pipe(
    Effect.sandbox,
    Effect.retry({
      times: 20,
      while: (cause) => [...Cause.failures(cause), ...Cause.defects(cause)].some(isRace)
    }),
    Effect.unsandbox
  )

const versionOf = (db: Database) =>
  Effect.map(
    db.run<{ readonly v: number | null }>(`SELECT max(version) AS v FROM ${db.table("migrations")}`),
    ([row]) => row?.v ?? 0
  )

/** Whether the tables are there as this version has them. PostgreSQL lets nobody make a table that exists who may not make one. */
const isUpToDate = (db: Database) =>
  Effect.gen(function* () {
    if (!db.isPg) return false
    const [table] = yield* db.run<{ readonly found: boolean }>(
      `SELECT to_regclass('${db.table("migrations")}') IS NOT NULL AS found`
    )
    return table?.found === true && (yield* versionOf(db)) === steps.length
  })

const migrate = (db: Database) =>
  Effect.gen(function* () {
    if (yield* isUpToDate(db)) return
    const migrations = db.table("migrations")
    yield* db.run(
      `CREATE TABLE IF NOT EXISTS ${migrations} (version INTEGER PRIMARY KEY, at DOUBLE PRECISION NOT NULL)`
    )
    const version = yield* versionOf(db)
    if (version > steps.length) {
      const detail = `the tables are of version ${version}, and this package knows ${steps.length}. Install a newer one.`
      return yield* new BatchJournalError({ reason: "Version", detail })
    }
    for (const [n, step] of steps.entries()) {
      if (n < version) continue
      for (const statement of step(db)) yield* typeof statement === "string" ? db.run(statement) : statement
      yield* db.run(
        `INSERT INTO ${migrations} (version, at) VALUES (${n + 1}, ${db.now}) ON CONFLICT (version) DO NOTHING`
      )
    }
  })

/** The tables of a prefix, which are there when it succeeds. */
export const open = (prefix: string): Effect.Effect<Database, BatchJournalError, SqlClient.SqlClient> =>
  Effect.catchTag(connect(prefix), "SqlError", (error) => ioError(error))

/** `open`, whose error of the database is not told as one of a journal yet. */
export const connect = (prefix: string): Effect.Effect<Database, BatchJournalError | SqlError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    if (!prefixes.test(prefix)) {
      return yield* format("the tables' `prefix` may have up to 40 of a to z, 0 to 9 and _. Give another.")
    }
    const client = yield* SqlClient.SqlClient
    const dialect = client.onDialectOrElse({
      pg: () => "pg" as const,
      sqlite: () => "sqlite" as const,
      orElse: () => undefined
    })
    if (dialect === undefined)
      return yield* format("its tables are for PostgreSQL and SQLite. Give a client of one of them.")
    const db = new Database(client, prefix, dialect)
    if (dialect === "sqlite") {
      yield* SqliteFile.open(client)
      const [row] = yield* db.run<{ readonly one: unknown }>("SELECT 1 AS one")
      if (row?.one !== 1)
        return yield* format('its client gives integers as text. Leave its `intMode` out, or give "bigint".')
    }
    yield* amidOthers(migrate(db))
    return db
  })
