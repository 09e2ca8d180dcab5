/** A process that writes to a file of SQLite for some milliseconds, again and again, and says when it has begun. */
import { LibsqlClient } from "@effect/sql-libsql"
import * as SqlClient from "@effect/sql/SqlClient"
import { Effect, Schedule } from "effect"

export interface FileTaker {
  readonly sqlite: string
  /** It leaves the file alone as long in between. */
  readonly millis: number
}

const { millis, sqlite }: FileTaker = JSON.parse(process.argv[2] ?? "{}")

const taking = Effect.gen(function* () {
  const client = yield* SqlClient.SqlClient
  yield* client.unsafe("PRAGMA busy_timeout = 5000")
  const taken = Effect.gen(function* () {
    yield* client.unsafe("BEGIN IMMEDIATE")
    yield* Effect.sleep(millis)
    yield* client.unsafe("COMMIT")
  })
  yield* taken
  process.stdout.write("taken\n")
  yield* Effect.schedule(taken, Schedule.spaced(millis))
})

void Effect.runPromise(Effect.provide(taking, LibsqlClient.layer({ url: `file:${sqlite}` })))
