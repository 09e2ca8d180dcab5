/** Batches of a cluster of one process, in a file. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as WorkflowEngine from "@effect/workflow/WorkflowEngine"
import { Cause, Chunk, Context, Effect, Exit, Fiber, Layer, Option, Schema, Scope, Stream } from "effect"
import { RateLimits, RunPod } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { BatchStore, Sql } from "effect-runpod-cluster"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { chunkWorkflow } from "../src/internal/cluster/workflow.js"
import { clientOf } from "./support/databases.js"

const { Fault } = Emulator
const Numbered = Schema.Struct({ n: Schema.Number })
const kind = { name: "numbers", endpoint: "ep", input: Numbered, output: Numbered, chunkSize: 20, chunks: 4 } as const
const numbers = BatchCluster.make({ ...kind, key: ({ n }) => `number ${n}` })
const inputs = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))
const poll = "50 millis"

/** Where the inputs of a batch are that does not store them. */
class Numbers extends Context.Tag("Numbers")<Numbers, ReadonlyArray<{ readonly n: number }>>() {}

const handler: Emulator.Handler = ({ n }) => (Number(n) % 10 === 3 ? Effect.fail("three") : Effect.succeed({ n }))

/** A file, which goes with the test. */
const file = Effect.flatMap(FileSystem, (fs) => fs.makeTempDirectoryScoped()).pipe(
  Effect.map((folder) => `${folder}/batches.db`),
  Effect.orDie,
  Effect.provide(NodeFileSystem.layer)
)

const emulated = (options: Partial<Emulator.EndpointOptions>, faults: Emulator.Options["faults"] = []) =>
  Emulator.layerRunPod({ endpoints: { ep: { workers: 50, handler, ...options } }, faults })

const submitted = Effect.flatMap(Emulator.Emulator, (emulator) =>
  Effect.map(emulator.counts, (counts) => counts.submitted)
)

/** What an outcome says, in short. */
const kindOf = (outcome: BatchCluster.Outcome<unknown, unknown>): string =>
  Exit.match(outcome.result, {
    onFailure: (cause) =>
      Option.getOrElse(
        Option.map(Cause.failureOption(cause), ({ _tag }) => _tag),
        () => "Defect"
      ),
    onSuccess: () => "Completed"
  })

/** A process that works on a file of its own. */
const started = (options: Partial<Emulator.EndpointOptions> = {}, faults?: Emulator.Options["faults"]) =>
  Layer.unwrapScoped(
    Effect.map(file, (file) =>
      numbers.layer.pipe(
        Layer.provideMerge(BatchCluster.layerSqlite(file)),
        Layer.provideMerge(emulated(options, faults))
      )
    )
  )

