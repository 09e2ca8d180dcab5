/** Chunks whose inputs are not stored, and items whose job becomes known late, over a real database. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, type Scope, Stream } from "effect"
import { Endpoint, type RunPod } from "effect-runpod"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as Emulator from "effect-runpod/Emulator"
import { BatchStore, Sql } from "effect-runpod-cluster"
import { clientOf, databases, newPrefix } from "./support/databases.js"

const { Fault } = Emulator
const Secret = Schema.Struct({ secret: Schema.String, n: Schema.NumberFromString })
type Secret = typeof Secret.Type
const endpoint = Endpoint.make("ep", { input: Secret, output: Schema.Unknown })
const secrets = (count: number): Array<Secret | undefined> =>
  Array.from({ length: count }, (_, n) => ({ secret: `secret ${n}`, n }))

/** Where the inputs are, which the database does not have. */
class Source {
  readonly asked: Array<BatchStore.Range> = []
  constructor(readonly inputs: Array<Secret | undefined>) {}

  readonly load = (range: BatchStore.Range) =>
    Effect.sync(() => {
      this.asked.push(range)
      return this.inputs.slice(range.from, range.to)
    })

  readonly references = (): Effect.Effect<ReadonlyArray<BatchStore.NewReference>> =>
    Effect.forEach(this.inputs, (input, index) =>
      Effect.gen(function* () {
        const encoded = yield* Effect.orDie(Schema.encodeUnknown(Secret)(input))
        return { key: `k${index}`, hash: yield* BatchStore.hash(encoded) }
      })
    )
}

const counts = Effect.flatMap(Emulator.Emulator, (emulator) => emulator.counts)

type Services = SqlClient.SqlClient | Scope.Scope | Emulator.Emulator | RunPod.RunPod

interface Driving {
  readonly prefix: string
  readonly source: Source
  readonly store: BatchStore.Service
  readonly drive: (
    chunk: number,
    options?: Partial<BatchStore.DriveOptions<Secret, typeof Secret.Encoded, unknown, string>>
  ) => Effect.Effect<BatchStore.Driven, unknown, RunPod.RunPod>
}

const kindsIn = (outcomes: ReadonlyArray<BatchStore.StoredOutcome>) =>
  outcomes.map(({ key, problem, settled }) => [key, problem?.kind ?? settled?.status])

