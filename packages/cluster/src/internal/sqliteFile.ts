/** What a client of SQLite does while another process has its file. */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import { isBusy } from "./sqlError.js"

/** What `@effect/sql-libsql` has below. */
interface Sdk {
  execute: (...args: ReadonlyArray<unknown>) => Promise<unknown>
  transaction: (...args: ReadonlyArray<unknown>) => Promise<{ readonly rollback: () => Promise<void> }>
}

const isSdk = (sdk: unknown): sdk is Sdk =>
  hasProperty(sdk, "protocol") &&
  sdk.protocol === "file" &&
  hasProperty(sdk, "execute") &&
  typeof sdk.execute === "function" &&
  hasProperty(sdk, "transaction") &&
  typeof sdk.transaction === "function"

/**
 * libsql leaves a statement open that found the file busy, until it is collected. Until then nothing that its connection writes is
 * committed, though each statement succeeds, and locks of the file may be kept. So the connection is left before anything else is run on
 * it: libsql opens another after each transaction.
 */
const mend = (sdk: Sdk, wait: string): void => {
  const { execute, transaction } = sdk
  /** Of a connection that cannot be opened now the next statement says so. */
  const setWait = () => execute.call(sdk, wait).catch(() => undefined)
  const leave = async () => {
    const begun = await transaction.call(sdk, "deferred")
    await begun.rollback()
    await setWait()
  }
  let last: Promise<unknown> = Promise.resolve()
  /** One after the other: each is done, for libsql, when it has been begun. */
  const inTurn = <A>(run: () => Promise<A>): Promise<A> => {
    const turn = last.then(run).catch(async (cause: unknown) => {
      if (isBusy({ cause })) await leave()
      throw cause
    })
    last = turn.catch(() => undefined)
    return turn
  }
  sdk.execute = (...args) => inTurn(() => execute.call(sdk, ...args))
  sdk.transaction = (...args) =>
    inTurn(async () => {
      const begun = await transaction.call(sdk, ...args)
      await setWait()
      return begun
    })
}

const mended = new WeakSet<object>()

/**
 * How long SQLite waits for a file that another process has, where the client does not say. This process does nothing else meanwhile; what has
 * been in vain is tried again later.
 */
const usualWait = "100 millis"

/** Has the client wait for the file, unless it does, and go on well when it has waited in vain. */
export const open = (client: SqlClient.SqlClient, wait: Duration.DurationInput = usualWait): Effect.Effect<void> =>
  Effect.gen(function* () {
    const [row] = yield* client.unsafe<{ readonly timeout: number | bigint }>("PRAGMA busy_timeout").withoutTransform
    const own = Number(row?.timeout ?? 0)
    const statement = `PRAGMA busy_timeout = ${own > 0 ? own : Duration.toMillis(wait)}`
    yield* client.unsafe(statement)
    if (!hasProperty(client, "sdk") || !isSdk(client.sdk) || mended.has(client.sdk)) return
    mended.add(client.sdk)
    mend(client.sdk, statement)
  }).pipe(
    // A database that is no file may know nothing of that.
    Effect.ignore
  )
