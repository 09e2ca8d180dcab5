import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { type File, FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { spawn } from "node:child_process"
import { hostname } from "node:os"
import * as AppendLog from "../../../src/internal/files/appendLog.js"
import { program } from "../../support/program.js"

const options = { format: "test", sync: "never" } as const

/** A record that holds a value. */
const of = (value: unknown) => ({ value })

const withFile = <A, E>(
  use: (file: string, fs: FileSystem) => Effect.Effect<A, E, FileSystem>
): Effect.Effect<A, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const fs = yield* FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      return yield* use(`${folder}/log.jsonl`, fs)
    })
  ).pipe(Effect.provide(NodeFileSystem.layer))

/** Opens a log, and gives what was in it. */
const read = (file: string, more: Partial<AppendLog.Options> = {}) =>
  Effect.scoped(
    Effect.gen(function* () {
      const entries: Array<AppendLog.Entry> = []
      yield* AppendLog.open(file, {
        ...options,
        ...more,
        onRecord: (entry) => Effect.sync(() => void entries.push(entry))
      })
      return entries
    })
  )

const write = (file: string, records: Iterable<unknown>, sync: AppendLog.Sync = "never") =>
  Effect.scoped(
    Effect.gen(function* () {
      const log = yield* AppendLog.open(file, { ...options, sync })
      yield* Effect.forEach(Array.from(records, of), log.append, { concurrency: "unbounded", discard: true })
    })
  )

/** A file system whose open files are changed by `change`. */
const withFiles = (fs: FileSystem, change: (file: File, path: string) => Partial<Pick<File, "sync" | "writeAll">>) =>
  FileSystem.of({
    ...fs,
    open: (path, options) =>
      Effect.map(fs.open(path, options), (file) => ({
        ...file,
        stat: file.stat,
        sync: file.sync,
        truncate: (length) => file.truncate(length),
        writeAll: (bytes) => file.writeAll(bytes),
        ...change(file, path)
      }))
  })

const recordsOf = (entries: ReadonlyArray<AppendLog.Entry>) => entries.map(({ record }) => record["value"])

