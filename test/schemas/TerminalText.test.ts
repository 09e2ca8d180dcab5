import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as FastCheck from "effect/FastCheck"
import { inspect } from "node:util"
import * as BatchError from "../../src/errors/BatchError.js"
import * as JobError from "../../src/errors/JobError.js"
import * as RunPodError from "../../src/errors/RunPodError.js"
import * as TerminalText from "../../src/schemas/TerminalText.js"
import { AppendLogError } from "../../src/internal/files/logFile.js"

/** What no terminal may get, said in another way than the code says it. */
const isControl = (code: number): boolean =>
  (code < 0x20 && code !== 0x0a && code !== 0x09) ||
  (code >= 0x7f && code <= 0x9f) ||
  (code >= 0xd800 && code <= 0xdfff) ||
  [0x061c, 0x200e, 0x200f].includes(code) ||
  (code >= 0x202a && code <= 0x202e) ||
  (code >= 0x2066 && code <= 0x2069)

const controlsIn = (text: string): ReadonlyArray<string> =>
  Array.from(text).filter((character) => isControl(character.codePointAt(0) ?? 0))

const evil = "\u001b[31m\u001b]52;c;ZXZpbA==\u0007\r\u009b2J\u007f\u202eexe\ud800"

describe("a text for a terminal", () => {
  it("has pictures of C0, and escapes of the rest", () => {
    assert.strictEqual(TerminalText.make(evil), "␛[31m␛]52;c;ZXZpbA==␇␍\\u009b2J\\u007f\\u202eexe\\ud800")
  })

  it("is the text itself where nothing in it drives a terminal", () => {
    const text = "a\tb\nÄ 猫 😀 e\u0301 \u200b ␛"
    assert.strictEqual(TerminalText.make(text), text)
  })

  it("is on one line where it is to be", () => {
    assert.strictEqual(TerminalText.oneLine("a\r\nb\nc\td\u001b"), "a b c d␛")
  })

  it("of JSON is the same JSON, for each code unit", () => {
    for (let code = 0; code <= 0xffff; code++) {
      const value = `a${String.fromCharCode(code)}b`
      const shown = TerminalText.make(JSON.stringify(value))
      assert.strictEqual(JSON.parse(shown), value)
      assert.isEmpty(controlsIn(shown))
    }
  })

  it("has no control characters, whatever it is made of", () => {
    const texts = FastCheck.string({ unit: "binary", maxLength: 50 })
    const units = FastCheck.array(FastCheck.integer({ min: 0, max: 0xffff })).map((codes) =>
      String.fromCharCode(...codes)
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.oneof(texts, units), (text) => controlsIn(TerminalText.make(text)).length === 0)
    )
  })
})

describe("an error", () => {
  const where = { operation: "run", method: "POST", path: "/ep/run", endpointId: "ep" }
  const errors = [
    new JobError.JobFailedError({ endpointId: "ep", jobId: evil, reason: "Handler", detail: evil, errorType: evil }),
    new RunPodError.ServerError({ ...where, status: 500, detail: evil, body: evil, jobId: evil }),
    new BatchError.BatchJournalError({ reason: "DuplicateKey", file: evil, key: evil, detail: "twice" }),
    new AppendLogError({ reason: "Io", file: evil, detail: evil })
  ]
  for (const error of errors) {
    it(`has nothing in its message that drives a terminal, nor when a cause is printed: ${error._tag}`, () => {
      assert.include(error.message, "␛[31m")
      assert.isEmpty(controlsIn(error.message))
      assert.isEmpty(controlsIn(Cause.pretty(Cause.fail(error))))
      assert.isEmpty(controlsIn(String(error)))
      assert.isEmpty(controlsIn(error.stack ?? ""))
      assert.notInclude(inspect(error), "\u001b")
    })
  }

  it("keeps in its fields what came", () => {
    assert.strictEqual(errors[0] instanceof JobError.JobFailedError && errors[0].detail, evil)
  })
})
