/** The journal of a chunk that is taken. */
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
import { type Appends, unstorable } from "./appends.js"
import type { Database } from "./database.js"
import { ioError } from "./sqlError.js"
import type { Written } from "./entryRow.js"
import * as Doubts from "./doubts.js"
import * as Groups from "./groups.js"
import { locked, lostTo } from "./lease.js"

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

/** An entry is a string in the JSON of its group, which no string of V8 may be too long for. */
const longestText = 64 * 1024 * 1024
/** How long an intent may be acted on at least, however short `grace` is. */
const leastTtl = Duration.seconds(1)
/** How many rows are read at once when a journal is opened. */
const pageSize = 2_000

/** In which order the items are read: by what is at hand without a look at those of other chunks. */
export interface Order {
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

export interface JournalOptions {
  readonly order: Order
  /** The endpoint that the batch is on, where it is known. */
  readonly endpointId: string | undefined
  readonly lease: Duration.Duration
  readonly grace: Duration.Duration
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
    private readonly appends: Appends,
    private readonly taken: Taken,
    private readonly options: JournalOptions
  ) {
    this.endpointId = options.endpointId
  }

  // --- reading ----------------------------------------------------------------------------------------------------

  private rows<A extends object>(statement: string, parameters: ReadonlyArray<string | number>) {
    return Effect.mapError(this.db.retried<A>(statement, parameters, this.options.lease), ioError)
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
    const { first, next, of } = this.options.order
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
    return kept?._tag === "Intent" && kept.cause === undefined && now - at < Duration.toMillis(this.options.grace)
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

  private keep({ entry, intent }: Written): Exit.Exit<void> {
    const { key } = entry
    if (intent === undefined || entry._tag === "Settled") this.intents.delete(key)
    else this.intents.set(key, intent)
    if (entry._tag === "Settled") {
      const { _tag, earlierExecutionTime, executionTime, hash, workerId } = entry
      this.items.set(key, { _tag, key, hash, earlierExecutionTime, executionTime, workerId })
    } else this.items.set(key, entry)
    return Exit.void
  }

  append(entry: JournalEntry.Entry): Effect.Effect<void, BatchJournalError> {
    return Effect.flatMap(
      Effect.suspend(() => this.prepare(entry)),
      (written) => (this.isFact(written) ? this.tell(written) : this.decide(written))
    )
  }

  private tell(written: Written): Effect.Effect<void, BatchJournalError> {
    const { taken } = this
    const decided = () =>
      locked(`another run of batch "${taken.batch}" has decided anew about this item. Let that one go on.`)
    const end = (isWritten: boolean) => (isWritten ? this.keep(written) : Exit.fail(decided()))
    return this.appends.tell({ taken, written, end })
  }

  private decide(written: Written): Effect.Effect<void, BatchJournalError> {
    const { taken } = this
    if (this.isLost) return lostTo(taken)
    const end = (isWritten: boolean) => {
      if (isWritten) return this.keep(written)
      this.isLost = true
      return Exit.fail(lostTo(taken))
    }
    return this.appends.decide({ taken, written, end })
  }
}

export const make = (
  db: Database,
  appends: Appends,
  taken: Taken,
  options: JournalOptions
): Effect.Effect<BatchJournal, BatchJournalError, Scope.Scope> =>
  Effect.gen(function* () {
    const journal = new ChunkJournal(db, appends, taken, options)
    const doubtful = yield* journal.load
    const told = yield* Doubts.make(doubtful, journal.lookAgain)
    const outcome = yield* Groups.make({ keyOf: (key: string) => key, sizeOf: () => 1, run: journal.readOutcomes })
    return {
      // Whoever takes the chunk over decides `grace` after the intent at the soonest.
      intentTtl: Duration.max(leastTtl, Duration.times(options.grace, 0.5)),
      begin: (endpointId) => journal.begin(endpointId),
      find: (key) => journal.find(key),
      awaitJob: (key) => Effect.zipRight(told(key), journal.find(key)),
      outcome: (key) => journal.outcome(outcome, key),
      submitted: journal.submitted,
      work: journal.work,
      append: (entry) => journal.append(entry)
    }
  })
