/** What a client of SQLite does while another process has its file. */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { hasProperty } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import { isBusy, mayPassInSqlite } from "./sqlError.js"

type Method<A> = (...args: ReadonlyArray<unknown>) => Promise<A>

/** What `@effect/sql-libsql` has below. */
interface Sdk {
  execute: Method<unknown>
  transaction: Method<{ readonly execute: Method<unknown>; readonly rollback: () => Promise<void> }>
  batch: Method<unknown>
  migrate: Method<unknown>
  executeMultiple: Method<unknown>
}

const methods = ["execute", "transaction", "batch", "migrate", "executeMultiple"] as const

const isSdk = (sdk: unknown): sdk is Sdk =>
  hasProperty(sdk, "protocol") &&
  sdk.protocol === "file" &&
  methods.every((name) => hasProperty(sdk, name) && typeof sdk[name] === "function")

/** For how long a statement is tried again, while this process does other things, and after which errors. */
interface Patience {
  readonly isPassing: (error: { readonly cause: unknown }) => boolean
  readonly within: Duration.DurationInput
}

const impatient: Patience = { isPassing: () => false, within: 0 }

const firstPause = "20 millis"
const pauses = Schedule.union(Schedule.exponential(firstPause), Schedule.spaced("1 second"))

const patiently = <A>(run: () => Promise<A>, { isPassing, within }: Patience): Promise<A> =>
  run().catch((cause: unknown) => {
    if (!isPassing({ cause })) throw cause
    const again = Effect.tryPromise({ try: run, catch: (cause) => cause }).pipe(
      Effect.delay(firstPause),
      Effect.retry({
        while: (cause) => isPassing({ cause }),
        schedule: Schedule.intersect(pauses, Schedule.recurUpTo(within))
      })
    )
    return Effect.runPromise(Effect.either(again)).then(Either.getOrThrowWith((cause) => cause))
  })

/** `@effect/sql-libsql` runs nothing any more after a transaction that could not begin: it has the file, or the client has no use. */
const longestBegin = "5 minutes"

/**
 * libsql leaves a statement open that found the file busy, until it is collected. Until then nothing that its connection writes is
 * committed, though each statement succeeds, and locks of the file may be kept. So the connection is left before anything else is run on
 * it: libsql opens another after each transaction.
 */
const mend = (sdk: Sdk, { block, commit, within }: Waits): void => {
  const { batch, execute, executeMultiple, migrate, transaction } = sdk
  let isToBeLeft = true
  const begin = async (...args: ReadonlyArray<unknown>) => {
    const begun = await transaction.call(sdk, ...args)
    // Its end is not tried again.
    await begun.execute(timeoutOf(commit))
    // Of a connection that cannot be opened now the next statement says so.
    await execute.call(sdk, timeoutOf(block)).catch(() => undefined)
    return begun
  }
  /** Not in the middle of a transaction that a statement has begun, but after it. */
  const leave = async () => {
    try {
      await (await begin("deferred")).rollback()
      isToBeLeft = false
    } catch {
      // It is tried again before the next statement.
    }
  }
  const attempt = async <A>(run: () => Promise<A>): Promise<A> => {
    if (isToBeLeft) await leave()
    try {
      return await run()
    } catch (cause) {
      if (isBusy({ cause })) {
        isToBeLeft = true
        await leave()
      }
      throw cause
    }
  }
  // Nobody knows what was run on it before.
  let last: Promise<unknown> = leave()
  /** One after the other, as on one connection. */
  const inTurn = <A>(run: () => Promise<A>, patience: Patience): Promise<A> => {
    const turn = last.then(() => patiently(() => attempt(run), patience))
    last = turn.catch(() => undefined)
    return turn
  }
  sdk.execute = (...args) => inTurn(() => execute.call(sdk, ...args), { isPassing: isBusy, within })
  sdk.transaction = (...args) => inTurn(() => begin(...args), { isPassing: mayPassInSqlite, within: longestBegin })
  sdk.batch = (...args) => inTurn(() => batch.call(sdk, ...args), impatient)
  sdk.migrate = (...args) => inTurn(() => migrate.call(sdk, ...args), impatient)
  sdk.executeMultiple = (...args) => inTurn(() => executeMultiple.call(sdk, ...args), impatient)
}

/** In milliseconds. */
interface Waits {
  /** How long SQLite waits itself, with the whole process. */
  readonly block: number
  /** How long it does so for the statements of a transaction. */
  readonly commit: number
  /** How long a statement waits in all. */
  readonly within: number
}

const timeoutOf = (millis: number) => `PRAGMA busy_timeout = ${millis}`

const mended = new WeakSet<object>()

/** How long a statement waits for a file that another process has, where the client does not say. */
const usualWait = "100 millis"
const longestBlock = 20

/** Has the client wait for its file, unless it does, and go on well when it has waited in vain. */
export const open = (client: SqlClient.SqlClient, wait: Duration.DurationInput = usualWait): Effect.Effect<void> =>
  Effect.gen(function* () {
    const [database] = yield* client.unsafe<{ readonly file: string }>("PRAGMA database_list").withoutTransform
    const [row] = yield* client.unsafe<{ readonly timeout: number | bigint }>("PRAGMA busy_timeout").withoutTransform
    const own = Number(row?.timeout ?? 0)
    const within = own > 0 ? own : Duration.toMillis(wait)
    if (!hasProperty(client, "sdk") || !isSdk(client.sdk)) {
      if (own === 0) yield* client.unsafe(timeoutOf(Duration.toMillis(usualWait)))
      return
    }
    // One in memory is its connection's alone, and would go with it.
    if (database?.file === "" || mended.has(client.sdk)) return
    mended.add(client.sdk)
    const commit = own > 0 ? own : Duration.toMillis(usualWait)
    mend(client.sdk, { block: Math.min(within, longestBlock), commit, within })
  }).pipe(
    // A database that is no file may know nothing of that, or be away.
    Effect.timeout("15 seconds"),
    Effect.ignore
  )
