/** What a list of batches says, beside a count of each item. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Layer, Schema, Stream } from "effect"
import { Batch, Endpoint } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { BatchStore, Sql } from "effect-runpod-cluster"
import { clientOf, counted, databases, newPrefix } from "./support/databases.js"

const Numbered = Schema.Struct({ n: Schema.Number.pipe(Schema.lessThan(24)) })
const endpoint = Endpoint.make("ep", { input: Numbered, output: Schema.Unknown })
const items = (count: number) => Array.from({ length: count }, (_, n) => ({ key: `k${n}`, input: { n } }))

for (const { name, place } of databases) {
  describe(`a batch of thousands of items in ${name}`, () => {
    it.scopedLive(
      "is stored, and its facts are, without a look at all others for each",
      () =>
        Effect.gen(function* () {
          const count = 4_000
          const store = yield* Sql.batchStore({ prefix: newPrefix() })
          const pages = Stream.fromIterable(items(count)).pipe(Stream.grouped(1_000), Stream.map(Chunk.toReadonlyArray))
          yield* store.create({ id: "b", endpointId: "ep", chunkSize: count }, pages)
          const journal = yield* Effect.flatMap(store.take("b", 0), (taken) => store.journal(taken))
          const append = (tag: "Intent" | "Submitted") =>
            Effect.forEach(
              items(count),
              ({ key }) =>
                journal.append(
                  tag === "Intent"
                    ? { _tag: tag, key, hash: "h", at: 1 }
                    : { _tag: tag, key, hash: "h", at: 1, jobId: "job", attempts: 1 }
                ),
              { concurrency: "unbounded", discard: true }
            )
          yield* append("Intent")
          yield* append("Submitted")
          assert.deepInclude(yield* store.progress("b"), { total: count, submitted: count })
        }).pipe(Effect.timeout("10 seconds"), Effect.provide(Layer.unwrapScoped(Effect.map(place, clientOf)))),
      30_000
    )
  })

  describe.concurrent(`a list of batches in ${name}`, () => {
    it.scopedLive(
      "has the newest first, each with the counts of its items, however it stands",
      () =>
        Effect.gen(function* () {
          const prefix = newPrefix()
          const { client: sql, state } = counted(yield* SqlClient.SqlClient)
          const store = yield* Effect.provideService(Sql.batchStore({ prefix }), SqlClient.SqlClient, sql)
          const ep = yield* endpoint
          const create = (id: string, count: number, more: Partial<BatchStore.NewBatch> = {}) =>
            store.create({ id, endpointId: "ep", chunkSize: 10, ...more }, Stream.make(items(count)))
          const drive = (id: string, chunk: number) =>
            Effect.provideService(
              BatchStore.drive(ep, { id, chunk, input: Numbered, concurrency: 5 }),
              BatchStore.BatchStore,
              store
            )
          const broken = Stream.concat(Stream.make(items(7)), Stream.fail("the source broke"))
          yield* Effect.flip(store.create({ id: "loading", endpointId: "ep" }, broken))
          yield* create("new", 35)
          yield* create("ended", 35)
          for (const chunk of [0, 1, 2, 3]) yield* drive("ended", chunk)
          yield* create("some", 35)
          for (const chunk of [0, 3]) yield* drive("some", chunk)
          yield* create("reopened", 30)
          for (const chunk of [0, 1, 2]) yield* drive("reopened", chunk)
          yield* store.reopen("reopened", ["JobFailedError"])
          yield* create("cancelled", 20)
          yield* store.cancel("cancelled")
          yield* drive("cancelled", 1)
          yield* Effect.scoped(
            Effect.flatMap(Sql.journal({ id: "journal", prefix }), (journal) =>
              Batch.collect(
                ep,
                items(12).map(({ input }) => input),
                { journal }
              )
            )
          ).pipe(Effect.provideService(SqlClient.SqlClient, sql))
          yield* create("empty", 0)
          yield* create("taken", 20)
          const journal = yield* Effect.flatMap(store.take("taken", 0), (taken) => store.journal(taken))
          yield* journal.append({ _tag: "Intent", key: "k0", hash: "h", at: 1 })
          yield* journal.append({ _tag: "Intent", key: "k1", hash: "h", at: 1 })
          yield* journal.append({ _tag: "Submitted", key: "k1", hash: "h", at: 1, jobId: "job", attempts: 1 })

          const before = state.statements
          const list = yield* store.list()
          assert.strictEqual(state.statements - before, 1)
          assert.deepStrictEqual(
            list.map(({ id }) => id),
            ["taken", "empty", "journal", "cancelled", "reopened", "some", "ended", "new", "loading"]
          )
          for (const { createdAt, endpointId, id, ...progress } of list) {
            assert.deepStrictEqual(yield* store.progress(id), progress)
            assert.strictEqual(endpointId, "ep")
            assert.closeTo(createdAt, Date.now(), 60_000)
            const rows = yield* sql.unsafe<{ state: string; n: number; failed: number }>(
              `SELECT state, CAST(count(*) AS INTEGER) AS n, CAST(count(kind) AS INTEGER) AS failed
               FROM "${prefix}items" WHERE batch = '${id}' GROUP BY state`
            )
            const of = (...states: ReadonlyArray<string>) =>
              rows.reduce((sum, { n, state }) => (states.includes(state) ? sum + n : sum), 0)
            const { chunks: _, done: __, state: ___, ...counts } = progress
            assert.deepStrictEqual(
              counts,
              {
                total: of("Settled", "Submitted", "Intent", "New", "Released"),
                settled: of("Settled"),
                submitted: of("Submitted"),
                intended: of("Intent"),
                waiting: of("New", "Released"),
                failed: rows.reduce((sum, { failed }) => sum + failed, 0)
              },
              id
            )
          }
          const ended = list.find(({ id }) => id === "ended")
          // Three jobs failed, one submit is in doubt, and eleven inputs are not accepted.
          assert.deepInclude(ended, {
            state: "Open",
            chunks: 4,
            done: 4,
            total: 35,
            settled: 23,
            intended: 1,
            failed: 15
          })
          assert.deepInclude(
            list.find(({ id }) => id === "some"),
            { chunks: 4, done: 2, settled: 10, waiting: 25 }
          )

          const first = yield* store.list({ limit: 4 })
          const rest = yield* store.list({ limit: 100, before: first[3] })
          assert.deepStrictEqual([...first, ...rest], [...list])
          assert.deepStrictEqual(yield* store.list({ before: list.at(-1) }), [])
        }).pipe(
          Effect.provide(
            Layer.merge(
              Emulator.layerRunPod({
                endpoints: {
                  ep: {
                    workers: 50,
                    handler: ({ n }) => (Number(n) % 10 === 3 ? Effect.fail("three") : Effect.succeed(n))
                  }
                },
                faults: [Emulator.Fault.resetAfter({ operations: ["run"], times: 1 })]
              }),
              Layer.unwrapScoped(Effect.map(place, clientOf))
            )
          )
        ),
      30_000
    )
  })
}
