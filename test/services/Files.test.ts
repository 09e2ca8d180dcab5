import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import type { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as NFS from "node:fs"
import { tmpdir } from "node:os"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Files from "../../src/services/Files.js"
import * as Flight from "../../src/services/Flight.js"

/** A folder of its own, which goes when the effect ends. */
const inFolder = <A, E>(use: (folder: string) => Effect.Effect<A, E, FileSystem>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => NFS.realpathSync(NFS.mkdtempSync(`${tmpdir()}/files-`))),
    use,
    (folder) => Effect.sync(() => NFS.rmSync(folder, { recursive: true, force: true }))
  ).pipe(Effect.provide(NodeFileSystem.layer))

const modeOf = (path: string) => (NFS.statSync(path).mode & 0o777).toString(8)

/** One folder with files under many names. Those that are not there yet can be made through links, too. */
const layOut = (folder: string) => {
  const at = (name: string) => `${folder}/${name}`
  NFS.mkdirSync(at("sub/deep"), { recursive: true })
  NFS.writeFileSync(at("a"), "a")
  NFS.writeFileSync(at("b"), "b")
  NFS.linkSync(at("a"), at("hard"))
  NFS.symlinkSync("a", at("soft"))
  NFS.symlinkSync("soft", at("softer"))
  NFS.symlinkSync(at("sub/deep"), at("jump"))
  NFS.symlinkSync("../new", at("sub/dangling"))
  NFS.symlinkSync("sub/dangling", at("dangling"))
  NFS.symlinkSync(folder, at("self"))
}

const names = [
  ...["a", "./a", "sub/../a", "hard", "soft", "softer", "self/a", "self/self/soft", "jump/../../a", "A"],
  ...["b", "self/b", "sub/b", "jump/../b", "B"],
  ...["new", "./new", "self/new", "dangling", "sub/dangling", "jump/../../new", "NEW", "jump/new"]
]

/** What a path leads to, in bytes; nothing where there is no file. */
const contentOf = (path: string) => {
  try {
    return NFS.readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

describe("files that are used for two things", () => {
  it.effect.prop(
    "are refused when writing the one changes the other, and only then",
    [FastCheck.constantFrom(...names), FastCheck.constantFrom(...names), FastCheck.boolean()],
    ([written, other, isRead]) =>
      inFolder((folder) =>
        Effect.gen(function* () {
          layOut(folder)
          const before = JSON.stringify(names.map((name) => contentOf(`${folder}/${name}`)))
          const checked = yield* Effect.either(
            Files.checkDistinct([
              { name: "--other", path: `${folder}/${other}`, access: isRead ? "read" : "write" },
              { name: "--written", path: `${folder}/${written}`, access: "write" }
            ])
          )
          assert.strictEqual(JSON.stringify(names.map((name) => contentOf(`${folder}/${name}`))), before)
          const old = contentOf(`${folder}/${other}`)
          NFS.writeFileSync(`${folder}/${written}`, "changed")
          const isSame = contentOf(`${folder}/${other}`) !== old
          assert.strictEqual(Either.isLeft(checked), isSame, `${written} over ${other}`)
          if (Either.isLeft(checked)) assert.strictEqual(checked.left.reason, "Same")
        })
      ),
    { fastCheck: { numRuns: 120 } }
  )

  it.effect("may be the same where both are read, or neither is a file", () =>
    inFolder((folder) => {
      NFS.writeFileSync(`${folder}/a`, "a")
      return Files.checkDistinct([
        { name: "one", path: `${folder}/a`, access: "read" },
        { name: "two", path: `${folder}/./a`, access: "read" },
        { name: "three", path: "/dev/null", access: "write" },
        { name: "four", path: "/dev/null", access: "write" }
      ])
    })
  )
})

describe("a new file", () => {
  it.effect("is for its user alone, and a stricter umask counts", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        yield* Files.replace(`${folder}/made/report`, "text")
        assert.deepStrictEqual([modeOf(`${folder}/made`), modeOf(`${folder}/made/report`)], ["700", "600"])
        yield* BatchJournal.file(`${folder}/journal`)
        yield* Effect.provide(Effect.void, Flight.layer(`${folder}/flight`))
        const writer = yield* Files.writer(`${folder}/out`)
        assert.isFalse(NFS.existsSync(`${folder}/out`))
        yield* writer.write("1\n")
        for (const name of ["journal", "flight", "out"]) assert.strictEqual(modeOf(`${folder}/${name}`), "600", name)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("is not made where more than its folder is missing", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Files.replace(`${folder}/no/such/report`, "text"))
        assert.strictEqual(error.reason, "Missing")
        assert.isFalse(NFS.existsSync(`${folder}/no`))
      })
    )
  )
})

