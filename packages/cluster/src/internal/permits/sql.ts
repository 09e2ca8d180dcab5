import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type { BatchJournalError } from "effect-runpod/BatchError"
import { type Lease, PermitStoreError, type Service } from "../../PermitStore.js"
import { defaults } from "../batches.js"
import type { Database } from "../database.js"
import { codeOf } from "../sqlError.js"
import * as Migrations from "../migrations.js"
import { leaseIn, noState } from "./lease.js"

const State = Schema.parseJson(
  Schema.Struct({
    blocks: Schema.Array(
      Schema.Struct({ holder: Schema.String, id: Schema.Number, count: Schema.Number, at: Schema.Number })
    ),
    holders: Schema.Array(
      Schema.Struct({
        name: Schema.String,
        until: Schema.Number,
        demand: Schema.Number,
        held: Schema.Number,
        turn: Schema.Number,
        short: Schema.Number,
        shortAt: Schema.Number
      })
    )
  })
)
const decode = Schema.decodeUnknownOption(State)

interface Row {
  readonly version: number
  readonly state: string
  readonly now: number
}

/** Another process changed the row in between: look again. So often, or the database is too slow for all that ask. */
const mostTries = 20

const errorOf = (error: SqlError) => new PermitStoreError({ detail: codeOf(error) ?? "the database cannot be reached" })

const makeWith = (db: Database): Service => {
  const table = db.table("permits")
  const read = (pool: string) =>
    db.run<Row>(`SELECT version, state, ${db.now} AS now FROM ${table} WHERE pool = ${db.text(1)}`, [pool])
  const create = (pool: string) =>
    db.run(
      `INSERT INTO ${table} (pool, version, state) VALUES (${db.text(1)}, 0, ${db.text(2)}) ON CONFLICT (pool) DO NOTHING`,
      [pool, JSON.stringify(noState)]
    )
  const write = (pool: string, version: number, state: string) =>
    db.run<{ readonly version: number }>(
      `UPDATE ${table} SET version = (version + 1) % 2000000000, state = ${db.text(3)}
       WHERE pool = ${db.text(1)} AND version = ${db.int(2)} RETURNING version`,
      [pool, version, state]
    )
  return {
    lease: (request) => {
      const { pool } = request
      const attempt = (tries: number): Effect.Effect<Lease, SqlError | PermitStoreError> =>
        Effect.gen(function* () {
          if (tries === 0) return yield* new PermitStoreError({ detail: "too many processes ask it at once" })
          const [row] = yield* read(pool)
          if (row === undefined) {
            yield* create(pool)
            return yield* attempt(tries - 1)
          }
          const known = decode(row.state)
          if (Option.isNone(known)) return yield* new PermitStoreError({ detail: "its row cannot be read: remove it" })
          const { lease, state } = leaseIn(known.value, request, row.now)
          const written = yield* write(pool, row.version, JSON.stringify(state))
          if (written.length > 0) return lease
          // The more have come first, the more there are.
          yield* Effect.flatMap(Random.nextIntBetween(0, 2 + mostTries - tries), (wait) => Effect.sleep(wait))
          return yield* attempt(tries - 1)
        })
      return Effect.mapError(attempt(mostTries), (error) => (error._tag === "SqlError" ? errorOf(error) : error))
    }
  }
}

export const make = ({
  prefix = defaults.prefix
}: {
  readonly prefix?: string | undefined
}): Effect.Effect<Service, BatchJournalError, SqlClient.SqlClient> => Effect.map(Migrations.open(prefix), makeWith)
