/**
 * Connections to PostgreSQL that run one statement after the other. Their client, `pg`, warns of statements that are sent while another is under way, and
 * will refuse them; `@effect/sql-pg` sends some so: those of several fibers on a connection that one of them has reserved, and any on a
 * connection that was given back by an interrupted statement which goes on.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** How long a statement whose fiber is interrupted may go on before it is cancelled: nearly all end within milliseconds. */
const patience = "1 second"

/** Waits for the end of a statement whose fiber is interrupted, and cancels it when that takes long. Gives whether it was not cancelled. */
const endOf = <A, E>(statement: Fiber.RuntimeFiber<A, E>): Effect.Effect<boolean> =>
  Effect.flatMap(Effect.timeoutOption(Effect.interruptible(Fiber.await(statement)), patience), (exit) =>
    Option.isSome(exit) ? Effect.succeed(true) : Effect.as(Fiber.interrupt(statement), false)
  )

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Runs a statement in an uninterruptible region, and then `end` with whether it has ended: one that was cancelled may go on. */
const untilItsEnd = <A, E, R>(
  statement: Effect.Effect<A, E, R>,
  restore: Restore,
  end: (hasEnded: boolean) => Effect.Effect<void>
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkDaemon(Effect.interruptible(statement))
    const exit = yield* Effect.exit(restore(Fiber.join(fiber)))
    yield* end(Exit.isInterrupted(exit) ? yield* endOf(fiber) : true)
    return yield* exit
  })

const givenBack = () => new SqlError({ cause: new Error("it was given back"), message: "The connection is not there" })

/** A connection that was reserved. */
class Reserved implements Connection {
  private readonly turn = Effect.unsafeMakeSemaphore(1)
  private isOpen = true

  constructor(
    private readonly connection: Connection,
    private readonly giveBack: Effect.Effect<void>
  ) {}

  /** Waits for its turn, which it has then until `end`. */
  private begin(restore: Restore): Effect.Effect<void, SqlError> {
    return Effect.flatMap(restore(this.turn.take(1)), () =>
      this.isOpen ? Effect.void : Effect.zipRight(this.end, givenBack())
    )
  }
  private readonly end: Effect.Effect<void> = Effect.suspend(() => Effect.asVoid(this.turn.release(1)))

  /** One that was cancelled has ended when the next has an answer, or the connection is closed. */
  private readonly endLater: Effect.Effect<void> = Effect.suspend(() =>
    this.connection
      .executeRaw("SELECT 1", [])
      .pipe(Effect.exit, Effect.zipRight(this.end), Effect.forkDaemon, Effect.asVoid)
  )

  private inTurn<A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(
        this.begin(restore),
        untilItsEnd(statement, restore, (hasEnded) => (hasEnded ? this.end : this.endLater))
      )
    )
  }

  readonly execute: Connection["execute"] = (...args) => this.inTurn(this.connection.execute(...args))
  readonly executeRaw: Connection["executeRaw"] = (...args) => this.inTurn(this.connection.executeRaw(...args))
  readonly executeValues: Connection["executeValues"] = (...args) => this.inTurn(this.connection.executeValues(...args))
  readonly executeUnprepared: Connection["executeUnprepared"] = (...args) =>
    this.inTurn(this.connection.executeUnprepared(...args))

  readonly executeStream: Connection["executeStream"] = (...args) =>
    Stream.unwrapScoped(
      Effect.uninterruptibleMask((restore) =>
        this.begin(restore).pipe(
          Effect.zipRight(Effect.addFinalizer(() => this.end)),
          Effect.as(this.connection.executeStream(...args))
        )
      )
    )

  /** Gives it back, or has that done when the statement that is under way has ended. What waits for its turn fails. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isOpen = false
    return Effect.flatMap(this.turn.withPermitsIfAvailable(1)(this.giveBack), (given) =>
      Option.isSome(given) ? Effect.void : Effect.asVoid(Effect.forkDaemon(this.turn.withPermits(1)(this.giveBack)))
    )
  })
}

/** Reserves a connection. One that comes when nobody waits for it any more is given back. */
const reserveOf = (client: SqlClient.SqlClient): Effect.Effect<Reserved, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const giveBack = Scope.close(scope, Exit.void)
      const coming = yield* Effect.forkDaemon(Scope.extend(client.reserve, scope))
      const connection = yield* Effect.onInterrupt(restore(Fiber.join(coming)), () =>
        Effect.forkDaemon(Effect.zipRight(Fiber.await(coming), giveBack))
      )
      const reserved = new Reserved(connection, giveBack)
      yield* Effect.addFinalizer(() => reserved.close)
      return reserved
    })
  )

