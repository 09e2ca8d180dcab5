/** Clients of the OpenAI API that others have written, over the OpenAI route of an emulated endpoint behind a real server. */
import * as LanguageModel from "@effect/ai/LanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { createRunpod } from "@runpod/ai-sdk-provider"
import { generateText, streamText } from "ai"
import { Chunk, Effect, Stream } from "effect"
import { RetryPolicy } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator, NodeRunPod } from "effect-runpod/Node"
import { OpenAi } from "effect-runpod-ai"
import * as RunPodResponses from "effect-runpod-ai/RunPodResponses"
import OpenAI from "openai"
import { inspect } from "node:util"

const key = "rpa_CLIENTSKEY0123456789"

const vllm = (options: Parameters<typeof Emulator.handler.vllm>[0] = {}) =>
  Emulator.handler.vllm({ model: "my/model", cut: { every: { min: 1, max: 9 } }, ...options })

const endpoints = {
  llm: { workers: 1, concurrency: 30, handler: vllm() },
  broken: { workers: 1, concurrency: 30, handler: vllm({ fail: { at: "start" } }) },
  middle: { workers: 1, concurrency: 30, handler: vllm({ fail: { at: "middle" } }) },
  cut: { workers: 1, concurrency: 30, handler: vllm({ done: false }) },
  slow: { workers: 1, handler: vllm({ reply: () => "one two three four five six seven eight nine ten", perToken: 50 }) }
} as const

interface World {
  readonly url: string
  readonly submitted: Effect.Effect<number>
  readonly fetch: typeof globalThis.fetch
}

/** Runs a program of another client with our `fetch`, beside an emulator with the endpoints above. */
const withWorld = (
  endpointId: keyof typeof endpoints,
  use: (world: World) => Effect.Effect<void, unknown>,
  faults: ReadonlyArray<Emulator.Fault.Fault> = []
) =>
  Effect.gen(function* () {
    const { counts, url } = yield* NodeEmulator.serve({ apiKey: key, endpoints, faults })
    const submitted = Effect.map(counts, (counts) => counts.submitted)
    const layer = NodeRunPod.layer({ apiKey: key, baseUrl: url, retry: RetryPolicy.none })
    yield* Effect.flatMap(OpenAi.fetch(endpointId), (fetch) => use({ url, submitted, fetch })).pipe(
      Effect.provide(layer)
    )
  })

const promised = <A>(use: () => Promise<A>) => Effect.tryPromise({ try: use, catch: (error) => error })

const messages = [{ role: "user" as const, content: "größe 🐈" }]
const said = "You said: größe 🐈"

const collect = async <A>(items: AsyncIterable<A>) => {
  const all: Array<A> = []
  for await (const item of items) all.push(item)
  return all
}

describe("openai", () => {
  // The key of a client is replaced, so that none need be known to it. It would send again 2 times after an error.
  const clientOf = ({ fetch }: World) => new OpenAI({ apiKey: "unused", fetch })

  it.scopedLive("lists models, chats, streams and embeds", () =>
    withWorld("llm", (world) =>
      promised(async () => {
        const client = clientOf(world)
        assert.strictEqual((await client.models.list()).data[0]?.id, "my/model")
        const chat = await client.chat.completions.create({ model: "my/model", messages })
        assert.strictEqual(chat.choices[0]?.message.content, said)
        const chunks = await collect(
          await client.chat.completions.create({
            model: "my/model",
            messages,
            stream: true,
            stream_options: { include_usage: true }
          })
        )
        assert.strictEqual(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), said)
        assert.isDefined(chunks.at(-1)?.usage)
        // Without a format, the client asks for base64, which not every worker gives.
        for (const encoding_format of [undefined, "float"] as const) {
          const asked = { model: "my/model", input: ["a", "b"] }
          const { data } = await client.embeddings.create(
            encoding_format === undefined ? asked : { ...asked, encoding_format }
          )
          assert.strictEqual(data.length, 2)
          for (const { embedding } of data) assert.isTrue(embedding.length > 0 && embedding.every(Number.isFinite))
        }
      })
    )
  )

  it.scopedLive("gets an error of a worker as its own, once, and no end of a stream that was cut", () =>
    Effect.gen(function* () {
      yield* withWorld("broken", (world) =>
        Effect.gen(function* () {
          const asked = () => clientOf(world).chat.completions.create({ model: "my/model", messages })
          const error = yield* Effect.flip(promised(asked))
          assert.instanceOf(error, OpenAI.APIError)
          assert.strictEqual(error.status, 424)
          assert.strictEqual(yield* world.submitted, 1)
          assert.notInclude(inspect(error, { depth: 9, showHidden: true }), key)
        })
      )
      yield* withWorld("cut", (world) =>
        Effect.gen(function* () {
          const stream = () => clientOf(world).chat.completions.create({ model: "my/model", messages, stream: true })
          const error = yield* Effect.flip(promised(async () => collect(await stream())))
          assert.include(inspect(error), "IncompleteStreamError")
          assert.strictEqual(yield* world.submitted, 1)
        })
      )
    })
  )

  it.scopedLive("an abort closes the request", () =>
    withWorld("slow", (world) =>
      promised(async () => {
        const abort = new AbortController()
        const stream = await clientOf(world).chat.completions.create(
          { model: "my/model", messages, stream: true },
          { signal: abort.signal }
        )
        let read = 0
        for await (const _ of stream) {
          read++
          abort.abort()
        }
        assert.isBelow(read, 5)
      })
    )
  )
})

