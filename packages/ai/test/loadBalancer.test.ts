/** A model whose `client` is a load balancer: vLLM at the root of its workers, no job and no queue. */
import * as LanguageModel from "@effect/ai/LanguageModel"
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Emulator from "effect-runpod/Emulator"
import * as LoadBalancer from "effect-runpod/LoadBalancer"
import { ModelError, RunPodLanguageModel, type ModelCall } from "effect-runpod-ai"

const world = (vllm: Emulator.handler.VllmOptions = {}, options: Partial<Emulator.LoadBalancerOptions> = {}) =>
  Effect.provide(
    Emulator.layerRunPod({
      endpoints: {},
      loadBalancers: { lb: { app: Emulator.handler.vllmApp({ model: "my/model", ...vllm }), ...options } }
    })
  )

const over = (client: ModelCall.Options["client"]) =>
  Effect.provide(RunPodLanguageModel.layer({ endpoint: "lb", model: "my/model", via: "route", client }))

const ask = LanguageModel.generateText({ prompt: "größe" })

const balanced = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.flatMap(LoadBalancer.make("lb"), (balancer) => over(balancer)(program))

/** Runs a program while ten minutes pass. */
const finish = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(program)
    yield* TestClock.adjust("10 minutes")
    return yield* Fiber.join(fiber)
  })

describe("a model over a load balancer", () => {
  it.effect("outlives a cold start that RunPod's router gives up on, whole and streamed", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* finish(balanced(ask))).text, "You said: größe")
      const parts = yield* finish(balanced(Stream.runCollect(LanguageModel.streamText({ prompt: "größe" }))))
      const text = Chunk.toReadonlyArray(parts).map((part) => (part.type === "text-delta" ? part.delta : ""))
      assert.strictEqual(text.join(""), "You said: größe")
      // The router waits for 2 minutes, then the request is sent again.
      const { byStatus } = (yield* (yield* Emulator.Emulator).counts).byOperation.loadBalancer
      assert.deepInclude(byStatus, { 200: 2, 400: 1 })
    }).pipe(world({}, { workers: 1, coldStart: "150 seconds", idleTimeout: "1 hour" }))
  )

  it.effect("fails with what the server on the worker says, and with its stream where that breaks off", () =>
    Effect.gen(function* () {
      const wrong = yield* Effect.flip(
        balanced(RunPodLanguageModel.withConfigOverride(ask, { model: "another/model" }))
      )
      assert.deepInclude(ModelError.causeOf(wrong), { _tag: "WorkerError", status: 404 })
      const cut = yield* Effect.flip(balanced(Stream.runDrain(LanguageModel.streamText({ prompt: "größe" }))))
      assert.strictEqual(ModelError.causeOf(cut)?._tag, "IncompleteStreamError")
    }).pipe(world({ done: false }))
  )

  it.effect("stays on the worker of a session, and says when that is gone", () =>
    Effect.gen(function* () {
      const session = yield* (yield* LoadBalancer.make("lb")).session()
      yield* over(session)(ask)
      const workerId = Option.getOrThrow(yield* session.workerId)
      const { killWorker, requests } = yield* Emulator.Emulator
      yield* over(session)(ask)
      assert.deepStrictEqual(
        (yield* requests).map((request) => request.workerId),
        [workerId, workerId]
      )
      yield* killWorker("lb", workerId)
      const error = yield* Effect.flip(over(session)(ask))
      assert.strictEqual(ModelError.causeOf(error)?._tag, "WorkerGoneError")
    }).pipe(world({}, { workers: { min: 3, max: 3 } }))
  )
})
