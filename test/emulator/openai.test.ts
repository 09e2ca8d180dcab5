import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import OpenAI from "openai"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"

const options: Parameters<typeof Emulator.handler.vllm>[0] = {
  model: "my/model",
  // In bytes: pieces are no frames.
  cut: { every: { min: 1, max: 9 } },
  reply: (messages) =>
    messages[0]?.["role"] === "system" ? { toolCalls: [{ name: "add", arguments: { a: 1, b: "zwei é" } }] } : undefined
}

const serve = NodeEmulator.serve({
  apiKey: "key",
  endpoints: { llm: { handler: Emulator.handler.vllm(options) } },
  loadBalancers: { lb: { app: Emulator.handler.vllmApp(options) } }
})

const doors: ReadonlyArray<readonly [name: string, baseUrl: (server: NodeEmulator.Server) => string]> = [
  ["the OpenAI route of a queue endpoint", ({ url }) => `${url}/llm/openai/v1`],
  ["a load-balancing endpoint", ({ loadBalancerUrl }) => `${loadBalancerUrl("lb")}/v1`]
]

for (const [name, baseUrl] of doors) {
  describe(`the npm package openai, unchanged, against ${name}`, () => {
    const withClient = <A>(use: (client: OpenAI) => Promise<A>) =>
      Effect.flatMap(serve, (server) => {
        const client = new OpenAI({ apiKey: "key", baseURL: baseUrl(server), maxRetries: 0 })
        return Effect.promise(() => use(client))
      })

    it.scopedLive("lists models", () =>
      Effect.gen(function* () {
        const models = yield* withClient(async (client) => (await client.models.list()).data)
        assert.deepStrictEqual(
          models.map(({ id }) => id),
          ["my/model"]
        )
      })
    )

    it.scopedLive("chats", () =>
      Effect.gen(function* () {
        const { choices, usage } = yield* withClient((client) =>
          client.chat.completions.create({ model: "my/model", messages: [{ role: "user", content: "größe ✓ 日本" }] })
        )
        assert.strictEqual(choices[0]?.message.content, "You said: größe ✓ 日本")
        assert.strictEqual(choices[0]?.finish_reason, "stop")
        assert.deepInclude(usage, { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 })
      })
    )

    it.scopedLive("streams a chat, and its usage", () =>
      Effect.gen(function* () {
        const chunks = yield* withClient(async (client) => {
          const stream = await client.chat.completions.create({
            model: "my/model",
            messages: [{ role: "user", content: "größe ✓ 日本" }],
            stream: true,
            stream_options: { include_usage: true }
          })
          const all = []
          for await (const chunk of stream) all.push(chunk)
          return all
        })
        const text = chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")
        assert.strictEqual(text, "You said: größe ✓ 日本")
        assert.strictEqual(chunks.at(-1)?.usage?.completion_tokens, 5)
        assert.isTrue(chunks.some(({ choices }) => choices[0]?.finish_reason === "stop"))
      })
    )

    it.scopedLive("calls tools, plain and in deltas", () =>
      Effect.gen(function* () {
        const messages = [{ role: "system" as const, content: "you have tools" }]
        const [plain, streamed] = yield* withClient(
          async (client) =>
            [
              await client.chat.completions.create({ model: "my/model", messages }),
              await client.chat.completions.stream({ model: "my/model", messages }).finalChatCompletion()
            ] as const
        )
        for (const { choices } of [plain, streamed]) {
          const [call] = choices[0]?.message.tool_calls ?? []
          assert(call?.type === "function")
          assert.deepStrictEqual(call.function, { ...call.function, name: "add", arguments: '{"a":1,"b":"zwei é"}' })
          assert.strictEqual(choices[0]?.finish_reason, "tool_calls")
        }
      })
    )

    it.scopedLive("makes embeddings, which it asks for in base64", () =>
      Effect.gen(function* () {
        const { data } = yield* withClient((client) =>
          client.embeddings.create({ model: "my/model", input: ["a", "b", "a"] })
        )
        const [a, b, again] = data.map(({ embedding }) => embedding)
        assert.lengthOf(a ?? [], 8)
        assert.deepStrictEqual(a, again)
        assert.notDeepEqual(a, b)
        assert.closeTo(Math.hypot(...(a ?? [])), 1, 1e-6)
      })
    )

    it.scopedLive("makes responses, plain and streamed", () =>
      Effect.gen(function* () {
        const [plain, streamed] = yield* withClient(async (client) => {
          const body = { model: "my/model", input: "größe" }
          const events = []
          for await (const event of await client.responses.create({ ...body, stream: true })) events.push(event)
          return [await client.responses.create(body), events] as const
        })
        assert.strictEqual(plain.output_text, "You said: größe")
        assert.notProperty(plain, "error")
        const last = streamed.at(-1)
        assert(last?.type === "response.completed")
        assert.strictEqual(
          streamed.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join(""),
          "You said: größe"
        )
      })
    )

    it.scopedLive("meets a wrong model", () =>
      Effect.gen(function* () {
        const answer = yield* withClient((client) =>
          client.chat.completions
            .create({ model: "other", messages: [{ role: "user", content: "a" }] })
            .catch((error: unknown) => error)
        )
        if (name.startsWith("a load")) {
          assert(answer instanceof OpenAI.NotFoundError)
          assert.include(answer.message, "The model `other` does not exist.")
        } else {
          assert(!(answer instanceof Error))
          assert.deepNestedInclude(answer, { "error.type": "worker_error", "error.code": null })
          assert.include(JSON.stringify(answer), "vLLM returned HTTP 404: ")
        }
      })
    )
  })
}
