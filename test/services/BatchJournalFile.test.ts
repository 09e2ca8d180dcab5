import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import type * as Scope from "effect/Scope"
import type * as Emulator from "../../src/emulator/Emulator.js"
import type { BatchJournalError } from "../../src/errors/BatchError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import type * as RunPod from "../../src/services/RunPod.js"
import { emulated, endpoint, inputs, jobsPerInput, kindOf, type Numbered } from "../support/batches.js"
import { entriesWithin, lineEnds } from "../support/journalCuts.js"

type Needs = RunPod.RunPod | Emulator.Emulator | FileSystem | Scope.Scope

/** Runs with a file that goes with the test, and an emulator whose jobs end at once. */
const withFile = <A, E>(use: (file: string, fs: FileSystem) => Effect.Effect<A, E, Needs>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    const folder = yield* fs.makeTempDirectoryScoped()
    return yield* use(`${folder}/journal.jsonl`, fs)
  }).pipe(
    Effect.scoped,
    Effect.provide(NodeFileSystem.layer),
    // Runs that go on say so, and here hundreds do.
    Logger.withMinimumLogLevel(LogLevel.Warning),
    Effect.provide(
      emulated({ workers: 20 }, { limits: RateLimits.unlimited, client: { limits: RateLimits.unlimited } })
    )
  )

/** Opens the journal, runs a batch, and closes it. */
const run = (
  file: string,
  options: Batch.Options<Numbered> & BatchJournal.FileOptions = {},
  items: Batch.Inputs<Numbered> = inputs(4)
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.file(file, options)
      return yield* Batch.collect(ep, items, { ...options, journal })
    })
  )

/** Opens the journal, and gives what is wrong with it. */
const problem = (file: string, options: BatchJournal.FileOptions = {}) =>
  Effect.map(
    Effect.scoped(Effect.flip(BatchJournal.file(file, options))),
    ({ byte, file, line, message, reason }: BatchJournalError) => ({ byte, file, line, message, reason })
  )