describe("Vercel's AI SDK with RunPod's provider", () => {
  const ask = (model: Parameters<typeof generateText>[0]["model"]) =>
    promised(async () => {
      const { text, usage } = await generateText({ model, messages })
      assert.strictEqual(text, said)
      assert.isAbove(usage.outputTokens ?? 0, 0)
      const streamed = streamText({ model, messages })
      assert.strictEqual((await collect(streamed.textStream)).join(""), said)
      assert.strictEqual(await streamed.finishReason, "stop")
    })

  it.scopedLive("chats and streams, alone and over our `fetch`", () =>
    withWorld("llm", ({ fetch, url }) =>
      Effect.gen(function* () {
        const baseURL = `${url}/llm/openai/v1`
        yield* ask(createRunpod({ apiKey: key, baseURL })("my/model"))
        yield* ask(createRunpod({ apiKey: "unused", baseURL, fetch })("my/model"))
      })
    )
  )

  it.scopedLive("asks once when it is not known whether the model was asked", () =>
    withWorld(
      "llm",
      ({ fetch, submitted, url }) =>
        Effect.gen(function* () {
          const model = createRunpod({ apiKey: "unused", baseURL: `${url}/llm/openai/v1`, fetch })("my/model")
          const error = yield* Effect.flip(promised(() => generateText({ model, messages })))
          assert.include(inspect(error, { depth: 5 }), "statusCode: 424")
          assert.strictEqual(yield* submitted, 1)
        }),
      [Emulator.Fault.resetAfter()]
    )
  )
})

describe("@effect/ai-openai", () => {
  const asking = <A, E>(
    endpointId: keyof typeof endpoints,
    program: Effect.Effect<A, E, LanguageModel.LanguageModel>
  ) =>
    Effect.flatMap(NodeEmulator.serve({ apiKey: key, endpoints }), ({ url }) =>
      program.pipe(
        Effect.provide(RunPodResponses.layer({ endpoint: endpointId, model: "my/model" })),
        Effect.provide(NodeRunPod.layer({ apiKey: key, baseUrl: url, retry: RetryPolicy.none }))
      )
    )

  it.scopedLive("generates text, and streams it with its finish and usage, over `/responses`", () =>
    Effect.gen(function* () {
      const answer = yield* asking("llm", LanguageModel.generateText({ prompt: "größe 🐈" }))
      assert.strictEqual(answer.text, said)
      const parts = yield* asking("llm", Stream.runCollect(LanguageModel.streamText({ prompt: "größe 🐈" })))
      const text = Chunk.toReadonlyArray(parts)
        .map((part) => (part.type === "text-delta" ? part.delta : ""))
        .join("")
      assert.strictEqual(text, said)
      const finish = Chunk.toReadonlyArray(parts).find((part) => part.type === "finish")
      assert.isAbove(finish?.usage.outputTokens ?? 0, 0)
    })
  )

  it.scopedLive("fails with the worker's error, which it would take for an empty answer, and without the key", () =>
    Effect.gen(function* () {
      for (const endpointId of ["broken", "middle"] as const) {
        const stream = Stream.runDrain(LanguageModel.streamText({ prompt: "a" }))
        const error = yield* Effect.flip(asking(endpointId, stream))
        const shown = inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error)
        assert.include(shown, "The worker answered with an error")
        assert.notInclude(shown, key)
      }
    })
  )
})
