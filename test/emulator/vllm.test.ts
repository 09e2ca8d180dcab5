import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, FastCheck, Fiber, Stream, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { instanceOf } from "../../src/emulator/internal/vllm/schemaInstance.js"
import { get, post, send } from "./support.js"

type Options = NonNullable<Parameters<typeof Emulator.handler.vllm>[0]>

const emulated = (options: Options) =>
  Effect.provide(
    Emulator.layer({
      endpoints: { llm: { handler: Emulator.handler.vllm(options) } },
      loadBalancers: { lb: { app: Emulator.handler.vllmApp(options) } }
    })
  )

const route = "/v2/llm/openai/v1"
const messages = [{ role: "user", content: "one two" }]

/** What the handler yields for an input. */
const yields = (options: Options, input: Record<string, unknown>) => {
  const job = { id: "job", workerId: "worker", progress: () => Effect.void }
  const given = Emulator.handler.vllm(options)(input, job)
  assert(!Effect.isEffect(given))
  return Effect.map(Stream.runCollect(given), Chunk.toReadonlyArray)
}

const chatOf = (body: object) => ({ openai_route: "/v1/chat/completions", openai_input: { messages, ...body } })

const textOf = (sse: string): string =>
  sse
    .split("\n\n")
    .filter((frame) => frame.startsWith("data: {"))
    .map((frame): string => JSON.parse(frame.slice(6)).choices[0]?.delta.content ?? "")
    .join("")

describe("a worker of vLLM", () => {
  it.effect("answers with vLLM's fields and nulls", () =>
    Effect.gen(function* () {
      const { status, text } = yield* post(`${route}/chat/completions`, { messages })
      assert.strictEqual(status, 200)
      const body = JSON.parse(text)
      assert.deepStrictEqual(body.choices[0].message, {
        role: "assistant",
        content: "You said: one two",
        refusal: null,
        annotations: null,
        audio: null,
        function_call: null,
        tool_calls: [],
        reasoning: null,
        reasoning_content: null
      })
      assert.deepInclude(body, { model: "emulated/model", prompt_logprobs: null, kv_transfer_params: null, created: 0 })
      const completion = JSON.parse((yield* post(`${route}/completions`, { prompt: "one two" })).text)
      assert.deepNestedInclude(completion, { object: "text_completion", "choices[0].text": "You said: one two" })
    }).pipe(emulated({}))
  )

  it.effect("takes a token's time for each token", () =>
    Effect.gen(function* () {
      const plain = yield* Effect.fork(post(`${route}/chat/completions`, { messages }))
      yield* TestClock.adjust("399 millis")
      assert.strictEqual((yield* Fiber.poll(plain))._tag, "None")
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(plain)
      const streamed = yield* Effect.fork(post(`${route}/chat/completions`, { messages, stream: true }))
      yield* TestClock.adjust("400 millis")
      assert.strictEqual(textOf((yield* Fiber.join(streamed)).text), "You said: one two")
    }).pipe(emulated({ perToken: "100 millis" }))
  )

  it.effect("stops at max_tokens, and says so", () =>
    Effect.gen(function* () {
      const body = JSON.parse((yield* post(`${route}/chat/completions`, { messages, max_tokens: 2 })).text)
      assert.deepNestedInclude(body, {
        "choices[0].message.content": "You said:",
        "choices[0].finish_reason": "length",
        "usage.completion_tokens": 2
      })
    }).pipe(emulated({}))
  )

  it.effect("thinks before it speaks", () =>
    Effect.gen(function* () {
      const [first] = yield* yields(options, chatOf({}))
      assert.deepNestedInclude(first, { "choices[0].message.reasoning_content": "hm hm" })
      const deltas = (yield* yields(options, chatOf({ stream: true }))).join("")
      assert.include(deltas, '{"reasoning":" hm","reasoning_content":" hm"}')
      assert.strictEqual(textOf(deltas), "yes")
    })
  )
  const options: Options = { reply: () => ({ reasoning: "hm hm", content: "yes" }) }

  it.effect("calls the tool it must call, with arguments that its schema allows", () =>
    Effect.gen(function* () {
      const parameters = {
        type: "object",
        properties: { city: { type: "string" }, days: { type: "integer", minimum: 1 } }
      }
      const tools = [{ type: "function", function: { name: "weather", parameters } }]
      const body = JSON.parse(
        (yield* post(`${route}/chat/completions`, { messages, tools, tool_choice: "required" })).text
      )
      assert.deepNestedInclude(body, {
        "choices[0].message.content": null,
        "choices[0].message.tool_calls[0].function": { name: "weather", arguments: '{"city":"text","days":1}' },
        "choices[0].finish_reason": "tool_calls"
      })
    }).pipe(emulated({}))
  )

  it.effect("keeps to the schema of response_format and of text.format", () =>
    Effect.gen(function* () {
      const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] }
      const format = { type: "json_schema", json_schema: { name: "ok", schema } }
      const chat = JSON.parse((yield* post(`${route}/chat/completions`, { messages, response_format: format })).text)
      assert.strictEqual(chat.choices[0].message.content, '{"ok":true}')
      const body = { input: "a", text: { format: { type: "json_schema", name: "ok", schema } } }
      const responses = JSON.parse((yield* post(`${route}/responses`, body)).text)
      assert.strictEqual(responses.output[0].content[0].text, '{"ok":true}')
    }).pipe(emulated({}))
  )

  it.effect("takes the other forms of a job's input", () =>
    Effect.gen(function* () {
      const [models] = yield* yields({ model: ["a", "b"] }, { route: "/v1/models" })
      assert.deepNestedInclude(models, { "data[1].id": "b" })
      const [chat] = yield* yields({}, { messages, sampling_params: { max_tokens: 1 } })
      assert.deepNestedInclude(chat, { "choices[0].message.content": "You" })
      const pieces = yield* yields({}, { prompt: "hi", stream: true })
      assert.strictEqual(pieces.at(-1), "data: [DONE]\n\n")
      assert.deepNestedInclude((yield* yields({}, { other: 1 }))[0], { "error.type": "worker_error" })
    })
  )

  it.effect("reports errors of vLLM as yields of a job that completes", () =>
    Effect.gen(function* () {
      const wrong = yield* post(`${route}/chat/completions`, { model: "other", messages })
      assert.strictEqual(wrong.status, 200)
      const { error } = JSON.parse(wrong.text)
      assert.deepInclude(error, { type: "worker_error", code: null })
      assert.match(error.message, /^vLLM returned HTTP 404: \{"error":\{"message":"The model `other` does not exist\./)
      assert.include((yield* get(`${route}/nothing`)).text, 'HTTP 404: {\\"detail\\":\\"Not Found\\"}')
      assert.include((yield* post(`${route}/chat/completions`, { messages: [] })).text, "HTTP 400")
      const emulator = yield* Emulator.Emulator
      assert.isTrue((yield* emulator.jobs("llm")).every(({ status }) => status === "COMPLETED"))
    }).pipe(emulated({}))
  )

  it.effect("of an old image knows three routes", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* get(`${route}/models`)).status, 200)
      assert.notInclude((yield* post(`${route}/chat/completions`, { messages })).text, '"reasoning":')
      for (const path of ["responses", "embeddings"]) {
        const { status, text } = yield* post(`${route}/${path}`, { input: "a" })
        assert.strictEqual(status, 200)
        assert.deepNestedInclude(JSON.parse(text), { "error.message": "Invalid route" })
      }
    }).pipe(emulated({ image: "old" }))
  )
})

