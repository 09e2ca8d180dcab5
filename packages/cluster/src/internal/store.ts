/** Batches in chunks: their inputs, who has them, how they stand. */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as RcRef from "effect/RcRef"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { BatchJournalError } from "effect-runpod/BatchError"
import type { BatchJournal } from "effect-runpod/BatchJournal"
import type * as BatchStore from "../BatchStore.js"
import type * as Sql from "../Sql.js"
import * as Appends from "./appends.js"
import { Batches, chunksOf, defaults, maxCount, settingsOf, unknownBatch, wrongId } from "./batches.js"
import * as Counts from "./counts.js"
import { Creation } from "./creation.js"
import * as Journal from "./journal.js"
import * as Lease from "./lease.js"
import * as Migrations from "./migrations.js"
import * as Removal from "./removal.js"

type Error = BatchJournalError

interface ItemRow {
  readonly key: string
  readonly idx: number
  readonly input: string | null
  readonly input_hash: string | null
}

const itemOf = ({ idx: index, input, input_hash: hash, key }: ItemRow): BatchStore.StoredItem => ({
  key,
  index,
  ...(input === null ? {} : { input: JSON.parse(input) as unknown }),
  ...(hash === null ? {} : { hash })
})

interface OutcomeRow extends ItemRow, Omit<Journal.OutcomeRow, "key"> {
  readonly state: string
  readonly kind: string | null
  readonly problem: string | null
}

/** Its submit was in doubt when its chunk was driven, and a process that was taken for dead has told of its job since. */
const isFound = `(state = 'Submitted' AND kind = 'SubmitAmbiguousError')`

/** What an item can have beside the end of its job, where one definition could not read its output. */
const ofOutputs = "('OutputDecodeError', 'Defect')"

interface ReopenedRow {
  readonly key: string
  readonly hash: string
  readonly attempts: number | null
  readonly state: string
  readonly kind: string
  readonly problem: string | null
}

const isStopped = Schema.is(
  Schema.Union(Schema.Struct({ cancel: Schema.Literal("Sent") }), Schema.Struct({ isUnsent: Schema.Literal(true) }))
)

/** What is submitted anew though nothing is known of the end of a job. */
const jobless = ["SubmitAmbiguousError", "JobNotFoundError"]

/** An item that came to its end before its job: that was not cancelled, or nobody knows. */
const mayGoOn = ({ kind, problem, state }: ReopenedRow): boolean =>
  (state === "Submitted" || state === "Intent") &&
  !(kind === "WaitTimeoutError" ? isStopped(JSON.parse(problem ?? "null")) : jobless.includes(kind))

const within = (number: number, least: number, otherwise: number) =>
  Number.isNaN(number) ? otherwise : Math.min(maxCount, Math.max(least, Math.floor(number)))

const pageOf = ({ after = -1, limit = 100 }: BatchStore.Page) => ({
  after: within(after, -1, -1),
  limit: within(limit, 1, 100)
})

class Store {
  /** The endpoints that the batches of chunks are on. */
  private readonly endpoints = new WeakMap<BatchStore.Taken, string>()

  constructor(
    private readonly batches: Batches,
    private readonly appends: Effect.Effect<Appends.Appends, never, Scope.Scope>
  ) {}

  create<E, R>(
    batch: BatchStore.NewBatch,
    pages: Stream.Stream<ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>, E, R>
  ): Effect.Effect<number, Error | E, R> {
    return new Creation(this.batches).create(batch, pages)
  }

  take(id: string, chunk: number): Effect.Effect<BatchStore.Taken, Error, Scope.Scope> {
    return Effect.flatMap(this.batches.batch(id), (batch) => {
      const chunks = chunksOf(batch)
      if (!(Number.isInteger(chunk) && chunk >= 0 && chunk < chunks)) {
        return wrongId(`batch "${id}" has no chunk ${chunk}: it has ${chunks}. Create it with all its inputs first.`)
      }
      return Effect.map(Lease.take(this.batches.db, id, { ...this.batches.settings, chunk }), (taken) => {
        if (batch.endpoint !== null) this.endpoints.set(taken, batch.endpoint)
        return taken
      })
    })
  }

