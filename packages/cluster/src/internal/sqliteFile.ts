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
  transaction: Method<{ readonly rollback: () => Promise<void> }>
  batch: Method<unknown>
  migrate: Method<unknown>
  executeMultiple: Method<unknown>
}

const methods = ["execute", "transaction", "batch", "migrate", "executeMultiple"] as const

const isSdk = (sdk: unknown): sdk is Sdk =>
  hasProperty(sdk, "protocol") &&
  sdk.protocol === "file" &&
  methods.every((name) => hasProperty(sdk, name) && typeof sdk[name] === "function")

const pauses = Schedule.union(Schedule.exponential("20 millis"), Schedule.spaced("1 second"))

/** Again and again for so long, while this process does other things. */
const patiently = <A>(
  run: () => Promise<A>,
  {
    isPassing,
    within
  }: {
    readonly isPassing: (error: { readonly cause: unknown }) => boolean
    readonly within: Duration.DurationInput
  }
): Promise<A> =>
  run().catch((cause: unknown) => {
    if (!isPassing({ cause })) throw cause
    const again = Effect.tryPromise({ try: run, catch: (cause) => cause }).pipe(
      Effect.delay("20 millis"),
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
const mend = (sdk: Sdk, { timeout, wait }: { readonly timeout: string; readonly wait: number }): void => {
  const { batch, execute, executeMultiple, migrate, transaction } = sdk
  let isToBeLeft = true
  const begin = async (...args: ReadonlyArray<unknown>) => {
    const begun = await transaction.call(sdk, ...args)
    // Of a connection that cannot be opened now the next statement says so.
    await execute.call(sdk, timeout).catch(() => undefined)
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
  // Nobody knows what was run on it before.
  let last: Promise<unknown> = leave()
  /** One after the other, as libsql does them. */
  const inTurn = <A>(run: () => Promise<A>): Promise<A> => {
    const turn = last.then(async () => {
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
    })
    last = turn.catch(() => undefined)
    return turn
  }
  sdk.execute = (...args) =>
    patiently(() => inTurn(() => execute.call(sdk, ...args)), { isPassing: isBusy, within: wait })
  sdk.transaction = (...args) =>
    patiently(() => inTurn(() => begin(...args)), { isPassing: mayPassInSqlite, within: longestBegin })
  sdk.batch = (...args) => inTurn(() => batch.call(sdk, ...args))
  sdk.migrate = (...args) => inTurn(() => migrate.call(sdk, ...args))
  sdk.executeMultiple = (...args) => inTurn(() => executeMultiple.call(sdk, ...args))
}

const mended = new WeakSet<object>()

/** How long a statement waits for a file that another process has, where the client does not say. */
const usualWait = "100 millis"
/** For so much of that, in milliseconds, SQLite waits itself, and this process does nothing else. */
const longestBlock = 100

/** Has the client wait for its file, unless it does, and go on well when it has waited in vain. */
export const open = (client: SqlClient.SqlClient, wait: Duration.DurationInput = usualWait): Effect.Effect<void> =>
  Effect.gen(function* () {
    const [database] = yield* client.unsafe<{ readonly file: string }>("PRAGMA database_list").withoutTransform
    const [row] = yield* client.unsafe<{ readonly timeout: number | bigint }>("PRAGMA busy_timeout").withoutTransform
    const own = Number(row?.timeout ?? 0)
    const millis = own > 0 ? own : Duration.toMillis(wait)
    const timeout = `PRAGMA busy_timeout = ${Math.min(millis, longestBlock)}`
    if (!hasProperty(client, "sdk") || !isSdk(client.sdk)) {
      if (own === 0) yield* client.unsafe(timeout)
      return
    }
    // One in memory is its connection's alone, and would go with it.
    if (database?.file === "" || mended.has(client.sdk)) return
    mended.add(client.sdk)
    mend(client.sdk, { timeout, wait: millis })
  }).pipe(
    // A database that is no file may know nothing of that.
    Effect.ignore
  )