describe.concurrent("a cluster in a file", () => {
  it.scopedLive(
    "works on what is started, and gives each input its outcome, in order",
    () =>
      Effect.gen(function* () {
        yield* numbers.start("a", Stream.fromIterable(inputs(50)))
        // The same once more is nothing new.
        yield* numbers.start("a", inputs(50))
        const outcomes = yield* Stream.runCollect(numbers.outcomes("a", { poll }))
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(outcomes).map((outcome) => [
            outcome.index,
            outcome.key,
            outcome.input.n,
            kindOf(outcome)
          ]),
          inputs(50).map(({ n }) => [n, `number ${n}`, n, n % 10 === 3 ? "JobFailedError" : "Completed"])
        )
        const rest = yield* Stream.runCollect(numbers.outcomes("a", { after: 47, poll }))
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(rest).map(({ result }) => result),
          [Exit.succeed({ n: 48 }), Exit.succeed({ n: 49 })]
        )
        assert.deepInclude(yield* numbers.awaitEnd("a", { poll }), { chunks: 3, done: 3, total: 50, failed: 5 })
        const report = yield* numbers.report("a")
        assert.deepInclude(report, { completed: 45, failed: 5, open: 0, counts: { Completed: 45, JobFailedError: 5 } })
        assert.strictEqual(report.executionTime.count, 50)
        assert.strictEqual(yield* submitted, 50)
        const changed = yield* Effect.flip(numbers.start("a", inputs(49)))
        assert.deepInclude(changed, { _tag: "BatchJournalError", reason: "InputChanged" })
      }).pipe(Effect.provide(started())),
    30_000
  )

  it.scopedLive(
    "takes few inputs of all chunks before the limits let them through",
    () =>
      Effect.gen(function* () {
        let taken = 0
        const Counted = Schema.transform(Numbered, Schema.typeSchema(Numbered), {
          decode: (value) => {
            taken++
            return value
          },
          encode: (value) => value
        })
        const counted = BatchCluster.make({ ...kind, chunkSize: 200, input: Counted })
        const path = yield* file
        const client = { limits: RateLimits.make({ run: { limit: 5, window: "1 minute" } }) }
        const services = counted.layer.pipe(
          Layer.provideMerge(BatchCluster.layerSqlite(path)),
          Layer.provideMerge(Emulator.layerRunPod({ endpoints: { ep: { workers: 50, handler } }, client }))
        )
        yield* Effect.gen(function* () {
          yield* counted.start("a", inputs(800))
          yield* Effect.repeat(Effect.delay(counted.progress("a"), poll), { until: ({ settled }) => settled === 5 })
          // `start` reads each once. Each of the four chunks has a page at hand.
          assert.isAtLeast(taken, 800 + 5 + 64)
          assert.isAtMost(taken, 800 + 5 + 64 + kind.chunks * 100)
        }).pipe(Effect.provide(services))
      }),
    30_000
  )

  it.scopedLive(
    "loads inputs that are not stored, by the id of their batch, with what that needs",
    () =>
      Effect.gen(function* () {
        const path = yield* file
        const asked: Array<string> = []
        const loaded = BatchCluster.make({
          ...kind,
          load: (id, { from, to }) =>
            Effect.map(Numbers, (numbers) => {
              asked.push(id)
              return numbers.slice(from, to)
            })
        })
        const source = Layer.succeed(Numbers, inputs(50))
        const services = loaded.layer.pipe(
          Layer.provideMerge(BatchCluster.layerSqlite(path)),
          Layer.provideMerge(Layer.merge(emulated({}), source))
        )
        yield* Effect.gen(function* () {
          yield* loaded.start("a", { count: 50 })
          yield* loaded.start("a", { count: 50 })
          const outcomes = yield* Stream.runCollect(loaded.outcomes("a", { poll }))
          assert.deepStrictEqual(
            Chunk.toReadonlyArray(outcomes).map(({ index, result }) => [index, Exit.isSuccess(result)]),
            inputs(50).map(({ n }) => [n, n % 10 !== 3])
          )
          assert.strictEqual(yield* submitted, 50)
          assert.deepStrictEqual([...new Set(asked)], ["a"])
          const others = [
            loaded.start("a", { count: 49 }),
            loaded.start("b", { count: 51 }),
            BatchCluster.make(kind).start("a", inputs(50))
          ]
          for (const start of others) assert.deepInclude(yield* Effect.flip(start), { reason: "InputChanged" })
          assert.strictEqual(yield* loaded.retryFailed("a"), 3)
          yield* loaded.awaitEnd("a", { poll })
          assert.strictEqual(yield* submitted, 55)
        }).pipe(Effect.provide(services))
      }),
    30_000
  )

  it.scopedLive(
    "submits again what failed, and what is in doubt, when it is told to",
    () =>
      Effect.gen(function* () {
        yield* numbers.start("a", inputs(20))
        yield* numbers.awaitEnd("a", { poll })
        const before = yield* numbers.report("a")
        assert.deepInclude(before, { open: 0 })
        assert.strictEqual(before.counts["SubmitAmbiguousError"], 2)
        assert.strictEqual(yield* submitted, 20)
        assert.strictEqual(yield* numbers.retryAmbiguous("a"), 1)
        yield* numbers.awaitEnd("a", { poll })
        assert.strictEqual(yield* submitted, 22)
        assert.deepStrictEqual((yield* numbers.report("a")).counts, { Completed: 18, JobFailedError: 2 })
        assert.strictEqual(yield* numbers.retryFailed("a"), 1)
        yield* numbers.awaitEnd("a", { poll })
        assert.strictEqual(yield* submitted, 24)
        assert.strictEqual(yield* numbers.retryAmbiguous("a"), 0)
      }).pipe(Effect.provide(started({}, [Fault.resetAfter({ operations: ["run"], times: 2 })]))),
    30_000
  )

  it.scopedLive(
    "submits again what was refused, when it is told to",
    () => {
      const mends = { isMended: false }
      const refusing = Layer.effect(
        HttpClient.HttpClient,
        Effect.map(HttpClient.HttpClient, (client) =>
          HttpClient.make((request) =>
            mends.isMended || !request.url.includes("/run")
              ? client.execute(request)
              : Effect.succeed(HttpClientResponse.fromWeb(request, Response.json({ error: "no" }, { status: 400 })))
          )
        )
      )
      return Effect.gen(function* () {
        yield* numbers.start("a", inputs(20))
        yield* numbers.awaitEnd("a", { poll })
        assert.deepStrictEqual((yield* numbers.report("a")).counts, { BadRequestError: 20 })
        assert.strictEqual(yield* submitted, 0)
        mends.isMended = true
        assert.strictEqual(yield* numbers.retryFailed("a"), 1)
        yield* numbers.awaitEnd("a", { poll })
        assert.deepStrictEqual((yield* numbers.report("a")).counts, { Completed: 18, JobFailedError: 2 })
        assert.strictEqual(yield* submitted, 20)
      }).pipe(
        Effect.provide(
          numbers.layer.pipe(
            Layer.provideMerge(Layer.unwrapScoped(Effect.map(file, (file) => BatchCluster.layerSqlite(file)))),
            Layer.provide(RunPod.layer({ apiKey: "key" })),
            Layer.provide(refusing),
            Layer.provideMerge(Emulator.layer({ endpoints: { ep: { workers: 50, handler } } }))
          )
        )
      )
    },
    30_000
  )

  it.scopedLive(
    "has come to its end at once where it has no inputs",
    () =>
      Effect.gen(function* () {
        yield* numbers.start("a", [])
        assert.deepInclude(yield* numbers.awaitEnd("a", { poll }), { total: 0, chunks: 0, settled: 0 })
        assert.strictEqual(yield* Stream.runCount(numbers.outcomes("a", { poll })), 0)
      }).pipe(Effect.provide(started())),
    30_000
  )

  it.scopedLive(
    "goes on with all chunks when it had stopped, and what failed is submitted again",
    () => {
      const mends = { isMended: false }
      const failing: Emulator.Handler = ({ n }) =>
        !mends.isMended && Number(n) % 10 === 3 ? Effect.fail("three") : Effect.succeed({ n })
      return Effect.gen(function* () {
        yield* numbers.start("a", inputs(200), { maxFailures: 2 })
        yield* numbers.awaitEnd("a", { poll })
        // The chunks that were driven have stopped, too.
        const waiting = Effect.map(numbers.progress("a"), ({ waiting }) => waiting)
        yield* Effect.repeat(Effect.delay(waiting, "2500 millis"), {
          until: (left) => Effect.map(waiting, (now) => now === left)
        })
        assert.isAbove(yield* waiting, 60)
        mends.isMended = true
        assert.isAbove(yield* numbers.retryFailed("a"), 0)
        const ended = numbers.awaitEnd("a", { poll }).pipe(Effect.timeout("20 seconds"))
        assert.deepInclude(yield* ended, { settled: 200, failed: 0, waiting: 0, done: 10 })
      }).pipe(Effect.provide(started({ execution: "200 millis", workers: 10, handler: failing })))
    },
    40_000
  )

  it.scopedLive(
    "keeps to the inputs that it has when it is started again before all are stored",
    () =>
      Effect.gen(function* () {
        const broken = Stream.concat(Stream.fromIterable(inputs(500)), Stream.fail("broken" as const))
        assert.strictEqual(yield* Effect.flip(numbers.start("a", broken)), "broken")
        for (const others of [inputs(30), inputs(700).slice(600)]) {
          const error = yield* Effect.flip(numbers.start("a", others))
          assert.include(error, { _tag: "BatchJournalError", reason: "InputChanged" })
        }
        assert.strictEqual(yield* submitted, 0)
        yield* numbers.start("a", inputs(500))
        assert.deepInclude(yield* numbers.progress("a"), { total: 500, chunks: 25 })
        assert.include(yield* Effect.flip(numbers.start("a", inputs(510))), { reason: "InputChanged" })
        assert.deepInclude(yield* numbers.progress("a"), { total: 500, chunks: 25 })
      }).pipe(Effect.provide(started())),
    30_000
  )

  it.scopedLive(
    "leaves nothing in the database when it is removed while its inputs come",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const gone = Effect.zipRight(numbers.cancel("a"), numbers.remove("a"))
        const given = Stream.concat(
          Stream.concat(Stream.fromIterable(inputs(250)), Stream.drain(Stream.fromEffect(gone))),
          Stream.fromIterable(inputs(500).slice(250))
        )
        assert.include(yield* Effect.flip(numbers.start("a", given)), { reason: "WrongId" })
        const [left] = yield* sql<{ readonly n: number }>`SELECT CAST(count(*) AS TEXT) AS n FROM runpod_items`
        assert.strictEqual(String(left?.n), "0")
      }).pipe(Effect.provide(started())),
    30_000
  )

  it.scopedLive(
    "ends when it is cancelled: its jobs are, too, and nothing more is submitted",
    () =>
      Effect.gen(function* () {
        yield* numbers.start("a", inputs(200))
        yield* Effect.repeat(Effect.delay(submitted, "20 millis"), { until: (count) => count === 80 })
        yield* numbers.cancel("a")
        yield* Effect.repeat(Effect.delay(numbers.progress("a"), poll), { until: ({ settled }) => settled === 80 })
        const outcomes = yield* Stream.runCollect(numbers.outcomes("a", { poll }))
        assert.deepStrictEqual([...new Set(Chunk.toReadonlyArray(outcomes).map(kindOf))], ["JobCancelledError"])
        assert.deepInclude(yield* numbers.report("a"), { state: "Cancelled", open: 120 })
        assert.strictEqual(yield* submitted, 80)
      }).pipe(Effect.provide(started({ workers: 200, handler: () => Effect.never }))),
    30_000
  )

  it.scopedLive(
    "drives a chunk again that is interrupted from within, since the end of its workflow would be stored",
    () =>
      Effect.gen(function* () {
        const path = yield* file
        let calls = 0
        const loaded = BatchCluster.make({
          ...kind,
          // The first one is for what the batch is made of.
          load: (_, { from, to }) =>
            Effect.suspend(() => (++calls === 2 ? Effect.interrupt : Effect.succeed(inputs(20).slice(from, to))))
        })
        const services = loaded.layer.pipe(
          Layer.provideMerge(BatchCluster.layerSqlite(path)),
          Layer.provideMerge(emulated({}))
        )
        yield* Effect.gen(function* () {
          yield* loaded.start("a", { count: 8 })
          assert.deepInclude(yield* loaded.awaitEnd("a", { poll }), { done: 1, settled: 8 })
        }).pipe(Effect.provide(services))
        assert.strictEqual(calls, 3)
      }),
    30_000
  )

  it.scopedLive(
    "gives its chunks back when its layer is closed, though its engine does not wait for their workflows",
    () =>
      Effect.gen(function* () {
        const path = yield* file
        const scope = yield* Effect.scope
        const outliving = Layer.effect(
          WorkflowEngine.WorkflowEngine,
          Effect.map(WorkflowEngine.WorkflowEngine, (engine): WorkflowEngine.WorkflowEngine["Type"] => ({
            ...engine,
            register: (workflow, execute) => Scope.extend(engine.register(workflow, execute), scope)
          }))
        ).pipe(Layer.provide(WorkflowEngine.layerMemory))
        const services = yield* Layer.build(
          Layer.mergeAll(
            outliving,
            Layer.provide(Sql.layerBatchStore(), clientOf({ sqlite: path })),
            emulated({ handler: () => Effect.never })
          )
        )
        yield* Effect.gen(function* () {
          const layer = yield* Scope.make()
          yield* Layer.buildWithScope(numbers.layer, layer)
          yield* numbers.start("a", inputs(40))
          yield* Effect.repeat(Effect.delay(submitted, "20 millis"), { until: (count) => count === 40 })
          yield* Scope.close(layer, Exit.void)
          const store = yield* BatchStore.BatchStore
          for (const chunk of [0, 1]) {
            assert.deepInclude(yield* store.take("numbers/a", chunk), { epoch: 2, crashed: false })
            const payload = { batch: "numbers/a", chunk, round: 0 }
            const workflow = chunkWorkflow("numbers")
            assert.isUndefined(yield* workflow.poll(yield* workflow.executionId(payload)))
          }
        }).pipe(Effect.provide(services))
      }),
    30_000
  )

  it.scopedLive(
    "works on while layers of its kinds are closed and opened again",
    () => {
      const others = BatchCluster.make({ ...kind, name: "others" })
      const ended = (kind: typeof numbers, id: string) =>
        Effect.zipRight(kind.start(id, inputs(40)), kind.awaitEnd(id, { poll })).pipe(Effect.timeout("10 seconds"))
      return Effect.gen(function* () {
        yield* Effect.provide(ended(numbers, "a"), numbers.layer)
        yield* Effect.provide(ended(others, "a"), others.layer)
        const open = yield* Scope.make()
        yield* Layer.buildWithScope(numbers.layer, open)
        yield* Effect.provide(ended(others, "b"), others.layer)
        yield* ended(numbers, "b")
        // What is under way when it is closed is gone on with by the next.
        yield* numbers.start("c", inputs(40))
        yield* Scope.close(open, Exit.void)
        yield* Effect.provide(ended(numbers, "c"), numbers.layer)
        assert.strictEqual(yield* submitted, 5 * 40)
      }).pipe(
        Effect.provide(
          Layer.unwrapScoped(Effect.map(file, (file) => BatchCluster.layerSqlite(file))).pipe(
            Layer.provideMerge(emulated({}))
          )
        )
      )
    },
    30_000
  )

  it.scopedLive(
    "works while its file is read",
    () =>
      Effect.gen(function* () {
        const path = yield* file
        yield* Effect.gen(function* () {
          const reader = Context.get(yield* Layer.build(clientOf({ sqlite: path })), SqlClient.SqlClient)
          yield* reader.unsafe("BEGIN")
          yield* reader.unsafe("SELECT count(*) FROM runpod_items")
          yield* numbers.start("a", inputs(20))
          yield* numbers.awaitEnd("a", { poll })
          yield* reader.unsafe("ROLLBACK")
        }).pipe(
          Effect.provide(Layer.provideMerge(numbers.layer, BatchCluster.layerSqlite(path))),
          Effect.provide(emulated({}))
        )
      }),
    10_000
  )

  it.scopedLive(
    "is gone on with by the next process, with a definition that reads the inputs otherwise",
    () =>
      Effect.gen(function* () {
        const path = yield* file
        const emulator = yield* Layer.build(
          emulated({ handler: () => Effect.delay(Effect.succeed({ n: 1 }), "2 seconds") })
        )
        const first = Effect.gen(function* () {
          yield* numbers.start("a", inputs(30))
          yield* Effect.repeat(Effect.delay(submitted, "20 millis"), { until: (count) => count === 30 })
        })
        const open = Layer.provideMerge(numbers.layer, BatchCluster.layerSqlite(path))
        yield* first.pipe(Effect.provide(open), Effect.provide(emulator), Effect.scoped)
        const Texts = Schema.Struct({
          n: Schema.transform(Schema.Number, Schema.String, { decode: String, encode: Number })
        })
        const later = BatchCluster.make({ ...kind, input: Texts, output: Schema.Unknown })
        const outcomes = yield* Stream.runCollect(later.outcomes("a", { poll })).pipe(
          Effect.provide(Layer.provideMerge(later.layer, BatchCluster.layerSqlite(path))),
          Effect.provide(emulator),
          Effect.scoped
        )
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(outcomes).map((outcome) => [outcome.input.n, kindOf(outcome)]),
          inputs(30).map(({ n }) => [String(n), "Completed"])
        )
        assert.strictEqual(yield* Effect.provide(submitted, emulator), 30)
      }),
    30_000
  )
})

