/** Deliveries in a database, which any process adds and all see in the order of their numbers. */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { WebhookStoreError } from "effect-runpod/WebhookError"
import type { Added, Delivery, Match, Service, Stored, TokenTrace } from "effect-runpod/WebhookStore"
import type { WebhookStoreOptions } from "../../Sql.js"
import { defaults as tables } from "../batches.js"
import { type Database, isStorable, type Parameter } from "../database.js"
import { isDataProblem, problemOf } from "../sqlError.js"
import { millisOf } from "../durations.js"
import * as Groups from "../groups.js"
import * as Migrations from "../migrations.js"
import * as Changes from "./changes.js"
import * as Statements from "./statements.js"

type Operation = WebhookStoreError["operation"]

const defaults = { prefix: tables.prefix, maxAge: "7 days", maxCount: 10_000, poll: "2 seconds" } as const

/** How long a statement is sent again while the database is away: RunPod waits for its answer, and comes again after 5 and 15 seconds. */
const outage = Duration.seconds(15)
/** Uses of tokens are small and guard against replays until they expire: more of them are remembered than deliveries. */
const usesPerDelivery = 10
/** What is kept no longer is deleted after so many deliveries, or when this process adds one so long after it has looked last. */
const pruneAfter = 1_000
const pruneEvery = Duration.toMillis("10 minutes")
/** SQL has no infinity that both dialects write alike. */
const longest = 1e15

const storeError = (operation: Operation) => (error: SqlError) =>
  new WebhookStoreError({ operation, detail: `${problemOf(error)}.` })

interface DeliveryRow {
  readonly seq: number
  readonly token: string
  readonly outcome: string
  readonly endpoint: string | null
  readonly key: string | null
  readonly job: string
  readonly expires: number
  readonly received: number
  readonly body: string
}

const storedOf = ({ body, endpoint, expires, job, key, outcome, received, seq, token }: DeliveryRow): Stored => ({
  sequence: seq,
  token,
  expiresAt: expires,
  ...(endpoint === null ? {} : { endpointId: endpoint }),
  ...(key === null ? {} : { key }),
  jobId: job,
  outcome,
  receivedAt: received,
  body
})

/** A delivery, and the name of the call that adds it: one that was repeated after a lost answer is still one. */
interface Adding {
  readonly delivery: Delivery
  readonly id: string
}

const isWritable = ({ body, endpointId = "", jobId, key = "", outcome, token }: Delivery): boolean =>
  [token, endpointId, key, jobId, outcome, body].every(isStorable)

const unstorable = () => {
  const detail = "the delivery has a NUL or half of a surrogate pair in it, which the database cannot hold."
  return new WebhookStoreError({ operation: "add", detail })
}

const rowsOf = (group: ReadonlyArray<Adding>): ReadonlyArray<Parameter> => [
  JSON.stringify(
    group.map(({ delivery, id }, n) => ({
      n,
      k: delivery.token,
      o: delivery.outcome,
      p: delivery.endpointId ?? null,
      y: delivery.key ?? null,
      j: delivery.jobId,
      e: Math.min(delivery.expiresAt, longest),
      r: delivery.receivedAt,
      b: delivery.body,
      a: id
    }))
  )
]

class SqlStore {
  private readonly statements: Statements.Statements
  private readonly maxCount: number
  private isPruning = false
  private prunedAt = -Infinity

  constructor(
    private readonly db: Database,
    options: WebhookStoreOptions,
    private readonly scope: Scope.Scope
  ) {
    this.maxCount = Math.max(1, Math.floor(Math.min(options.maxCount ?? defaults.maxCount, longest)))
    const maxAge = Math.min(Duration.toMillis(options.maxAge ?? defaults.maxAge), longest)
    this.statements = Statements.make(db, { maxAge, maxCount: this.maxCount })
  }

  /** Runs a statement that changes nothing when it is run twice. */
  private rows<A extends object>(operation: Operation, statement: string, parameters: ReadonlyArray<Parameter> = []) {
    return Effect.mapError(this.db.retried<A>(statement, parameters, outage), storeError(operation))
  }

  // --- adding -----------------------------------------------------------------------------------------------------

  /** One statement adds a group. What it did not add is known, or refused: that does not change any more, and is read after it. */
  private write(group: ReadonlyArray<Adding>): Effect.Effect<ReadonlyArray<Added>, SqlError> {
    return Effect.gen(this, function* () {
      const added = yield* this.db.retried<{ readonly k: string; readonly s: number }>(
        this.statements.add,
        rowsOf(group),
        outage
      )
      const sequences = new Map(added.map(({ k, s }) => [k, s]))
      const others = group.filter(({ delivery }) => !sequences.has(delivery.token))
      const verdicts = yield* this.verdicts(others)
      const stored = [...sequences.values()]
      yield* this.pruneWhenDue(Math.min(...stored), Math.max(...stored))
      return group.map(({ delivery: { token } }): Added => {
        const sequence = sequences.get(token)
        return sequence === undefined ? (verdicts.get(token) ?? { _tag: "Replayed" }) : { _tag: "Stored", sequence }
      })
    })
  }

  private verdicts(group: ReadonlyArray<Adding>): Effect.Effect<ReadonlyMap<string, Added>, SqlError> {
    if (group.length === 0) return Effect.succeed(new Map())
    interface Row {
      readonly k: string
      readonly known: boolean | number | null
      readonly s: number | null
    }
    return Effect.map(this.db.retried<Row>(this.statements.known, rowsOf(group), outage), (rows) => {
      const verdictOf = ({ known, s }: Row): Added => {
        if (s !== null) return { _tag: "Stored", sequence: s }
        return known === true || known === 1 ? { _tag: "Duplicate" } : { _tag: "Replayed" }
      }
      return new Map(rows.map((row) => [row.k, verdictOf(row)]))
    })
  }