  inputs(
    { batch, chunk }: BatchStore.Taken,
    page: BatchStore.Page
  ): Effect.Effect<ReadonlyArray<BatchStore.StoredItem>, Error> {
    const { db } = this.batches
    const { after, limit } = pageOf(page)
    const rows = this.batches.rows<ItemRow>(
      `SELECT key, idx, input, input_hash FROM ${db.table("items")}
       WHERE batch = ${db.text(1)} AND chunk = ${db.int(2)} AND idx > ${db.int(3)} ORDER BY idx LIMIT ${limit}`,
      [batch, chunk, after]
    )
    return Effect.map(rows, (rows) => rows.map(itemOf))
  }

  journal(taken: BatchStore.Taken): Effect.Effect<BatchJournal, Error, Scope.Scope> {
    return this.openJournal(taken, { order: Journal.byIndex, endpointId: this.endpoints.get(taken) })
  }

  private openJournal(taken: BatchStore.Taken, options: Pick<Journal.JournalOptions, "order" | "endpointId">) {
    const { db, settings } = this.batches
    return Effect.flatMap(this.appends, (appends) => Journal.make(db, appends, taken, { ...settings, ...options }))
  }

  progress(id: string): Effect.Effect<BatchStore.Progress, Error> {
    const { db } = this.batches
    const rows = this.batches.rows<Counts.CountRow>(Counts.statementOf(db, `WHERE id = ${db.text(1)}`), [id])
    return Effect.flatMap(rows, (rows) => {
      const [summary] = Counts.summariesOf(rows)
      if (summary === undefined) return Effect.zipRight(this.batches.batch(id), unknownBatch(id))
      const { createdAt: _, endpointId: __, id: ___, ...progress } = summary
      return Effect.succeed(progress)
    })
  }

  list({ before, limit = 20 }: BatchStore.ListPage): Effect.Effect<ReadonlyArray<BatchStore.BatchSummary>, Error> {
    const { db } = this.batches
    const where = before === undefined ? "" : `WHERE (created, id) < (${db.float(1)}, ${db.text(2)})`
    const statement = Counts.statementOf(db, `${where} ORDER BY created DESC, id DESC LIMIT ${within(limit, 1, 20)}`)
    const rows = this.batches.rows<Counts.CountRow>(
      statement,
      before === undefined ? [] : [before.createdAt, before.id]
    )
    return Effect.map(rows, Counts.summariesOf)
  }

  outcomes(id: string, page: BatchStore.Page): Effect.Effect<ReadonlyArray<BatchStore.StoredOutcome>, Error> {
    const { db } = this.batches
    const { after, limit } = pageOf(page)
    return Effect.gen(this, function* () {
      const rows = yield* this.batches.rows<OutcomeRow>(
        `SELECT key, idx, input, input_hash, state, outcome, at, kind, problem, ${db.now} AS now FROM ${db.table("items")}
         WHERE batch = ${db.text(1)} AND idx > ${db.int(2)} AND (state = 'Settled' OR kind IS NOT NULL)
           AND EXISTS (SELECT 1 FROM ${db.table("batches")} WHERE id = ${db.text(1)} AND state <> 'Removed')
         ORDER BY idx LIMIT ${limit}`,
        [id, after]
      )
      if (rows.length === 0) yield* this.batches.batch(id)
      return yield* Effect.forEach(rows, (row) =>
        Effect.gen(function* () {
          const { key, kind, problem, state } = row
          const settled = state === "Settled" ? yield* Journal.outcomeOf(row) : undefined
          const error = problem === null ? undefined : (JSON.parse(problem) as unknown)
          return {
            ...itemOf(row),
            settled,
            problem: kind === null || problem === null ? undefined : { key, kind, error }
          }
        })
      )
    })
  }

  note(taken: BatchStore.Taken, problems: ReadonlyArray<BatchStore.Problem>): Effect.Effect<void, Error> {
    const { db } = this.batches
    const given = db.rowsOf(1, { k: "text", d: "text", p: "text" })
    const rows = problems.map(({ error, key, kind }) => ({ k: key, d: kind, p: JSON.stringify(error) ?? "null" }))
    // Where another process has told of the job's end meanwhile, that is the outcome.
    const noted = this.batches.rows(
      `UPDATE ${db.table("items")} AS x SET kind = e.d, problem = e.p FROM ${given} AS e
       WHERE x.batch = ${db.text(2)} AND x.chunk = ${db.int(3)} AND x.key = e.k AND ${this.isOwn(4)}
         AND (x.state <> 'Settled' OR e.d IN ${ofOutputs})`,
      [JSON.stringify(rows), taken.batch, taken.chunk, taken.epoch]
    )
    return problems.length === 0 ? Effect.void : Effect.asVoid(noted)
  }