describe("a stream", () => {
  const spoken: Options = { reply: () => "größe ✓ 日本 👍🏽 ende" }

  // A worker's ids are drawn one after another: each of these is a new worker.
  const whole = Effect.map(
    Effect.suspend(() => yields(spoken, chatOf({ stream: true }))),
    (pieces) => pieces.join("")
  )

  it.effect("has usage only where it is asked for, in a chunk without choices", () =>
    Effect.gen(function* () {
      assert.notInclude(yield* whole, "usage")
      const pieces = yield* yields(spoken, chatOf({ stream: true, stream_options: { include_usage: true } }))
      assert.include(pieces.at(-2), '"choices":[],"usage":{"prompt_tokens":2,"total_tokens":7,"completion_tokens":5')
    })
  )

  it.effect("says the same wherever it is cut, and cuts no character", () =>
    Effect.gen(function* () {
      const expected = yield* whole
      const length = new TextEncoder().encode(expected).byteLength
      const cut = (cut: Options["cut"]) => yields({ ...spoken, cut }, chatOf({ stream: true }))
      for (let at = 1; at < length; at += 31) assert.strictEqual((yield* cut({ at: [at, at + 1] })).join(""), expected)
      for (const [every, fewest] of [
        [1, length / 2],
        [{ min: 1, max: 7 }, length / 8]
      ] as const) {
        const pieces = yield* cut({ every })
        assert.strictEqual(pieces.join(""), expected)
        assert.isAtLeast(pieces.length, fewest)
      }
    })
  )

  it.effect("replaces the halves of a character where that is asked for", () =>
    Effect.gen(function* () {
      const expected = yield* whole
      const before = new TextEncoder().encode(expected.slice(0, expected.indexOf("ö"))).byteLength
      const cut = { at: [before + 1], characters: true }
      const pieces = (yield* yields({ ...spoken, cut }, chatOf({ stream: true }))).join("")
      assert.strictEqual(pieces, expected.replace("ö", "\uFFFD\uFFFD"))
    })
  )

  it.effect("can lack its end", () =>
    Effect.gen(function* () {
      const pieces = yield* yields({ ...spoken, done: false }, chatOf({ stream: true }))
      assert.notInclude(pieces.join(""), "[DONE]")
      assert.include(pieces.at(-1), '"finish_reason":"stop"')
    })
  )

  it.effect("can go wrong at the start, in the middle, and in a frame", () =>
    Effect.gen(function* () {
      const error = { error: { message: "out of memory", type: "worker_error", code: null } }
      const of = (at: "start" | "middle" | "frame") =>
        yields({ ...spoken, fail: { at, message: "out of memory" } }, chatOf({ stream: true }))
      assert.deepStrictEqual(yield* of("start"), [error])
      const middle = yield* of("middle")
      assert.strictEqual(textOf(middle.slice(0, -1).join("")), "größe ✓")
      assert.deepStrictEqual(middle.at(-1), error)
      const frame = yield* of("frame")
      assert.include(frame.at(-2), 'data: {"error":{"message":"out of memory","type":"InternalServerError"')
      assert.strictEqual(frame.at(-1), "data: [DONE]\n\n")
    })
  )

  it.effect("goes wrong for some requests only", () =>
    Effect.gen(function* () {
      const options: Options = { fail: ({ user }) => (user === "bad" ? {} : undefined) }
      assert.deepNestedInclude((yield* yields(options, chatOf({ user: "bad" })))[0], {
        "error.message": "vLLM server process is not running; worker is unhealthy"
      })
      assert.notProperty((yield* yields(options, chatOf({})))[0], "error")
    })
  )
})

