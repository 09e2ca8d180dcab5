/** Journals and the store of batches, over a real PostgreSQL and SQLite. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Schema, Scope, Stream } from "effect"
import { Batch, type BatchJournal, Endpoint, type JournalEntry, type RunPod } from "effect-runpod"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as Emulator from "effect-runpod/Emulator"
import { BatchStore, Sql } from "effect-runpod-cluster"
import { clientOf, counted, databases, isPostgres, newPrefix } from "./support/databases.js"
import { beside } from "./support/queries.js"

const Numbered = Schema.Struct({ n: Schema.Number })
const endpoint = Endpoint.make("ep", { input: Numbered, output: Numbered })
const inputs = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))
const options = { lease: "2 seconds", grace: "1 second" } as const

const intent = (key: string): JournalEntry.Intent => ({ _tag: "Intent", key, hash: `hash of ${key}`, at: 1_000 })
const submitted = (key: string, jobId = `job of ${key}`): JournalEntry.Submitted => ({
  ...intent(key),
  _tag: "Submitted",
  jobId,
  attempts: 1
})
const settled = (key: string, output: unknown, jobId?: string): JournalEntry.Settled => ({
  ...submitted(key, jobId),
  _tag: "Settled",
  status: "COMPLETED",
  delayTime: 1,
  executionTime: 2,
  output
})

const tagOf = (journal: BatchJournal.BatchJournal, key: string) =>
  Effect.map(journal.find(key), (found) => Option.getOrUndefined(found)?._tag)

/** The reason of a failure. */
const reason = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => (error instanceof BatchJournalError ? error.reason : error))

/** How many jobs each input of the emulator's endpoint got at most, and in all. */
const jobs = Effect.flatMap(Emulator.Emulator, (emulator) =>
  Effect.map(emulator.jobs("ep"), (jobs) => {
    const counts = new Map<unknown, number>()
    for (const { input } of jobs) counts.set(input["n"], (counts.get(input["n"]) ?? 0) + 1)
    return { total: jobs.length, most: Math.max(0, ...counts.values()) }
  })
)

