import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as JournalEntry from "../../src/schemas/JournalEntry.js"

const settled = (output: unknown): JournalEntry.Entry => ({
  _tag: "Settled",
  key: "a",
  hash: "00",
  at: 1,
  jobId: "job-1",
  attempts: 1,
  status: "COMPLETED",
  delayTime: 1,
  executionTime: 2,
  output
})

const nested = (depth: number) => {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = [value]
  return value
}

describe("the text of an entry of a journal", () => {
  it("gives the entry back, with BigInts, dates, NUL, lone surrogates and any depth in its output", () => {
    for (const output of [{ n: 1n, at: new Date(5) }, "\u0000\ud800\n", -0, { $bigint: "1" }, nested(5_000)]) {
      const text = Either.getOrThrow(JournalEntry.encode(settled(output)))
      assert.notInclude(text, "\n")
      assert.notInclude(text, "\u0000")
      const entry = Either.getOrThrow(JournalEntry.decode(text))
      if (Array.isArray(output)) assert.strictEqual(Either.getOrThrow(JournalEntry.encode(entry)), text)
      else assert.deepStrictEqual(entry, settled(output))
    }
  })

  it("is refused with the reason, and nothing of the entry in it", () => {
    assert.deepStrictEqual(JournalEntry.encode(settled(() => "secret")), Either.left("a function is in it"))
    const broken: JournalEntry.Entry = { ...settled(1), at: NaN }
    assert.deepStrictEqual(JournalEntry.encode(broken), Either.left("it is no entry of a journal (at)"))
    assert.deepStrictEqual(JournalEntry.decode("secret"), Either.left("it is no JSON"))
    assert.deepStrictEqual(JournalEntry.decode(`"secret"`), Either.left("it is no entry of a journal"))
  })
})
