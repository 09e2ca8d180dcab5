/** Stores over a file of SQLite that other processes have, too: what is said to be written is, and nobody is held up by what was not. */
import { LibsqlClient } from "@effect/sql-libsql"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Array, Cause, Chunk, Duration, Effect, Exit, Layer, Option, Schema, Stream } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import { Sql } from "effect-runpod-cluster"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { existsSync } from "node:fs"
import { dirname } from "node:path"
import { program } from "../../../test/support/program.js"
import { delivery } from "../../../test/support/storeBehaviours.js"
import { clientOf, newPrefix, type Place, sqlite } from "./support/databases.js"
import type { FileTaker } from "./support/fileTaker.js"
import { startProcess, until } from "./support/processes.js"

const Numbered = Schema.Struct({ n: Schema.Number })

const open = (place: Place) =>
  Effect.flatMap(Layer.build(clientOf(place)), (context) => Effect.provide(SqlClient.SqlClient, context))

/** What `@effect/sql-libsql` has below. */
interface Sdk {
  readonly batch: (statements: ReadonlyArray<string>, mode: "write") => Promise<unknown>
}

/** A store, and two other clients of its file, as other processes have them: one that takes the file, one that sees what is there. */
const opened = (mode: string, before: (sql: SqlClient.SqlClient) => Effect.Effect<unknown> = () => Effect.void) =>
  Effect.gen(function* () {
    const place = yield* sqlite
    const prefix = newPrefix()
    const own = yield* open(place)
    const taker = yield* open(place)
    const other = yield* open(place)
    yield* taker.unsafe(`PRAGMA journal_mode = ${mode}`)
    // A store waits as long as its client does, with its whole process.
    yield* own.unsafe("PRAGMA busy_timeout = 10")
    yield* taker.unsafe("BEGIN IMMEDIATE")
    yield* before(own)
    yield* taker.unsafe("COMMIT")
    const store = yield* Effect.provideService(Sql.webhookStore({ prefix }), SqlClient.SqlClient, own)
    return {
      own,
      store,
      tokens: other.unsafe(`SELECT token FROM ${prefix}webhooks ORDER BY seq`).values,
      write: other.unsafe("CREATE TABLE IF NOT EXISTS another (x)"),
      /** Does this while the file is taken, and goes on with it when it is not any more. */
      meanwhile: <A, E>(
        begin: string,
        effect: Effect.Effect<A, E>,
        enough: Effect.Effect<unknown> = Effect.sleep("100 millis")
      ) =>
        Effect.gen(function* () {
          yield* taker.unsafe(begin)
          const fiber = yield* Effect.fork(effect)
          yield* enough
          yield* taker.unsafe("COMMIT")
          return yield* fiber
        })
    }
  })

// Alone: it sees how long its process stands still.
describe("a file of SQLite that is busy", () => {
  it.scopedLive("is waited for by statements as long as their client says, while its process does other things", () =>
    Effect.gen(function* () {
      const { meanwhile, own } = yield* opened("WAL", (sql) => Effect.orDie(sql.unsafe("PRAGMA busy_timeout = 20000")))
      const statements = Array.makeBy(40, (n) => own.unsafe(`CREATE TABLE t${n} (x)`))
      let longest = 0
      const turn = Effect.map(Effect.timed(Effect.sleep("5 millis")), ([duration]) => {
        longest = Math.max(longest, Duration.toMillis(duration))
      })
      yield* meanwhile(
        "BEGIN IMMEDIATE",
        Effect.all(statements, { concurrency: "unbounded", discard: true }),
        Effect.repeatN(turn, 20)
      )
      // One after the other, each for 100 ms, they would stop it for four seconds.
      assert.isBelow(longest, 3_000)
    })
  )
})

