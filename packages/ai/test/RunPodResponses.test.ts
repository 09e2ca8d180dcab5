/** `/v1/responses` by `@effect/ai-openai`, over an emulated worker whose answers have no `error`, as vLLM's. */
import * as LanguageModel from "@effect/ai/LanguageModel"
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Emulator from "effect-runpod/Emulator"
import { ModelError, RunPodLanguageModel } from "effect-runpod-ai"
import * as RunPodResponses from "effect-runpod-ai/RunPodResponses"
import * as Transport from "./support/transport.js"

const world = (image: "new" | "old") =>
  Emulator.layerRunPod({
    endpoints: { llm: { workers: 1, concurrency: 30, handler: Emulator.handler.vllm({ model: "m", image }) } }
  })

const options = { endpoint: "llm", model: "m" }

const layers = [
  ["RunPodResponses.layer", RunPodResponses.layer({ ...options, config: { temperature: 0.5 } })],
  ["RunPodLanguageModel.layerResponses", RunPodLanguageModel.layerResponses(options)]
] as const

const event = (type: string, more: object) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: 1, ...more })}\n\n`

describe("a stream", () => {
  it.effect("whose last event cannot be decoded is no success without `finish`", () => {
    const said = { content_index: 0, delta: "Hi", item_id: "msg_1", output_index: 0 }
    const transport = Transport.make(() => ({
      type: "text/event-stream",
      pieces: [
        event("response.output_text.delta", said),
        event("response.completed", { response: { object: "response", output: [], status: "completed" } })
      ]
    }))
    return Effect.gen(function* () {
      const error = yield* Effect.flip(Stream.runDrain(LanguageModel.streamText({ prompt: "Hi" })))
      assert.deepInclude(ModelError.causeOf(error), {
        _tag: "IncompleteStreamError",
        reason: "NoFinish",
        received: 2
      })
    }).pipe(Effect.provide(RunPodResponses.layer(options)), Effect.provide(transport.layer()))
  })
})

describe.each(layers)("%s", (_, model) => {
  it.effect("has the text, finish and usage of whole and streamed answers", () =>
    Effect.gen(function* () {
      const answer = yield* LanguageModel.generateText({ prompt: "Hi" })
      assert.strictEqual(answer.text, "You said: Hi")
      const parts = Chunk.toReadonlyArray(yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Hi" })))
      assert.strictEqual(parts.map((part) => (part.type === "text-delta" ? part.delta : "")).join(""), "You said: Hi")
      assert.isTrue(parts.some((part) => part.type === "finish" && (part.usage.totalTokens ?? 0) > 0))
      const [job] = yield* (yield* Emulator.Emulator).jobs("llm")
      assert.strictEqual(job?.input["openai_route"], "/v1/responses")
    }).pipe(Effect.provide(model), Effect.provide(world("new")))
  )

  it.effect("fails with what an image says that does not have the route", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LanguageModel.generateText({ prompt: "Hi" }))
      assert.include(error.message, "Invalid route")
      const streamed = yield* Effect.flip(Stream.runDrain(LanguageModel.streamText({ prompt: "Hi" })))
      assert.include(streamed.message, "Invalid route")
    }).pipe(Effect.provide(model), Effect.provide(world("old")))
  )
})
