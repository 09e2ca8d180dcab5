/** Who has a chunk: one owner at a time, by an epoch that rises with each. */
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { BatchJournalError } from "effect-runpod/BatchError"
import type { Taken } from "../BatchStore.js"
import type { Database } from "./database.js"
import { ioError } from "./sqlError.js"

export interface LeaseOptions {
  readonly lease: Duration.Duration
  readonly wait: Duration.Duration
}

interface Held {
  readonly remains: number
}

export const locked = (detail: string) => new BatchJournalError({ reason: "Locked", detail })

/** Another owner has the chunk now. */
export const lostTo = ({ batch }: Taken) =>
  locked(`another run has taken over batch "${batch}", so this one may submit nothing more. Let that one go on.`)

const seconds = (millis: number) => Math.max(1, Math.ceil(millis / 1000))

const heldBy = (id: string, chunk: number, held: Held | undefined) => {
  const within =
    held === undefined ? "" : ` If its process is dead, it can be taken over in ${seconds(held.remains)} s.`
  return locked(`another run has chunk ${chunk} of batch "${id}".${within} Wait for its end, or give \`wait\`.`)
}

/** Takes a chunk until the scope closes, and says all the time that its owner lives. */
export const take = (
  db: Database,
  id: string,
  { chunk, lease, wait }: LeaseOptions & { readonly chunk: number }
): Effect.Effect<Taken, BatchJournalError, Scope.Scope> =>
  Effect.gen(function* () {
    const chunks = db.table("chunks")
    const millis = Duration.toMillis(lease)
    const owner = yield* Effect.sync(() => crypto.randomUUID())
    const own = `batch = ${db.text(1)} AND chunk = ${db.int(2)} AND epoch = ${db.int(3)}`

    // Taken again after an answer that was lost: by the same owner, so it is no other's.
    const attempt = db.retried<{ readonly epoch: number; readonly crashed: number }>(
      `INSERT INTO ${chunks} AS c (batch, chunk, epoch, owner, until, crashed, done, round)
       VALUES (${db.text(1)}, ${db.int(2)}, 1, ${db.text(3)}, ${db.now} + ${db.float(4)}, 0, 0, 0)
       ON CONFLICT (batch, chunk) DO UPDATE SET epoch = c.epoch + 1, owner = excluded.owner, until = excluded.until,
         crashed = CASE WHEN c.until = 0 OR c.owner = excluded.owner THEN 0 ELSE 1 END
       WHERE c.until <= ${db.now} OR c.owner = excluded.owner
       RETURNING epoch, crashed`,
      [id, chunk, owner, millis],
      lease
    )
    const refusal = Effect.flatMap(
      db.run<Held>(
        `SELECT until - ${db.now} AS remains FROM ${chunks} WHERE batch = ${db.text(1)} AND chunk = ${db.int(2)}`,
        [id, chunk]
      ),
      ([held]) => heldBy(id, chunk, held)
    )
    const taking: Effect.Effect<Taken, SqlError | BatchJournalError> = Effect.flatMap(attempt, ([row]) =>
      row === undefined ? refusal : Effect.succeed({ batch: id, chunk, epoch: row.epoch, crashed: row.crashed === 1 })
    )
    const release = ({ epoch }: Taken) =>
      db
        .run(`UPDATE ${chunks} SET until = 0 WHERE ${own}`, [id, chunk, epoch])
        .pipe(Effect.timeout("2 seconds"), Effect.ignore)

    // What may take long, the wait between two attempts, can be interrupted.
    const taken = yield* Effect.retry(Effect.acquireRelease(taking, release), {
      schedule: Schedule.intersect(Schedule.spaced("500 millis"), Schedule.recurUpTo(wait)),
      while: (error) => error._tag === "BatchJournalError" && error.reason === "Locked"
    }).pipe(Effect.catchTag("SqlError", (error) => ioError(error)))
    // Once another has it, there is no row to renew; what this one still decides is refused by the epoch.
    yield* db
      .run(`UPDATE ${chunks} SET until = ${db.now} + ${db.float(4)} WHERE ${own} AND until > 0`, [
        id,
        chunk,
        taken.epoch,
        millis
      ])
      .pipe(
        Effect.ignore,
        Effect.schedule(Schedule.spaced(Duration.millis(Math.max(1, Math.floor(millis / 3))))),
        Effect.forkScoped
      )
    return taken
  })
