/** The end of a batch in the store: its rows go, and its id stays, so that nobody submits its inputs again under it. */
import * as Effect from "effect/Effect"
import type { BatchJournalError } from "effect-runpod/BatchError"
import type { Batches } from "./batches.js"
import { locked } from "./lease.js"

/** So few that a statement is through in time, whatever items hold. */
const pageSize = 2_000

/** Done again after a crash it goes on. Nobody can take a chunk of it from the first statement on. */
export const remove = (batches: Batches, id: string): Effect.Effect<void, BatchJournalError> =>
  Effect.gen(function* () {
    const { db } = batches
    const chunks = db.table("chunks")
    const items = db.table("items")
    const marked = yield* batches.rows<{ readonly id: string }>(
      `UPDATE ${db.table("batches")} AS b SET state = 'Removed' WHERE id = ${db.text(1)}
         AND NOT EXISTS (SELECT 1 FROM ${chunks} AS c WHERE c.batch = b.id AND c.until > ${db.now})
         AND (state IN ('Cancelled', 'Journal', 'Removed') OR state = 'Open'
           AND total <= size * (SELECT count(*) FROM ${chunks} AS c WHERE c.batch = b.id AND c.done = 1))
       RETURNING id`,
      [id]
    )
    if (marked.length === 0) {
      yield* batches.batch(id)
      return yield* locked(
        `batch "${id}" cannot be removed: a process has it, or items have no outcome yet. Wait for its end, or cancel it first.`
      )
    }
    for (;;) {
      const gone = yield* batches.rows<{ readonly key: string }>(
        `DELETE FROM ${items} WHERE batch = ${db.text(1)}
           AND key IN (SELECT key FROM ${items} WHERE batch = ${db.text(1)} ORDER BY key LIMIT ${pageSize}) RETURNING key`,
        [id]
      )
      if (gone.length === 0) break
    }
    yield* batches.rows(`DELETE FROM ${chunks} WHERE batch = ${db.text(1)}`, [id])
  })
