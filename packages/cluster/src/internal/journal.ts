/** The journal of a chunk that is taken. */
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { BatchJournalError } from "effect-runpod/BatchError"
import type { BatchJournal } from "effect-runpod/BatchJournal"
import * as JournalEntry from "effect-runpod/JournalEntry"
import type { Taken } from "../BatchStore.js"
import { type Database, ioError, isDataProblem } from "./database.js"
import { columns, rowOf, type Written } from "./entryRow.js"
import * as Doubts from "./doubts.js"
import * as Groups from "./groups.js"
import { locked, lostTo } from "./lease.js"

export interface JournalSettings {
  readonly lease: Duration.Duration
  readonly grace: Duration.Duration
  readonly outage: Duration.Duration
}

/** What is kept in memory of an item: of a settled one what its jobs took, but not its outcome. */
type Kept =
  | Exclude<JournalEntry.State, { _tag: "Settled" }>
  | (Pick<JournalEntry.Settled, "_tag" | "key" | "hash"> & JournalEntry.Work)

/** A time of the database, as the clock of this process would show it. */
const localTime = (at: number, { dbNow, now }: { readonly dbNow: number; readonly now: number }) =>
  Math.round(at + now - dbNow)

const corrupt = (key: string, why: string) => {
  const detail = `what the database holds of it cannot be read: ${why}. Restore its row, or remove it if you know what it held.`
  return new BatchJournalError({ reason: "Corrupt", key, detail })
}

const read = (key: string, text: string | null): Either.Either<JournalEntry.Entry, BatchJournalError> =>
  text === null
    ? Either.left(corrupt(key, "it is missing"))
    : Either.mapLeft(JournalEntry.decode(text), (why) => corrupt(key, why))

export interface OutcomeRow {
  readonly key: string
  readonly outcome: string | null
  readonly at: number
  readonly now: number
}

export const outcomeOf = ({ at, key, now: dbNow, outcome }: OutcomeRow) =>
  Effect.flatMap(Clock.currentTimeMillis, (now): Either.Either<JournalEntry.Settled, BatchJournalError> =>
    Either.flatMap(read(key, outcome), (entry) =>
      entry._tag === "Settled"
        ? Either.right({ ...entry, at: localTime(at, { dbNow, now }) })
        : Either.left(corrupt(key, "it is no outcome"))
    )
  )

const Work = Schema.parseJson(
  Schema.Struct({
    executionTime: Schema.optional(Schema.Number),
    earlierExecutionTime: Schema.optional(Schema.Number),
    workerId: Schema.optional(Schema.String)
  })
)
const decodeWork = Schema.decodeUnknownEither(Work)

interface StateRow {
  readonly key: string
  readonly idx: number | null
  readonly hash: string
  readonly state: JournalEntry.Entry["_tag"]
  readonly intent: string | null
  readonly entry: string | null
  readonly work: string | null
  readonly at: number
  readonly now: number
}

const unstorable = (key: string, why: string) => {
  const detail = `the entry cannot be written, since ${why}. Let the worker return less, and \`parseJson\` plain data.`
  return new BatchJournalError({ reason: "Unstorable", key, detail })
}

/** An entry is a string in the JSON of its group, which no string of V8 may be too long for. */
const longestText = 64 * 1024 * 1024
/** How many rows are read at once when a journal is opened. */
const pageSize = 2_000

/** In which order the items are read: by what is at hand without a look at those of other chunks. */
interface Order {
  readonly first: string | number
  readonly next: (db: Database) => string
  readonly of: (row: StateRow) => string | number
}

/** The items of a batch that is one chunk have no index. */
export const byKey: Order = {
  first: "",
  next: (db) => `key > ${db.text(3)} ORDER BY key`,
  of: ({ key }) => key
}

export const byIndex: Order = {
  first: -1,
  next: (db) => `idx > ${db.int(3)} ORDER BY idx`,
  of: ({ idx }) => idx ?? -1
}

class ChunkJournal {
  private readonly items = new Map<string, Kept>()
  /** The intents of items that have not settled. */
  private readonly intents = new Map<string, string>()
  private endpointId: string | undefined
  private isTaken = false
  private isLost = false
  private isFresh = false

  constructor(
    private readonly db: Database,
    private readonly taken: Taken,
    private readonly settings: JournalSettings,
    private readonly order: Order
  ) {}

  // --- reading ----------------------------------------------------------------------------------------------------

  private rows<A extends object>(statement: string, parameters: ReadonlyArray<string | number>) {
    return Effect.mapError(this.db.retried<A>(statement, parameters, this.settings.lease), ioError)
  }

