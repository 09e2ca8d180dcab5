import { EmbeddingModel } from "@effect/ai"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import { ModelError, RunPodEmbeddingModel } from "effect-runpod-ai"
import { passing } from "./support/passing.js"

const answerTo = (input: ReadonlyArray<string>) => ({
  object: "list",
  model: "m",
  // Servers may answer in any order.
  data: input.map((text, index) => ({ object: "embedding", index, embedding: [text.length, index] })).reverse(),
  usage: { prompt_tokens: 3, total_tokens: 3, completion_tokens: 0, prompt_tokens_details: null }
})

const inputOf = (input: Readonly<Record<string, unknown>>) =>
  (input["openai_input"] as { readonly input: ReadonlyArray<string> }).input

const emulator = (handler: Emulator.Handler) => Emulator.layerRunPod({ endpoints: { embed: { handler } } })

const embedMany = (texts: ReadonlyArray<string>) =>
  Effect.flatMap(EmbeddingModel.EmbeddingModel, (model) => model.embedMany(texts))

const texts = Array.from({ length: 25 }, (_, n) => "x".repeat(n + 1))

describe("RunPodEmbeddingModel", () => {
  it.effect("texts go out in batches, and each gets its own vector", () =>
    Effect.gen(function* () {
      const vectors = yield* passing(embedMany(texts))
      assert.deepStrictEqual(
        vectors.map(([length]) => length),
        texts.map(({ length }) => length)
      )
      const jobs = yield* (yield* Emulator.Emulator).jobs("embed")
      assert.deepStrictEqual(jobs.map(({ input }) => inputOf(input).length).sort(), [10, 10, 5])
      assert.deepInclude(jobs[0]?.input, { openai_route: "/v1/embeddings" })
      assert.deepInclude(jobs[0]?.input["openai_input"], { model: "m", dimensions: 2, truncate_prompt_tokens: 9 })
    }).pipe(
      Effect.provide(
        RunPodEmbeddingModel.layer({
          endpoint: "embed",
          model: "m",
          maxBatchSize: 10,
          config: { dimensions: 2, extra: { truncate_prompt_tokens: 9 } }
        }).pipe(Layer.provideMerge(emulator((input) => Effect.succeed([answerTo(inputOf(input))]))))
      )
    )
  )

  it.effect("a data loader sends the texts of several fibers together", () =>
    Effect.gen(function* () {
      const model = yield* EmbeddingModel.EmbeddingModel
      const vectors = yield* passing(
        Effect.all([model.embed("a"), Effect.delay(model.embed("bb"), "100 millis")], { concurrency: 2 })
      )
      assert.deepStrictEqual(
        vectors.map(([length]) => length),
        [1, 2]
      )
      assert.lengthOf(yield* (yield* Emulator.Emulator).jobs("embed"), 1)
    }).pipe(
      Effect.provide(
        RunPodEmbeddingModel.layerDataLoader({ endpoint: "embed", model: "m", window: "1 second" }).pipe(
          Layer.provideMerge(emulator((input) => Effect.succeed(answerTo(inputOf(input)))))
        )
      )
    )
  )

  it.effect("an answer that is an error, or lacks a vector, fails all texts of its batch", () =>
    Effect.gen(function* () {
      const tags: ReadonlyArray<readonly [string, string]> = [
        ["error", "WorkerError"],
        ["fewer", "MalformedAnswerError"],
        ["twice", "MalformedAnswerError"],
        ["text", "MalformedAnswerError"],
        ["words", "MalformedAnswerError"]
      ]
      for (const [way, tag] of tags) {
        const error = yield* Effect.flip(passing(embedMany([way, "b"])))
        assert.strictEqual(ModelError.causeOf(error)?._tag, tag, way)
      }
    }).pipe(
      Effect.provide(
        RunPodEmbeddingModel.layer({ endpoint: "embed", model: "m" }).pipe(
          Layer.provideMerge(
            emulator((input) => {
              const [way = "", ...rest] = inputOf(input)
              const answer = answerTo([way, ...rest])
              const [first] = answer.data
              const answers: Record<string, unknown> = {
                error: { error: { message: "Invalid route", type: "worker_error", code: null } },
                fewer: { ...answer, data: [first] },
                twice: { ...answer, data: [first, first] },
                text: "hello",
                words: { ...answer, data: [first, { index: 0, embedding: ["a"] }] }
              }
              return Effect.succeed([answers[way]])
            })
          )
        )
      )
    )
  )
})