describe("a journal in a file", () => {
  for (const sync of ["always", "never", { every: "1 second" }] as const) {
    it.live(`is read again by the next run (sync ${JSON.stringify(sync)})`, () =>
      withFile((file) =>
        Effect.gen(function* () {
          const first = yield* run(file, { sync })
          const second = yield* run(file, { sync })
          assert.strictEqual(second.replayed, 4)
          assert.deepStrictEqual(
            second.results.map((outcome) => ({ ...outcome, replayed: false })),
            [...first.results]
          )
        })
      )
    )
  }

  it.live(
    "is JSON lines with checksums: a header with its version and the caller's id, the endpoint, three entries an item",
    () =>
      withFile((file, fs) =>
        Effect.gen(function* () {
          yield* run(file, { id: "bicycles" }, inputs(1))
          const lines: ReadonlyArray<Record<string, unknown>> = (yield* fs.readFileString(file))
            .trimEnd()
            .split("\n")
            .map((line) => JSON.parse(line))
          for (const { crc } of lines) assert.match(String(crc), /^[\da-f]{8}$/)
          assert.deepStrictEqual(
            lines.slice(0, 2).map(({ crc: _, ...line }) => line),
            [{ format: "effect-runpod/batch", version: 2, id: "bicycles" }, { endpointId: "ep" }]
          )
          assert.deepStrictEqual(
            lines.slice(2).map(({ _tag, key }) => [_tag, key]),
            [
              ["Intent", "0"],
              ["Submitted", "0"],
              ["Settled", "0"]
            ]
          )
        })
      )
  )

  it.live("cut at any byte, as a kill would cut it, the next run settles every input once", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* run(file, { sync: "never" })
        const whole = yield* fs.readFile(file)
        const ends = lineEnds(whole)
        // Around each end of a line, and every few bytes between.
        const cuts = new Set(ends.flatMap((end) => [end - 1, end, end + 1]))
        for (let at = 0; at < whole.length; at += 397) cuts.add(at)
        for (const length of cuts) {
          yield* fs.writeFile(file, whole.subarray(0, length))
          const before = yield* jobsPerInput
          const entries = entriesWithin(whole, length)
          const { results } = yield* run(file, { sync: "never" })
          assert.deepStrictEqual(
            results.map(({ key }) => key),
            ["0", "1", "2", "3"]
          )
          const after = yield* jobsPerInput
          for (const outcome of results) {
            const last = entries.findLast(({ key }) => key === outcome.key)?._tag
            assert.strictEqual(kindOf(outcome), last === "Intent" ? "SubmitAmbiguousError" : "Completed")
            // A new job for an item that the journal does not know, and for no other.
            const { n } = outcome.input
            assert.strictEqual((after.get(n) ?? 0) - (before.get(n) ?? 0), last === undefined ? 1 : 0)
          }
        }
        assert.isAbove(cuts.size, 40)
      })
    )
  )

  it.live("a line that is no JSON is reported with its line and byte", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* run(file)
        const lines = (yield* fs.readFileString(file)).split("\n")
        const byte = lines.slice(0, 4).join("\n").length + 1
        lines[4] = lines[4]?.slice(0, -9) ?? ""
        yield* fs.writeFileString(file, lines.join("\n"))
        assert.deepInclude(yield* problem(file), { reason: "Corrupt", file, line: 5, byte })
      })
    )
  )

  it.live("a line that is no entry is reported in the same way", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* run(file)
        const lines = (yield* fs.readFileString(file)).split("\n")
        const byte = lines.slice(0, 3).join("\n").length + 1
        lines[3] = `{"_tag":"Submitted","key":"0"}`
        yield* fs.writeFileString(file, lines.join("\n"))
        assert.deepInclude(yield* problem(file), { reason: "Corrupt", file, line: 4, byte })
      })
    )
  )

  it.live("of another batch is refused, by its id and by its endpoint", () =>
    withFile((file) =>
      Effect.gen(function* () {
        yield* run(file, { id: "bicycles" })
        assert.strictEqual((yield* problem(file, { id: "cars" })).reason, "WrongId")
        const journal = yield* BatchJournal.file(file)
        const error = yield* Effect.flip(Effect.scoped(journal.begin("other")))
        assert.strictEqual(error.reason, "WrongEndpoint")
        assert.include(error.message, file)
      })
    )
  )

  it.live("of another kind or a newer version is refused and left alone", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(file, "name,age\nAda,36\n")
        assert.strictEqual((yield* problem(file)).reason, "Corrupt")
        yield* fs.writeFileString(file, `{"format":"something else","version":1}\n`)
        assert.strictEqual((yield* problem(file)).reason, "Format")
        const newer = `{"format":"effect-runpod/batch","version":3}\n`
        yield* fs.writeFileString(file, newer)
        assert.strictEqual((yield* problem(file)).reason, "Version")
        assert.strictEqual(yield* fs.readFileString(file), newer)
      })
    )
  )

  it.live("that is open is locked, and the error names the lock; `force` opens it all the same", () =>
    withFile((file) =>
      Effect.gen(function* () {
        yield* BatchJournal.file(file)
        assert.deepInclude(yield* problem(file), { reason: "Locked", file: `${file}.lock` })
        yield* Effect.scoped(BatchJournal.file(file, { force: true }))
      })
    )
  )

  it.live("is rewritten without its history when that is more than half of it, and keeps its id", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const items = inputs(1040)
        const first = yield* run(file, { id: "bicycles", sync: "never" }, items)
        const before = (yield* fs.readFileString(file)).split("\n").length
        const second = yield* run(file, { sync: "never" }, items)
        const after = (yield* fs.readFileString(file)).split("\n").length
        assert.deepStrictEqual([before, after], [2 + 3 * 1040 + 1, 2 + 1040 + 1])
        assert.deepStrictEqual(
          second.results.map(({ result }) => result),
          first.results.map(({ result }) => result)
        )
        assert.strictEqual((yield* run(file, { id: "bicycles", sync: "never" }, items)).replayed, 1040)
        assert.strictEqual((yield* problem(file, { id: "cars" })).reason, "WrongId")
      })
    )
  )

  it.live("of version 1, without checksums, is gone on with, unless it is another batch's", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* run(file, { id: "bicycles" }, inputs(2))
        const lines = (yield* fs.readFileString(file)).trimEnd().split("\n").slice(0, -1)
        const old = lines
          .map((line) => JSON.stringify({ ...JSON.parse(line), crc: undefined }))
          .join("\n")
          .replace(`"version":2`, `"version":1`)
        yield* fs.writeFileString(file, `${old}\n`)
        assert.strictEqual((yield* problem(file, { id: "cars" })).reason, "WrongId")
        assert.strictEqual(yield* fs.readFileString(file), `${old}\n`)
        const submitted = (yield* jobsPerInput).size
        const report = yield* run(file, { id: "bicycles" }, inputs(2))
        assert.deepStrictEqual(report.counts, { Completed: 2 })
        assert.strictEqual(report.replayed, 1)
        assert.strictEqual((yield* jobsPerInput).size, submitted)
        assert.match(yield* fs.readFileString(file), /^\{.*"version":2,"id":"bicycles","crc":"[\da-f]{8}"\}\n/)
      })
    )
  )

  it.live("under two names, by a link, is one journal: the second run is refused and submits nothing", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* run(file, {}, inputs(2))
        yield* fs.symlink(file, `${file}.link`)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* BatchJournal.file(file)
            assert.strictEqual((yield* problem(`${file}.link`)).reason, "Locked")
          })
        )
        assert.strictEqual((yield* run(`${file}.link`, {}, inputs(2))).replayed, 2)
        assert.strictEqual(yield* fs.readLink(`${file}.link`), file)
      })
    )
  )

  it.live("gives an outcome that was noted in this run, too", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const journal = yield* BatchJournal.file(file)
        const settled = { _tag: "Settled", hash: "h", at: 1, jobId: "j", attempts: 1, status: "COMPLETED" } as const
        yield* Effect.forEach(["a", "b", "c"], (key) => journal.append({ ...settled, key, output: key.repeat(5) }), {
          concurrency: "unbounded"
        })
        const outputs = yield* Effect.forEach(["a", "b", "c"], (key) =>
          Effect.map(Effect.flatten(journal.outcome(key)), ({ output }) => output)
        )
        assert.deepStrictEqual(outputs, ["aaaaa", "bbbbb", "ccccc"])
      })
    )
  )

  it.live("is read while a run has it, without its lock and without outputs", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* Effect.flip(BatchJournal.read(file))).reason, "Empty")
        yield* run(file, { id: "captions" }, inputs(2))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const journal = yield* BatchJournal.file(file)
            const item = { hash: "h", at: 1, jobId: "j", attempts: 1 }
            yield* journal.append({ _tag: "Submitted", key: "open", ...item })
            yield* fs.writeFileString(file, "{torn", { flag: "a" })
            const { endpointId, id, items } = yield* BatchJournal.read(file)
            assert.deepStrictEqual([endpointId, id], ["ep", "captions"])
            const seen = items.map(({ _tag, key }) => [key, _tag] as const)
            assert.deepStrictEqual(seen, [
              ["0", "Settled"],
              ["1", "Settled"],
              ["open", "Submitted"]
            ])
            assert.isTrue(items.every((item) => !("output" in item)))
          })
        )
      })
    )
  )
})
