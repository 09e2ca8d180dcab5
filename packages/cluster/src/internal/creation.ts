/** The inputs of a batch, on their way into the store. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { BatchJournalError } from "effect-runpod/BatchError"
import type * as BatchStore from "../BatchStore.js"
import { type Batches, chunksOf, wrongId } from "./batches.js"
import { textOf } from "./inputs.js"

type Error = BatchJournalError

export class Creation {
  constructor(private readonly batches: Batches) {}

  create<E, R>(
    { chunkSize = 250, deadline, endpointId, id, maxFailures }: BatchStore.NewBatch,
    pages: Stream.Stream<ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>, E, R>
  ): Effect.Effect<number, Error | E, R> {
    return Effect.gen(this, function* () {
      const { db } = this.batches
      const batch = yield* this.batches.begin(id, {
        endpoint: endpointId,
        state: "Loading",
        size: chunkSize,
        failures: maxFailures,
        deadline: deadline === undefined ? undefined : Duration.toMillis(deadline)
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
          Effect.as(this.add(id, { from, page, size }), from + page.length)
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

  private add(
    id: string,
    {
      from,
      page,
      size
    }: {
      readonly from: number
      readonly page: ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>
      readonly size: number
    }
  ): Effect.Effect<void, Error> {
    return Effect.gen(this, function* () {
      const { db } = this.batches
      const items = db.table("items")
      const json = Either.try(() =>
        JSON.stringify(
          page.map((item, i) => ({
            k: item.key,
            n: from + i,
            c: Math.floor((from + i) / size),
            ...("hash" in item ? { h: item.hash } : { t: textOf(item.input) })
          }))
        )
      )
      if (Either.isLeft(json)) {
        const detail =
          "an input is no JSON, or a page of them is too long for a string. Give smaller pages of plain data."
        return yield* new BatchJournalError({ reason: "Unstorable", detail })
      }
      const keys = new Set(page.map(({ key }) => key))
      const given = db.rowsOf(2, { k: "text", n: "int", c: "int", t: "text", h: "text" })
      // What ends the loading of the batch waits for this, and no place is another's: there is an index of them.
      const add = this.batches.rows<{ readonly one: number }>(
        `INSERT INTO ${items} (batch, key, chunk, idx, input, input_hash, state)
         SELECT ${db.text(1)}, k, c, n, t, h, 'New' FROM ${given} AS e
         CROSS JOIN (SELECT 1 FROM ${db.table("batches")} AS x WHERE id = ${db.text(1)} AND state = 'Loading' ${db.forShare}) AS b
         WHERE true ON CONFLICT DO NOTHING RETURNING 1 AS one`,
        [id, json.right]
      )
      const find = this.batches.rows<{ readonly key: string; readonly idx: number | null }>(
        `SELECT e.k AS key, x.idx AS idx FROM ${given} AS e LEFT JOIN ${items} AS x ON x.batch = ${db.text(1)} AND x.key = e.k
         WHERE x.idx IS NULL OR x.idx <> e.n OR COALESCE(x.input, '') <> COALESCE(e.t, '')
           OR COALESCE(x.input_hash, '') <> COALESCE(e.h, '') LIMIT 1`,
        [id, json.right]
      )
      const clashes =
        keys.size < page.length
          ? [{ key: page.find(({ key }, i) => page.findIndex((other) => other.key === key) < i)?.key ?? "", idx: -1 }]
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
      const isSame = page.some(({ key }, i) => key === clash.key && from + i === clash.idx)
      if (isSame) return yield* this.changed(id, "the database knows another input under this key", clash.key)
      const detail =
        "two inputs of this batch have this key, or they come in another order than before. Give each a key of its own."
      return yield* new BatchJournalError({ reason: "DuplicateKey", key: clash.key, detail })
    })
  }
}
