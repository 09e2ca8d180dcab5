/** The inputs of a batch, on their way into the store. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { BatchJournalError } from "effect-runpod/BatchError"
import type * as BatchStore from "../BatchStore.js"
import { type Batches, chunksOf, invalid, isName, maxCount, wrongId } from "./batches.js"
import { millisOf } from "./durations.js"
import { textOf } from "./inputs.js"

type Error = BatchJournalError

/** Items in the order of the batch, from a place on. */
interface Page {
  readonly from: number
  readonly page: ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>
  readonly size: number
}

/** An item with its place, its chunk, and its input or the hash of that. */
interface Row {
  readonly k: string
  readonly n: number
  readonly c: number
  readonly t?: string
  readonly h?: string
}

/** So many characters of inputs are stored at once, and one input more. */
const mostLength = 8 * 1024 * 1024

const unstorable = (key: string) => {
  const detail = "an input is no JSON, or too long for a string. Give plain data."
  return new BatchJournalError({ reason: "Unstorable", detail, key })
}

const isCount = (number: number) => Number.isInteger(number) && number >= 1 && number <= maxCount

export class Creation {
  constructor(private readonly batches: Batches) {}

  create<E, R>(
    { chunkSize = 250, deadline, endpointId, id, maxFailures }: BatchStore.NewBatch,
    pages: Stream.Stream<ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>, E, R>
  ): Effect.Effect<number, Error | E, R> {
    return Effect.gen(this, function* () {
      const { db } = this.batches
      const millis = deadline === undefined ? Infinity : millisOf(deadline)
      if (!isCount(chunkSize)) return yield* invalid("`chunkSize` is no whole number from 1 on. Give another.")
      if (maxFailures !== undefined && maxFailures !== Infinity && !isCount(maxFailures)) {
        return yield* invalid("`maxFailures` is no whole number from 1 on. Give another, or none.")
      }
      if (!(millis >= 0)) return yield* invalid("`deadline` is no duration from 0 on. Give another, or none.")
      const batch = yield* this.batches.begin(id, {
        endpoint: endpointId,
        state: "Loading",
        size: chunkSize,
        failures: maxFailures === Infinity ? undefined : maxFailures,
        deadline: millis === Infinity ? undefined : millis
      })
      if (batch.state === "Journal") return yield* wrongId(`"${id}" is the batch of a journal. Give another id.`)
      if (batch.endpoint !== endpointId) {
        const detail = `batch "${id}" is on endpoint ${batch.endpoint ?? ""}, and this one is on ${endpointId}. Give another id.`
        return yield* new BatchJournalError({ reason: "WrongEndpoint", detail })
      }
      const size = batch.size ?? chunkSize
      const total = yield* Stream.runFoldEffect(
        pages,
        0,
        (from, page: ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>) =>
          Effect.as(this.addPage(id, { from, page, size }), from + page.length)
      )
      if (batch.total !== null && batch.total !== total) {
        return yield* this.changed(id, `it had ${batch.total} inputs, and now there are ${total}`)
      }
      const stored = yield* this.batches.rows(
        `UPDATE ${db.table("batches")} SET state = CASE WHEN state = 'Loading' THEN 'Open' ELSE state END, total = ${db.int(2)}
         WHERE id = ${db.text(1)} AND (total IS NULL OR total = ${db.int(2)})
           AND ${db.int(2)} = (SELECT count(*) FROM ${db.table("items")} WHERE batch = ${db.text(1)}) RETURNING id`,
        [id, total]
      )
      if (stored.length === 0) {
        yield* this.batches.batch(id)
        return yield* this.changed(id, `these are ${total} inputs, and it has others, too`)
      }
      // What another start, with more inputs, stored between the count and its end.
      if (db.isPg) {
        yield* this.batches.rows(
          `DELETE FROM ${db.table("items")} WHERE batch = ${db.text(1)} AND idx >= ${db.int(2)}`,
          [id, total]
        )
      }
      return chunksOf({ size, total })
    })
  }