  /** Whether the chunk of the row `x` still has the epoch of a parameter. */
  private isOwn(epoch: number): string {
    const { db } = this.batches
    return `EXISTS (SELECT 1 FROM ${db.table("chunks")} AS c WHERE c.batch = x.batch AND c.chunk = x.chunk AND c.epoch = ${db.int(epoch)})`
  }

  finish(taken: BatchStore.Taken, unread: ReadonlyArray<string> = []): Effect.Effect<void, Error> {
    const { db } = this.batches
    // An earlier definition could not read them, of whoever had the chunk before.
    const cleared = this.batches.rows(
      `UPDATE ${db.table("items")} AS x SET kind = NULL, problem = NULL
       WHERE x.batch = ${db.text(1)} AND x.chunk = ${db.int(2)} AND x.state = 'Settled' AND x.kind IN ${ofOutputs}
         AND x.key NOT IN ${db.textsOf(3)} AND ${this.isOwn(4)}`,
      [taken.batch, taken.chunk, JSON.stringify(unread), taken.epoch]
    )
    const finished = this.batches.rows(
      `UPDATE ${db.table("chunks")} SET done = 1
       WHERE batch = ${db.text(1)} AND chunk = ${db.int(2)} AND epoch = ${db.int(3)} RETURNING chunk`,
      [taken.batch, taken.chunk, taken.epoch]
    )
    return Effect.flatMap(Effect.zipRight(taken.epoch === 1 ? Effect.void : cleared, finished), (rows) =>
      rows.length === 0 ? Lease.lostTo(taken) : Effect.void
    )
  }

  open(
    id: string,
    roundsOf?: (chunks: number) => Effect.Effect<ReadonlyArray<number>>
  ): Effect.Effect<ReadonlyArray<BatchStore.OpenChunk>, Error> {
    const { db } = this.batches
    return Effect.gen(this, function* () {
      const chunks = chunksOf(yield* this.batches.batch(id))
      const readRounds = Effect.map(
        this.batches.rows<{
          readonly chunk: number
          readonly done: number
          readonly round: number
          readonly epoch: number
        }>(`SELECT chunk, done, round, epoch FROM ${db.table("chunks")} WHERE batch = ${db.text(1)}`, [id]),
        (rows) => new Map(rows.map((row) => [row.chunk, row]))
      )
      let known = yield* readRounds
      // One that a process of an older version has begun has rows of the chunks that were taken.
      if (roundsOf !== undefined && known.size === 0 && chunks > 0) {
        yield* this.addRounds(id, yield* roundsOf(chunks))
        // Another process may have been sooner.
        known = yield* readRounds
      }
      return Array.from({ length: chunks }, (_, chunk) => chunk).flatMap((chunk) => {
        const { done = 0, epoch = 0, round = 0 } = known.get(chunk) ?? {}
        return done === 0 ? [{ chunk, round, isBegun: epoch > 0 }] : []
      })
    })
  }

  raise(id: string, { chunk, round }: Pick<BatchStore.OpenChunk, "chunk" | "round">): Effect.Effect<void, Error> {
    const { db } = this.batches
    return Effect.asVoid(
      this.batches.rows(
        `UPDATE ${db.table("chunks")} SET round = round + 1
         WHERE batch = ${db.text(1)} AND chunk = ${db.int(2)} AND round = ${db.int(3)} AND done = 0`,
        [id, chunk, round]
      )
    )
  }

  private addRounds(id: string, rounds: ReadonlyArray<number>) {
    const { db } = this.batches
    return this.batches.rows(
      `INSERT INTO ${db.table("chunks")} (batch, chunk, epoch, until, crashed, done, round)
       SELECT ${db.text(1)}, c, 0, 0, 0, 0, r FROM ${db.rowsOf(2, { c: "int", r: "int" })} AS e
       WHERE EXISTS (SELECT 1 FROM ${db.table("batches")} WHERE id = ${db.text(1)} AND state <> 'Removed')
       ON CONFLICT (batch, chunk) DO NOTHING`,
      [id, JSON.stringify(rounds.map((round, chunk) => ({ c: chunk, r: round })))]
    )
  }