describe("vLLM's own server behind a load balancer", () => {
  const root = "/lb/lb/v1"

  it.effect("answers with HTTP's statuses", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* post(`${root}/chat/completions`, { model: "other", messages })).status, 404)
      assert.strictEqual((yield* post(`${root}/chat/completions`, {})).status, 400)
      assert.strictEqual((yield* post(`${root}/chat/completions`, "{")).status, 400)
      assert.strictEqual((yield* get(`${root}/chat/completions`)).status, 405)
      assert.deepInclude(yield* get(`${root}/nothing`), { status: 404, text: '{"detail":"Not Found"}' })
      assert.strictEqual((yield* get("/lb/lb/health")).status, 200)
      assert.strictEqual((yield* send("PUT", `${root}/models`, {})).status, 404)
    }).pipe(emulated({}))
  )

  it.effect("fails with 500, or breaks its stream off", () =>
    Effect.gen(function* () {
      const plain = yield* post(`${root}/chat/completions`, { messages })
      assert.strictEqual(plain.status, 500)
      const error = yield* Effect.flip(post(`${root}/chat/completions`, { messages, stream: true }))
      assert.strictEqual(error._tag, "ResponseError")
    }).pipe(emulated({ fail: { at: "middle" } }))
  )
})

describe("an instance of a schema", () => {
  const cases: ReadonlyArray<readonly [schema: unknown, instance: unknown]> = [
    [{ type: "string", minLength: 6 }, "textxx"],
    [{ type: "string", format: "date" }, "2026-01-01"],
    [{ type: "integer", exclusiveMinimum: 3 }, 4],
    [{ type: "number", maximum: -2 }, -2],
    [{ type: "integer", minimum: 7, multipleOf: 5 }, 10],
    [{ enum: ["b", "a"] }, "b"],
    [{ const: null }, null],
    [{ type: ["null", "string"] }, null],
    [{ anyOf: [{ type: "boolean" }, { type: "null" }] }, true],
    [{ allOf: [{ properties: { a: { const: 1 } } }, { properties: { b: { const: 2 } } }] }, { a: 1, b: 2 }],
    [{ type: "array", items: { type: "null" }, minItems: 2 }, [null, null]],
    [{ type: "array", prefixItems: [{ const: 1 }, { const: "b" }], items: false }, [1, "b"]],
    [{ type: "object", properties: { a: { const: 1 }, b: { const: 2 } }, required: ["b"] }, { b: 2 }],
    [
      {
        $ref: "#/$defs/node",
        $defs: {
          node: {
            type: "object",
            properties: { next: { type: "array", items: { $ref: "#/$defs/node" }, maxItems: 0 } }
          }
        }
      },
      { next: [] }
    ]
  ]
  for (const [schema, instance] of cases) {
    it(`of ${JSON.stringify(schema)}`, () => {
      assert.deepStrictEqual(instanceOf(schema), instance)
    })
  }

  it("is always JSON, also of a schema that refers to itself or is none", () => {
    const looping = { $ref: "#/$defs/a", $defs: { a: { type: "object", properties: { a: { $ref: "#/$defs/a" } } } } }
    assert.isString(JSON.stringify(instanceOf(looping)))
    FastCheck.assert(
      FastCheck.property(FastCheck.jsonValue(), (schema) => JSON.stringify(instanceOf(schema)) !== undefined)
    )
  })
})
