import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck as fc } from "effect"
import type { ChatChunk } from "effect-runpod-ai/ChatCompletion"
import type { ModelError } from "effect-runpod-ai/ModelError"
import { ChunkReader } from "../../src/internal/chunkReader.js"
import { assemble } from "../../src/internal/completion.js"
import { anyStream, chunk, completion, frame, streamOf, usageChunk, type Written } from "../support/answers.js"

const readAll = (pieces: ReadonlyArray<unknown>): Either.Either<ReadonlyArray<ChatChunk>, ModelError> => {
  const reader = new ChunkReader()
  const chunks: Array<ChatChunk> = []
  for (const read of [...pieces.map((piece) => reader.push(piece)), reader.end()]) {
    chunks.push(...read.chunks)
    if (read.error !== undefined) return Either.left(read.error)
  }
  return Either.right(chunks)
}

const errorOf = (pieces: ReadonlyArray<unknown>): ModelError => Either.getOrThrow(Either.flip(readAll(pieces)))

const assertRead = (pieces: ReadonlyArray<unknown>, { calls, content, reasoning }: Omit<Written, "text">) => {
  const { choices, usage } = assemble(Either.getOrThrow(readAll(pieces)), undefined)
  assert.strictEqual(choices[0]?.content, content)
  assert.strictEqual(choices[0]?.reasoning ?? "", reasoning)
  assert.deepStrictEqual(choices[0]?.toolCalls, calls)
  assert.strictEqual(usage?.totalTokens, 12)
}

/** What a client gets that decodes a cut stream of bytes piece by piece. */
const decoded = (pieces: ReadonlyArray<Uint8Array>): ReadonlyArray<string> => {
  const decoder = new TextDecoder()
  return [...pieces.map((piece) => decoder.decode(piece, { stream: true })), decoder.decode()]
}

