/** The row of a batch, and statements about batches. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { BatchJournalError } from "effect-runpod/BatchError"
import type * as BatchStore from "../BatchStore.js"
import type * as Sql from "../Sql.js"
import { millisOf } from "./durations.js"
import { type Database, isStorable, type Parameter } from "./database.js"
import { ioError, isDataProblem } from "./sqlError.js"

type Error = BatchJournalError

export const defaults = {
  prefix: "runpod_",
  lease: "15 seconds",
  wait: 0,
  grace: "35 seconds",
  outage: "5 minutes"
} as const

const checked = (name: string, input: Duration.DurationInput, isOne: (millis: number) => boolean) => {
  const millis = millisOf(input)
  return isOne(millis)
    ? Effect.succeed(Duration.millis(millis))
    : invalid(`\`${name}\` is no duration that it may be. Give another.`)
}

const isLong = (millis: number) => millis >= 0

export interface Settings {
  readonly lease: Duration.Duration
  readonly wait: Duration.Duration
  readonly grace: Duration.Duration
  readonly outage: Duration.Duration
}

export const settingsOf = (options: Sql.Options): Effect.Effect<Settings, Error> =>
  Effect.all({
    lease: checked("lease", options.lease ?? defaults.lease, (millis) => millis > 0 && millis < Infinity),
    wait: checked("wait", options.wait ?? defaults.wait, isLong),
    grace: checked("grace", options.grace ?? defaults.grace, isLong),
    outage: checked("outage", options.outage ?? defaults.outage, isLong)
  })

interface StoredRow {
  readonly endpoint: string | null
  readonly state: BatchStore.BatchState | "Removed"
  readonly size: number | null
  readonly total: number | null
  readonly failures: number | null
  /** In milliseconds. */
  readonly remaining: number | null
  /** How many chunks have been driven to their end. */
  readonly finished: number
}

export interface BatchRow extends StoredRow {
  readonly state: BatchStore.BatchState
}

const isThere = (row: StoredRow): row is BatchRow => row.state !== "Removed"

/** What is known of a batch before it begins. */
interface NewRow extends Pick<BatchRow, "endpoint" | "state" | "size"> {
  readonly failures?: number | undefined
  readonly deadline?: number | undefined
}

export const chunksOf = ({ size, total }: Pick<BatchRow, "size" | "total">): number =>
  size === null || total === null ? 0 : Math.ceil(total / size)

export const wrongId = (detail: string) => new BatchJournalError({ reason: "WrongId", detail })

export const unknownBatch = (id: string) => wrongId(`there is no batch "${id}" in the database. Create it first.`)
const removed = (id: string) => wrongId(`batch "${id}" was removed from the database. Give another id.`)

export const invalid = (detail: string) => new BatchJournalError({ reason: "InvalidOption", detail })

/** The largest number that a column of places holds. */
export const maxCount = 2 ** 31 - 1

/** Whether a text can name a batch or an item. */
export const isName = (text: string): boolean => text !== "" && isStorable(text)

/** Fails with an id that no batch can have. */
export const checkId = (id: string): Effect.Effect<void, Error> =>
  typeof id === "string" && isName(id)
    ? Effect.void
    : invalid("the id of a batch is empty, or no well-formed Unicode without NUL. Give another.")

export class Batches {
  constructor(
    readonly db: Database,
    readonly settings: Settings
  ) {}

  rows<A extends object>(statement: string, parameters: ReadonlyArray<Parameter>) {
    return Effect.mapError(this.db.retried<A>(statement, parameters, this.settings.lease), (error) =>
      isDataProblem(error)
        ? new BatchJournalError({
            reason: "Unstorable",
            detail: "the database cannot hold an input or its key. Change it."
          })
        : ioError(error)
    )
  }

  batch(id: string): Effect.Effect<BatchRow, Error> {
    const { db } = this
    const statement = `SELECT endpoint, state, size, total, failures, deadline - ${db.now} AS remaining,
        (SELECT CAST(count(*) AS INTEGER) FROM ${db.table("chunks")} WHERE batch = ${db.text(1)} AND done = 1) AS finished
      FROM ${db.table("batches")} WHERE id = ${db.text(1)}`
    return Effect.flatMap(this.rows<StoredRow>(statement, [id]), ([row]) => {
      if (row === undefined) return unknownBatch(id)
      return isThere(row) ? Effect.succeed(row) : removed(id)
    })
  }

  /** Makes the row of a batch unless it is there. */
  begin(id: string, { deadline, endpoint, failures, size, state }: NewRow): Effect.Effect<BatchRow, Error> {
    const { db } = this
    const insert = this.rows(
      `INSERT INTO ${db.table("batches")} (id, endpoint, state, size, created, failures, deadline)
       VALUES (${db.text(1)}, ${db.text(2)}, ${db.text(3)}, ${db.int(4)}, ${db.now}, ${db.int(5)}, ${db.now} + ${db.float(6)})
       ON CONFLICT (id) DO NOTHING`,
      [id, endpoint, state, size, failures ?? null, deadline ?? null]
    )
    return Effect.zipRight(checkId(id), Effect.zipRight(insert, this.batch(id)))
  }
}
