/** Chunks that are driven one by one, over a real database. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schema, type Scope, Stream } from "effect"
import { type Batch, Endpoint, type RunPod } from "effect-runpod"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as Emulator from "effect-runpod/Emulator"
import { BatchStore, Sql } from "effect-runpod-cluster"
import { clientOf, databases, newPrefix } from "./support/databases.js"

const { Fault } = Emulator
const Numbered = Schema.Struct({ n: Schema.Number })
/** Does not accept 1. */
const EvenNumbered = Schema.Struct({ n: Schema.Number.pipe(Schema.filter((n) => n !== 1)) })
const endpoint = Endpoint.make("ep", { input: Numbered, output: Numbered })
const handler: Emulator.Handler = (input) =>
  Number(input["n"]) % 10 === 3 ? Effect.fail("three is no number") : Effect.succeed({ n: input["n"] })

const items = (count: number) => Array.from({ length: count }, (_, n) => ({ key: `k${n}`, input: { n } }))

const counts = Effect.flatMap(Emulator.Emulator, (emulator) => emulator.counts)

interface Choices {
  readonly count?: number
  readonly batch?: Partial<BatchStore.NewBatch>
  readonly endpoint?: Partial<Emulator.EndpointOptions>
  readonly faults?: Emulator.Options["faults"]
}

/** Chunks that are open, with their rounds. */
const openIn = (store: BatchStore.Service, roundsOf?: Parameters<BatchStore.Service["open"]>[1]) =>
  Effect.map(store.open("b", roundsOf), (open) => open.map(({ chunk, round }) => ({ chunk, round })))

interface Driving {
  /** What the names of the tables begin with. */
  readonly prefix: string
  readonly store: BatchStore.Service
  readonly drive: (
    chunk: number,
    options?: Partial<BatchStore.DriveOptions<{ readonly n: number }, { readonly n: number }, { readonly n: number }>>,
    store?: BatchStore.Service
  ) => Effect.Effect<BatchStore.Driven, unknown>
}