describe.concurrent("a kind of batch", () => {
  it.scopedLive(
    "is refused with a name that the cluster cannot hold and with bounds that let nothing run, and its batches with a number of inputs that is none",
    () =>
      Effect.gen(function* () {
        for (const name of ["", "a/b", "x".repeat(101)]) {
          const error = yield* Effect.flip(BatchCluster.make({ ...kind, name }).start("a", inputs(1)))
          assert.include(error, { reason: "InvalidOption" })
        }
        for (const bound of [0, -1, NaN]) {
          for (const more of [{ chunks: bound }, { concurrency: bound }]) {
            const error = yield* Effect.flip(BatchCluster.make({ ...kind, ...more }).start("a", inputs(1)))
            assert.include(error, { reason: "InvalidOption" })
          }
        }
        const loaded = BatchCluster.make({ ...kind, load: () => Effect.succeed(inputs(1)) })
        for (const count of [NaN, Infinity, -1, 1.5])
          assert.include(yield* Effect.flip(loaded.start("a", { count })), { reason: "InvalidOption" })
      }).pipe(Effect.provide(Layer.unwrapScoped(Effect.map(file, (file) => BatchCluster.layerSqlite(file)))))
  )

  it.scopedLive("stores no input that whoever works on it would not read", () =>
    Effect.gen(function* () {
      const dates = Schema.Struct({ at: Schema.DateFromSelf })
      const throwing = Schema.transform(Schema.String, Schema.String, {
        strict: true,
        decode: () => {
          throw new Error("no")
        },
        encode: (text) => text
      })
      const refusals = [
        yield* Effect.flip(BatchCluster.make(kind).start("a", [...inputs(3), { n: NaN }])),
        yield* Effect.flip(BatchCluster.make({ ...kind, input: dates }).start("b", [{ at: new Date(0) }])),
        yield* Effect.flip(BatchCluster.make({ ...kind, input: throwing }).start("c", ["text"]))
      ]
      const loaded = BatchCluster.make({ ...kind, input: throwing, load: () => Effect.succeed(["text"]) })
      assert.include(yield* Effect.flip(loaded.start("d", { count: 1 })), { reason: "Unstorable", key: "0" })
      for (const [i, key] of ["3", "0", "0"].entries())
        assert.include(refusals[i], { _tag: "BatchJournalError", reason: "Unstorable", key })
      const store = yield* BatchStore.BatchStore
      for (const id of ["a", "b", "c"]) {
        const stored = yield* store.progress(`numbers/${id}`)
        assert.deepInclude(stored, { state: "Loading", total: 0 })
      }
    }).pipe(Effect.provide(Layer.unwrapScoped(Effect.map(file, (file) => BatchCluster.layerSqlite(file)))))
  )

  it.scopedLive("reads inputs and outputs by schemas that need an effect", () => {
    const later = Schema.transformOrFail(Numbered, Schema.typeSchema(Numbered), {
      decode: (value) => Effect.delay(Effect.succeed(value), "1 millis"),
      encode: Effect.succeed
    })
    const slowly = BatchCluster.make({ ...kind, input: later, output: later })
    return Effect.gen(function* () {
      yield* slowly.start("a", inputs(20))
      yield* slowly.awaitEnd("a", { poll })
      assert.deepStrictEqual((yield* slowly.report("a")).counts, { Completed: 18, JobFailedError: 2 })
      const outcomes = yield* Stream.runCollect(slowly.outcomes("a", { poll }))
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(outcomes).map(({ input }) => input),
        inputs(20)
      )
    }).pipe(
      Effect.provide(
        slowly.layer.pipe(
          Layer.provideMerge(Layer.unwrapScoped(Effect.map(file, (file) => BatchCluster.layerSqlite(file)))),
          Layer.provide(emulated({}))
        )
      )
    )
  })

  it.scopedLive("has an outcome of each input, also beside one whose schema throws at the worker's", () => {
    const worker = BatchCluster.make({
      ...kind,
      onInvalidInput: "note",
      input: Schema.transform(Numbered, Schema.typeSchema(Numbered), {
        decode: (value) => {
          if (value.n === 5) throw new Error("no five")
          return value
        },
        encode: (value) => value
      })
    })
    return Effect.gen(function* () {
      yield* numbers.start("a", inputs(20))
      yield* numbers.awaitEnd("a", { poll })
      assert.deepStrictEqual((yield* numbers.report("a")).counts, { Completed: 17, InvalidInput: 1, JobFailedError: 2 })
    }).pipe(
      Effect.provide(
        worker.layer.pipe(
          Layer.provideMerge(Layer.unwrapScoped(Effect.map(file, (file) => BatchCluster.layerSqlite(file)))),
          Layer.provide(emulated({}))
        )
      )
    )
  })

  it.scopedLive("refuses durations and ids that are none", () =>
    Effect.gen(function* () {
      for (const deadline of [NaN, -1])
        assert.include(yield* Effect.flip(numbers.start("a", inputs(1), { deadline })), { reason: "InvalidOption" })
      assert.include(yield* Effect.flip(numbers.start("", inputs(1))), { reason: "InvalidOption" })
      const store = yield* BatchStore.BatchStore
      yield* store.create({ id: "b", endpointId: "ep", chunkSize: 1 }, Stream.make([{ key: "0", input: 1 }]))
      for (const chunk of [0.5, -1, 1, NaN])
        assert.include(yield* Effect.flip(Effect.scoped(store.take("b", chunk))), { reason: "WrongId" })
      const other = yield* file
      for (const lease of [Infinity, NaN, 0, -1]) {
        const opened = Layer.build(BatchCluster.layerSqlite(other, { lease }))
        assert.include(yield* Effect.flip(Effect.scoped(opened)), { reason: "InvalidOption" })
      }
      for (const path of ["", "a\u0000b"])
        assert.include(yield* Effect.flip(Effect.scoped(Layer.build(BatchCluster.layerSqlite(path)))), { reason: "Io" })
    }).pipe(Effect.provide(Layer.unwrapScoped(Effect.map(file, (file) => BatchCluster.layerSqlite(file)))))
  )

  it.scopedLive("gives each outcome, also beside one whose schema throws", () =>
    Effect.gen(function* () {
      const path = yield* file
      const decode = (n: number) => {
        if (n === 1) throw new Error("of the schema")
        return n
      }
      const Throwing = Schema.Struct({
        n: Schema.transform(Schema.Number, Schema.Number, { decode, encode: (n) => n })
      })
      const throwing = BatchCluster.make({ ...kind, output: Throwing })
      const layer = throwing.layer.pipe(
        Layer.provideMerge(BatchCluster.layerSqlite(path)),
        Layer.provideMerge(emulated({ handler: ({ n }) => Effect.succeed({ n }) }))
      )
      yield* Effect.gen(function* () {
        yield* throwing.start("a", inputs(3))
        yield* throwing.awaitEnd("a")
        const outcomes = yield* Stream.runCollect(throwing.outcomes("a", { poll }))
        assert.deepStrictEqual(Chunk.toReadonlyArray(outcomes).map(kindOf), ["Completed", "Defect", "Completed"])
        assert.deepInclude(yield* throwing.report("a"), { completed: 2, counts: { Completed: 2, Defect: 1 } })
      }).pipe(Effect.provide(layer))
    })
  )

  it.scopedLive("has a chunk driven on, when it is started again, whose workflow ended before it", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        yield* numbers.start("a", inputs(40))
        yield* numbers.awaitEnd("a")
        const sql = yield* SqlClient.SqlClient
        yield* sql.unsafe("UPDATE runpod_chunks SET done = 0 WHERE chunk = 1")
        yield* numbers.start("a", inputs(40))
        const { done } = yield* Effect.timeout(numbers.awaitEnd("a"), "20 seconds")
        assert.strictEqual(done, 2)
        assert.strictEqual(yield* submitted, 40)
      }).pipe(Effect.provide(started()))
    })
  )

  it.scopedLive("works no more on a batch that was removed before it was driven", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const store = yield* BatchStore.BatchStore
        const sql = yield* SqlClient.SqlClient
        const items = inputs(1).map((input) => ({ key: `number ${input.n}`, input }))
        yield* store.create({ id: "numbers/a", endpointId: "ep", chunkSize: 20 }, Stream.make(items))
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* store.take("numbers/a", 0)
            yield* numbers.start("a", inputs(1))
            yield* sql.unsafe("UPDATE runpod_batches SET state = 'Removed'")
          })
        )
        const open = sql.unsafe("SELECT id FROM runpod_cluster_messages WHERE processed = 0").values
        yield* Effect.repeat(Effect.delay(open, "50 millis"), { until: (rows) => rows.length === 0 })
        assert.strictEqual(yield* submitted, 0)
      }).pipe(Effect.provide(started()))
    })
  )
})

describe("a file", () => {
  // Alone: it is about a lease of a second.
  it.scopedLive(
    "has one process: a second one fails",
    () =>
      Effect.gen(function* () {
        const path = yield* file
        const options = { lease: "1 second" } as const
        yield* Layer.build(BatchCluster.layerSqlite(path, options))
        const second = yield* Effect.fork(Effect.flip(Layer.build(BatchCluster.layerSqlite(path, options))))
        assert.deepInclude(yield* Fiber.join(second), { _tag: "BatchJournalError", reason: "Locked" })
      }),
    30_000
  )
})
