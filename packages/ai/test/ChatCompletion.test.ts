import { assert, describe, it } from "@effect/vitest"
import { Either, Schema } from "effect"
import { ChatCompletion } from "effect-runpod-ai"
import { completion, streamOf } from "./support/answers.js"

const decode = Schema.decodeUnknownEither(ChatCompletion.ChatCompletion)

describe("ChatCompletion", () => {
  it("a completion is read in each form a job's output has", () => {
    const answer = completion("Hello")
    const text = streamOf(["Hel", "lo"])
    const outputs = [
      answer,
      [answer],
      [[answer]],
      JSON.stringify(answer),
      [JSON.stringify(answer)],
      JSON.stringify([answer]),
      [`\uFEFF${JSON.stringify(answer, null, 1)}`],
      text,
      [text],
      text.match(/[^]{1,7}/g)
    ]
    for (const output of outputs) {
      const { choices, id, model, raw, usage } = Either.getOrThrow(decode(output))
      assert.deepInclude(choices[0], { index: 0, content: "Hello", finishReason: "stop", toolCalls: [] })
      assert.deepInclude({ id, model }, { id: "chatcmpl-1", model: "m" })
      assert.deepStrictEqual(usage, { inputTokens: 7, outputTokens: 5, totalTokens: 12 })
      assert.isDefined(raw)
    }
  })

  it("a completion encodes to what it came as", () => {
    const output = [completion("Hello")]
    const decoded = Either.getOrThrow(decode(output))
    assert.deepStrictEqual(Schema.encodeSync(ChatCompletion.ChatCompletion)(decoded), output)
  })

  it("tool calls, reasoning, refusals and a content of parts are read", () => {
    const call = { id: "c1", type: "function", function: { name: "add", arguments: '{"a":1}' } }
    const answer = completion(null, {
      tool_calls: [call],
      reasoning: "Hm",
      refusal: "No",
      content: [{ text: "A" }, "B"]
    })
    const { choices } = Either.getOrThrow(decode(answer))
    assert.deepInclude(choices[0], { content: "AB", reasoning: "Hm", refusal: "No" })
    assert.deepStrictEqual(choices[0]?.toolCalls, [{ id: "c1", name: "add", arguments: '{"a":1}' }])
  })

  it("errors of the worker, cut streams and other things are no completion, and say so", () => {
    const refused: ReadonlyArray<readonly [unknown, string]> = [
      [
        { error: { message: "model `x` does not exist", type: "NotFoundError", code: 404 } },
        "model `x` does not exist"
      ],
      [[{ error: { message: "gone", type: "worker_error", code: null } }], "gone"],
      [{ error: "gone" }, "gone"],
      [{ object: "error", message: "gone", type: "BadRequestError", code: 400 }, "BadRequestError, 400"],
      [streamOf(["Hello"]).slice(0, -10), "without [DONE]"],
      [{ choices: [{ index: 0 }] }, "expected a chat completion"],
      [{ choices: [null] }, "expected a chat completion"],
      [[], "got []"],
      [{}, "got {}"],
      [{ choices: [] }, "got"],
      [null, "got null"],
      ["hello", "[DONE]"],
      [7, "got 7"]
    ]
    for (const [output, says] of refused) {
      const left = Either.getOrThrow(Either.flip(decode(output)))
      assert.include(left.message, says, JSON.stringify(output))
    }
  })

  it("an `error: null` beside an answer is none", () => {
    assert.isTrue(Either.isRight(decode({ ...completion("Hello"), error: null })))
  })
})