for (const { name, place } of databases) {
  describe.concurrent(`a chunk whose inputs are not stored, in ${name}`, () => {
    const test = (
      title: string,
      { count, faults = [] }: { readonly count: number; readonly faults?: Emulator.Options["faults"] },
      body: (driving: Driving) => Effect.Effect<unknown, unknown, Services>
    ) =>
      it.scopedLive(
        title,
        () => {
          const handler: Emulator.Handler = ({ n }) => Effect.succeed({ n })
          const emulator = Emulator.layerRunPod({ endpoints: { ep: { workers: 50, handler } }, faults })
          const client = Layer.unwrapScoped(Effect.map(place, clientOf))
          return Effect.gen(function* () {
            const prefix = newPrefix()
            const store = yield* Sql.batchStore({ prefix, lease: "2 seconds", grace: "1 second" })
            const source = new Source(secrets(count))
            yield* store.create({ id: "b", endpointId: "ep", chunkSize: 20 }, Stream.fromEffect(source.references()))
            const drive: Driving["drive"] = (chunk, more) =>
              Effect.flatMap(endpoint, (ep) =>
                BatchStore.drive(ep, { id: "b", chunk, input: Secret, load: source.load, ...more })
              ).pipe(Effect.provideService(BatchStore.BatchStore, store))
            return yield* body({ prefix, source, store, drive })
          }).pipe(Effect.provide(Layer.merge(emulator, client)))
        },
        30_000
      )

    test("loads them by ranges of its own, and the database has none of them", { count: 30 }, (driving) =>
      Effect.gen(function* () {
        const { drive, prefix, source, store } = driving
        assert.strictEqual(yield* drive(0), "Finished")
        assert.deepStrictEqual(source.asked, [
          { from: 0, to: 8 },
          { from: 8, to: 20 }
        ])
        assert.strictEqual(yield* drive(1), "Finished")
        assert.deepInclude(yield* store.progress("b"), { settled: 30, failed: 0, done: 2 })
        const [first] = yield* store.outcomes("b")
        assert.deepInclude(first, { key: "k0", index: 0, hash: (yield* source.references())[0]!.hash })
        assert.notProperty(first, "input")
        assert.deepInclude(first?.settled, { output: { n: "0" } })
        const sql = yield* SqlClient.SqlClient
        for (const table of ["items", "batches", "chunks"]) {
          assert.notInclude(JSON.stringify(yield* sql.unsafe(`SELECT * FROM "${prefix}${table}"`)), "secret")
        }
      })
    )

    test("is created once with the same, and never with others", { count: 20 }, ({ source, store }) =>
      Effect.gen(function* () {
        const batch = { id: "b", endpointId: "ep", chunkSize: 20 }
        const create = (items: ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>) =>
          store.create(batch, Stream.make(items))
        const references = yield* source.references()
        assert.strictEqual(yield* create(references), 1)
        const stored = references.map(({ key }) => ({ key, input: {} }))
        const other = references.map((item, i) => (i === 3 ? { ...item, hash: "another" } : item))
        for (const items of [stored, other, references.slice(1)]) {
          const error = yield* Effect.flip(create(items))
          assert.include(["InputChanged", "DuplicateKey"], error.reason)
        }
      })
    )

    test("submits none that is gone or another one, and all others", { count: 20 }, ({ drive, source, store }) =>
      Effect.gen(function* () {
        const before = [...source.inputs]
        source.inputs[3] = { secret: "another", n: 3 }
        source.inputs[5] = undefined
        source.inputs.length = 19
        assert.strictEqual(yield* drive(0), "Finished")
        const changed = ["k3", "k5", "k19"]
        assert.deepStrictEqual(
          kindsIn(yield* store.outcomes("b")),
          before.map((_, n) => [`k${n}`, changed.includes(`k${n}`) ? "InputChanged" : "COMPLETED"])
        )
        assert.strictEqual((yield* counts).submitted, 17)
        // As they were, they are driven.
        before.forEach((input, n) => (source.inputs[n] = input))
        assert.deepStrictEqual(yield* store.reopen("b", ["InputChanged"]), [0])
        assert.strictEqual(yield* drive(0), "Finished")
        assert.deepInclude(yield* store.progress("b"), { settled: 20, failed: 0 })
        assert.strictEqual((yield* counts).submitted, 20)
      })
    )

    test(
      "keeps what is known of a job whose input has changed, and says that there may be one",
      { count: 10, faults: [Fault.resetAfter({ operations: ["run"], times: 1 })] },
      ({ drive, source, store }) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* drive(0, { concurrency: 1 }), "Finished")
          assert.deepStrictEqual(kindsIn(yield* store.outcomes("b"))[0], ["k0", "SubmitAmbiguousError"])
          const before = [...source.inputs]
          source.inputs.fill(undefined)
          assert.strictEqual(yield* drive(0), "Finished")
          const outcomes = yield* store.outcomes("b")
          assert.deepStrictEqual(
            kindsIn(outcomes),
            before.map((_, n) => [`k${n}`, n === 0 ? "InputChanged" : "COMPLETED"])
          )
          assert.match(String(outcomes[0]?.problem?.error), /a job may have been started/)
          // Opened again with its input it is still in doubt, and submitted by nobody.
          before.forEach((input, n) => (source.inputs[n] = input))
          assert.deepStrictEqual(yield* store.reopen("b", ["InputChanged"]), [0])
          assert.strictEqual(yield* drive(0), "Finished")
          assert.deepStrictEqual(kindsIn(yield* store.outcomes("b"))[0], ["k0", "SubmitAmbiguousError"])
          assert.strictEqual((yield* counts).submitted, 10)
        })
    )

    test("fails where nobody loads them, or they cannot be loaded", { count: 10 }, ({ drive, source, store }) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(drive(0, { load: undefined }))
        assert.instanceOf(error, BatchJournalError)
        assert.strictEqual(error.reason, "WrongId")
        assert.strictEqual(yield* Effect.flip(drive(0, { load: () => Effect.fail("away") })), "away")
        yield* store.cancel("b")
        source.asked.length = 0
        assert.strictEqual(yield* drive(0), "Cancelled")
        assert.deepStrictEqual(source.asked, [])
        assert.strictEqual((yield* counts).submitted, 0)
      })
    )

    test(
      "says nothing of an input in the words of a schema that does not accept it",
      { count: 10 },
      ({ drive, prefix, store }) =>
        Effect.gen(function* () {
          const Short = Schema.Struct({ secret: Schema.String.pipe(Schema.maxLength(3)), n: Schema.NumberFromString })
          assert.strictEqual(yield* drive(0, { input: Short }), "Finished")
          assert.deepInclude(yield* store.progress("b"), { failed: 10, waiting: 10, done: 1 })
          const sql = yield* SqlClient.SqlClient
          assert.notInclude(JSON.stringify(yield* sql.unsafe(`SELECT * FROM "${prefix}items"`)), "secret ")
        })
    )
  })

  describe.concurrent(`an item in doubt in ${name}`, () => {
    it.scopedLive(
      "whose job becomes known when its chunk is at its end keeps its outcome, and gets no second job",
      () =>
        Effect.gen(function* () {
          const prefix = newPrefix()
          const sql = yield* SqlClient.SqlClient
          const store = yield* Sql.batchStore({ prefix, lease: "1 hour", grace: 0 })
          yield* store.create(
            { id: "b", endpointId: "ep" },
            Stream.make([{ key: "a", input: { secret: "s", n: "1" } }])
          )
          const drive = Effect.flatMap(endpoint, (ep) =>
            BatchStore.drive(ep, { id: "b", chunk: 0, input: Secret })
          ).pipe(Effect.provideService(BatchStore.BatchStore, store))
          // A process that has submitted it stands still before it has told of its job.
          const zombie = yield* Effect.flatMap(store.take("b", 0), (taken) => store.journal(taken))
          const hash = yield* BatchStore.hash({ secret: "s", n: "1" })
          yield* zombie.append({ _tag: "Intent", key: "a", hash, at: 1_000 })
          yield* sql.unsafe(`UPDATE "${prefix}chunks" SET until = 1`)
          assert.strictEqual(yield* drive, "Finished")
          assert.deepStrictEqual(kindsIn(yield* store.outcomes("b")), [["a", "SubmitAmbiguousError"]])
          const ep = yield* endpoint
          const { id } = yield* ep.run({ secret: "s", n: 1 })
          const at = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
          yield* zombie.append({ _tag: "Submitted", key: "a", hash, at, jobId: id, attempts: 1 })
          assert.deepStrictEqual(kindsIn(yield* store.outcomes("b")), [["a", "SubmitAmbiguousError"]])
          assert.deepInclude(yield* store.progress("b"), { submitted: 1, failed: 1, done: 1 })
          assert.deepStrictEqual(yield* store.reopen("b", ["SubmitAmbiguousError"]), [0])
          assert.strictEqual(yield* drive, "Finished")
          const [outcome] = yield* store.outcomes("b")
          assert.deepInclude(outcome?.settled, { jobId: id, status: "COMPLETED" })
          assert.strictEqual((yield* counts).submitted, 1)
        }).pipe(
          Effect.provide(
            Layer.merge(
              Emulator.layerRunPod({ endpoints: { ep: { workers: 1 } } }),
              Layer.unwrapScoped(Effect.map(place, clientOf))
            )
          )
        ),
      30_000
    )
  })
}
