import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as AppendLog from "../../../src/internal/files/appendLog.js"
import { realPath } from "../../../src/internal/files/realPath.js"

const options = { format: "test", sync: "never" } as const

const withFolder = <A, E>(use: (folder: string, fs: FileSystem) => Effect.Effect<A, E, FileSystem>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const fs = yield* FileSystem
      return yield* use(yield* fs.realPath(yield* fs.makeTempDirectoryScoped()), fs)
    })
  ).pipe(Effect.provide(NodeFileSystem.layer))

describe("a log behind symbolic links", () => {
  for (const exists of [true, false]) {
    it.live(`has one lock and one file under all of its names (${exists ? "with" : "without"} a file)`, () =>
      withFolder((folder, fs) =>
        Effect.gen(function* () {
          const file = `${folder}/data/log.jsonl`
          yield* fs.makeDirectory(`${folder}/data`)
          yield* fs.symlink(`${folder}/data`, `${folder}/linked`)
          yield* fs.makeDirectory(`${folder}/data/sub`)
          yield* fs.symlink(`${folder}/data/sub`, `${folder}/sub`)
          // `..` behind a link is the parent of where it leads, not of the link.
          const names = [
            file,
            `${folder}/linked/log.jsonl`,
            `${folder}/sub/../log.jsonl`,
            `${folder}/sub/../sub/../log.jsonl`
          ]
          if (exists) {
            yield* fs.writeFileString(file, "")
            // A chain of links, one of them relative.
            yield* fs.symlink("data/log.jsonl", `${folder}/one`)
            yield* fs.symlink(`${folder}/one`, `${folder}/two`)
            names.push(`${folder}/one`, `${folder}/two`)
          }
          for (const name of names) {
            yield* Effect.scoped(
              Effect.gen(function* () {
                const log = yield* AppendLog.open(name, options)
                yield* log.append({ name })
                for (const other of names) {
                  const error = yield* Effect.flip(Effect.scoped(AppendLog.open(other, options)))
                  assert.deepInclude({ ...error }, { reason: "Locked", file: `${file}.lock` })
                }
                yield* log.compact(log.records.pipe(Stream.map(({ record }) => record)))
              })
            )
          }
          assert.deepStrictEqual(yield* fs.readDirectory(`${folder}/data`), ["log.jsonl", "sub"])
          if (exists) assert.strictEqual(yield* fs.readLink(`${folder}/one`), "data/log.jsonl")
          const log = yield* AppendLog.open(file, options)
          const records = yield* Stream.runCollect(Stream.map(log.records, ({ record }) => record["name"]))
          assert.deepStrictEqual([...records], names)
        }).pipe(Effect.scoped)
      )
    )
  }

  it.live("is found by a relative path", () =>
    withFolder((_, fs) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* realPath(fs, "package.json"), `${yield* fs.realPath(".")}/package.json`)
        assert.strictEqual(yield* realPath(fs, "not-there.jsonl"), `${yield* fs.realPath(".")}/not-there.jsonl`)
        assert.strictEqual(yield* realPath(fs, "/not-there.jsonl"), "/not-there.jsonl")
      })
    )
  )
})

describe("a path that leads to no file", () => {
  const cases: ReadonlyArray<
    readonly [string, (folder: string, fs: FileSystem) => Effect.Effect<string, unknown>, string]
  > = [
    [
      "a link to nowhere",
      (folder, fs) => Effect.as(fs.symlink(`${folder}/gone`, `${folder}/a`), `${folder}/a`),
      "nothing is there"
    ],
    [
      "a loop of links",
      (folder, fs) =>
        Effect.zipRight(fs.symlink(`${folder}/a`, `${folder}/b`), fs.symlink(`${folder}/b`, `${folder}/a`)).pipe(
          Effect.as(`${folder}/a`)
        ),
      "its links lead in a circle"
    ],
    ["a folder", (folder) => Effect.succeed(folder), "no regular file"],
    [
      "a link to a folder",
      (folder, fs) => Effect.as(fs.symlink(folder, `${folder}/a`), `${folder}/a`),
      "no regular file"
    ],
    ["a folder that is not there", (folder) => Effect.succeed(`${folder}/no/log`), "there is no such file or folder"],
    ["a name that is a folder's", (folder) => Effect.succeed(`${folder}/no/`), "names a folder"],
    ["a device", () => Effect.succeed("/dev/null"), "no regular file"]
  ]
  for (const [name, make, why] of cases) {
    it.live(`is an error and leaves nothing behind: ${name}`, () =>
      withFolder((folder, fs) =>
        Effect.gen(function* () {
          const path = yield* make(folder, fs)
          const before = yield* fs.readDirectory(folder)
          const error = yield* Effect.flip(Effect.scoped(AppendLog.open(path, options)))
          assert.strictEqual(error.reason, "Io")
          assert.include(error.message, why)
          assert.deepStrictEqual(yield* fs.readDirectory(folder), before)
        })
      )
    )
  }
})

describe("a log with two names by a hard link", () => {
  it.live("is refused under each of them, unless forced", () =>
    withFolder((folder, fs) =>
      Effect.gen(function* () {
        yield* Effect.scoped(AppendLog.open(`${folder}/a`, options))
        yield* fs.link(`${folder}/a`, `${folder}/b`)
        for (const name of ["a", "b"]) {
          const error = yield* Effect.flip(Effect.scoped(AppendLog.open(`${folder}/${name}`, options)))
          assert.deepInclude({ ...error }, { reason: "Locked", file: `${folder}/${name}` })
          assert.include(error.message, "hard links")
          yield* Effect.scoped(AppendLog.open(`${folder}/${name}`, { ...options, force: true }))
        }
        yield* fs.remove(`${folder}/a`)
        yield* Effect.scoped(AppendLog.open(`${folder}/b`, options))
      })
    )
  )
})