  status(id: string, chunk = -1): Effect.Effect<BatchStore.Status, Error> {
    const { db } = this.batches
    return Effect.gen(this, function* () {
      const batch = yield* this.batches.batch(id)
      const { endpoint, failures, finished, remaining, state } = batch
      const chunks = chunksOf(batch)
      const [failed] =
        failures === null
          ? []
          : yield* this.batches.rows<{ readonly n: number; readonly unsettled: number }>(
              `SELECT CAST(count(*) AS INTEGER) AS n,
                 CAST(count(CASE WHEN chunk = ${db.int(2)} AND state <> 'Settled' THEN 1 END) AS INTEGER) AS unsettled
               FROM ${db.table("items")} WHERE batch = ${db.text(1)} AND kind IS NOT NULL`,
              [id, chunk]
            )
      return {
        endpointId: endpoint ?? undefined,
        state,
        chunks,
        open: chunks - finished,
        ...(remaining === null ? {} : { remaining }),
        ...(failures === null ? {} : { failuresLeft: Math.max(0, failures - (failed?.n ?? 0)) }),
        ...(chunk < 0 ? {} : { unsettled: failed?.unsettled ?? 0 })
      }
    })
  }

  cancel(id: string): Effect.Effect<void, Error> {
    const { db } = this.batches
    const cancelled = this.batches.rows(
      `UPDATE ${db.table("batches")} SET state = 'Cancelled' WHERE id = ${db.text(1)} AND state IN ('Loading', 'Open')`,
      [id]
    )
    return Effect.zipRight(this.batches.batch(id), Effect.asVoid(cancelled))
  }

  remove(id: string): Effect.Effect<void, Error> {
    return Removal.remove(this.batches, id)
  }

  reopen<E = never, R = never>(
    id: string,
    kinds: ReadonlyArray<string>,
    onReopened: (chunk: Pick<BatchStore.OpenChunk, "chunk" | "round">) => Effect.Effect<void, E, R> = () => Effect.void
  ): Effect.Effect<ReadonlyArray<number>, Error | E, R> {
    return Effect.gen(this, function* () {
      const { db } = this.batches
      const status = yield* this.submitting(id)
      const rows = yield* this.batches.rows<{ readonly chunk: number }>(
        `SELECT DISTINCT chunk FROM ${db.table("items")} WHERE batch = ${db.text(1)} AND kind IN ${db.textsOf(2)} ORDER BY chunk`,
        [id, JSON.stringify(kinds)]
      )
      if (rows.length > 0) yield* this.raiseStopped(id, status)
      return yield* Effect.forEach(rows, ({ chunk }) =>
        Effect.flatMap(this.reopenChunk(id, { chunk, kinds }), (round) =>
          Effect.as(onReopened({ chunk, round }), chunk)
        )
      )
    })
  }

  /** Of a batch of which nothing is submitted any more outcomes would be gone, and none would come instead. */
  private submitting(id: string): Effect.Effect<BatchStore.Status, Error> {
    return Effect.flatMap(this.status(id), (status) => {
      const { remaining = 1, state } = status
      if (state !== "Cancelled" && remaining > 0) return Effect.succeed(status)
      const why = state === "Cancelled" ? "it was cancelled" : "its deadline is over"
      return wrongId(
        `nothing of batch "${id}" is submitted any more: ${why}. Create another with the inputs that are to be submitted.`
      )
    })
  }

  /**
   * Where too many items had failed, all chunks have stopped, or will. Before items are opened again: with fewer that have failed nobody could tell any
   * more.
   */
  private raiseStopped(id: string, { failuresLeft }: BatchStore.Status): Effect.Effect<void, Error> {
    const { db } = this.batches
    const raised = this.batches.rows(
      `UPDATE ${db.table("chunks")} SET round = round + 1 WHERE batch = ${db.text(1)} AND done = 0`,
      [id]
    )
    return failuresLeft === 0 ? Effect.asVoid(raised) : Effect.void
  }