describe("AppendLog", () => {
  for (const sync of ["always", "never", { every: "1 minute" }] as const) {
    it.live(`gives back what was appended, in order (sync ${JSON.stringify(sync)})`, () =>
      withFile((file) =>
        Effect.gen(function* () {
          yield* write(file, [{ a: 1 }, "ä\n"], sync)
          yield* write(file, [[1, 2]], sync)
          assert.deepStrictEqual(recordsOf(yield* read(file)), [{ a: 1 }, "ä\n", [1, 2]])
        })
      )
    )
  }

  it.live("concurrent appends share writes and syncs", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        let syncs = 0
        let writes = 0
        const counting = withFiles(fs, (file) => ({
          sync: Effect.zipRight(
            Effect.sync(() => syncs++),
            file.sync
          ),
          writeAll: (bytes) =>
            Effect.zipRight(
              Effect.sync(() => writes++),
              file.writeAll(bytes)
            )
        }))
        const records = Array.from({ length: 1000 }, (_, i) => i)
        yield* Effect.provideService(write(file, records, "always"), FileSystem, counting)
        assert.deepStrictEqual(recordsOf(yield* read(file)), records)
        assert.isBelow(syncs, 10)
        assert.isBelow(writes, 10)
      })
    )
  )

  it.live("a file cut at any byte gives a prefix of its records, and goes on from there", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const records = [{ key: "a", text: "ü".repeat(9) }, { key: "b" }, "c", { d: [1, null] }]
        yield* write(file, records)
        const bytes = yield* fs.readFile(file)
        // Around each end of a line, and every third byte, which falls within characters, too.
        const lengths = Array.from({ length: bytes.length + 1 }, (_, length) => length).filter(
          (length) => length % 3 === 0 || bytes.subarray(Math.max(0, length - 2), length + 1).includes(10)
        )
        yield* Effect.forEach(
          lengths,
          Effect.fnUntraced(function* (length) {
            const cut = `${file}.${length}`
            yield* fs.writeFile(cut, bytes.subarray(0, length))
            const whole = recordsOf(yield* read(cut))
            assert.deepStrictEqual(whole, records.slice(0, whole.length))
            const lines = bytes.subarray(0, length).filter((byte) => byte === 10).length
            assert.strictEqual(whole.length, Math.max(0, lines - 1))
            yield* write(cut, ["next"])
            assert.deepStrictEqual(recordsOf(yield* read(cut)), [...whole, "next"])
          }),
          { concurrency: 8, discard: true }
        )
      })
    )
  )

  it.live("corruption before the end is reported with its line and byte", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* write(file, ["one", "two", "three"])
        const lines = (yield* fs.readFileString(file)).split("\n")
        const offset = lines.slice(0, 2).join("\n").length + 1
        lines[2] = `{"value":"tw`
        yield* fs.writeFileString(file, lines.join("\n"))
        const error = yield* Effect.flip(read(file))
        assert.deepInclude({ ...error }, { reason: "Corrupt", file, line: 3, offset })
        assert.include(error.message, `line 3 (byte ${offset})`)
      })
    )
  )

  it.live("files that are something else, or newer, are refused and left as they are", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        for (const [text, reason] of [
          ["my notes", "Format"],
          [`{"format":"other","version":1}\n`, "Format"],
          [`{"some":"json"}`, "Format"],
          [`{"format":"test","version":2} and notes of mine`, "Format"],
          [`{"format":"test","version":3}\n`, "Version"],
          [`{"format":"test","version":2}\n`, "Corrupt"]
        ] as const) {
          yield* fs.writeFileString(file, text)
          const error = yield* Effect.flip(read(file))
          assert.strictEqual(error.reason, reason)
          assert.strictEqual(yield* fs.readFileString(file), text)
        }
      })
    )
  )

  it.live("records can be read again by their place, also after a compaction", () =>
    withFile((file) =>
      Effect.scoped(
        Effect.gen(function* () {
          yield* write(
            file,
            Array.from({ length: 100 }, (_, i) => `record ${i}`)
          )
          const places = new Map<unknown, AppendLog.Position>()
          const log = yield* AppendLog.open(file, {
            ...options,
            onRecord: (entry) => Effect.sync(() => void places.set(entry.record["value"], entry))
          })
          assert.deepStrictEqual(yield* log.read(places.get("record 57")!), of("record 57"))
          yield* log.append(of("new"))
          yield* log.compact(
            log.records.pipe(
              Stream.map(({ record }) => record),
              Stream.filter(({ value }) => String(value).endsWith("7") || value === "new")
            ),
            ({ value }, position) => void places.set(value, position)
          )
          assert.deepStrictEqual(yield* log.read(places.get("record 57")!), of("record 57"))
          yield* log.append(of("newest"))
          const left = yield* Stream.runCollect(Stream.map(log.records, ({ record }) => record["value"]))
          assert.deepStrictEqual(
            [...left],
            [...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => `record ${i === 0 ? "" : i}7`), "new", "newest"]
          )
        })
      )
    )
  )

  it.live("a write that fails leaves a log that can go on", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        let fails = false
        const failing = withFiles(fs, (file, path) => ({
          writeAll: (bytes) =>
            fails
              ? Effect.zipRight(file.writeAll(bytes.subarray(0, 3)), fs.access(`${path}.missing`))
              : file.writeAll(bytes)
        }))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const log = yield* AppendLog.open(file, options)
            yield* log.append(of("one"))
            fails = true
            assert.isTrue((yield* Effect.exit(log.append(of("two"))))._tag === "Failure")
            fails = false
            yield* log.append(of("three"))
          })
        ).pipe(Effect.provideService(FileSystem, failing))
        assert.deepStrictEqual(recordsOf(yield* read(file)), ["one", "three"])
      })
    )
  )

  for (const sync of ["always", { every: "5 millis" }] as const) {
    it.live(`after a sync that failed nothing is appended any more (sync ${JSON.stringify(sync)})`, () =>
      withFile((file, fs) =>
        Effect.gen(function* () {
          let fails = false
          const failing = withFiles(fs, (file, path) => ({
            sync: Effect.suspend(() => (fails ? fs.access(`${path}.missing`) : file.sync))
          }))
          yield* Effect.gen(function* () {
            const log = yield* AppendLog.open(file, { ...options, sync })
            yield* log.append(of("one"))
            fails = true
            // With `every` the append is acknowledged, and the log fails when the sync has.
            const two = yield* Effect.either(log.append(of("two")))
            assert.strictEqual(two._tag, sync === "always" ? "Left" : "Right")
            yield* Effect.sleep("50 millis")
            fails = false
            const errors = [yield* Effect.flip(log.append(of("three"))), yield* Effect.flip(log.compact(log.records))]
            assert.deepStrictEqual(
              errors.map(({ reason }) => reason),
              ["Io", "Io"]
            )
          }).pipe(Effect.scoped, Effect.provideService(FileSystem, failing))
          assert.deepStrictEqual(recordsOf(yield* read(file)), ["one", "two"])
        })
      )
    )
  }

  it.live("after its scope nothing is appended, and what was appended before is there", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const log = yield* Scope.extend(AppendLog.open(file, options), scope)
        const first = yield* Effect.fork(log.append(of("first")))
        yield* Effect.yieldNow()
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(first)
        assert.include((yield* Effect.flip(log.append(of("second")))).message, "closed")
        assert.deepStrictEqual(recordsOf(yield* read(file)), ["first"])
      })
    )
  )

  it.live("a compaction that fails leaves the file, and nothing else", () =>
    withFile((file, fs) =>
      Effect.scoped(
        Effect.gen(function* () {
          const folder = file.slice(0, -"/log.jsonl".length)
          const renames = FileSystem.of({ ...fs, rename: (from) => fs.access(`${from}.missing`) })
          const log = yield* Effect.provideService(AppendLog.open(file, options), FileSystem, renames)
          yield* log.append(of("one"))
          assert.strictEqual(yield* Effect.flip(log.compact(Stream.fail("no more"))), "no more")
          const error = yield* Effect.flip(log.compact(Stream.make(of("two"))))
          assert.strictEqual(error.reason, "Io")
          yield* log.append(of("three"))
          assert.deepStrictEqual((yield* fs.readDirectory(folder)).sort(), ["log.jsonl", "log.jsonl.lock"])
          const left = yield* Stream.runCollect(Stream.map(log.records, ({ record }) => record["value"]))
          assert.deepStrictEqual([...left], ["one", "three"])
        })
      )
    )
  )

  it.live("an append that was interrupted is written all the same, whole", () =>
    withFile((file) =>
      Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const log = yield* AppendLog.open(file, options)
            yield* Effect.race(log.append(of("a")), Effect.void)
          })
        )
        assert.deepStrictEqual(recordsOf(yield* read(file)), ["a"])
      })
    )
  )

  it.live("any JSON comes back as it was", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const samples = FastCheck.sample(FastCheck.array(FastCheck.jsonValue()), 15)
        for (const records of samples) {
          yield* fs.remove(file, { force: true })
          yield* write(file, records)
          assert.deepStrictEqual(recordsOf(yield* read(file)), records)
        }
      })
    )
  )
})