  private readRows(
    condition: string,
    parameter: string | number
  ): Effect.Effect<ReadonlyArray<StateRow>, BatchJournalError> {
    const { db, taken } = this
    return Effect.gen(this, function* () {
      const rows = yield* this.rows<StateRow>(
        `SELECT key, idx, hash, state, intent, entry, work, at, ${db.now} AS now FROM ${db.table("items")}
         WHERE batch = ${db.text(1)} AND chunk = ${db.int(2)} AND ${condition}`,
        [taken.batch, taken.chunk, parameter]
      )
      const now = yield* Clock.currentTimeMillis
      for (const row of rows) yield* this.keepRow(row, now)
      return rows
    })
  }

  /** Reads how all items stand, and gives those of whose jobs an owner before may still tell. */
  readonly load: Effect.Effect<ReadonlyArray<string>, BatchJournalError> = Effect.gen(this, function* () {
    this.items.clear()
    this.intents.clear()
    const doubtful: Array<string> = []
    const { first, next, of } = this.order
    for (let after = first; ;) {
      const condition = `state <> 'New' AND ${next(this.db)} LIMIT ${pageSize}`
      const rows = yield* this.readRows(condition, after)
      for (const row of rows) if (this.mayBeTold(row)) doubtful.push(row.key)
      const last = rows.at(-1)
      if (last === undefined || rows.length < pageSize) break
      after = of(last)
    }
    this.isFresh = true
    return doubtful
  })

  /** Whether whoever has written its intent may live, and not have its answer yet. */
  private mayBeTold({ at, key, now }: StateRow): boolean {
    const kept = this.items.get(key)
    return kept?._tag === "Intent" && kept.cause === undefined && now - at < Duration.toMillis(this.settings.grace)
  }

