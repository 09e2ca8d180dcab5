/**
 * How the items of batches stand, without a look at each: in a chunk that was driven to its end all have an outcome, so that only errors are
 * counted there, by their index; in one that nobody has taken all are to be submitted.
 */
import type * as BatchStore from "../BatchStore.js"
import { type BatchRow, chunksOf } from "./batches.js"
import type { Database } from "./database.js"

/** A batch, with one of the counts that there are of it. */
export interface CountRow extends Pick<BatchRow, "endpoint" | "state" | "size" | "total"> {
  readonly id: string
  readonly created: number
  /**
   * `open`: items in chunks that were taken, and are not at their end. `done`: items with an error in those that are. `ended`: all items in those, and
   * `failed` how many such chunks there are. `stored`: items so far of a batch that is not stored yet. `null`: there is nothing to count.
   */
  readonly what: "open" | "done" | "ended" | "stored" | null
  readonly item: string
  readonly n: number
  readonly failed: number
}

/** The rows of the batches that a condition, an order and a limit choose. */
export const statementOf = (db: Database, chosen: string): string => {
  const [batches, chunks, items] = ["batches", "chunks", "items"].map((name) => db.table(name))
  // Of a batch that was removed only the id is left.
  const there = `(SELECT * FROM ${batches} WHERE state <> 'Removed') AS b`
  return `WITH p AS (SELECT id, endpoint, state, size, total, created FROM ${there} ${chosen}),
    k AS (
      SELECT c.batch AS batch, 'open' AS what, x.state AS item, count(*) AS n, count(x.kind) AS failed
      FROM p JOIN ${chunks} AS c ON c.batch = p.id AND c.done = 0 AND c.epoch > 0 JOIN ${items} AS x ON x.batch = c.batch AND x.chunk = c.chunk
      GROUP BY c.batch, x.state
      UNION ALL
      SELECT x.batch, 'done', x.state, count(*), count(*)
      FROM p JOIN ${items} AS x ON x.batch = p.id AND x.kind IS NOT NULL
        JOIN ${chunks} AS c ON c.batch = x.batch AND c.chunk = x.chunk AND c.done = 1
      GROUP BY x.batch, x.state
      UNION ALL
      SELECT c.batch, 'ended', '', sum(CASE WHEN (c.chunk + 1) * p.size <= p.total THEN p.size ELSE p.total - c.chunk * p.size END), count(*)
      FROM p JOIN ${chunks} AS c ON c.batch = p.id AND c.done = 1
      GROUP BY c.batch
      UNION ALL
      SELECT p.id, 'stored', '', COALESCE((SELECT max(idx) FROM ${items} AS x WHERE x.batch = p.id), -1) + 1, 0
      FROM p WHERE p.total IS NULL AND p.size IS NOT NULL
    )
    SELECT p.id AS id, p.endpoint AS endpoint, p.state AS state, p.size AS size, p.total AS total, p.created AS created, k.what AS what,
      k.item AS item, CAST(k.n AS INTEGER) AS n, CAST(k.failed AS INTEGER) AS failed
    FROM p LEFT JOIN k ON k.batch = p.id ORDER BY p.created DESC, p.id DESC`
}

/** What the rows of one batch say. */
const summaryOf = (rows: readonly [CountRow, ...Array<CountRow>]): BatchStore.BatchSummary => {
  const [{ created, endpoint, id, size, state, total }] = rows
  const sum = (what: CountRow["what"], field: "n" | "failed" = "n", item?: string) =>
    rows.reduce((sum, row) => (row.what === what && (item ?? row.item) === row.item ? sum + row[field] : sum), 0)
  const standing = (item: string) => sum("open", "n", item) + sum("done", "n", item)
  const ended = sum("ended")
  const taken = sum("open") + ended
  const all = total ?? (size === null ? taken : sum("stored"))
  return {
    id,
    endpointId: endpoint ?? undefined,
    createdAt: created,
    state,
    chunks: chunksOf({ size, total }),
    done: sum("ended", "failed"),
    total: all,
    settled: sum("open", "n", "Settled") + ended - (sum("done") - sum("done", "n", "Settled")),
    submitted: standing("Submitted"),
    intended: standing("Intent"),
    waiting: all - taken + standing("New") + standing("Released"),
    failed: sum("open", "failed") + sum("done")
  }
}

/** What the rows of batches say, in their order. */
export const summariesOf = (rows: ReadonlyArray<CountRow>): ReadonlyArray<BatchStore.BatchSummary> => {
  const byId = new Map<string, [CountRow, ...Array<CountRow>]>()
  for (const row of rows) {
    const known = byId.get(row.id)
    if (known === undefined) byId.set(row.id, [row])
    else known.push(row)
  }
  return Array.from(byId.values(), summaryOf)
}
