/** Clients of the databases that tests run over, for them and for the processes that they start. */
import type * as SqlClient from "@effect/sql/SqlClient"
import { LibsqlClient } from "@effect/sql-libsql"
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted } from "effect"

export type Place = { readonly pg: string } | { readonly sqlite: string }

export const clientOf = (place: Place): Layer.Layer<SqlClient.SqlClient> =>
  Layer.orDie(
    "pg" in place
      ? PgClient.layer({ url: Redacted.make(place.pg), maxConnections: 4, connectTimeout: "30 seconds" })
      : LibsqlClient.layer({ url: `file:${place.sqlite}` })
  )