  /** Reads how these stand by now, and gives those of whose jobs an owner before may still tell. */
  readonly lookAgain = (keys: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, BatchJournalError> =>
    Effect.map(this.readRows(`key IN ${this.db.textsOf(3)}`, JSON.stringify(keys)), (rows) =>
      rows.filter((row) => this.mayBeTold(row)).map(({ key }) => key)
    )

  private keepRow({ at, entry, hash, intent, key, now: dbNow, state, work }: StateRow, now: number) {
    return Effect.gen(this, function* () {
      if (state === "Settled") {
        const took = Either.getOrUndefined(decodeWork(work))
        this.items.set(key, {
          _tag: "Settled",
          key,
          hash,
          executionTime: took?.executionTime,
          earlierExecutionTime: took?.earlierExecutionTime,
          workerId: took?.workerId
        })
        return
      }
      const kept = yield* read(key, entry)
      if (kept._tag === "Settled") return yield* corrupt(key, "it is an outcome")
      this.items.set(key, { ...kept, at: localTime(at, { dbNow, now }) })
      if (intent !== null) this.intents.set(key, intent)
    })
  }

  find(key: string): Effect.Effect<Option.Option<JournalEntry.State>> {
    return Effect.sync(() =>
      Option.map(Option.fromNullable(this.items.get(key)), (kept) =>
        kept._tag === "Settled" ? { _tag: "Settled", key, hash: kept.hash } : kept
      )
    )
  }

  readonly submitted = Effect.sync(() => Array.from(this.items.values()).filter((kept) => kept._tag === "Submitted"))
  readonly work = Effect.sync(() => this.items.values())

  readonly readOutcomes = (
    keys: ReadonlyArray<string>
  ): Effect.Effect<ReadonlyArray<Exit.Exit<Option.Option<JournalEntry.Settled>, BatchJournalError>>> =>
    Effect.gen(this, function* () {
      const { db, taken } = this
      const rows = yield* this.rows<OutcomeRow>(
        `SELECT key, outcome, at, ${db.now} AS now FROM ${db.table("items")}
         WHERE batch = ${db.text(1)} AND state = 'Settled' AND key IN ${db.textsOf(2)}`,
        [taken.batch, JSON.stringify(keys)]
      )
      const byKey = new Map(rows.map((row) => [row.key, row]))
      return yield* Effect.forEach(keys, (key) => {
        const row = byKey.get(key)
        return Effect.exit(row === undefined ? Effect.succeedNone : Effect.asSome(outcomeOf(row)))
      })
    }).pipe(Effect.catchAll((error) => Effect.succeed(keys.map(() => Exit.fail(error)))))

  outcome(
    ask: Groups.Ask<string, Option.Option<JournalEntry.Settled>, BatchJournalError>,
    key: string
  ): Effect.Effect<Option.Option<JournalEntry.Settled>, BatchJournalError> {
    return Effect.suspend(() => (this.items.get(key)?._tag === "Settled" ? ask(key) : Effect.succeedNone))
  }

  // --- one run at a time ------------------------------------------------------------------------------------------

  begin(endpointId: string): Effect.Effect<void, BatchJournalError, Scope.Scope> {
    const giveBack = Effect.sync(() => void (this.isTaken = false))
    const take = Effect.suspend(() => {
      if (this.isTaken)
        return locked("another run of this process uses it. Wait for its end, or give each batch a journal of its own.")
      this.isTaken = true
      const reload = Effect.suspend(() => (this.isFresh ? Effect.void : Effect.asVoid(this.load)))
      return Effect.zipRight(this.bind(endpointId), reload).pipe(
        Effect.tap(() => Effect.sync(() => (this.isFresh = false))),
        Effect.onError(() => giveBack)
      )
    })
    return Effect.asVoid(Effect.acquireRelease(take, () => giveBack))
  }

  /** The first run says which endpoint the batch is on. */
  private bind(endpointId: string): Effect.Effect<void, BatchJournalError> {
    if (this.endpointId === endpointId) return Effect.void
    const { db, taken } = this
    const bound = this.rows<{ readonly endpoint: string }>(
      `UPDATE ${db.table("batches")} SET endpoint = COALESCE(endpoint, ${db.text(2)}) WHERE id = ${db.text(1)} RETURNING endpoint`,
      [taken.batch, endpointId]
    )
    return Effect.flatMap(bound, ([row]) => {
      if (row?.endpoint === endpointId) return Effect.sync(() => void (this.endpointId = endpointId))
      const detail = `it belongs to a batch on endpoint ${row?.endpoint ?? "(none)"}, and this one is on ${endpointId}. Give another journal.`
      return new BatchJournalError({ reason: "WrongEndpoint", detail })
    })
  }

  // --- writing ----------------------------------------------------------------------------------------------------

  /**
   * An intent gets a name of its own, and what follows is told of that one. The intent that is noted again with the cause of its doubt
   * is still the same.
   */
  prepare(entry: JournalEntry.Entry): Either.Either<Written, BatchJournalError> {
    if (entry.key.includes("\u0000")) return Either.left(unstorable(entry.key, "its key has a NUL in it"))
    const encoded = Either.filterOrLeft(
      JournalEntry.encode(entry),
      (text) => text.length <= longestText,
      () => "it is longer than 64 Mi characters"
    )
    return Either.mapBoth(encoded, {
      onLeft: (why) => unstorable(entry.key, why),
      onRight: (text) => {
        const known = this.intents.get(entry.key)
        const isNew = entry._tag === "Intent" && (entry.cause === undefined || known === undefined)
        return { entry, text, intent: entry._tag === "Released" ? undefined : isNew ? crypto.randomUUID() : known }
      }
    })
  }

  isFact({ entry, intent }: Written): boolean {
    return intent !== undefined && (entry._tag === "Submitted" || entry._tag === "Settled")
  }

  private parameters(group: ReadonlyArray<Written>, ...more: ReadonlyArray<string | number>) {
    return Effect.map(Clock.currentTimeMillis, (now) => [JSON.stringify(group.map((one) => rowOf(one, now))), ...more])
  }

  /** What decides whether a job may be started: written only while the chunk is this owner's. */
  private decide(group: ReadonlyArray<Written>) {
    const { db, taken } = this
    return db.retried<{ readonly key: string }>(
      `WITH c AS (SELECT epoch FROM ${db.table("chunks")}
         WHERE batch = ${db.text(2)} AND chunk = ${db.int(3)} AND epoch = ${db.int(4)} ${db.forShare})
       INSERT INTO ${db.table("items")} AS x (batch, key, chunk, hash, state, intent, job, attempts, at, entry, work, outcome, kind)
       SELECT ${db.text(2)}, k, ${db.int(3)}, h, s, i, j, n, ${db.now} - a, t, w, o, f
       FROM ${db.rowsOf(1, columns)} AS e CROSS JOIN c WHERE true
       ON CONFLICT (batch, key) DO UPDATE SET hash = excluded.hash, state = excluded.state, intent = excluded.intent,
         job = excluded.job, attempts = excluded.attempts, at = excluded.at, entry = excluded.entry, work = excluded.work,
         outcome = excluded.outcome, kind = excluded.kind, problem = NULL
       WHERE x.chunk = excluded.chunk
       RETURNING key`,
      this.parameters(group, taken.batch, taken.chunk, taken.epoch),
      this.settings.lease
    )
  }

  /**
   * What has happened is true whoever tells it: written where its intent still stands. The first outcome of an intent stays. One in doubt whose
   * job becomes known stays so, too, since its chunk may have been driven to its end: until the job's end is told, or it is opened again.
   */
  private tell(group: ReadonlyArray<Written>) {
    const { db, settings, taken } = this
    const unlessSettled = (column: string, value: string) =>
      `${column} = CASE WHEN x.state = 'Settled' THEN x.${column} ELSE ${value} END`
    const atItsEnd = (column: string, value: string) =>
      `${column} = CASE WHEN x.state = 'Settled' OR e.s <> 'Settled' THEN x.${column} ELSE ${value} END`
    const items = db.table("items")
    const { from, where } = db.rowsAbout(items, { rows: 1, columns, batch: 2 })
    return db.retried<{ readonly key: string }>(
      `UPDATE ${items} AS x SET ${unlessSettled("state", "e.s")}, ${unlessSettled("job", "e.j")},
         ${unlessSettled("attempts", "e.n")}, ${unlessSettled("at", `${db.now} - e.a`)}, ${unlessSettled("entry", "e.t")},
         ${unlessSettled("work", "e.w")}, ${unlessSettled("outcome", "e.o")}, ${atItsEnd("kind", "e.f")},
         ${atItsEnd("problem", "NULL")}
       FROM ${from} WHERE ${where} AND x.intent = e.i RETURNING key`,
      this.parameters(group, taken.batch),
      settings.outage
    )
  }

  private write(
    group: ReadonlyArray<Written>,
    statement: (group: ReadonlyArray<Written>) => Effect.Effect<ReadonlyArray<{ readonly key: string }>, SqlError>,
    refusal: () => BatchJournalError
  ): Effect.Effect<ReadonlyArray<Exit.Exit<void, BatchJournalError>>> {
    return Effect.matchEffect(statement(group), {
      onFailure: (error) => {
        if (!isDataProblem(error)) return Effect.succeed(group.map(() => Exit.fail(ioError(error))))
        // One of them cannot be stored: alone, each tells whether it is that one.
        if (group.length > 1)
          return Effect.map(
            Effect.forEach(group, (one) => this.write([one], statement, refusal)),
            (all) => all.flat()
          )
        return Effect.succeed(
          group.map(({ entry }) => Exit.fail(unstorable(entry.key, "the database does not take it")))
        )
      },
      onSuccess: (rows) =>
        Effect.sync(() => {
          const written = new Set(rows.map(({ key }) => key))
          return group.map((one) => {
            if (!written.has(one.entry.key)) return Exit.fail(refusal())
            this.keep(one)
            return Exit.void
          })
        })
    })
  }

  private keep({ entry, intent }: Written): void {
    const { key } = entry
    if (intent === undefined || entry._tag === "Settled") this.intents.delete(key)
    else this.intents.set(key, intent)
    if (entry._tag !== "Settled") return void this.items.set(key, entry)
    const { _tag, earlierExecutionTime, executionTime, hash, workerId } = entry
    this.items.set(key, { _tag, key, hash, earlierExecutionTime, executionTime, workerId })
  }

  readonly writeDecisions = (group: ReadonlyArray<Written>) => {
    const refusal = () => {
      this.isLost = true
      return lostTo(this.taken)
    }
    if (this.isLost) return Effect.succeed(group.map(() => Exit.fail(refusal())))
    return this.write(group, (group) => this.decide(group), refusal)
  }

  readonly writeFacts = (group: ReadonlyArray<Written>) =>
    this.write(
      group,
      (group) => this.tell(group),
      () => locked(`another run of batch "${this.taken.batch}" has decided anew about this item. Let that one go on.`)
    )
}

/** How much of the group's statement an entry takes, about. */
const sizeOf = ({ text }: Written) => text.length

export const make = (
  db: Database,
  taken: Taken,
  { order, ...settings }: JournalSettings & { readonly order: Order }
): Effect.Effect<BatchJournal, BatchJournalError, Scope.Scope> =>
  Effect.gen(function* () {
    const journal = new ChunkJournal(db, taken, settings, order)
    const doubtful = yield* journal.load
    const told = yield* Doubts.make(doubtful, journal.lookAgain)
    const keyOf = ({ entry }: Written) => entry.key
    // In an outage facts are written again for longer, and hold no decision up.
    const decide = yield* Groups.make({ keyOf, sizeOf, run: journal.writeDecisions })
    const tell = yield* Groups.make({ keyOf, sizeOf, run: journal.writeFacts })
    const outcome = yield* Groups.make({ keyOf: (key: string) => key, sizeOf: () => 1, run: journal.readOutcomes })
    return {
      begin: (endpointId) => journal.begin(endpointId),
      find: (key) => journal.find(key),
      awaitJob: (key) => Effect.zipRight(told(key), journal.find(key)),
      outcome: (key) => journal.outcome(outcome, key),
      submitted: journal.submitted,
      work: journal.work,
      append: (entry) =>
        Effect.flatMap(
          Effect.suspend(() => journal.prepare(entry)),
          (written) => (journal.isFact(written) ? tell(written) : decide(written))
        )
    }
  })
