/** Stores over a file of SQLite that other processes have, too: what is said to be written is, and nobody is held up by what was not. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Array, Chunk, Effect, Exit, Layer, Schema, Stream } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import { Sql } from "effect-runpod-cluster"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { program } from "../../../test/support/program.js"
import { delivery } from "../../../test/support/storeBehaviours.js"
import { clientOf, newPrefix, type Place, sqlite } from "./support/databases.js"
import type { FileTaker } from "./support/fileTaker.js"
import { startProcess, until } from "./support/processes.js"

const Numbered = Schema.Struct({ n: Schema.Number })

const open = (place: Place) =>
  Effect.flatMap(Layer.build(clientOf(place)), (context) => Effect.provide(SqlClient.SqlClient, context))

/** A store, and two other clients of its file, as other processes have them: one that takes the file, one that sees what is there. */
const opened = (mode: string) =>
  Effect.gen(function* () {
    const place = yield* sqlite
    const prefix = newPrefix()
    const own = yield* open(place)
    const taker = yield* open(place)
    const other = yield* open(place)
    yield* taker.unsafe(`PRAGMA journal_mode = ${mode}`)
    // A store waits as long as its client does, with its whole process.
    yield* own.unsafe("PRAGMA busy_timeout = 10")
    const store = yield* Effect.provideService(Sql.webhookStore({ prefix }), SqlClient.SqlClient, own)
    return {
      own,
      store,
      tokens: other.unsafe(`SELECT token FROM ${prefix}webhooks ORDER BY seq`).values,
      write: other.unsafe("CREATE TABLE IF NOT EXISTS another (x)"),
      /** Does this while the file is taken, and goes on with it when it is not any more. */
      meanwhile: <A, E>(begin: string, effect: Effect.Effect<A, E>) =>
        Effect.gen(function* () {
          yield* taker.unsafe(begin)
          const fiber = yield* Effect.fork(effect)
          yield* Effect.sleep("100 millis")
          yield* taker.unsafe("COMMIT")
          return yield* fiber
        })
    }
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

  it.scopedLive("is nobody's any more after a store has read it", () =>
    Effect.gen(function* () {
      const { meanwhile, store, write } = yield* opened("DELETE")
      assert.strictEqual(yield* meanwhile("BEGIN EXCLUSIVE", store.latest), 0)
      assert.strictEqual(yield* store.latest, 0)
      yield* write
    })
  )

  it.scopedLive("is waited for by a client that does not say how long, and as long as one says", () =>
    Effect.gen(function* () {
      const place = yield* sqlite
      const waits = (client: SqlClient.SqlClient) => client.unsafe("PRAGMA busy_timeout").values
      const usual = yield* open(place)
      const own = yield* open(place)
      yield* own.unsafe("PRAGMA busy_timeout = 70")
      for (const client of [usual, own])
        yield* Effect.provideService(Sql.batchStore({ prefix: newPrefix() }), SqlClient.SqlClient, client)
      assert.deepStrictEqual(yield* waits(usual), [[100]])
      assert.deepStrictEqual(yield* waits(own), [[70]])
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
})