  /** Nobody drives the chunk meanwhile: whoever did has lost it. */
  private reopenChunk(
    id: string,
    { chunk, kinds }: { readonly chunk: number; readonly kinds: ReadonlyArray<string> }
  ): Effect.Effect<number, Error> {
    return Effect.scoped(
      Effect.gen(this, function* () {
        const { db } = this.batches
        const taken = yield* Lease.take(this.batches.db, id, { ...this.batches.settings, chunk })
        // It may have taken long to get it.
        yield* this.raiseStopped(id, yield* this.submitting(id))
        // First, so that the chunk is driven again whatever becomes of this process.
        const [begun] = yield* this.batches.rows<{ readonly round: number }>(
          `UPDATE ${db.table("chunks")} SET done = 0, round = round + 1
           WHERE batch = ${db.text(1)} AND chunk = ${db.int(2)} AND epoch = ${db.int(3)} RETURNING round`,
          [id, chunk, taken.epoch]
        )
        if (begun === undefined) return yield* Lease.lostTo(taken)
        // Released is what was submitted for this outcome. What says nothing of a job, or has one by now, stays as it is known, and so does a job
        // that may go on: it is waited for again.
        const rows = yield* this.batches.rows<ReopenedRow>(
          `SELECT key, hash, attempts, state, kind, problem FROM ${db.table("items")}
           WHERE batch = ${db.text(1)} AND chunk = ${db.int(2)} AND kind IN ${db.textsOf(3)} AND hash IS NOT NULL
             AND kind NOT IN ('InvalidInput', 'InputChanged') AND NOT ${isFound}`,
          [id, chunk, JSON.stringify(kinds)]
        )
        const journal = yield* this.journal(taken)
        const at = yield* Clock.currentTimeMillis
        yield* Effect.forEach(
          rows.filter((row) => !mayGoOn(row)),
          ({ attempts, hash, key }) => journal.append({ _tag: "Released", key, hash, earlier: attempts ?? 1, at }),
          { concurrency: "unbounded", discard: true }
        )
        yield* this.batches.rows(
          `UPDATE ${db.table("items")} AS x SET kind = NULL, problem = NULL
           WHERE x.batch = ${db.text(1)} AND x.chunk = ${db.int(2)} AND x.kind IN ${db.textsOf(3)} AND ${this.isOwn(4)}`,
          [id, chunk, JSON.stringify(kinds), taken.epoch]
        )
        return begun.round
      })
    )
  }

  /** The batch of a journal is one chunk whose items come as they are submitted. */
  journalOf(id: string): Effect.Effect<BatchJournal, Error, Scope.Scope> {
    return Effect.gen(this, function* () {
      const { endpoint, state } = yield* this.batches.begin(id, { endpoint: null, state: "Journal", size: null })
      if (state !== "Journal") return yield* wrongId(`"${id}" is a batch in chunks, and no journal. Give another id.`)
      const { db, settings } = this.batches
      const taken = yield* Lease.take(db, id, { ...settings, chunk: 0 })
      return yield* this.openJournal(taken, { order: Journal.byKey, endpointId: endpoint ?? undefined })
    })
  }
}

const open = ({ prefix = defaults.prefix, ...options }: Sql.Options) =>
  Effect.gen(function* () {
    const settings = yield* settingsOf(options)
    const batches = new Batches(yield* Migrations.open(prefix), settings)
    // Of a scope that nobody closes: they begin with the first journal that is open, and end with the last.
    const appends = yield* Scope.extend(
      RcRef.make({ acquire: Appends.make(batches.db, settings) }),
      yield* Scope.make()
    )
    return new Store(batches, RcRef.get(appends))
  })

export const make = (options: Sql.Options): Effect.Effect<BatchStore.Service, Error, SqlClient.SqlClient> =>
  Effect.map(open(options), (store) => ({
    create: (batch, pages) => store.create(batch, pages),
    take: (id, chunk) => store.take(id, chunk),
    inputs: (taken, page = {}) => store.inputs(taken, page),
    journal: (taken) => store.journal(taken),
    note: (taken, problems) => store.note(taken, problems),
    finish: (taken, unread) => store.finish(taken, unread),
    open: (id, roundsOf) => store.open(id, roundsOf),
    raise: (id, chunk) => store.raise(id, chunk),
    status: (id, chunk) => store.status(id, chunk),
    cancel: (id) => store.cancel(id),
    remove: (id) => store.remove(id),
    reopen: (id, kinds, onReopened) => store.reopen(id, kinds, onReopened),
    progress: (id) => store.progress(id),
    list: (page = {}) => store.list(page),
    outcomes: (id, page = {}) => store.outcomes(id, page)
  }))

export const journal = ({
  id,
  ...options
}: Sql.JournalOptions): Effect.Effect<BatchJournal, Error, SqlClient.SqlClient | Scope.Scope> =>
  Effect.flatMap(open(options), (store) => store.journalOf(id))
