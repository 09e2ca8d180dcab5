/** The entries of all journals of a store, on their way into their rows: one statement for those of many. */
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { BatchJournalError } from "effect-runpod/BatchError"
import type { Taken } from "../BatchStore.js"
import type { Database } from "./database.js"
import { ioError, isDataProblem } from "./sqlError.js"
import { columns, rowOf, type Written } from "./entryRow.js"
import * as Groups from "./groups.js"

export interface Append {
  /** The chunk of the journal. */
  readonly taken: Taken
  readonly written: Written
  /** What comes of it, also where nobody waits for that any more. */
  readonly end: (isWritten: boolean) => Exit.Exit<void, BatchJournalError>
}

export interface Appends {
  /** What decides whether a job may be started: not written where the chunk is another owner's by now. */
  readonly decide: Groups.Ask<Append, void, BatchJournalError>
  /** What has happened: not written where another run has decided anew about the item. */
  readonly tell: Groups.Ask<Append, void, BatchJournalError>
}

interface Settings {
  readonly lease: Duration.Duration
  readonly outage: Duration.Duration
}

interface ItemRow {
  readonly batch: string
  readonly key: string
}

/** In milliseconds: enough that those which come one by one share a statement, and little beside a request. */
export const pace = { gather: 3, apart: 80 }

const itemOf = ({ batch, key }: ItemRow) => `${batch}\u0000${key}`
const keyOf = ({ taken: { batch }, written: { entry } }: Append) => itemOf({ batch, key: entry.key })

export const unstorable = (key: string, why: string) => {
  const detail = `the entry cannot be written, since ${why}. Let the worker return less, and \`parseJson\` plain data.`
  return new BatchJournalError({ reason: "Unstorable", key, detail })
}

type Statement = (group: ReadonlyArray<Append>) => Effect.Effect<ReadonlyArray<ItemRow>, SqlError>

const write = (
  group: ReadonlyArray<Append>,
  statement: Statement
): Effect.Effect<ReadonlyArray<Exit.Exit<void, BatchJournalError>>> =>
  Effect.matchEffect(statement(group), {
    onFailure: (error) => {
      if (!isDataProblem(error)) return Effect.succeed(group.map(() => Exit.fail(ioError(error))))
      // One of them cannot be stored: alone, each tells whether it is that one.
      if (group.length > 1)
        return Effect.map(
          Effect.forEach(group, (one) => write([one], statement)),
          (all) => all.flat()
        )
      return Effect.succeed(
        group.map(({ written }) => Exit.fail(unstorable(written.entry.key, "the database does not take it")))
      )
    },
    onSuccess: (rows) =>
      Effect.sync(() => {
        const written = new Set(rows.map(itemOf))
        return group.map((one) => one.end(written.has(keyOf(one))))
      })
  })

const rowsOf = (group: ReadonlyArray<Append>) =>
  Effect.map(Clock.currentTimeMillis, (now) =>
    JSON.stringify(group.map(({ taken, written }) => rowOf(written, taken, now)))
  )

/** Who writes the entries of a group, each once. */
const ownersOf = (group: ReadonlyArray<Append>) => {
  const texts = group.map(({ taken: { batch, chunk, epoch } }) => JSON.stringify({ b: batch, c: chunk, p: epoch }))
  return `[${Array.from(new Set(texts)).join()}]`
}

/** Written only while the chunk is its owner's: a group may have entries of one before, in the same process. */
const decide = (db: Database, { lease }: Settings): Statement => {
  const statement = `WITH own AS (SELECT x.batch, x.chunk, x.epoch FROM ${db.rowsOf(2, { b: "text", c: "int", p: "int" })} AS o
         CROSS JOIN ${db.table("chunks")} AS x WHERE x.batch = o.b AND x.chunk = o.c AND x.epoch = o.p ${db.forShare})
       INSERT INTO ${db.table("items")} AS x (batch, key, chunk, hash, state, intent, job, attempts, at, entry, work, outcome, kind)
       SELECT b, k, c, h, s, i, j, n, ${db.now} - a, t, w, o, f
       FROM ${db.rowsOf(1, columns)} AS e CROSS JOIN own WHERE own.batch = e.b AND own.chunk = e.c AND own.epoch = e.p
       ON CONFLICT (batch, key) DO UPDATE SET hash = excluded.hash, state = excluded.state, intent = excluded.intent,
         job = excluded.job, attempts = excluded.attempts, at = excluded.at, entry = excluded.entry, work = excluded.work,
         outcome = excluded.outcome, kind = excluded.kind, problem = NULL
       WHERE x.chunk = excluded.chunk
       RETURNING batch, key`
  return (group) =>
    db.retried(
      statement,
      Effect.map(rowsOf(group), (rows) => [rows, ownersOf(group)]),
      lease
    )
}

/**
 * True whoever tells it: written where its intent still stands. The first outcome of an intent stays. One in doubt whose job becomes known stays so,
 * too, since its chunk may have been driven to its end: until the job's end is told, or it is opened again.
 */
const tell = (db: Database, { outage }: Settings): Statement => {
  const unlessSettled = (column: string, value: string) =>
    `${column} = CASE WHEN x.state = 'Settled' THEN x.${column} ELSE ${value} END`
  const atItsEnd = (column: string, value: string) =>
    `${column} = CASE WHEN x.state = 'Settled' OR e.s <> 'Settled' THEN x.${column} ELSE ${value} END`
  const items = db.table("items")
  const { from, where } = db.rowsAbout(items, { rows: 1, columns })
  const statement = `UPDATE ${items} AS x SET ${unlessSettled("state", "e.s")}, ${unlessSettled("job", "e.j")},
       ${unlessSettled("attempts", "e.n")}, ${unlessSettled("at", `${db.now} - e.a`)}, ${unlessSettled("entry", "e.t")},
       ${unlessSettled("work", "e.w")}, ${unlessSettled("outcome", "e.o")}, ${atItsEnd("kind", "e.f")},
       ${atItsEnd("problem", "NULL")}
     FROM ${from} WHERE ${where} AND x.intent = e.i RETURNING batch, key`
  return (group) =>
    db.retried(
      statement,
      Effect.map(rowsOf(group), (rows) => [rows]),
      outage
    )
}

export const make = (db: Database, settings: Settings): Effect.Effect<Appends, never, Scope.Scope> => {
  const groups = (statement: Statement) =>
    Groups.make<Append, void, BatchJournalError>({
      keyOf,
      // How much of the group's statement an entry takes, about.
      sizeOf: ({ written }) => written.text.length,
      run: (group) => write(group, statement),
      ...pace,
      atOnce: 4
    })
  // In an outage facts are written again for longer, and hold no decision up.
  return Effect.all({ decide: groups(decide(db, settings)), tell: groups(tell(db, settings)) })
}