for (const { name, place } of databases) {
  describe.concurrent(`a chunk in ${name}`, () => {
    const test = (
      title: string,
      { batch, count = 20, endpoint: options, faults = [] }: Choices,
      body: (
        driving: Driving
      ) => Effect.Effect<unknown, unknown, SqlClient.SqlClient | Scope.Scope | Emulator.Emulator | RunPod.RunPod>
    ) =>
      it.scopedLive(
        title,
        () => {
          const emulator = Emulator.layerRunPod({ endpoints: { ep: { workers: 50, handler, ...options } }, faults })
          const client = Layer.unwrapScoped(Effect.map(place, clientOf))
          return Effect.gen(function* () {
            const prefix = newPrefix()
            const store = yield* Sql.batchStore({ prefix, lease: "2 seconds", grace: "1 second" })
            const ep = yield* endpoint
            yield* store.create({ id: "b", endpointId: "ep", chunkSize: 10, ...batch }, Stream.make(items(count)))
            const drive: Driving["drive"] = (chunk, more, over = store) =>
              Effect.provideService(
                BatchStore.drive(ep, { id: "b", chunk, input: Numbered, ...more }),
                BatchStore.BatchStore,
                over
              )
            return yield* body({ prefix, store, drive })
          }).pipe(Effect.provide(Layer.merge(emulator, client)))
        },
        30_000
      )

    test("is driven until each item has its outcome, also those whose job failed", {}, ({ drive, store }) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* openIn(store), [
          { chunk: 0, round: 0 },
          { chunk: 1, round: 0 }
        ])
        const seen: Array<Batch.Outcome<unknown, unknown>> = []
        assert.strictEqual(
          yield* drive(0, { onOutcome: (outcome) => Effect.sync(() => void seen.push(outcome)) }),
          "Finished"
        )
        assert.strictEqual(seen.length, 10)
        assert.deepStrictEqual(yield* openIn(store), [{ chunk: 1, round: 0 }])
        assert.strictEqual(yield* drive(1), "Finished")
        // Once more changes nothing.
        assert.strictEqual(yield* drive(1), "Finished")
        assert.deepInclude(yield* store.progress("b"), {
          chunks: 2,
          done: 2,
          total: 20,
          settled: 20,
          failed: 2,
          waiting: 0
        })
        const outcomes = yield* store.outcomes("b")
        assert.deepStrictEqual(
          outcomes.map(({ index, input, settled }) => [index, input, settled?.status]),
          items(20).map(({ input }, n) => [n, input, n % 10 === 3 ? "FAILED" : "COMPLETED"])
        )
        assert.strictEqual((yield* counts).submitted, 20)
      })
    )

    test("is opened again one by one: what is not reached any more keeps its outcomes", {}, ({ drive, store }) =>
      Effect.gen(function* () {
        yield* drive(0)
        yield* drive(1)
        const opened: Array<number> = []
        const each = ({ chunk, round }: Pick<BatchStore.OpenChunk, "chunk" | "round">) =>
          Effect.gen(function* () {
            opened.push(chunk)
            assert.strictEqual(round, 1)
            assert.strictEqual(yield* drive(chunk), "Finished")
            yield* store.cancel("b")
          })
        const error = yield* Effect.flip(store.reopen("b", ["JobFailedError"], each))
        assert.include(error, { reason: "WrongId" })
        assert.deepStrictEqual(opened, [0])
        assert.deepInclude(yield* store.progress("b"), { settled: 20, failed: 2, waiting: 0 })
        assert.strictEqual((yield* counts).submitted, 21)
      })
    )

    test("begins with the round that was chosen first", { count: 30 }, ({ drive, store }) =>
      Effect.gen(function* () {
        const choose = (chunks: number) => Effect.succeed(Array.from({ length: chunks }, (_, chunk) => 5 + chunk))
        const open = [
          { chunk: 0, round: 5 },
          { chunk: 1, round: 6 },
          { chunk: 2, round: 7 }
        ]
        assert.deepStrictEqual(yield* openIn(store, choose), open)
        assert.deepStrictEqual(yield* openIn(store, () => Effect.die("asked")), open)
        assert.deepStrictEqual(yield* openIn(store), open)
        // Nobody has taken them.
        assert.deepInclude(yield* store.progress("b"), { waiting: 30, settled: 0, done: 0 })
        assert.deepInclude(yield* Effect.scoped(store.take("b", 0)), { epoch: 1, crashed: false })
        assert.strictEqual(yield* drive(2), "Finished")
        assert.deepInclude(yield* store.progress("b"), { waiting: 20, settled: 10, done: 1 })
        assert.deepStrictEqual(yield* store.reopen("b", ["JobFailedError"]), [2])
        assert.deepStrictEqual(yield* openIn(store), [...open.slice(0, 2), { chunk: 2, round: 8 }])
      })
    )

    test("begins with the first round where some of the batch's chunks were taken before", {}, ({ drive, store }) =>
      Effect.gen(function* () {
        yield* drive(1)
        assert.deepStrictEqual(yield* openIn(store, () => Effect.die("asked")), [{ chunk: 0, round: 0 }])
      })
    )

    test(
      "reads its next inputs before the last ones are submitted",
      { count: 40, batch: { chunkSize: 40 } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          const submitted = Effect.map(counts, ({ submitted }) => submitted)
          const submittedAt: Array<number> = []
          const context = yield* Effect.context<Emulator.Emulator>()
          const watched: BatchStore.Service = {
            ...store,
            inputs: (taken, page) =>
              Effect.zipRight(
                Effect.provide(
                  Effect.map(submitted, (count) => submittedAt.push(count)),
                  context
                ),
                store.inputs(taken, page)
              )
          }
          assert.strictEqual(yield* drive(0, { concurrency: 2 }, watched), "Finished")
          // The first page has eight.
          assert.isBelow(submittedAt[1]!, 4)
        })
    )

    test("notes what has no job: an input that its schema does not accept", { count: 10 }, ({ drive, store }) =>
      Effect.gen(function* () {
        const Small = Schema.Struct({ n: Schema.Number.pipe(Schema.lessThan(8)) })
        assert.strictEqual(yield* drive(0, { input: Small }), "Finished")
        const outcomes = yield* store.outcomes("b", { after: 7 })
        assert.deepStrictEqual(
          outcomes.map(({ key, problem, settled }) => [key, problem?.kind, settled]),
          [
            ["k8", "InvalidInput", undefined],
            ["k9", "InvalidInput", undefined]
          ]
        )
        assert.deepInclude(yield* store.progress("b"), { settled: 8, failed: 3, waiting: 2, done: 1 })
        // With a definition that accepts them they are driven.
        assert.deepStrictEqual(yield* store.reopen("b", ["InvalidInput"]), [0])
        assert.strictEqual(yield* drive(0), "Finished")
        assert.deepInclude(yield* store.progress("b"), { settled: 10, failed: 1, waiting: 0 })
        assert.strictEqual((yield* counts).submitted, 10)
      })
    )

    test("is not at its end as long as what has no job could not be noted", { count: 10 }, ({ store }) =>
      Effect.gen(function* () {
        const ep = yield* endpoint
        const Small = Schema.Struct({ n: Schema.Number.pipe(Schema.lessThan(8)) })
        const driveOver = (over: BatchStore.Service) =>
          Effect.provideService(BatchStore.drive(ep, { id: "b", chunk: 0, input: Small }), BatchStore.BatchStore, over)
        const away = new BatchJournalError({ reason: "Io", detail: "the database is away" })
        const note: BatchStore.Service["note"] = (_, problems) =>
          problems.length === 0 ? Effect.void : Effect.fail(away)
        assert.strictEqual(yield* Effect.flip(driveOver({ ...store, note })), away)
        assert.deepInclude(yield* store.progress("b"), { failed: 1, done: 0 })
        assert.strictEqual(yield* driveOver(store), "Finished")
        assert.deepInclude(yield* store.progress("b"), { failed: 3, done: 1 })
      })
    )

    test("leaves inputs of a newer schema to who knows it, also where it would only lose a field", {}, ({ store }) =>
      Effect.gen(function* () {
        const old = yield* endpoint
        const versioned = Array.from({ length: 10 }, (_, n) => ({ key: `v${n}`, input: { n: n + 4, since: n } }))
        yield* store.create({ id: "v", endpointId: "ep", chunkSize: 10 }, Stream.make([...items(5), ...versioned]))
        const Small = Schema.Struct({ n: Schema.Number.pipe(Schema.lessThan(8)) })
        const driveWith = <I, IE>(ep: Endpoint.Endpoint<I, { readonly n: number }>, input: Schema.Schema<I, IE>) =>
          BatchStore.drive(ep, { id: "v", chunk: 0, input, onInvalidInput: "leave" }).pipe(
            Effect.provideService(BatchStore.BatchStore, store)
          )
        assert.strictEqual(yield* driveWith(old, Small), "Unread")
        assert.deepInclude(yield* store.progress("v"), { settled: 5, failed: 1, waiting: 10, done: 0 })
        // What the old one has done stays, though the newer one would send it otherwise.
        const Defaulted = Schema.Struct({
          n: Schema.Number,
          since: Schema.optionalWith(Schema.Number, { default: () => 7 })
        })
        const newer = yield* Endpoint.make("ep", { input: Defaulted, output: Numbered })
        assert.strictEqual(yield* driveWith(newer, Defaulted), "Finished")
        assert.deepInclude(yield* store.progress("v"), { settled: 10, waiting: 5, done: 1 })
        const jobs = yield* Effect.flatMap(Emulator.Emulator, (emulator) => emulator.jobs("ep"))
        assert.deepStrictEqual(
          jobs.map(({ input }) => input["since"]),
          [...Array.from({ length: 5 }, () => undefined), 0, 1, 2, 3, 4]
        )
      })
    )

    test(
      "has no other outcome than its job's for an input with a job that cannot be read",
      { count: 10, endpoint: { handler: () => Effect.never } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          const first = yield* Effect.fork(drive(0))
          yield* Effect.repeat(Effect.delay(store.progress("b"), "20 millis"), {
            until: ({ submitted }) => submitted === 10
          })
          yield* Fiber.interrupt(first)
          assert.strictEqual(
            yield* drive(0, { input: Schema.Struct({ n: Schema.Number.pipe(Schema.lessThan(0)) }) }),
            "Unread"
          )
          assert.deepInclude(yield* store.progress("b"), { submitted: 10, failed: 0, done: 0 })
        })
    )

    const lost = [Fault.resetAfter({ operations: ["run"], times: 3 })]
    test(
      "leaves what is in doubt in doubt, until it is told to submit it again",
      { count: 10, faults: lost },
      ({ drive, store }) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* drive(0, { concurrency: 1 }), "Finished")
          const kinds = Effect.map(store.outcomes("b"), (outcomes) =>
            outcomes.flatMap(({ problem }) => (problem === undefined ? [] : [problem.kind]))
          )
          const ambiguous = Array.from({ length: 3 }, () => "SubmitAmbiguousError")
          assert.deepStrictEqual(yield* kinds, ambiguous)
          assert.strictEqual(yield* drive(0), "Finished")
          assert.deepStrictEqual(yield* kinds, ambiguous)
          assert.strictEqual((yield* counts).submitted, 10)
          assert.deepStrictEqual(yield* store.reopen("b", ["SubmitAmbiguousError"]), [0])
          assert.deepStrictEqual(yield* openIn(store), [{ chunk: 0, round: 1 }])
          assert.strictEqual(yield* drive(0), "Finished")
          assert.deepStrictEqual(yield* kinds, [])
          assert.strictEqual((yield* counts).submitted, 13)
          assert.deepInclude(yield* store.progress("b"), { settled: 10, done: 1 })
        })
    )

    /** A process that was submitting an item when it was taken for dead: it lives, and has its answer later. */
    const zombie = (prefix: string, store: BatchStore.Service, at: number) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const journal = yield* Effect.flatMap(store.take("b", 0), store.journal)
        const item = { key: "k0", hash: "its hash", at }
        yield* journal.append({ _tag: "Intent", ...item })
        yield* sql.unsafe(`UPDATE "${prefix}chunks" SET until = 1`)
        const job = yield* Effect.flatMap(endpoint, (ep) => ep.run({ n: 0 }))
        const known = { ...item, jobId: job.id, attempts: 1 }
        return {
          tell: journal.append({ _tag: "Submitted", ...known }),
          tellEnd: journal.append({
            _tag: "Settled",
            ...known,
            status: "COMPLETED",
            output: { n: 0 },
            delayTime: 0,
            executionTime: 1
          })
        }
      })

    test(
      "goes on at once with what is not in doubt, and follows the job that a process which was taken for dead tells of",
      { count: 10 },
      ({ drive, prefix }) =>
        Effect.gen(function* () {
          const store = yield* Sql.batchStore({ prefix, grace: "20 seconds" })
          const { tell } = yield* zombie(prefix, store, Date.now())
          const driving = yield* Effect.fork(drive(0, { concurrency: 2 }, store))
          yield* Effect.repeat(Effect.delay(store.progress("b"), "20 millis"), {
            until: ({ settled }) => settled === 9
          })
          assert.deepInclude(yield* store.progress("b"), { intended: 1, failed: 1, done: 0 })
          yield* tell
          assert.strictEqual(yield* Fiber.join(driving), "Finished")
          assert.deepInclude(yield* store.progress("b"), { settled: 10, failed: 1, done: 1 })
          assert.strictEqual((yield* counts).submitted, 10)
        })
    )

    test(
      "keeps an outcome in doubt whose job becomes known later, and waits for that job when it is reopened",
      { count: 10 },
      ({ drive, prefix, store }) =>
        Effect.gen(function* () {
          const { tell } = yield* zombie(prefix, store, Date.now() - 60_000)
          assert.strictEqual(yield* drive(0), "Finished")
          yield* tell
          const [first] = yield* store.outcomes("b")
          assert.strictEqual(first?.problem?.kind, "SubmitAmbiguousError")
          assert.deepInclude(yield* store.progress("b"), { settled: 9, submitted: 1, failed: 2, done: 1 })
          assert.deepStrictEqual(yield* store.reopen("b", ["SubmitAmbiguousError"]), [0])
          assert.strictEqual(yield* drive(0), "Finished")
          assert.deepInclude(yield* store.progress("b"), { settled: 10, failed: 1, done: 1 })
          assert.strictEqual((yield* counts).submitted, 10)
        })
    )

    test("notes no doubt about an item whose job's end is told meanwhile", { count: 10 }, ({ drive, prefix, store }) =>
      Effect.gen(function* () {
        const { tellEnd } = yield* zombie(prefix, store, Date.now() - 60_000)
        const note: BatchStore.Service["note"] = (taken, problems) =>
          Effect.zipRight(problems.length === 0 ? Effect.void : tellEnd, store.note(taken, problems))
        assert.strictEqual(yield* drive(0, {}, { ...store, note }), "Finished")
        assert.deepInclude(yield* store.progress("b"), { settled: 10, failed: 1, done: 1 })
        // One that is told again would have a second job.
        assert.deepStrictEqual(yield* store.reopen("b", ["SubmitAmbiguousError"]), [])
      })
    )

    test("has failed items submitted again when they are reopened, each once", { count: 10 }, ({ drive, store }) =>
      Effect.gen(function* () {
        yield* drive(0)
        assert.deepStrictEqual(yield* store.reopen("b", ["JobFailedError"]), [0])
        assert.deepInclude(yield* store.progress("b"), { settled: 9, failed: 0, waiting: 1, done: 0 })
        yield* drive(0)
        assert.strictEqual((yield* counts).submitted, 11)
        const [failed] = yield* store.outcomes("b", { after: 2, limit: 1 })
        assert.deepInclude(failed?.settled, { status: "FAILED", earlier: 1, attempts: 1 })
      })
    )

    const failing = { count: 40, batch: { maxFailures: 2 } }
    test("stops at as many failures as all chunks may have together", failing, ({ drive, store }) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* drive(0), "Finished")
        assert.deepInclude(yield* store.status("b"), { failuresLeft: 1 })
        yield* drive(1, { concurrency: 1 })
        assert.deepInclude(yield* store.status("b"), { failuresLeft: 0 })
        const before = (yield* counts).submitted
        assert.strictEqual(yield* drive(2), "Failures")
        assert.strictEqual((yield* counts).submitted, before)
      })
    )

    test("keeps the outcomes of a batch of which nothing is submitted any more", {}, ({ drive, store }) =>
      Effect.gen(function* () {
        yield* drive(0)
        yield* store.cancel("b")
        assert.include(yield* Effect.flip(store.reopen("b", ["JobFailedError"])), { reason: "WrongId" })
        assert.lengthOf(yield* store.outcomes("b"), 10)
        assert.deepInclude(yield* store.progress("b"), { settled: 10, failed: 1 })
      })
    )

    test("keeps them after its deadline, too", { batch: { deadline: "1 hour" } }, ({ drive, prefix, store }) =>
      Effect.gen(function* () {
        yield* drive(0)
        const sql = yield* SqlClient.SqlClient
        yield* sql.unsafe(`UPDATE "${prefix}batches" SET deadline = 0`)
        assert.include(yield* Effect.flip(store.reopen("b", ["JobFailedError"])), { reason: "WrongId" })
        assert.deepInclude(yield* store.progress("b"), { settled: 10, failed: 1 })
      })
    )

    test(
      "has the other chunks driven anew that had stopped, when failed items are reopened",
      failing,
      ({ drive, store }) =>
        Effect.gen(function* () {
          yield* drive(0)
          yield* drive(1, { concurrency: 1 })
          assert.strictEqual(yield* drive(2), "Failures")
          const roundsOf = Effect.map(openIn(store), (open) => open.map(({ chunk, round }) => [chunk, round] as const))
          const before = new Map(yield* roundsOf)
          yield* store.reopen("b", ["JobFailedError"])
          for (const [chunk, round] of yield* roundsOf)
            assert.isAbove(round, chunk === 3 ? -1 : (before.get(chunk) ?? 0), `${chunk}`)
          assert.strictEqual(yield* drive(2), "Finished")
        })
    )

    test(
      "is driven on with its bound of failures, in which those that are known count once",
      { count: 8, batch: { maxFailures: 4 }, endpoint: { handler: (input) => Effect.succeed({ n: input["n"] }) } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const taken = yield* store.take("b", 0)
              const journal = yield* store.journal(taken)
              const doubtful = items(3)
              for (const { input, key } of doubtful)
                yield* journal.append({ _tag: "Intent", key, hash: yield* BatchStore.hash(input), at: 1 })
              yield* store.note(
                taken,
                doubtful.map(({ key }) => ({ key, kind: "SubmitAmbiguousError", error: null }))
              )
            })
          )
          assert.deepInclude(yield* store.status("b", 0), { failuresLeft: 1, unsettled: 3 })
          assert.strictEqual(yield* drive(0), "Finished")
          assert.deepInclude(yield* store.progress("b"), { settled: 5, intended: 3, waiting: 0, failed: 3 })
          assert.strictEqual((yield* counts).submitted, 5)
        })
    )

    test(
      "keeps its outcomes where its batch is cancelled while it is waited for to reopen it",
      { count: 10 },
      ({ drive, prefix, store }) =>
        Effect.gen(function* () {
          yield* drive(0)
          const known = Effect.map(store.outcomes("b"), (outcomes) =>
            outcomes.map(({ key, settled }) => [key, settled?.status])
          )
          const before = yield* known
          const patient = yield* Sql.batchStore({ prefix, lease: "2 seconds", wait: "10 seconds" })
          const reopened = yield* Effect.scoped(
            Effect.gen(function* () {
              yield* store.take("b", 0)
              const reopening = yield* Effect.fork(Effect.flip(patient.reopen("b", ["JobFailedError"])))
              yield* Effect.sleep("200 millis")
              yield* store.cancel("b")
              return reopening
            })
          )
          const error = yield* Fiber.join(reopened)
          assert.include(error, { reason: "WrongId" })
          assert.lengthOf(before, 10)
          assert.deepStrictEqual(yield* known, before)
        })
    )

    test(
      "is waited for again where its wait has ended before its job, which may go on, and submitted again where that was cancelled",
      { count: 3 },
      ({ store }) =>
        Effect.scoped(
          Effect.gen(function* () {
            const problems = ["No", "Pending", "Sent"].map((cancel, n) => ({
              key: `k${n}`,
              kind: "WaitTimeoutError",
              error: { _tag: "WaitTimeoutError", cancel }
            }))
            yield* Effect.scoped(
              Effect.gen(function* () {
                const taken = yield* store.take("b", 0)
                const journal = yield* store.journal(taken)
                for (const { input, key } of items(3)) {
                  const known = { key, hash: yield* BatchStore.hash(input), at: 1 }
                  yield* journal.append({ _tag: "Intent", ...known })
                  yield* journal.append({ _tag: "Submitted", ...known, jobId: `job of ${key}`, attempts: 1 })
                }
                yield* store.note(taken, problems)
              })
            )
            assert.deepStrictEqual(yield* store.reopen("b", ["WaitTimeoutError"]), [0])
            const journal = yield* Effect.flatMap(store.take("b", 0), (taken) => store.journal(taken))
            const states = yield* Effect.forEach(items(3), ({ key }) => journal.find(key))
            assert.deepStrictEqual(
              states.map((state) => Option.getOrUndefined(state)?._tag),
              ["Submitted", "Submitted", "Released"]
            )
          })
        )
    )

    test(
      "has no failed items any more whose output a later definition reads",
      { count: 3, endpoint: { handler: ({ n }) => Effect.succeed({ n: String(n) }) } },
      ({ drive, prefix, store }) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          assert.strictEqual(yield* drive(0), "Finished")
          assert.deepInclude(yield* store.progress("b"), { settled: 3, failed: 3 })
          yield* sql.unsafe(`UPDATE "${prefix}chunks" SET done = 0`)
          const reading = yield* Endpoint.make("ep", { input: Numbered, output: Schema.Unknown })
          yield* BatchStore.drive(reading, { id: "b", chunk: 0, input: Numbered }).pipe(
            Effect.provideService(BatchStore.BatchStore, store)
          )
          assert.deepInclude(yield* store.progress("b"), { settled: 3, failed: 0 })
          assert.deepStrictEqual(yield* store.reopen("b", ["OutputDecodeError"]), [])
        })
    )

    test("is not finished by who has lost it", { count: 3 }, ({ store }) =>
      Effect.gen(function* () {
        const lost = yield* Effect.scoped(store.take("b", 0))
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* store.take("b", 0)
            assert.include(yield* Effect.flip(store.finish(lost)), { reason: "Locked" })
          })
        )
        assert.lengthOf(yield* openIn(store), 1)
      })
    )

    test("is not created with what cannot be driven", {}, ({ prefix, store }) =>
      Effect.gen(function* () {
        const batch = { id: "c", endpointId: "ep" }
        const create = (more: Partial<BatchStore.NewBatch>, key = "k") =>
          Effect.map(
            Effect.flip(store.create({ ...batch, ...more }, Stream.make([{ key, input: 1 }]))),
            ({ reason }) => reason
          )
        for (const chunkSize of [0, -2, 2.5, NaN, Infinity])
          assert.strictEqual(yield* create({ chunkSize }), "InvalidOption", `${chunkSize}`)
        for (const maxFailures of [0, -1, 1.5, NaN])
          assert.strictEqual(yield* create({ maxFailures }), "InvalidOption", `${maxFailures}`)
        for (const id of ["", "a\u0000", "a\ud83d"]) assert.strictEqual(yield* create({ id }), "InvalidOption", id)
        for (const key of ["", "a\u0000", "a\ud83d"]) assert.strictEqual(yield* create({}, key), "InvalidKey", key)
        const unbounded = { ...batch, id: "d", maxFailures: Infinity, deadline: Infinity }
        assert.strictEqual(yield* store.create(unbounded, Stream.empty), 0)
        const sql = yield* SqlClient.SqlClient
        assert.deepStrictEqual(yield* sql.unsafe(`SELECT key FROM "${prefix}items" WHERE batch <> 'b'`), [])
        for (const after of [NaN, -Infinity, 1.5, 1e12])
          assert.lengthOf(yield* store.outcomes("b", { after, limit: NaN }), 0, `${after}`)
      })
    )

    test("stores large inputs by fewer", { count: 1 }, ({ store }) =>
      Effect.gen(function* () {
        const large = Array.from({ length: 5 }, (_, n) => ({ key: `k${n}`, input: { n, text: "x".repeat(5_000_000) } }))
        assert.strictEqual(yield* store.create({ id: "c", endpointId: "ep", chunkSize: 10 }, Stream.make(large)), 1)
        const stored = yield* Effect.scoped(Effect.flatMap(store.take("c", 0), (taken) => store.inputs(taken)))
        assert.deepStrictEqual(
          stored.map(({ index, key }) => [index, key]),
          large.map(({ key }, n) => [n, key])
        )
      })
    )

    test(
      "is driven anew where it has stopped while it was waited for another to reopen that",
      failing,
      ({ drive, prefix, store }) =>
        Effect.gen(function* () {
          yield* drive(0)
          const patient = yield* Sql.batchStore({ prefix, lease: "2 seconds", wait: "20 seconds" })
          const reopening = yield* Effect.scoped(
            Effect.gen(function* () {
              yield* store.take("b", 0)
              const reopening = yield* Effect.fork(patient.reopen("b", ["JobFailedError"]))
              yield* Effect.sleep("200 millis")
              yield* drive(1)
              assert.strictEqual(yield* drive(2), "Failures")
              return reopening
            })
          )
          assert.deepStrictEqual(yield* Fiber.join(reopening), [0])
          const rounds = new Map((yield* openIn(store)).map(({ chunk, round }) => [chunk, round]))
          assert.isAbove(rounds.get(2) ?? 0, 0)
        })
    )

    test(
      "keeps what another has noted who has taken it while it was reopened",
      { count: 10 },
      ({ drive, prefix, store }) =>
        Effect.gen(function* () {
          yield* drive(0)
          const client = yield* SqlClient.SqlClient
          const lose = Effect.zipRight(
            client.unsafe(`UPDATE "${prefix}chunks" SET epoch = epoch + 1`),
            client.unsafe(`UPDATE "${prefix}items" SET kind = 'JobFailedError' WHERE key = 'k3'`)
          )
          const losing = new Proxy(client, {
            get: (target, name, receiver) =>
              name === "unsafe"
                ? (statement: string, parameters: ReadonlyArray<unknown>) => {
                    const own = target.unsafe(statement, parameters)
                    return statement.includes("SET kind = NULL")
                      ? { withoutTransform: Effect.zipRight(lose, own.withoutTransform) }
                      : own
                  }
                : (Reflect.get(target, name, receiver) as unknown)
          })
          const other = yield* Effect.provideService(Sql.batchStore({ prefix }), SqlClient.SqlClient, losing)
          yield* Effect.exit(other.reopen("b", ["JobFailedError"]))
          assert.strictEqual((yield* store.progress("b")).failed, 1)
        })
    )

    test(
      "tells of an item without an end of its job within a second or two",
      { count: 3, endpoint: { handler: ({ n }) => (n === 2 ? Effect.succeed({ n }) : Effect.never) } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          const waits = { concurrency: 3, timeout: "20 seconds" } as const
          const driving = yield* Effect.fork(drive(0, { ...waits, onInvalidInput: "note", input: EvenNumbered }))
          const noted = Effect.map(store.progress("b"), ({ failed }) => failed)
          yield* Effect.repeat(Effect.delay(noted, "50 millis"), { until: (failed) => failed === 1 }).pipe(
            Effect.timeout("5 seconds")
          )
          yield* Fiber.interrupt(driving)
        })
    )

    test(
      "stops at the deadline of its batch",
      { batch: { deadline: "2 seconds" }, endpoint: { handler: () => Effect.never } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          yield* drive(0)
          yield* Effect.sleep("100 millis")
          assert.strictEqual(yield* drive(1), "Deadline")
          const kinds = (yield* store.outcomes("b")).map(({ problem }) => problem?.kind)
          assert.include(kinds, "WaitTimeoutError")
          assert.strictEqual((yield* counts).submitted, 10)
        })
    )

    test(
      "has its jobs cancelled with its batch, and submits nothing more",
      { endpoint: { handler: () => Effect.never } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          const driving = yield* Effect.fork(drive(0, { concurrency: 5 }))
          yield* Effect.repeat(Effect.delay(counts, "10 millis"), { until: ({ submitted }) => submitted === 5 })
          yield* store.cancel("b")
          assert.strictEqual(yield* Fiber.join(driving), "Cancelled")
          assert.strictEqual((yield* counts).submitted, 5)
          assert.deepInclude(yield* store.progress("b"), { state: "Cancelled", settled: 5, failed: 5, waiting: 15 })
          assert.strictEqual(yield* drive(1), "Cancelled")
          assert.strictEqual((yield* counts).submitted, 5)
        })
    )

    test(
      "cancels the jobs that another process had started",
      { endpoint: { handler: () => Effect.never } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          const driving = yield* Effect.fork(drive(0, { concurrency: 5 }))
          yield* Effect.repeat(Effect.delay(store.progress("b"), "20 millis"), {
            until: ({ submitted }) => submitted === 5
          })
          yield* Fiber.interrupt(driving)
          yield* store.cancel("b")
          assert.strictEqual(yield* drive(0), "Cancelled")
          assert.deepInclude(yield* store.progress("b"), { settled: 5, failed: 5, waiting: 15 })
          assert.strictEqual((yield* counts).submitted, 5)
        })
    )

    test("is removed with its batch when that has ended, and cannot be made again", {}, ({ drive, prefix, store }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const rowsLeft = Effect.gen(function* () {
          const counted = yield* Effect.forEach(["items", "chunks"], (table) =>
            sql.unsafe<{ readonly n: number }>(`SELECT CAST(count(*) AS INTEGER) AS n FROM "${prefix}${table}"`)
          )
          return counted.flat().map(({ n }) => Number(n))
        })
        assert.strictEqual(yield* drive(0), "Finished")
        // One chunk has not been driven.
        assert.strictEqual((yield* Effect.flip(store.remove("b"))).reason, "Locked")
        assert.deepStrictEqual(yield* rowsLeft, [20, 1])
        assert.strictEqual(yield* drive(1), "Finished")
        yield* store.remove("b")
        yield* store.remove("b")
        assert.deepStrictEqual(yield* rowsLeft, [0, 0])
        assert.deepStrictEqual(yield* store.list(), [])
        const again = store.create({ id: "b", endpointId: "ep", chunkSize: 10 }, Stream.make(items(20)))
        for (const gone of [again, store.progress("b"), store.open("b"), drive(0), store.cancel("b")]) {
          const error = yield* Effect.flip(gone)
          assert.instanceOf(error, BatchJournalError)
          assert.strictEqual(error.reason, "WrongId")
          assert.include(error.message, "was removed")
        }
        assert.strictEqual((yield* Effect.flip(store.remove("c"))).reason, "WrongId")
        assert.strictEqual((yield* counts).submitted, 20)
      })
    )

    test(
      "is not removed while a process drives it, also when its batch was cancelled",
      { endpoint: { handler: () => Effect.never } },
      ({ drive, store }) =>
        Effect.gen(function* () {
          const driving = yield* Effect.fork(drive(0, { concurrency: 5 }))
          yield* Effect.repeat(Effect.delay(counts, "10 millis"), { until: ({ submitted }) => submitted === 5 })
          assert.strictEqual((yield* Effect.flip(store.remove("b"))).reason, "Locked")
          yield* store.cancel("b")
          assert.strictEqual((yield* Effect.flip(store.remove("b"))).reason, "Locked")
          assert.strictEqual(yield* Fiber.join(driving), "Cancelled")
          yield* store.remove("b")
          assert.strictEqual((yield* Effect.flip(store.status("b"))).reason, "WrongId")
        })
    )
  })
}