  /** A delivery that the database cannot hold fails alone. */
  readonly addAll = (group: ReadonlyArray<Adding>): Effect.Effect<ReadonlyArray<Exit.Exit<Added, WebhookStoreError>>> =>
    this.write(group).pipe(
      Effect.map((added) => added.map((one) => Exit.succeed(one))),
      Effect.catchAll((error) =>
        isDataProblem(error) && group.length > 1
          ? Effect.map(
              Effect.forEach(group, (one) => this.addAll([one])),
              (exits) => exits.flat()
            )
          : Effect.succeed(group.map(() => Exit.fail(storeError("add")(error))))
      )
    )

  /** In the background, and by one process: the one whose deliveries have the number at which it is time. */
  private pruneWhenDue(first: number, last: number): Effect.Effect<void> {
    const every = Math.min(pruneAfter, this.maxCount)
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const isDue = Math.floor(last / every) > Math.floor((first - 1) / every) || now - this.prunedAt > pruneEvery
      if (!isDue || this.isPruning) return Effect.void
      this.isPruning = true
      this.prunedAt = now
      return this.prune.pipe(
        Effect.catchAll((error) => Effect.logDebug(`Old deliveries were not deleted: ${problemOf(error)}`)),
        Effect.ensuring(Effect.sync(() => (this.isPruning = false))),
        // What is added may be so uninterruptibly.
        Effect.interruptible,
        Effect.forkIn(this.scope),
        Effect.asVoid
      )
    })
  }

  private readonly prune = Effect.suspend(() =>
    Effect.forEach(
      this.statements.prune(Math.min(this.maxCount * usesPerDelivery, longest)),
      (statement) => this.db.run(statement),
      { discard: true }
    )
  )

  // --- reading ----------------------------------------------------------------------------------------------------

  after(sequence: number, limit: number): Effect.Effect<ReadonlyArray<Stored>, WebhookStoreError> {
    const most = Math.max(0, Math.min(Math.floor(limit), 2 ** 31 - 1))
    return Effect.map(this.rows<DeliveryRow>("after", this.statements.after, [sequence, most]), (rows) =>
      rows.map(storedOf)
    )
  }

  find({
    after = 0,
    endpointId = null,
    jobId,
    key
  }: NullableMatch): Effect.Effect<Option.Option<Stored>, WebhookStoreError> {
    const { findJob, findKey } = this.statements
    const found =
      jobId === undefined
        ? this.rows<DeliveryRow>("find", findKey, [key ?? "", endpointId, after])
        : this.rows<DeliveryRow>("find", findJob, [jobId, key ?? null, endpointId, after])
    return Effect.map(found, ([row]) => Option.map(Option.fromNullable(row), storedOf))
  }

  /** Once: whoever asks says what to do about a failure. */
  readonly latestNow: Effect.Effect<number, SqlError> = Effect.suspend(() =>
    Effect.map(this.db.run<{ readonly seq: number }>(this.statements.latest), ([row]) => row?.seq ?? 0)
  )

  readonly latest: Effect.Effect<number, WebhookStoreError> = Effect.suspend(() =>
    Effect.map(this.rows<{ readonly seq: number }>("latest", this.statements.latest), ([row]) => row?.seq ?? 0)
  )

  noteTrace({ expiresAt, token, trace }: TokenTrace): Effect.Effect<void, WebhookStoreError> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.asVoid(this.rows("add", this.statements.noteTrace, [token, trace, Math.min(expiresAt, longest) - now]))
    )
  }

  traceOf(token: string): Effect.Effect<Option.Option<string>, WebhookStoreError> {
    return Effect.map(this.rows<{ readonly trace: string }>("find", this.statements.traceOf, [token]), ([row]) =>
      Option.fromNullable(row?.trace)
    )
  }
}

type NullableMatch = Omit<Match, "endpointId"> & { readonly endpointId?: string | null | undefined }

export const make = (
  options: WebhookStoreOptions
): Effect.Effect<Service, WebhookStoreError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function* () {
    const { maxAge = defaults.maxAge, maxCount = defaults.maxCount, poll = defaults.poll } = options
    if (!(millisOf(maxAge) > 0 && millisOf(poll) >= 0 && maxCount >= 1)) {
      const detail = "`maxAge` or `poll` is no duration, or `maxCount` no number from 1 on. Give others."
      return yield* new WebhookStoreError({ operation: "open", detail })
    }
    const client = yield* SqlClient.SqlClient
    const db = yield* Effect.mapError(Migrations.connect(options.prefix ?? defaults.prefix), (error) =>
      error._tag === "SqlError"
        ? storeError("open")(error)
        : new WebhookStoreError({ operation: "open", detail: error.detail })
    )
    const store = new SqlStore(db, options, yield* Effect.scope)
    const ask = yield* Groups.make<Adding, Added, WebhookStoreError>({
      keyOf: ({ delivery }) => delivery.token,
      sizeOf: ({ delivery }) => delivery.body.length,
      run: store.addAll
    })
    return {
      add: (delivery) =>
        Effect.suspend(() => (isWritable(delivery) ? ask({ delivery, id: crypto.randomUUID() }) : unstorable())),
      after: (sequence, limit) => store.after(sequence, limit),
      find: (match) => store.find(match),
      latest: store.latest,
      changes: Changes.changes({
        latest: Effect.mapError(store.latestNow, storeError("latest")),
        poll: Math.max(1, Duration.toMillis(options.poll ?? defaults.poll)),
        listen: db.isPg && Changes.canListen(client) ? { client, channel: Statements.channelOf(db) } : undefined
      }),
      noteTrace: (trace) => store.noteTrace(trace),
      traceOf: (token) => store.traceOf(token)
    }
  })