for (const { name, place } of databases) {
  describe.concurrent(`a journal in ${name}`, () => {
    const test = (
      title: string,
      body: (
        prefix: string
      ) => Effect.Effect<unknown, unknown, SqlClient.SqlClient | Scope.Scope | Emulator.Emulator | RunPod.RunPod>
    ) =>
      it.scopedLive(
        title,
        () => {
          const emulator = Emulator.layerRunPod({ endpoints: { ep: { workers: 20 } } })
          const client = Layer.unwrapScoped(Effect.map(place, clientOf))
          return Effect.suspend(() => body(newPrefix())).pipe(Effect.provide(Layer.merge(emulator, client)))
        },
        30_000
      )

    if (name === "PostgreSQL") {
      test("asks one thing after the other within a transaction of the program", (prefix) =>
        Effect.gen(function* () {
          const store = yield* Sql.batchStore({ prefix })
          const sql = yield* SqlClient.SqlClient
          const ids = Array.from({ length: 20 }, (_, n) => `${n}`)
          const ask = Effect.forEach(ids, (id) => Effect.exit(store.status(id)), { concurrency: "unbounded" })
          yield* sql.withTransaction(Effect.zipRight(ask, Effect.ignore(sql.withTransaction(ask))))
          const own = beside.filter(({ text }) => text.includes(prefix))
          assert.deepStrictEqual(own, [])
        }))
    }

    test("is gone on from: settled items are replayed, and each input has one job", (prefix) =>
      Effect.gen(function* () {
        const ep = yield* endpoint
        const run = Effect.scoped(
          Effect.flatMap(Sql.journal({ id: "a", prefix }), (journal) => Batch.collect(ep, inputs(30), { journal }))
        )
        const first = yield* run
        const second = yield* run
        assert.deepStrictEqual(first.counts, { Completed: 30 })
        assert.strictEqual(second.replayed, 30)
        assert.deepStrictEqual(
          second.results.map((outcome) => ({ ...outcome, replayed: false })),
          [...first.results]
        )
        assert.deepStrictEqual(yield* jobs, { total: 30, most: 1 })
      }))

    test("knows how items stand when it is opened again, in the clock of the reader", (prefix) =>
      Effect.gen(function* () {
        const before = Date.now()
        yield* Effect.scoped(
          Effect.gen(function* () {
            const journal = yield* Sql.journal({ id: "a", prefix })
            yield* journal.append({ ...intent("intended"), at: before, webhook: "hook", earlier: 2 })
            for (const key of ["submitted", "settled", "released"]) yield* journal.append(intent(key))
            yield* journal.append({ ...submitted("submitted"), at: before - 60_000 })
            yield* journal.append(submitted("settled"))
            yield* journal.append({ ...settled("settled", { n: 1 }), workerId: "w", earlierExecutionTime: 7 })
            yield* journal.append({ ...intent("released"), _tag: "Released" })
          })
        )
        const journal = yield* Sql.journal({ id: "a", prefix })
        const found = Option.getOrThrow(yield* journal.find("intended"))
        assert.deepInclude(found, { _tag: "Intent", webhook: "hook", earlier: 2 })
        assert.deepStrictEqual(
          yield* Effect.forEach(["submitted", "settled", "released", "unknown"], (key) => tagOf(journal, key)),
          ["Submitted", "Settled", "Released", undefined]
        )
        const [job] = yield* journal.submitted
        assert.deepInclude(job, { key: "submitted", jobId: "job of submitted" })
        assert.closeTo(job!.at, before - 60_000, 1_000)
        assert.deepInclude(Option.getOrThrow(yield* journal.outcome("settled")), { output: { n: 1 }, workerId: "w" })
        assert.isTrue(Option.isNone(yield* journal.outcome("submitted")))
        const work = Array.from(yield* journal.work!).filter(({ workerId }) => workerId === "w")
        assert.deepInclude(work[0], { executionTime: 2, earlierExecutionTime: 7 })
      }))

    test("gives any output back as it was", (prefix) =>
      Effect.gen(function* () {
        const outputs = ["\u0000\ud800 é 'quotes' \"$1\" ?1", 12n, { at: new Date(5) }, [], null, "x".repeat(300_000)]
        const journal = yield* Sql.journal({ id: "a", prefix })
        for (const [i, output] of outputs.entries()) {
          yield* journal.append(intent(`${i}`))
          yield* journal.append(settled(`${i}`, output))
        }
        const read = yield* Effect.forEach(outputs, (_, i) => journal.outcome(`${i}`), { concurrency: "unbounded" })
        assert.deepStrictEqual(
          read.map((outcome) => Option.getOrThrow(outcome).output),
          outputs
        )
      }))

    test("is one run's at a time, and one batch's", (prefix) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        // Long enough for a machine that stands still for seconds: nobody else is to get it meanwhile.
        const journal = yield* Scope.extend(Sql.journal({ id: "a", prefix, lease: "6 seconds" }), scope)
        const error = yield* Effect.flip(Sql.journal({ id: "a", prefix }))
        assert.strictEqual(error.reason, "Locked")
        assert.match(error.message, /another run has chunk 0 of batch "a".* in [1-6] s\./)
        yield* Effect.scoped(
          Effect.zipRight(
            journal.begin("ep"),
            Effect.gen(function* () {
              assert.strictEqual(yield* reason(Effect.scoped(journal.begin("ep"))), "Locked")
            })
          )
        )
        yield* Effect.scoped(journal.begin("ep"))
        // Its owner says all the time that it lives.
        const sql = yield* SqlClient.SqlClient
        const lives = sql.unsafe<{ until: number }>(`SELECT until FROM "${prefix}chunks"`)
        const [before] = yield* lives
        yield* Effect.repeat(Effect.delay(lives, "50 millis"), { until: ([now]) => now!.until > before!.until })
        const impatient = yield* Effect.fork(Sql.journal({ id: "a", prefix, wait: "1 hour" }))
        yield* Effect.sleep("300 millis")
        yield* Effect.timeout(Fiber.interrupt(impatient), "20 seconds")
        const waiting = yield* Effect.fork(Sql.journal({ id: "a", prefix, wait: "10 seconds" }))
        yield* Effect.sleep("300 millis")
        yield* Scope.close(scope, Exit.void)
        const next = yield* waiting
        assert.strictEqual(yield* reason(Effect.scoped(next.begin("other"))), "WrongEndpoint")
        yield* Effect.scoped(next.begin("ep"))
        const store = yield* Sql.batchStore({ prefix })
        const taken = store.create({ id: "a", endpointId: "ep" }, Stream.empty)
        assert.strictEqual(yield* reason(taken), "WrongId")
      }))

    test("that is taken over writes no intent of the owner before, but what that one knows of its jobs", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const zombie = yield* Sql.journal({ id: "a", prefix, lease: "1 hour" })
        for (const key of ["known", "settled", "again", "released", "doubtful"]) yield* zombie.append(intent(key))
        yield* sql.unsafe(`UPDATE "${prefix}chunks" SET until = 1`)
        const scope = yield* Scope.make()
        const owner = yield* Scope.extend(Sql.journal({ id: "a", prefix, ...options }), scope)
        assert.strictEqual(yield* tagOf(owner, "known"), "Intent")
        yield* owner.append(intent("again"))
        yield* owner.append({ ...intent("released"), _tag: "Released" })
        const cause = { reason: "Timeout" }
        yield* owner.append({ ...intent("doubtful"), cause })

        for (const entry of [intent("new"), { ...intent("known"), _tag: "Released" } as const]) {
          assert.strictEqual(yield* reason(zombie.append(entry)), "Locked")
        }
        yield* zombie.append(submitted("known"))
        yield* zombie.append(settled("settled", "done"))
        yield* zombie.append(submitted("doubtful"))
        for (const key of ["again", "released"]) {
          assert.strictEqual(yield* reason(zombie.append(submitted(key))), "Locked")
        }
        yield* owner.append(submitted("again", "its own"))

        yield* Scope.close(scope, Exit.void)
        const next = yield* Sql.journal({ id: "a", prefix })
        assert.deepStrictEqual(
          yield* Effect.forEach(["known", "settled", "again", "released", "doubtful", "new"], (key) =>
            tagOf(next, key)
          ),
          ["Submitted", "Settled", "Submitted", "Released", "Submitted", undefined]
        )
        const [again] = (yield* next.submitted).filter(({ key }) => key === "again")
        assert.strictEqual(again?.jobId, "its own")
      }))

    test("of an owner before writes no intent either when one of the owner after, in the same process, comes with it", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const store = yield* Sql.batchStore({ prefix, lease: "30 seconds" })
        const items = ["k1", "k2", "k3"].map((key) => ({ key, input: key }))
        yield* store.create({ id: "a", endpointId: "ep", chunkSize: 2 }, Stream.make(items))
        const before = yield* store.take("a", 0)
        const journalBefore = yield* store.journal(before)
        // As if no renewal had come through.
        yield* sql.unsafe(`UPDATE "${prefix}chunks" SET until = 0`)
        const after = yield* store.take("a", 0)
        const journals = [yield* store.journal(after), yield* store.journal({ ...after })]
        const other = yield* store.journal(yield* store.take("a", 1))
        const asked = [
          reason(journalBefore.append(intent("k1"))),
          ...["k1", "k2"].map((key, i) => Effect.exit(journals[i]!.append(intent(key)))),
          Effect.exit(other.append(intent("k3")))
        ]
        const results = yield* Effect.all(asked, { concurrency: "unbounded" })
        assert.deepStrictEqual(results, ["Locked", Exit.void, Exit.void, Exit.void])
        assert.strictEqual(yield* reason(journalBefore.append(submitted("k1"))), "Locked")
      }))

    test("opens at once after a crash, and tells of an item in doubt when the owner before has, or `grace` is over", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const crash = sql.unsafe(`UPDATE "${prefix}chunks" SET until = 1`)
        const stateOf = (journal: BatchJournal.BatchJournal, key: string) =>
          Effect.map(journal.awaitJob?.(key) ?? Effect.succeedNone, (found) => Option.getOrUndefined(found)?._tag)
        const zombie = yield* Sql.journal({ id: "a", prefix, lease: "1 hour" })
        const at = Date.now()
        yield* zombie.append({ ...intent("a"), at })
        yield* zombie.append({ ...intent("b"), at })
        yield* zombie.append({ ...intent("old"), at: at - 60_000 })
        yield* zombie.append({ ...intent("known"), at, cause: {} })
        yield* crash
        const journal = yield* Sql.journal({ id: "a", prefix, lease: "1 hour", grace: "4 seconds" })
        assert.strictEqual(yield* tagOf(journal, "a"), "Intent")
        assert.strictEqual(yield* stateOf(journal, "old"), "Intent")
        assert.strictEqual(yield* stateOf(journal, "known"), "Intent")
        assert.strictEqual(yield* stateOf(journal, "new"), undefined)
        assert.isBelow(Date.now() - at, 4_000)
        const waiting = yield* Effect.fork(stateOf(journal, "a"))
        yield* zombie.append(submitted("a"))
        assert.strictEqual(yield* Fiber.join(waiting), "Submitted")
        assert.isBelow(Date.now() - at, 4_000)
        assert.deepStrictEqual(
          (yield* journal.submitted).map(({ jobId }) => jobId),
          ["job of a"]
        )
        assert.strictEqual(yield* stateOf(journal, "b"), "Intent")
        assert.isAtLeast(Date.now() - at, 4_000)
      }))

    test("keeps the first outcome that is told of an intent", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const zombie = yield* Sql.journal({ id: "a", prefix, lease: "1 hour" })
        yield* zombie.append(intent("a"))
        yield* zombie.append(submitted("a"))
        yield* sql.unsafe(`UPDATE "${prefix}chunks" SET until = 1`)
        const owner = yield* Sql.journal({ id: "a", prefix })
        yield* owner.append(settled("a", "first"))
        yield* zombie.append(submitted("a"))
        yield* zombie.append(settled("a", "second"))
        const [row] = yield* sql.unsafe<{ state: string; outcome: string }>(
          `SELECT state, outcome FROM "${prefix}items"`
        )
        assert.strictEqual(row?.state, "Settled")
        assert.include(row?.outcome, "first")
      }))

    test("refuses an entry that cannot be stored, and no other of its group", (prefix) =>
      Effect.gen(function* () {
        const journal = yield* Sql.journal({ id: "a", prefix })
        const keys = Array.from({ length: 50 }, (_, i) => (i === 20 ? "a\u0000b" : `${i}`))
        const exits = yield* Effect.forEach(keys, (key) => Effect.exit(journal.append(intent(key))), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          exits.map((exit) => Exit.isSuccess(exit)),
          keys.map((key) => !key.includes("\u0000"))
        )
        const bad = journal.append(settled("0", () => "secret"))
        const error = yield* Effect.flip(bad)
        assert.strictEqual(error.reason, "Unstorable")
        assert.notInclude(error.message, "secret")
        if (name !== "PostgreSQL") return
        // Longer than PostgreSQL has room for in an index, however it compresses.
        const long = Array.from({ length: 9_000 }, (_, i) => ((i * i * 7_919) % 9_973).toString(36)).join("")
        const [tooLong, fine] = yield* Effect.forEach(
          [long, "fine"],
          (key) => Effect.exit(journal.append(intent(key))),
          { concurrency: 2 }
        )
        assert.isTrue(Exit.isFailure(tooLong!) && Exit.isSuccess(fine!))
        assert.strictEqual(yield* reason(journal.append(intent(long))), "Unstorable")
      }))

    test("writes in groups what comes at once, and the entries of one key one after the other", (prefix) =>
      Effect.gen(function* () {
        const { client, state } = counted(yield* SqlClient.SqlClient)
        const journal = yield* Effect.provideService(Sql.journal({ id: "a", prefix }), SqlClient.SqlClient, client)
        const before = state.statements
        const item = (key: string) =>
          Effect.zipRight(
            journal.append(intent(key)),
            Effect.zipRight(journal.append(submitted(key)), journal.append(settled(key, key)))
          )
        yield* Effect.forEach(inputs(600), ({ n }) => item(`${n}`), { concurrency: "unbounded" })
        assert.isAtMost(state.statements - before, 30)
        // Whoever asks for both at once gets them in that order.
        yield* Effect.all([journal.append(intent("x")), journal.append({ ...intent("x"), _tag: "Released" })], {
          concurrency: 2
        })
        assert.strictEqual(yield* tagOf(journal, "x"), "Released")
        const outcomes = yield* Effect.forEach(inputs(600), ({ n }) => journal.outcome(`${n}`), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          outcomes.map((outcome) => Option.getOrThrow(outcome).output),
          inputs(600).map(({ n }) => `${n}`)
        )
        assert.isAtMost(state.statements - before, 40)
      }))

    test("fails at once, without the database's words, when what is wrong does not pass", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const journal = yield* Sql.journal({ id: "a", prefix })
        yield* sql.unsafe(`DROP TABLE "${prefix}items"`)
        const error = yield* Effect.flip(journal.append(intent("a"))).pipe(Effect.timeout("10 seconds"))
        assert.strictEqual(error.reason, "Io")
        assert.notInclude(error.message, prefix)
      }))

    test("makes its tables once, however many begin at once, and refuses those of a later version", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* Effect.forEach(inputs(4), () => Sql.batchStore({ prefix }), { concurrency: "unbounded" })
        const versions = yield* sql.unsafe<{ version: number }>(`SELECT version FROM "${prefix}migrations"`)
        assert.deepStrictEqual(
          versions.map(({ version }) => version),
          versions.map((_, i) => i + 1)
        )
        yield* sql.unsafe(`INSERT INTO "${prefix}migrations" (version, at) VALUES (99, 0)`)
        assert.strictEqual(yield* reason(Sql.batchStore({ prefix })), "Version")
        assert.strictEqual(yield* reason(Sql.batchStore({ prefix: `x"; DROP TABLE y; --` })), "Format")
      }))

    test("of an earlier version gets what it lacks, once, and keeps its rows", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const store = yield* Sql.batchStore({ prefix })
        const batch = { id: "b", endpointId: "ep" }
        const pages = Stream.make([{ key: "a", input: { n: 1 } }])
        yield* store.create(batch, pages)
        // As they were before inputs could be left out.
        yield* sql.unsafe(`ALTER TABLE "${prefix}items" DROP COLUMN input_hash`)
        yield* sql.unsafe(`DELETE FROM "${prefix}migrations" WHERE version > 3`)
        yield* Effect.forEach(inputs(4), () => Sql.batchStore({ prefix }), { concurrency: "unbounded" })
        const later = yield* Sql.batchStore({ prefix })
        assert.strictEqual(yield* later.create(batch, pages), 1)
        const reference = Stream.make([{ key: "a", hash: yield* BatchStore.hash({ n: 1 }) }])
        assert.strictEqual(yield* later.create({ ...batch, id: "c" }, reference), 1)
        const [first] = yield* Effect.flatMap(later.take("b", 0), (taken) => later.inputs(taken))
        assert.deepStrictEqual(first, { key: "a", index: 0, input: { n: 1 } })
      }))

    test("has the inputs of one of those that store others at the same time, and none of the others'", (prefix) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const store = yield* Sql.batchStore({ prefix })
        const itemsOf = (kind: string, count: number) =>
          inputs(count).map((input) => ({ key: `${kind} ${input.n}`, input }))
        const shorter = itemsOf("a", 4)
        const longer = itemsOf("a", 6)
        const other = itemsOf("b", 5)
        // A statement of PostgreSQL sees what was there when it began: of the fifth input that takes long.
        if (isPostgres) {
          yield* sql.unsafe(`CREATE FUNCTION "${prefix}slow"() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.idx = 4 THEN PERFORM pg_sleep(0.02); END IF; RETURN NEW; END $$`)
          yield* sql.unsafe(
            `CREATE TRIGGER slow BEFORE INSERT ON "${prefix}items" FOR EACH ROW EXECUTE FUNCTION "${prefix}slow"()`
          )
        }
        for (const id of inputs(30).map(({ n }) => `b${n}`)) {
          const batch = { id, endpointId: "ep", chunkSize: 10 }
          const exits = yield* Effect.forEach(
            [shorter, longer, other],
            (items) =>
              Effect.exit(store.create(batch, Stream.rechunk(Stream.make(items.slice(0, 4), items.slice(4)), 1))),
            { concurrency: "unbounded" }
          )
          const stored = yield* sql.unsafe(
            `SELECT key FROM "${prefix}items" WHERE batch = '${id}' AND EXISTS (SELECT 1 FROM "${prefix}batches" WHERE id = batch AND state = 'Open') ORDER BY idx`
          ).values
          const winners = [shorter, longer, other].filter((_, i) => Exit.isSuccess(exits[i]!))
          assert.isAtMost(winners.length, 1)
          assert.deepStrictEqual(
            stored.flat(),
            winners.flat().map(({ key }) => key)
          )
        }
      }))

    test("of a chunk drives its items: the store has their inputs, progress and outcomes", (prefix) =>
      Effect.gen(function* () {
        const ep = yield* endpoint
        const store = yield* Sql.batchStore({ prefix })
        const items = inputs(25).map((input) => ({ key: `key ${input.n}`, input }))
        const pages = (of: ReadonlyArray<BatchStore.NewItem>) =>
          Stream.map(Stream.rechunk(Stream.fromIterable(of), 7), (item) => [item])
        const batch = { id: "b", endpointId: "ep", chunkSize: 10 }
        const broken = Stream.concat(pages(items.slice(0, 9)), Stream.fail("the source broke"))
        assert.strictEqual(yield* reason(store.create(batch, broken)), "the source broke")
        assert.strictEqual(yield* reason(store.take("b", 0)), "WrongId")
        assert.strictEqual(yield* store.create(batch, pages(items)), 3)
        assert.strictEqual(yield* store.create(batch, pages(items)), 3)
        const other = items.map((item, i) => (i === 4 ? { ...item, input: { n: 99 } } : item))
        assert.strictEqual(yield* reason(store.create(batch, pages(other))), "InputChanged")
        assert.strictEqual(yield* reason(store.create(batch, pages(items.slice(1)))), "DuplicateKey")
        assert.strictEqual(yield* reason(store.create(batch, pages(items.slice(0, 9)))), "InputChanged")
        assert.strictEqual(yield* reason(store.create({ ...batch, endpointId: "x" }, pages(items))), "WrongEndpoint")
        assert.strictEqual(yield* reason(Sql.journal({ id: "b", prefix })), "WrongId")
        assert.strictEqual(yield* reason(store.take("b", 3)), "WrongId")

        const drive = (chunk: number) =>
          Effect.gen(function* () {
            const taken = yield* store.take("b", chunk)
            assert.strictEqual(yield* reason(store.take("b", chunk)), "Locked")
            const first = yield* store.inputs(taken, { limit: 4 })
            const rest = yield* store.inputs(taken, { after: first.at(-1)!.index })
            const stored = [...first, ...rest]
            const journal = yield* store.journal(taken)
            const keys = new Map(stored.map(({ input, key }) => [(input as { n: number }).n, key]))
            const own = stored.map(({ input }) => input as { n: number })
            return yield* Batch.collect(ep, own, { journal, key: ({ n }) => keys.get(n)! })
          }).pipe(Effect.scoped)
        assert.deepStrictEqual((yield* drive(2)).counts, { Completed: 5 })
        assert.deepStrictEqual(yield* store.progress("b"), {
          chunks: 3,
          total: 25,
          settled: 5,
          submitted: 0,
          intended: 0,
          waiting: 20,
          failed: 0,
          done: 0,
          state: "Open"
        })
        yield* Effect.all([drive(0), drive(1)], { concurrency: 2 })
        const some = yield* store.outcomes("b", { after: 4, limit: 3 })
        assert.deepStrictEqual(
          some.map(({ index, settled }) => [index, settled?.key, settled?.output]),
          [5, 6, 7].map((n) => [n, `key ${n}`, { n }])
        )
        assert.strictEqual((yield* store.outcomes("b", { limit: 1_000 })).length, 25)
        assert.deepStrictEqual(yield* jobs, { total: 25, most: 1 })
      }))
  })
}