describe("ChunkReader", () => {
  it("a stream cut in two at any byte gives the same text, none of it lost or doubled", () => {
    fc.assert(
      fc.property(anyStream, (written) => {
        const bytes = new TextEncoder().encode(written.text)
        for (let at = 0; at <= bytes.length; at++) {
          assertRead(decoded([bytes.subarray(0, at), bytes.subarray(at)]), written)
        }
      }),
      { numRuns: 2 }
    )
  })

  it("a stream cut into single characters, or anywhere, gives the same text", () => {
    fc.assert(
      fc.property(anyStream, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (written, lengths) => {
        assertRead(written.text.split(""), written)
        const pieces: Array<string> = []
        for (let at = 0, n = 0; at < written.text.length; n++) {
          const length = lengths[n % lengths.length] ?? 1
          pieces.push(written.text.slice(at, at + length))
          at += length
        }
        assertRead(pieces, written)
      }),
      { numRuns: 8 }
    )
  })

  it("a stream that ends at any byte before its [DONE] is an error", () => {
    fc.assert(
      fc.property(anyStream, ({ text }) => {
        const bytes = new TextEncoder().encode(text.trimEnd())
        for (let length = 0; length < bytes.length; length++) {
          assert.strictEqual(errorOf(decoded([bytes.subarray(0, length)]))._tag, "IncompleteStreamError")
        }
      }),
      { numRuns: 1 }
    )
  })

  it("a [DONE] before the model has finished is an error", () => {
    for (const frames of [[], [chunk({ content: "Hi" })], [usageChunk]]) {
      const error = errorOf([...frames, "[DONE]"].map(frame))
      assert.deepInclude(error, { _tag: "IncompleteStreamError", reason: "NoFinish" })
    }
  })

  it("an error of the worker is found wherever it stands", () => {
    const error = { error: { message: "vLLM returned HTTP 400: too long", type: "worker_error", code: null } }
    const half = frame(chunk({ content: "Hello" })).slice(0, 40)
    const forms: ReadonlyArray<ReadonlyArray<unknown>> = [
      [JSON.stringify(error)],
      [JSON.stringify(error, null, 2)],
      [`${JSON.stringify(error, null, 2)}\r\n\r\n`],
      [frame(error)],
      [error],
      [[error]],
      [frame(chunk({ content: "Hello" })), error],
      [frame(chunk({ content: "Hello" })), JSON.stringify(error)],
      [frame(chunk({ content: "Hello" })).trimEnd(), `\n${JSON.stringify(error)}`],
      [half + JSON.stringify(error)],
      [frame({ object: "error", message: "vLLM returned HTTP 400: too long", type: "worker_error", code: null })]
    ]
    for (const pieces of forms) {
      const found = errorOf(pieces)
      assert.deepInclude(
        found,
        { _tag: "WorkerError", detail: "vLLM returned HTTP 400: too long", type: "worker_error" },
        JSON.stringify(pieces)
      )
      for (let at = 1; typeof pieces[0] === "string" && pieces.length === 1 && at < pieces[0].length; at++) {
        assert.strictEqual(errorOf([pieces[0].slice(0, at), pieces[0].slice(at)])._tag, "WorkerError")
      }
    }
  })

  it("the text before an error is given", () => {
    const reader = new ChunkReader()
    const { chunks, error } = reader.push(frame(chunk({ content: "Hello" })) + frame({ error: "gone" }))
    assert.strictEqual(chunks[0]?.choices[0]?.content, "Hello")
    assert.deepInclude(error, { _tag: "WorkerError", detail: "gone" })
  })

  it("a worker that streams values has no [DONE]", () => {
    const values = [chunk({ content: "Hel" }), chunk({ content: "lo" }), chunk({}, "stop")]
    const read = assemble(Either.getOrThrow(readAll(values)), undefined)
    assert.strictEqual(read.choices[0]?.content, "Hello")
    assert.deepInclude(errorOf(values.slice(0, 2)), { reason: "NoFinish" })
  })

  it("what comes behind [DONE] is not read", () => {
    const chunks = Either.getOrThrow(readAll([streamOf(["Hi"]), frame(chunk({ content: " there" })), "{}"]))
    assert.strictEqual(assemble(chunks, undefined).choices[0]?.content, "Hi")
  })

  it("what is no chunk is an error that shows it", () => {
    const error = errorOf([frame("<html>")])
    assert.strictEqual(error._tag, "MalformedAnswerError")
    assert.include(error.message, "<html>")
    assert.strictEqual(errorOf([frame({ hello: 1 })])._tag, "MalformedAnswerError")
  })

  it("a frame without end is given up", () => {
    const reader = new ChunkReader()
    const megabyte = "x".repeat(1024 * 1024)
    const errors = Array.from({ length: 18 }, () => reader.push(megabyte).error).filter((error) => error !== undefined)
    assert.strictEqual(errors[0]?._tag, "MalformedAnswerError")
  })

  it("any end of lines is one, also when it is cut, and a byte order mark is no text", () => {
    const values = [chunk({ content: "Hello" }), chunk({ content: " there" }, "stop")]
    for (const newline of ["\n", "\r", "\r\n"]) {
      const frames = values.map((value) => {
        const lines = JSON.stringify(value, null, 1).split("\n")
        return lines.map((line) => `data:${line}${newline}`).join("") + newline
      })
      const text = `\uFEFF${frames.join("")}data: [DONE]${newline}${newline}`
      for (const pieces of [[text], text.split(""), text.match(/[^]{1,2}/g) ?? []]) {
        assert.strictEqual(assemble(Either.getOrThrow(readAll(pieces)), undefined).choices[0]?.content, "Hello there")
      }
    }
  })

  it("a name and an id that a server repeats with each piece of a tool call are one", () => {
    const piece = (args: string) =>
      chunk({ tool_calls: [{ index: 0, id: "c1", function: { name: "add", arguments: args } }] })
    const frames = [piece('{"a"'), piece(":1}"), chunk({}, "tool_calls"), "[DONE]"].map(frame)
    const { choices } = assemble(Either.getOrThrow(readAll(frames)), undefined)
    assert.deepStrictEqual(choices[0]?.toolCalls, [{ id: "c1", name: "add", arguments: '{"a":1}' }])
  })

  const callsOf = (...pieces: ReadonlyArray<unknown>) => {
    const chunks = pieces.map((tool_calls) => chunk({ tool_calls }))
    const frames = [...chunks, chunk({}, "tool_calls"), "[DONE]"].map(frame)
    const { choices } = assemble(Either.getOrThrow(readAll(frames)), undefined)
    return choices[0]?.toolCalls.map(({ arguments: args, id, name }) => [id, name, args])
  }
  const called = (args: string, more: object = {}) => ({ ...more, function: { name: "add", arguments: args } })

  it("calls that a server gives the same index, or none, are told apart by their ids when the one before is whole", () => {
    const two = [
      ["c1", "add", '{"a":1}'],
      ["c2", "add", '{"a":2}']
    ]
    for (const index of [{}, { index: 0 }]) {
      const calls = [called('{"a":1}', { id: "c1", ...index }), called('{"a":2}', { id: "c2", ...index })]
      assert.deepStrictEqual(callsOf(...calls.map((call) => [call])), two)
    }
    assert.deepStrictEqual(callsOf([called('{"a":1}')], [called("{}")]), [
      [undefined, "add", '{"a":1}'],
      [undefined, "add", "{}"]
    ])
    // The second has no id.
    assert.deepStrictEqual(callsOf([called('{"a":1}', { id: "c1" })], [called('{"a":2}')]), [
      ["c1", "add", '{"a":1}'],
      [undefined, "add", '{"a":2}']
    ])
    // Older vLLM names each piece of a call anew.
    const pieces = ['{"a":', "{}", "}", "", "\n"].map((args, n) => [called(args, { index: 0, id: `c${n}` })])
    assert.deepStrictEqual(callsOf(...pieces), [["c0", "add", '{"a":{}}\n']])
  })

  it("a call whose first piece has no arguments, behind a whole one of its index and name, begins with that piece", () => {
    for (const index of [{}, { index: 0 }]) {
      for (const none of ["", null]) {
        const head = (id: string) => [{ id, ...index, function: { name: "add", arguments: none } }]
        const rest = (args: string) => [{ ...index, function: { arguments: args } }]
        const pieces = [head("c1"), rest('{"a":'), rest("1}"), head("c2"), rest('{"a"'), rest(":2}")]
        assert.deepStrictEqual(callsOf(...pieces), [
          ["c1", "add", '{"a":1}'],
          ["c2", "add", '{"a":2}']
        ])
      }
    }
  })

  it("calls without arguments are told apart by their names, and those of one name by their ids", () => {
    const call = (id: string, name: string, args: string | null, index?: number) => ({
      id,
      ...(index === undefined ? {} : { index }),
      function: { name, arguments: args }
    })
    for (const args of ["", null, "{}"]) {
      for (const index of [0, -1, undefined]) {
        const calls = [call("a", "f", args, index), call("b", "g", args, index), call("c", "g", args, index)]
        const all = calls.map(({ function: { name }, id }) => [id, name, args ?? ""])
        assert.deepStrictEqual(callsOf(...calls.map((it) => [it])), all)
        const { choices } = assemble(Either.getOrThrow(readAll([completion(null, { tool_calls: calls })])), undefined)
        assert.deepStrictEqual(
          choices[0]?.toolCalls.map((it) => [it.id, it.name, it.arguments]),
          all
        )
      }
    }
    assert.deepStrictEqual(callsOf([call("a", "h", '{"x":1}', 0)], [call("b", "f", "", 0)]), [
      ["a", "h", '{"x":1}'],
      ["b", "f", ""]
    ])
  })

  it("calls of a message are never one, whatever they have in common", () => {
    const call = { index: 0, id: "a", function: { name: "f", arguments: '{"x":' } }
    const whole = [completion(null, { tool_calls: [call, call] })]
    assert.lengthOf(assemble(Either.getOrThrow(readAll(whole)), undefined).choices[0]?.toolCalls ?? [], 2)
  })

  it("JSON of many lines in place of frames takes no quadratic time", () => {
    const value = { ...completion("Hi"), logprobs: Array.from({ length: 5_000 }, (_, n) => ({ token: `"}]${n}\\` })) }
    const before = performance.now()
    const read = readAll([JSON.stringify(value, null, 2), `\n${frame("[DONE]")}`])
    assert.strictEqual(assemble(Either.getOrThrow(read), undefined).choices[0]?.content, "Hi")
    // It took many times as long where it was parsed at each line.
    assert.isBelow(performance.now() - before, 5_000)
  })

  it("what its brackets close is no JSON is left, and what follows is read", () => {
    const frames = ["{no JSON}", "[DONE]", "{", '"a', "", frame(chunk({ content: "Hi" }, "stop")), frame("[DONE]")]
    assert.strictEqual(assemble(Either.getOrThrow(readAll([frames.join("\n")])), undefined).choices[0]?.content, "Hi")
  })

  it("a tool call that is an object in place of a list is read", () => {
    const name = { index: 0, id: "", function: { name: "add", arguments: '{"a"' } }
    assert.deepStrictEqual(callsOf(name, { index: 0, id: "", function: { name: "", arguments: ":1}" } }), [
      [undefined, "add", '{"a":1}']
    ])
  })

  it("a chunk with the usage may have no choices", () => {
    const { created, id, model, object, usage } = usageChunk
    const head = { created, id, model, object, usage }
    for (const last of [head, { ...head, choices: null }, { usage: head.usage }]) {
      const frames = [chunk({ content: "Hi" }, "stop"), last, "[DONE]"].map(frame)
      assert.strictEqual(assemble(Either.getOrThrow(readAll(frames)), undefined).usage?.totalTokens, 12)
    }
    assert.strictEqual(errorOf([frame({ choices: [null] })])._tag, "MalformedAnswerError")
  })

  it("both names of the reasoning are one text", () => {
    const both = [chunk({ reasoning: "Hm", reasoning_content: "Hm" }), chunk({ reasoning: "…" }), chunk({}, "stop")]
    assert.strictEqual(assemble(Either.getOrThrow(readAll(both)), undefined).choices[0]?.reasoning, "Hm…")
  })
})
