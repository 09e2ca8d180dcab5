/** Statements for PostgreSQL and SQLite. */
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Connections from "./connections.js"
import { mayPass } from "./sqlError.js"

export type Parameter = string | number | null

/** A connection may be gone without a word; the statement is sent again then, which changes nothing. */
const longestStatement = Duration.seconds(15)

/** Whether both databases hold a text as it is: PostgreSQL no NUL, and neither half of a surrogate pair. */
export const isStorable = (text: string): boolean => text.isWellFormed() && !text.includes("\u0000")

/** A client of SQLite may give integers as BigInts; none of ours is that large. */
const withNumbers = <A extends object>(row: A): A => {
  const entries = Object.entries(row)
  if (!entries.some(([, value]) => typeof value === "bigint")) return row
  return Object.assign(
    row,
    Object.fromEntries(entries.map(([name, value]) => [name, typeof value === "bigint" ? Number(value) : value]))
  )
}

const backoff = Schedule.union(Schedule.exponential("50 millis"), Schedule.spaced("1 second"))

/** The tables of one prefix, in the dialect of a client. */
export class Database {
  readonly isPg: boolean
  /** Milliseconds since 1970 by the database's clock, which all processes share. */
  readonly now: string
  /** Locks what is read of `x` against a change, until the statement ends. A statement of SQLite has the whole file. */
  readonly forShare: string

  constructor(
    private readonly client: SqlClient.SqlClient,
    readonly prefix: string,
    dialect: "pg" | "sqlite"
  ) {
    this.isPg = dialect === "pg"
    this.now = this.isPg
      ? "(extract(epoch from clock_timestamp()) * 1000)::float8"
      : "((julianday('now') - 2440587.5) * 86400000.0)"
    this.forShare = this.isPg ? "FOR SHARE OF x" : ""
  }

  table(name: string): string {
    return `"${this.prefix}${name}"`
  }

  private parameter(n: number, type: string): string {
    return this.isPg ? `$${n}::${type}` : `?${n}`
  }

  text(n: number): string {
    return this.parameter(n, "text")
  }

  int(n: number): string {
    return this.parameter(n, "int")
  }

  float(n: number): string {
    return this.parameter(n, "float8")
  }

  /** Rows from a parameter that is a JSON array of objects. */
  rowsOf(n: number, columns: Readonly<Record<string, "text" | "int" | "float8">>): string {
    const names = Object.keys(columns)
    if (this.isPg) {
      const typed = names.map((name) => `${name} ${columns[name]}`).join(", ")
      return `(SELECT * FROM json_to_recordset($${n}::json) AS r(${typed}))`
    }
    return `(SELECT ${names.map((name) => `json_extract(value, '$.${name}') AS ${name}`).join(", ")} FROM json_each(?${n}))`
  }

  /**
   * `rowsOf`, and what finds the row `x` of a table that each is about: by its batch and key. Without statistics SQLite takes a batch for ten
   * rows, and would go through all of them for each: it is told to begin with the parameter's, by
   * `CROSS JOIN`, and to keep to that, by a limit that is none.
   */
  rowsAbout(
    table: string,
    {
      columns,
      rows
    }: {
      readonly rows: number
      readonly columns: Readonly<Record<string, "text" | "int" | "float8">>
    }
  ): { readonly from: string; readonly where: string } {
    const given = this.rowsOf(rows, columns)
    if (this.isPg) return { from: `${given} AS e`, where: "x.batch = e.b AND x.key = e.k" }
    const found = `SELECT g.*, y.rowid AS row FROM ${given} AS g CROSS JOIN ${table} AS y WHERE y.batch = g.b AND y.key = g.k LIMIT -1`
    return { from: `(${found}) AS e`, where: "x.rowid = e.row" }
  }

  /** The texts of a parameter that is a JSON array of them. */
  textsOf(n: number): string {
    return this.isPg ? `(SELECT json_array_elements_text($${n}::json))` : `(SELECT value FROM json_each(?${n}))`
  }

  /** Runs one statement, once. */
  run<A extends object>(
    statement: string,
    parameters: ReadonlyArray<Parameter> = []
  ): Effect.Effect<ReadonlyArray<A>, SqlError> {
    const rows = this.client.unsafe<A>(statement, parameters).withoutTransform
    const run = this.isPg ? Connections.run(this.client, rows) : Effect.map(rows, (rows) => rows.map(withNumbers))
    return Effect.timeoutFail(run, {
      duration: longestStatement,
      onTimeout: () => new SqlError({ cause: { code: "ETIMEDOUT" }, message: "The statement took too long" })
    })
  }

  /** Runs a statement that changes nothing when it is run twice: again for so long, while the database is away. */
  retried<A extends object>(
    statement: string,
    parameters: Effect.Effect<ReadonlyArray<Parameter>> | ReadonlyArray<Parameter>,
    within: Duration.Duration
  ): Effect.Effect<ReadonlyArray<A>, SqlError> {
    const given = Effect.isEffect(parameters) ? parameters : Effect.succeed(parameters)
    return Effect.retry(
      Effect.flatMap(given, (parameters) => this.run<A>(statement, parameters)),
      { schedule: Schedule.intersect(backoff, Schedule.recurUpTo(within)), while: mayPass }
    )
  }
}
