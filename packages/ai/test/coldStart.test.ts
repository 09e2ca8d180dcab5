/** A worker that takes 150 seconds to start, longer than RunPod's edge waits for a first byte. */
import * as LanguageModel from "@effect/ai/LanguageModel"
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Emulator from "effect-runpod/Emulator"
import { ModelError, OpenAi, RunPodLanguageModel, type ModelCall } from "effect-runpod-ai"

const world = Emulator.layerRunPod({
  endpoints: {
    llm: {
      workers: 1,
      coldStart: "150 seconds",
      concurrency: 30,
      handler: Emulator.handler.vllm({ model: "my/model" })
    }
  }
})

const model = (via: ModelCall.Via | undefined) => RunPodLanguageModel.layer({ endpoint: "llm", model: "my/model", via })

/** Runs a program with a model, beside a clock that goes on a second at a time. */
const inTime = <A, E, R>(program: Effect.Effect<A, E, R>, seconds: number) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(program)
    for (let n = 0; n < seconds && fiber.unsafePoll() === null; n++) yield* TestClock.adjust("1 second")
    return yield* Fiber.join(fiber)
  })

const jobs = Effect.flatMap(Emulator.Emulator, (emulator) => emulator.jobs("llm"))

describe("a cold start of 150 seconds", () => {
  it.effect("is waited for by default, whole and streamed", () =>
    Effect.gen(function* () {
      const answer = yield* inTime(
        Effect.provide(LanguageModel.generateText({ prompt: "größe" }), model(undefined)),
        400
      )
      assert.strictEqual(answer.text, "You said: größe")
      assert.deepStrictEqual(
        (yield* jobs).map(({ operation, status }) => [operation, status]),
        [["run", "COMPLETED"]]
      )
    }).pipe(Effect.provide(world))
  )

  it.effect("is waited for by a stream, too", () =>
    Effect.gen(function* () {
      const parts = yield* inTime(
        Effect.provide(Stream.runCollect(LanguageModel.streamText({ prompt: "größe" })), model("auto")),
        400
      )
      const text = Chunk.toReadonlyArray(parts).map((part) => (part.type === "text-delta" ? part.delta : ""))
      assert.strictEqual(text.join(""), "You said: größe")
      assert.isTrue(Chunk.some(parts, (part) => part.type === "finish"))
    }).pipe(Effect.provide(world))
  )

  it.effect("ends a call by the route alone after 100 seconds, which says what to do and asks no second time", () =>
    Effect.gen(function* () {
      const asked = Effect.provide(LanguageModel.generateText({ prompt: "größe" }), model("route"))
      const error = yield* inTime(Effect.flip(asked), 120)
      const cause = ModelError.causeOf(error)
      assert.strictEqual(cause?._tag, "ColdStartError")
      assert.match(error.message, /Warm the endpoint up first.*or go through a job/)
      assert.strictEqual((yield* jobs).length, 1)
    }).pipe(Effect.provide(world))
  )

  it.effect("does not keep a call that is interrupted: its job is cancelled", () =>
    Effect.gen(function* () {
      const calls = [
        Effect.asVoid(LanguageModel.generateText({ prompt: "a" })),
        Stream.runDrain(LanguageModel.streamText({ prompt: "a" }))
      ]
      for (const call of calls) {
        const fiber = yield* Effect.fork(Effect.provide(call, model("auto")))
        yield* TestClock.adjust("20 seconds")
        yield* inTime(Fiber.interrupt(fiber), 5)
      }
      assert.deepStrictEqual(
        (yield* jobs).map(({ status }) => status),
        ["CANCELLED", "CANCELLED"]
      )
    }).pipe(Effect.provide(world))
  )

  it.effect("is over after `OpenAi.warm`: the next call goes by the route", () =>
    Effect.gen(function* () {
      yield* inTime(OpenAi.warm("llm"), 400)
      const answer = yield* inTime(Effect.provide(LanguageModel.generateText({ prompt: "a" }), model("auto")), 5)
      assert.strictEqual(answer.text, "You said: a")
      assert.deepStrictEqual(
        (yield* jobs).map(({ input }) => input["openai_route"]),
        ["/v1/models", "/v1/chat/completions"]
      )
    }).pipe(Effect.provide(world))
  )
})
