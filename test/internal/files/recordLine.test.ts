/** Damage: what was flipped, cut or written by an earlier version. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as AppendLog from "../../../src/internal/files/appendLog.js"
import * as RecordLine from "../../../src/internal/files/recordLine.js"
import { concatBytes, utf8 } from "../../../src/internal/text/bytes.js"

const options = { format: "test", sync: "never" } as const

/** A file with only these bytes. Nothing else of the file system is touched, so that many of them are cheap. */
const withBytes = (bytes: Uint8Array) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/log.jsonl`
    yield* fs.writeFile(file, bytes)
    const records: Array<unknown> = []
    const onRecord = ({ record }: AppendLog.Entry) => Effect.sync(() => void records.push(record))
    const opened = yield* Effect.either(Effect.scoped(AppendLog.open(file, { ...options, onRecord })))
    return { opened, records, text: yield* fs.readFileString(file) }
  }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

const lineOf = (record: object) => Either.getOrThrow(RecordLine.encode(record))
const header = { format: "test", version: 2 }
const fileOf = (records: ReadonlyArray<object>) => concatBytes([header, ...records].map(lineOf))

const record = FastCheck.dictionary(FastCheck.string(), FastCheck.jsonValue())

describe("a log of which a byte was flipped", () => {
  const damage = FastCheck.tuple(
    FastCheck.array(record, { maxLength: 4 }),
    FastCheck.nat(),
    FastCheck.integer({ min: 1, max: 255 })
  )

  it.effect.prop(
    "is an error with its place, or what it was",
    [damage, FastCheck.boolean()],
    ([[records, n, mask], isTorn]) =>
      Effect.gen(function* () {
        const whole = fileOf(records)
        const torn = isTorn ? lineOf({ torn: "end" }).subarray(0, 9) : new Uint8Array(0)
        const bytes = concatBytes([whole, torn, new Uint8Array(0)])
        const at = n % bytes.length
        bytes[at] = (bytes[at] ?? 0) ^ mask
        const read = yield* withBytes(bytes)
        if (read.opened._tag === "Right") {
          assert.isAtLeast(at, whole.length)
          assert.deepStrictEqual(read.records, JSON.parse(JSON.stringify(records)))
        } else {
          assert.include(["Corrupt", "Format", "Version"], read.opened.left.reason)
          assert.isDefined(read.opened.left.line)
        }
      }),
    { fastCheck: { numRuns: 30 } }
  )

  it.effect("is noticed for each byte of a file", () =>
    Effect.gen(function* () {
      const records = [{ output: { a: 1 } }, { output: `,"crc":"00000000"}` }]
      const whole = fileOf(records)
      for (let at = 0; at < whole.length; at++) {
        const byte = at % 2 === 0 && whole[at] !== 10 ? 10 : (whole[at] ?? 0) ^ 1
        const bytes = whole.slice()
        bytes[at] = byte
        const { opened } = yield* withBytes(bytes)
        assert.strictEqual(opened._tag, "Left", `byte ${at} as ${byte}`)
      }
    })
  )

  it.effect("names the line, and says what to do", () =>
    Effect.gen(function* () {
      const bytes = fileOf([{ output: "good" }, { output: "bad" }, { output: "good" }])
      const at = new TextDecoder().decode(bytes).indexOf("bad")
      bytes[at] = 66
      const { opened } = yield* withBytes(bytes)
      assert(opened._tag === "Left")
      assert.deepInclude({ ...opened.left }, { reason: "Corrupt", line: 3 })
      assert.include(opened.left.message, "Restore the file from a copy")
    })
  )

  it.effect("in the line feed of the last record is no torn write", () =>
    Effect.gen(function* () {
      for (const end of ["x", "x{", " "]) {
        const bytes = concatBytes([fileOf([{ a: 1 }]).slice(0, -1), utf8(end)])
        const { opened } = yield* withBytes(bytes)
        assert(opened._tag === "Left")
        assert.deepInclude({ ...opened.left }, { reason: "Corrupt", line: 2 })
      }
    })
  )
})

describe("a log of version 1, without checksums", () => {
  const old = [`{"format":"test","version":1,"id":"mine"}`, `{"a":{"$bigint":"1"}}`, `{"b":[1,"ü"]}`]
  const records = [{ a: { $bigint: "1" } }, { b: [1, "ü"] }]

  it.effect("is read, and has checksums from then on", () =>
    Effect.gen(function* () {
      // With the torn end of a write.
      const first = yield* withBytes(utf8(`${old.join("\n")}\n{"c":`))
      assert.strictEqual(first.opened._tag, "Right")
      assert.deepStrictEqual(first.records, records)
      assert.include(first.text, `{"format":"test","version":2,"id":"mine","crc":`)
      const second = yield* withBytes(utf8(first.text))
      assert.deepStrictEqual(second.records, records)
      assert.strictEqual(second.text, first.text)
    })
  )

  it.effect("with a line that is no JSON is refused and left as it is", () =>
    Effect.gen(function* () {
      const text = `${old[0]}\n{"a":\n${old[2]}\n`
      const { opened, text: left } = yield* withBytes(utf8(text))
      assert(opened._tag === "Left")
      assert.deepInclude({ ...opened.left }, { reason: "Corrupt", line: 2 })
      assert.strictEqual(left, text)
    })
  )
})