/** For single statements: each has a connection for itself. */
class Pooled implements Connection {
  constructor(private readonly reserve: Effect.Effect<Connection, SqlError, Scope.Scope>) {}

  private on<A>(run: (connection: Connection) => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.scoped(Effect.flatMap(this.reserve, run))
  }

  readonly execute: Connection["execute"] = (...args) => this.on((connection) => connection.execute(...args))
  readonly executeRaw: Connection["executeRaw"] = (...args) => this.on((connection) => connection.executeRaw(...args))
  readonly executeValues: Connection["executeValues"] = (...args) =>
    this.on((connection) => connection.executeValues(...args))
  readonly executeUnprepared: Connection["executeUnprepared"] = (...args) =>
    this.on((connection) => connection.executeUnprepared(...args))
  readonly executeStream: Connection["executeStream"] = (...args) =>
    Stream.unwrapScoped(Effect.map(this.reserve, (connection) => connection.executeStream(...args)))
}

const spanAttributesOf = ({ config }: PgClient.PgClient): ReadonlyArray<readonly [string, unknown]> => [
  ["db.system.name", "postgresql"],
  ["db.namespace", config.database ?? config.username ?? "postgres"],
  ["server.address", config.host ?? "localhost"],
  ["server.port", config.port ?? 5432]
]

/** Those that have such connections. */
const own = new WeakSet<SqlClient.SqlClient>()
const transactions = new WeakMap<Connection, Effect.Semaphore>()

/** Runs a statement of a client on such a connection, or in a turn of its own in the transaction that it is part of. */
export const run = <A, E>(
  client: SqlClient.SqlClient,
  statement: Effect.Effect<A, E>
): Effect.Effect<A, E | SqlError> => {
  if (own.has(client)) return statement
  return Effect.flatMap(Effect.serviceOption(SqlClient.TransactionConnection), (transaction) => {
    if (Option.isNone(transaction)) {
      return Effect.scoped(
        Effect.flatMap(reserveOf(client), (connection) =>
          Effect.provideService(statement, SqlClient.TransactionConnection, [connection, 0])
        )
      )
    }
    const [connection] = transaction.value
    const turn = transactions.get(connection) ?? Effect.unsafeMakeSemaphore(1)
    transactions.set(connection, turn)
    return turn.withPermits(1)(
      Effect.uninterruptibleMask((restore) => untilItsEnd(statement, restore, () => Effect.void))
    )
  })
}

/** The client with such connections. It has no transformations. */
export const make = (client: PgClient.PgClient, compiler: Statement.Compiler): SqlClient.SqlClient => {
  const reserve = reserveOf(client)
  const pooled = new Pooled(reserve)
  const connection = Effect.map(Effect.serviceOption(SqlClient.TransactionConnection), (transaction) =>
    Option.isSome(transaction) ? transaction.value[0] : pooled
  )
  const spanAttributes = spanAttributesOf(client)
  const does = (sql: string) => (connection: Connection) =>
    Effect.asVoid(connection.executeUnprepared(sql, [], undefined))
  const constructor = Statement.make(connection, compiler, spanAttributes, undefined)
  const inTurns: SqlClient.SqlClient = Object.assign(constructor, {
    ...client,
    ...constructor,
    reserve,
    withTransaction: SqlClient.makeWithTransaction({
      transactionTag: SqlClient.TransactionConnection,
      spanAttributes,
      acquireConnection: Effect.flatMap(Scope.make(), (scope) =>
        Effect.map(Scope.extend(reserve, scope), (connection): readonly [Scope.CloseableScope, Connection] => [
          scope,
          connection
        ])
      ),
      begin: does("BEGIN"),
      commit: does("COMMIT"),
      rollback: does("ROLLBACK"),
      savepoint: (connection, id) => does(`SAVEPOINT effect_sql_${id}`)(connection),
      rollbackSavepoint: (connection, id) => does(`ROLLBACK TO SAVEPOINT effect_sql_${id}`)(connection)
    }),
    withoutTransforms: () => inTurns
  })
  own.add(inTurns)
  return Object.assign(inTurns, { safe: inTurns })
}