  private changed(id: string, what: string, key?: string): Error {
    const detail = `${what}. Create batch "${id}" with the inputs it was made with, or give another id.`
    return new BatchJournalError({ reason: "InputChanged", detail, ...(key === undefined ? {} : { key }) })
  }

  /** Large inputs by fewer: a statement is one string, and the database has it in memory. */
  private addPage(id: string, { from, page, size }: Page): Effect.Effect<void, Error> {
    return Effect.gen(this, function* () {
      let rows: Array<Row> = []
      let length = 0
      for (const [i, item] of page.entries()) {
        if (typeof item.key !== "string" || !isName(item.key)) {
          const detail = `\`key\` gave something else than a text that is not empty and well-formed Unicode without NUL, for the input at ${from + i}.`
          return yield* new BatchJournalError({ reason: "InvalidKey", detail })
        }
        const text = yield* Effect.try({
          try: () => ("hash" in item ? item.hash : textOf(item.input)),
          catch: () => unstorable(item.key)
        })
        if ("hash" in item && (typeof text !== "string" || !isName(text))) return yield* unstorable(item.key)
        rows.push({
          k: item.key,
          n: from + i,
          c: Math.floor((from + i) / size),
          ...("hash" in item ? { h: text } : { t: text })
        })
        length += text.length
        if (length < mostLength && i < page.length - 1) continue
        yield* this.add(id, rows)
        rows = []
        length = 0
      }
    })
  }

  private add(id: string, page: ReadonlyArray<Row>): Effect.Effect<void, Error> {
    return Effect.gen(this, function* () {
      const { db } = this.batches
      const items = db.table("items")
      const json = yield* Effect.try({ try: () => JSON.stringify(page), catch: () => unstorable(page.at(-1)?.k ?? "") })
      const keys = new Set(page.map(({ k }) => k))
      const given = db.rowsOf(2, { k: "text", n: "int", c: "int", t: "text", h: "text" })
      // What ends the loading of the batch waits for this, and no place is another's: there is an index of them.
      const add = this.batches.rows<{ readonly one: number }>(
        `INSERT INTO ${items} (batch, key, chunk, idx, input, input_hash, state)
         SELECT ${db.text(1)}, k, c, n, t, h, 'New' FROM ${given} AS e
         CROSS JOIN (SELECT 1 FROM ${db.table("batches")} AS x WHERE id = ${db.text(1)} AND state = 'Loading' ${db.forShare}) AS b
         WHERE true ON CONFLICT DO NOTHING RETURNING 1 AS one`,
        [id, json]
      )
      const find = this.batches.rows<{ readonly key: string; readonly idx: number | null }>(
        `SELECT e.k AS key, x.idx AS idx FROM ${given} AS e LEFT JOIN ${items} AS x ON x.batch = ${db.text(1)} AND x.key = e.k
         WHERE x.idx IS NULL OR x.idx <> e.n OR COALESCE(x.input, '') <> COALESCE(e.t, '')
           OR COALESCE(x.input_hash, '') <> COALESCE(e.h, '') LIMIT 1`,
        [id, json]
      )
      const clashes =
        keys.size < page.length
          ? [{ key: page.find(({ k }, i) => page.findIndex((other) => other.k === k) < i)?.k ?? "", idx: -1 }]
          : // Those that were new clash with nothing.
            yield* Effect.flatMap(add, (added) => (added.length === page.length ? Effect.succeed([]) : find))
      const [clash] = clashes
      if (clash === undefined) return
      if (clash.idx === null) {
        // It was not stored: the batch has all of its inputs, or this place in it is another's.
        const { state } = yield* this.batches.batch(id)
        if (state !== "Cancelled")
          return yield* this.changed(id, "it has another input in this place, or none", clash.key)
        return yield* wrongId(`batch "${id}" was cancelled before it had all of its inputs. Give another id.`)
      }
      const isSame = page.some(({ k, n }) => k === clash.key && n === clash.idx)
      if (isSame) return yield* this.changed(id, "the database knows another input under this key", clash.key)
      const detail =
        "two inputs of this batch have this key, or they come in another order than before. Give each a key of its own."
      return yield* new BatchJournalError({ reason: "DuplicateKey", key: clash.key, detail })
    })
  }
}