describe("a file that is replaced", () => {
  it.effect("keeps its mode and its links, and is the old one until all is written", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        NFS.writeFileSync(`${folder}/report`, "old", { mode: 0o644 })
        NFS.chmodSync(`${folder}/report`, 0o664)
        NFS.linkSync(`${folder}/report`, `${folder}/hard`)
        NFS.symlinkSync("report", `${folder}/link`)
        yield* Files.replace(`${folder}/link`, "new")
        assert.strictEqual(NFS.readFileSync(`${folder}/report`, "utf8"), "new")
        assert.strictEqual(NFS.readFileSync(`${folder}/hard`, "utf8"), "old")
        assert.isTrue(NFS.lstatSync(`${folder}/link`).isSymbolicLink())
        assert.strictEqual(modeOf(`${folder}/report`), "664")
        assert.sameMembers(NFS.readdirSync(folder), ["hard", "link", "report"])
      })
    )
  )

  it.effect("keeps its mode when a journal is rewritten", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const path = `${folder}/journal`
        yield* Effect.scoped(BatchJournal.file(path))
        NFS.chmodSync(path, 0o640)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const journal = yield* BatchJournal.file(path)
            yield* journal.begin("ep")
            for (let at = 1; at <= 1_100; at++) {
              yield* journal.append({ _tag: "Intent", key: "a", hash: "0".repeat(64), at })
            }
          })
        )
        const { size } = NFS.statSync(path)
        yield* Effect.scoped(BatchJournal.file(path))
        assert.isBelow(NFS.statSync(path).size, size / 10)
        assert.strictEqual(modeOf(path), "640")
      })
    )
  )

  for (const [name, path, reason] of [
    ["a folder", "/tmp", "Folder"],
    ["a full device", "/dev/full", "Full"],
    ["a file system without room for it", "/proc/nothing", undefined],
    ["a part of a path that is a file", "/etc/passwd/report", "Unfit"],
    ["an empty path", "", "Folder"],
    ["a path with a zero", "a\u0000b", "Unfit"]
  ] as const) {
    it.effect(`is an error in our words: ${name}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Files.replace(path, "text"))
        if (reason !== undefined) assert.strictEqual(error.reason, reason)
        assert.notMatch(error.message, /FileSystem|PlatformError|E[A-Z]{4}/)
        assert.isBelow(error.message.length, 300)
      }).pipe(Effect.provide(NodeFileSystem.layer))
    )
  }
})

describe("a file that grows", () => {
  it.effect("leaves the old one as it is until its lines are accepted, which are then behind each other", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const path = `${folder}/out`
        NFS.writeFileSync(path, "old\n", { mode: 0o640 })
        const writer = yield* Files.writer(path)
        yield* writer.write("1\n")
        assert.strictEqual(NFS.readFileSync(path, "utf8"), "old\n")
        const beside = yield* writer.beside
        assert.strictEqual(NFS.readFileSync(beside ?? "", "utf8"), "1\n")
        yield* writer.accept
        yield* writer.write("2\n")
        assert.strictEqual(NFS.readFileSync(path, "utf8"), "1\n2\n")
        assert.deepStrictEqual(NFS.readdirSync(folder), ["out"])
        assert.strictEqual(modeOf(path), "640")
        assert.isUndefined(yield* writer.beside)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("does not touch the old one when no line comes, and keeps lines that were not accepted", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const path = `${folder}/out`
        NFS.writeFileSync(path, "old\n")
        yield* Effect.scoped(Effect.flatMap(Files.writer(path), ({ accept }) => accept))
        assert.strictEqual(NFS.readFileSync(path, "utf8"), "old\n")
        yield* Effect.scoped(Effect.flatMap(Files.writer(path), ({ write }) => write("1\n")))
        const [part = "", ...others] = NFS.readdirSync(folder).filter((name) => name !== "out")
        assert.deepStrictEqual([NFS.readFileSync(path, "utf8"), others], ["old\n", []])
        assert.strictEqual(NFS.readFileSync(`${folder}/${part}`, "utf8"), "1\n")
      })
    )
  )

  it.effect("is written where it is when it was accepted before, and writes to devices", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const path = `${folder}/out`
        NFS.writeFileSync(path, "old\n")
        NFS.linkSync(path, `${folder}/hard`)
        const writer = yield* Files.writer(path)
        yield* writer.accept
        yield* writer.write("1\n")
        assert.strictEqual(NFS.readFileSync(`${folder}/hard`, "utf8"), "1\n")
        yield* (yield* Files.writer("/dev/null")).write("1\n")
        const full = yield* Effect.flip((yield* Files.writer("/dev/full")).write("1\n"))
        assert.strictEqual(full.reason, "Full")
      }).pipe(Effect.scoped)
    )
  )

  it.effect("is refused before the first line where it cannot be written", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.flip(Files.writer("/tmp"))
      assert.strictEqual(folder.reason, "Folder")
      const missing = yield* Effect.flip(Files.writer("/no/such/folder/out"))
      assert.strictEqual(missing.reason, "Missing")
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))
  )
})