describe("the lock", () => {
  const self = { host: "here", pid: 100, isAlive: (pid: number) => pid === 100 || pid === 101 }
  const holder = (fields: object) => JSON.stringify({ host: "here", pid: 1, id: "x", ...fields })

  it.live("is held until the scope closes", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* AppendLog.open(file, options)
            const error = yield* Effect.flip(read(file))
            assert.deepInclude({ ...error }, { reason: "Locked", file: `${file}.lock` })
            assert.include(error.message, `process ${process.pid} on ${hostname()}`)
          })
        )
        assert.isFalse(yield* fs.exists(`${file}.lock`))
        yield* read(file)
        assert.deepStrictEqual(yield* fs.readDirectory(file.slice(0, -"/log.jsonl".length)), ["log.jsonl"])
      })
    )
  )

  for (const [name, text, taken] of [
    ["of a process that has ended is taken over", holder({ pid: 7 }), true],
    ["of a process that lives is refused", holder({ pid: 101 }), false],
    ["of another machine is refused", holder({ host: "there", pid: 7 }), false],
    ["that says nothing is refused", "", false]
  ] as const) {
    it.live(name, () =>
      withFile((file, fs) =>
        Effect.gen(function* () {
          yield* fs.writeFileString(`${file}.lock`, text)
          const exit = yield* Effect.either(read(file, { process: self }))
          assert.strictEqual(exit._tag, taken ? "Right" : "Left")
          if (taken) return
          assert.strictEqual(yield* fs.readFileString(`${file}.lock`), text)
          yield* read(file, { process: self, force: true })
        })
      )
    )
  }

  it.live("of a process whose number was given to another is taken over", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        if (!(yield* fs.exists("/proc/self/stat"))) return
        yield* fs.writeFileString(`${file}.lock`, holder({ host: hostname(), pid: process.pid, start: "1" }))
        yield* read(file)
      })
    )
  )

  it.live("of one who died taking over is taken over as well", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${file}.lock`, holder({ pid: 7, id: "x" }))
        yield* fs.writeFileString(`${file}.lock.x`, holder({ pid: 8, id: "y" }))
        yield* fs.writeFileString(`${file}.lock.x.y`, holder({ pid: 9, id: "z" }))
        yield* read(file, { process: self })
      })
    )
  )

  it.live("has one winner when ten fibers take it over at once, fifteen times", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        for (let round = 0; round < 15; round++) {
          yield* fs.writeFileString(`${file}.lock`, holder({ pid: 7, id: `x${round}` }))
          const won = yield* Effect.scoped(
            Effect.forEach(
              Array.from({ length: 10 }),
              () => Effect.either(AppendLog.open(file, { ...options, process: self })),
              { concurrency: "unbounded" }
            )
          )
          assert.strictEqual(won.filter((result) => result._tag === "Right").length, 1)
        }
      })
    )
  )

  it.live(
    "has one winner when six processes take it over at once",
    () =>
      withFile((file, fs) =>
        Effect.gen(function* () {
          yield* fs.writeFileString(`${file}.lock`, holder({ host: hostname(), pid: 2 ** 22 + 1 }))
          const takers = yield* Effect.forEach(
            Array.from({ length: 6 }),
            () =>
              Effect.acquireRelease(
                Effect.sync(() =>
                  spawn(process.execPath, [program("lockTaker"), file], {
                    stdio: ["pipe", "pipe", "inherit"]
                  })
                ),
                (child) => Effect.sync(() => void child.kill("SIGKILL"))
              ),
            { concurrency: "unbounded" }
          )
          const line = (child: (typeof takers)[number]) =>
            Effect.async<string>((resume) => {
              child.stdout.once("data", (data: Buffer) => resume(Effect.succeed(data.toString().trim())))
            })
          yield* Effect.forEach(takers, line, { concurrency: "unbounded" })
          const said = Effect.forEach(takers, line, { concurrency: "unbounded" })
          for (const child of takers) child.stdin.write("go\n")
          assert.deepStrictEqual((yield* said).sort(), [...Array.from({ length: 5 }, () => "Locked"), "won"])
        }).pipe(Effect.scoped)
      ),
    120_000
  )
})