describe.concurrent("a file of SQLite that was busy", () => {
  for (const mode of ["WAL", "DELETE"]) {
    it.scopedLive(`has all that a store says to have written (${mode})`, () =>
      Effect.gen(function* () {
        const { meanwhile, store, tokens, write } = yield* opened(mode)
        const first = yield* meanwhile("BEGIN IMMEDIATE", store.add(delivery(1)))
        assert.deepStrictEqual(first, { _tag: "Stored", sequence: 1 })
        assert.deepStrictEqual(yield* store.add(delivery(2)), { _tag: "Stored", sequence: 2 })
        assert.deepStrictEqual(yield* tokens, [["token 1"], ["token 2"]])
        yield* write
      })
    )

    it.scopedLive(`has what a store writes after a question of it was given up (${mode})`, () =>
      Effect.gen(function* () {
        const { meanwhile, store, tokens, write } = yield* opened(mode)
        yield* meanwhile("BEGIN IMMEDIATE", Effect.timeoutOption(store.add(delivery(1)), "30 millis"))
        yield* store.add(delivery(2))
        assert.include((yield* tokens).flat(), "token 2")
        yield* write
      })
    )
  }

  it.scopedLive("has what a store writes over a client that found it busy before", () =>
    Effect.gen(function* () {
      const { store, tokens, write } = yield* opened("DELETE", (sql) => Effect.exit(sql.unsafe("CREATE TABLE a (x)")))
      yield* store.add(delivery(1))
      assert.deepStrictEqual(yield* tokens, [["token 1"]])
      yield* write
    })
  )

  it.scopedLive("has what a store writes after a batch of statements found it busy", () =>
    Effect.gen(function* () {
      const { meanwhile, own, store, tokens, write } = yield* opened("WAL")
      const sdk = Reflect.get(own, "sdk") as Sdk
      const batch = Effect.tryPromise(() => sdk.batch(["CREATE TABLE a (x)"], "write"))
      assert.isTrue(Exit.isFailure(yield* meanwhile("BEGIN IMMEDIATE", Effect.exit(batch))))
      yield* store.add(delivery(1))
      assert.deepStrictEqual(yield* tokens, [["token 1"]])
      yield* write
    })
  )

  it.scopedLive("is waited for by a transaction over the client of a store", () =>
    Effect.gen(function* () {
      const { meanwhile, own, store, tokens } = yield* opened("WAL")
      const transaction = own.withTransaction(own.unsafe("CREATE TABLE a (x)"))
      assert.isTrue(Exit.isSuccess(yield* meanwhile("BEGIN IMMEDIATE", Effect.exit(transaction))))
      yield* store.add(delivery(1))
      assert.deepStrictEqual(yield* tokens, [["token 1"]])
    })
  )

  it.scopedLive("is nobody's any more after a store has read it", () =>
    Effect.gen(function* () {
      const { meanwhile, store, write } = yield* opened("DELETE")
      assert.strictEqual(yield* meanwhile("BEGIN EXCLUSIVE", store.latest), 0)
      assert.strictEqual(yield* store.latest, 0)
      yield* write
    })
  )

  it.scopedLive("keeps no cluster in it from its work, though another process writes to it half of the time", () =>
    Effect.gen(function* () {
      const count = 60
      const taker: FileTaker = { ...(yield* sqlite), millis: 40 }
      const kind = { name: "numbers", endpoint: "ep", input: Numbered, output: Numbered, chunkSize: 20 } as const
      const numbers = BatchCluster.make({ ...kind, key: ({ n }) => `number ${n}` })
      const handler: Emulator.Handler = ({ n }) => Effect.succeed({ n })
      const layer = numbers.layer.pipe(
        Layer.provideMerge(BatchCluster.layerSqlite(taker.sqlite)),
        Layer.provideMerge(Emulator.layerRunPod({ endpoints: { ep: { workers: 20, handler } } }))
      )
      yield* Effect.gen(function* () {
        const { output } = yield* startProcess(program("fileTaker"), taker)
        yield* until(Effect.sync(() => output().includes("taken")))
        yield* numbers.start(
          "a",
          Array.makeBy(count, (n) => ({ n }))
        )
        const outcomes = yield* Stream.runCollect(numbers.outcomes("a", { poll: "50 millis" }))
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(outcomes).map(({ result }) => Exit.isSuccess(result)),
          Array.replicate(true, count)
        )
        const { submitted } = yield* Effect.flatMap(Emulator.Emulator, ({ counts }) => counts)
        assert.strictEqual(submitted, count)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scopedLive(
    "is the one of the path that a cluster is given, whatever characters are in it, and its layer fails without one",
    () =>
      Effect.gen(function* () {
        const folder = dirname((yield* sqlite).sqlite)
        const opened = (file: string) => Effect.exit(Effect.scoped(Layer.build(BatchCluster.layerSqlite(file))))
        for (const name of ["50%.db", "a%20b.db", "a?b#c.db"]) {
          assert.isTrue(Exit.isSuccess(yield* opened(`${folder}/${name}`)), name)
          assert.isTrue(existsSync(`${folder}/${name}`), name)
        }
        for (const file of ["", ":memory:", folder, `${folder}/missing/a.db`]) {
          const cause = Exit.match(yield* opened(file), { onFailure: Cause.failureOption, onSuccess: Option.none })
          assert.include(Option.getOrThrow(cause), { _tag: "BatchJournalError", reason: "Io" })
        }
      })
  )

  it.scopedLive("is refused over a client that gives its integers as text", () =>
    Effect.gen(function* () {
      const place = yield* sqlite
      const client = yield* Layer.build(LibsqlClient.layer({ url: `file:${place.sqlite}`, intMode: "string" }))
      const error = yield* Effect.flip(Effect.provide(Sql.batchStore({ prefix: newPrefix() }), client))
      assert.include(error, { reason: "Format" })
    })
  )
})
