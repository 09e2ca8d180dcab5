/** The tables of webhooks, and what is said to the database of them, in both dialects. */
import type { Database } from "../database.js"

/** A job can be retried and end again, but not for ever. */
const maxOutcomes = 16

const tablesOf = (db: Database) => ({
  webhooks: db.table("webhooks"),
  tokens: db.table("webhook_tokens"),
  traces: db.table("webhook_traces"),
  counter: db.table("webhook_counter")
})

/**
 * A token's uses, its job and outcomes, are one row: that two processes use it at once is decided by its primary key. The counter is
 * a row that whoever adds holds until what it added can be seen: a `BIGSERIAL` would show a number before an earlier one.
 */
export const tables = (db: Database): ReadonlyArray<string> => {
  const { counter, tokens, traces, webhooks } = tablesOf(db)
  return [
    `CREATE TABLE IF NOT EXISTS ${webhooks} (
      seq BIGINT PRIMARY KEY, token TEXT NOT NULL, outcome TEXT NOT NULL, endpoint TEXT, key TEXT, job TEXT NOT NULL,
      expires DOUBLE PRECISION NOT NULL, received DOUBLE PRECISION NOT NULL, body TEXT NOT NULL, added TEXT NOT NULL,
      at DOUBLE PRECISION NOT NULL
    )`,
    `CREATE INDEX IF NOT EXISTS ${db.table("webhooks_job")} ON ${webhooks} (job, seq)`,
    `CREATE INDEX IF NOT EXISTS ${db.table("webhooks_key")} ON ${webhooks} (key, seq)`,
    `CREATE TABLE IF NOT EXISTS ${tokens} (
      token TEXT PRIMARY KEY, job TEXT NOT NULL, outcomes ${db.isPg ? "TEXT[]" : "TEXT"} NOT NULL, until DOUBLE PRECISION NOT NULL
    )`,
    `CREATE INDEX IF NOT EXISTS ${db.table("webhook_tokens_until")} ON ${tokens} (until)`,
    `CREATE TABLE IF NOT EXISTS ${traces} (token TEXT PRIMARY KEY, trace TEXT NOT NULL, until DOUBLE PRECISION NOT NULL)`,
    `CREATE INDEX IF NOT EXISTS ${db.table("webhook_traces_until")} ON ${traces} (until)`,
    `CREATE TABLE IF NOT EXISTS ${counter} (id INTEGER PRIMARY KEY, seq BIGINT NOT NULL)`,
    `INSERT INTO ${counter} (id, seq) VALUES (1, 0) ON CONFLICT (id) DO NOTHING`,
    // SQLite has no statement that writes to several tables but by a trigger.
    ...(db.isPg
      ? []
      : [
          `CREATE TRIGGER IF NOT EXISTS ${db.table("webhooks_added")} AFTER INSERT ON ${webhooks} BEGIN
            INSERT INTO ${tokens} (token, job, outcomes, until)
            VALUES (NEW.token, NEW.job, json_array(NEW.outcome), NEW.at + NEW.expires - NEW.received)
            ON CONFLICT (token) DO UPDATE SET outcomes = json_insert(outcomes, '$[#]', NEW.outcome);
            UPDATE ${counter} SET seq = NEW.seq;
          END`
        ])
  ]
}

/** The fields of a delivery on its way into its row. */
export const columns = {
  n: "int",
  k: "text",
  o: "text",
  p: "text",
  y: "text",
  j: "text",
  e: "float8",
  r: "float8",
  b: "text",
  a: "text"
} as const

const stored = "seq, token, outcome, endpoint, key, job, expires, received, body, added, at"

export interface Limits {
  /** In milliseconds. */
  readonly maxAge: number
  readonly maxCount: number
}

