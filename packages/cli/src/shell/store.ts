import { PgClient } from "@effect/sql-pg"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as BatchStore from "effect-runpod-cluster/BatchStore"
import * as Sql from "effect-runpod-cluster/Sql"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import process from "node:process"
import { Unsuccessful, UsageError } from "./errors.js"
import { exitCodes } from "../spec/statuses.js"

/** Where the batches of a cluster are. */
export interface Place {
  /** A URL of PostgreSQL without a password, or the name of the variable that has one. */
  readonly store: string
  /** What the names of its tables begin with. Default: that of `Sql`. */
  readonly prefix: string | undefined
}

const isName = (text: string): boolean => /^[A-Za-z_]\w*$/.test(text)

const wrong = (message: string) => new UsageError({ message })

/** The URL of a store, from whose connections nothing can be written. */
const urlOf = ({ store }: Place): Effect.Effect<URL, UsageError> => {
  const text = isName(store) ? process.env[store] : store
  if (text === undefined || text === "") return wrong(`--store: the variable ${store} is not set.`)
  if (/^(?:sqlite|libsql|file):|\.(?:db|sqlite3?)$/i.test(text)) {
    return wrong(
      "--store takes PostgreSQL only: the driver of SQLite is a library of the machine, which this package does not have. Read that batch with a program over Sql.batchStore."
    )
  }
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^postgres(?:ql)?:$/.test(url.protocol)) {
    return wrong("--store takes postgres://user@host:port/database, or the name of a variable that has it.")
  }
  if (url.password !== "" && text === store) {
    return wrong(
      "--store has a password, and every process of the machine can read the arguments: set PGPASSWORD, or give the name of a variable that has the URL."
    )
  }
  url.searchParams.set("options", "-c default_transaction_read_only=on")
  return Effect.succeed(url)
}

const reasonOf = (error: SqlError): string => {
  const { cause } = error
  return cause instanceof Error && cause.message !== "" ? cause.message : error.message
}

const unreachable =
  ({ host, pathname }: URL) =>
  (error: SqlError): Unsuccessful =>
    new Unsuccessful({
      code: exitCodes.failure,
      message: `The store ${host}${pathname} does not answer: ${reasonOf(error)}`
    })

/** The tables are not made here, nor changed: who only reads may be allowed no more. */
const checkTables = Effect.fnUntraced(function* (prefix: string, url: URL) {
  const sql = yield* SqlClient.SqlClient
  const name = `${prefix}batches`
  const [row] = yield* sql<{ readonly found: boolean }>`SELECT to_regclass(${`"${name}"`}) IS NOT NULL AS found`
  if (row?.found !== true) {
    return yield* wrong(`There are no batches in ${url.host}${url.pathname}: it has no table ${name}. See --prefix.`)
  }
})

const isReadOnly = (error: { readonly message: string }): boolean => error.message.includes("25006")

/** The store of a place, for reading. */
export const layer = (place: Place) =>
  Layer.unwrapEffect(
    Effect.map(urlOf(place), (url) => {
      const { prefix = "runpod_" } = place
      const client = PgClient.layer({
        url: Redacted.make(url.href),
        maxConnections: 1,
        connectTimeout: "10 seconds",
        applicationName: "effect-runpod-cli"
      })
      const store = Effect.zipRight(
        Effect.catchTag(checkTables(prefix, url), "SqlError", unreachable(url)),
        Sql.batchStore({ prefix })
      ).pipe(
        Effect.catchIf(isReadOnly, () =>
          wrong(
            "The tables are of an earlier version. A program of this version that has the batches brings them up to date."
          )
        )
      )
      return Layer.effect(BatchStore.BatchStore, store).pipe(
        Layer.provide(Layer.catchAll(client, (error) => Layer.fail(unreachable(url)(error))))
      )
    })
  )