/** The statements, by what they do. Rows to add are a parameter that is a JSON array, no two of them with one token. */
export const make = (db: Database, { maxAge, maxCount }: Limits) => {
  const { counter, tokens, traces, webhooks } = tablesOf(db)
  const given = db.rowsOf(1, columns)
  const seq = (column: string) => `CAST(${column} AS DOUBLE PRECISION)`
  const latest = `(SELECT seq FROM ${counter})`
  const isKept = `seq > ${latest} - ${maxCount} AND at > ${db.now} - ${maxAge}`
  const delivery = `SELECT ${seq("seq")} AS seq, token, outcome, endpoint, key, job, expires, received, body FROM ${webhooks}`
  const has = (outcomes: string, outcome: string) =>
    db.isPg ? `${outcome} = ANY(${outcomes})` : `EXISTS (SELECT 1 FROM json_each(${outcomes}) WHERE value = ${outcome})`

  /**
   * Whoever adds takes the row of the token first, and the counter last: what another process does with them in between, it waits for.
   * Numbers of what is rolled back are given out again.
   */
  const addToPg = `WITH given AS ${given},
    used AS (
      INSERT INTO ${tokens} AS t (token, job, outcomes, until)
      SELECT k, j, ARRAY[o], ${db.now} + e - r FROM given ORDER BY k
      ON CONFLICT (token) DO UPDATE SET outcomes = t.outcomes || excluded.outcomes
      WHERE t.job = excluded.job AND NOT t.outcomes @> excluded.outcomes AND cardinality(t.outcomes) < ${maxOutcomes}
      RETURNING token
    ),
    counted AS (
      UPDATE ${counter} SET seq = seq + (SELECT count(*) FROM used) WHERE EXISTS (SELECT 1 FROM used) RETURNING seq
    ),
    added AS (
      INSERT INTO ${webhooks} (${stored})
      SELECT c.seq - count(*) OVER () + row_number() OVER (ORDER BY n), k, o, p, y, j, e, r, b, a, ${db.now}
      FROM given JOIN used ON used.token = k CROSS JOIN counted AS c
      RETURNING seq, token
    )
    SELECT token AS k, ${seq("seq")} AS s,
      (SELECT pg_notify('${channelOf(db)}', c.seq::text) FROM counted AS c)::text AS told
    FROM added`

  /** A statement of SQLite has the whole file to itself. */
  const addToSqlite = `INSERT INTO ${webhooks} (${stored})
    SELECT ${latest} + row_number() OVER (ORDER BY n), k, o, p, y, j, e, r, b, a, ${db.now}
    FROM ${given} AS g
    WHERE NOT EXISTS (
      SELECT 1 FROM ${tokens} AS t WHERE t.token = g.k
      AND (t.job <> g.j OR ${has("t.outcomes", "g.o")} OR json_array_length(t.outcomes) >= ${maxOutcomes})
    )
    RETURNING token AS k, seq AS s`

  /** Of a table of tokens: those that have expired or are too many, unless another process has them in its hands. */
  const pruneTokens = (table: string, maxTokens: number) => [
    `DELETE FROM ${table} WHERE token IN (
      SELECT token FROM ${table} WHERE until <= ${db.now} ${db.isPg ? "FOR UPDATE SKIP LOCKED" : ""}
    )`,
    `DELETE FROM ${table} WHERE token IN (
      SELECT token FROM ${table} ORDER BY until DESC LIMIT ${db.isPg ? "ALL" : "-1"} OFFSET ${maxTokens}
    )`
  ]

  return {
    add: db.isPg ? addToPg : addToSqlite,
    /** How those stand that were not added now. One that the same call has added before has its number. */
    known: `SELECT g.k AS k, t.job = g.j AND ${has("t.outcomes", "g.o")} AS known, ${seq("w.seq")} AS s
      FROM ${given} AS g LEFT JOIN ${tokens} AS t ON t.token = g.k
      LEFT JOIN ${webhooks} AS w ON w.job = g.j AND w.token = g.k AND w.outcome = g.o AND w.added = g.a`,
    after: `${delivery} WHERE seq > ${db.float(1)} AND ${isKept} ORDER BY seq LIMIT ${db.int(2)}`,
    /** By the job, or else by the key; what is not given fits, and so does what a delivery without a token does not say. */
    findJob: `${delivery} WHERE job = ${db.text(1)} AND (${db.text(2)} IS NULL OR key IS NULL OR key = ${db.text(2)})
      AND (${db.text(3)} IS NULL OR endpoint IS NULL OR endpoint = ${db.text(3)})
      AND seq > ${db.float(4)} AND ${isKept} ORDER BY seq DESC LIMIT 1`,
    findKey: `${delivery} WHERE key = ${db.text(1)}
      AND (${db.text(2)} IS NULL OR endpoint IS NULL OR endpoint = ${db.text(2)})
      AND seq > ${db.float(3)} AND ${isKept} ORDER BY seq DESC LIMIT 1`,
    latest: `SELECT ${seq("seq")} AS seq FROM ${counter}`,
    noteTrace: `INSERT INTO ${traces} (token, trace, until) VALUES (${db.text(1)}, ${db.text(2)}, ${db.now} + ${db.float(3)})
      ON CONFLICT (token) DO UPDATE SET trace = excluded.trace, until = excluded.until`,
    traceOf: `SELECT trace FROM ${traces} WHERE token = ${db.text(1)}`,
    prune: (maxTokens: number) => [
      `DELETE FROM ${webhooks} WHERE NOT (${isKept})`,
      ...pruneTokens(tokens, maxTokens),
      ...pruneTokens(traces, maxTokens)
    ]
  }
}

export type Statements = ReturnType<typeof make>

/** Where PostgreSQL says that there are new deliveries. */
export function channelOf(db: Database): string {
  return `${db.prefix}webhooks`
}
