import { AiError, LanguageModel, Prompt, Tool, Toolkit } from "@effect/ai"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Deferred, Effect, Exit, Fiber, Layer, Ref, Schema, Stream, TestClock, type Tracer } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import { ModelCall, ModelError, RunPodLanguageModel } from "effect-runpod-ai"
import { chunk, completion, frame, streamOf, usageChunk } from "./support/answers.js"
import { passing } from "./support/passing.js"
import { type Body, bodyOf, saying, yielding } from "./support/worker.js"

const model = (
  endpoint: Emulator.EndpointOptions,
  options: Partial<RunPodLanguageModel.Options> = {},
  emulator: Partial<Emulator.RunPodOptions> = {}
) =>
  RunPodLanguageModel.layer({ endpoint: "llm", model: "m", via: "job", ...options }).pipe(
    Layer.provideMerge(Emulator.layerRunPod({ endpoints: { llm: endpoint }, ...emulator }))
  )

const deltas = (parts: Iterable<{ readonly type: string; readonly delta?: unknown }>) =>
  Chunk.toReadonlyArray(Chunk.fromIterable(parts))
    .flatMap(({ delta, type }) => (type === "text-delta" ? [String(delta)] : []))
    .join("")

/** Remembers the bodies that a handler gets. */
const recorded = (handler: Emulator.Handler) => {
  const bodies: Array<Body> = []
  const recording: Emulator.Handler = (input, job) => {
    bodies.push(bodyOf(input))
    return handler(input, job)
  }
  return { bodies, handler: recording }
}

const makeSpan = (
  ...[name, parent, context, links, startTime, kind]: Parameters<Tracer.Tracer["span"]>
): Tracer.Span => {
  const attributes = new Map<string, unknown>()
  return {
    _tag: "Span" as const,
    spanId: "s",
    traceId: "t",
    sampled: true,
    status: { _tag: "Started" as const, startTime },
    attributes,
    name,
    parent,
    context,
    links,
    kind,
    end: () => {},
    attribute: (key: string, value: unknown) => void attributes.set(key, value),
    event: () => {},
    addLinks: () => {}
  }
}

describe("RunPodLanguageModel", () => {
  it.effect("a text comes with its finish, usage and metadata", () =>
    Effect.gen(function* () {
      const answer = yield* passing(LanguageModel.generateText({ prompt: "Hi" }))
      assert.strictEqual(answer.text, "Hello there")
      assert.strictEqual(answer.finishReason, "stop")
      assert.deepInclude(answer.usage, { inputTokens: 7, outputTokens: 5, totalTokens: 12 })
      assert.strictEqual(answer.content[0]?.type, "response-metadata")
    }).pipe(Effect.provide(model({ handler: saying(() => ["Hello", " there"]) })))
  )

  it.effect("a streamed text comes in order, once, between its start and end, with finish and usage last", () =>
    Effect.gen(function* () {
      const parts = yield* passing(Stream.runCollect(LanguageModel.streamText({ prompt: "Hi" })))
      assert.strictEqual(deltas(parts), "Héllo 🌍!")
      const types = Chunk.toReadonlyArray(parts).map(({ type }) => type)
      assert.deepStrictEqual(types, [
        "response-metadata",
        "text-start",
        "text-delta",
        "text-delta",
        "text-delta",
        "text-end",
        "finish"
      ])
      const last = Chunk.unsafeLast(parts)
      assert.isTrue(last.type === "finish" && last.reason === "stop" && last.usage.totalTokens === 12)
    }).pipe(Effect.provide(model({ handler: saying(() => ["Héllo", " 🌍", "!"], "100 millis") })))
  )

  it.effect("messages, settings and overrides are sent under the names of the OpenAI API", () => {
    const { bodies, handler } = recorded(saying(() => ["Hi"]))
    return Effect.gen(function* () {
      const prompt = Prompt.make([
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "What is this?" },
            { type: "file", mediaType: "image/png", data: new Uint8Array([1, 2, 3]) }
          ]
        },
        {
          role: "assistant",
          content: [
            { type: "reasoning", text: "Hm" },
            { type: "tool-call", id: "c1", name: "look", params: { at: 1 } }
          ]
        },
        {
          role: "tool",
          content: [
            {
              type: "tool-result",
              id: "c1",
              name: "look",
              isFailure: false,
              result: { seen: 2 },
              providerExecuted: false
            }
          ]
        }
      ])
      yield* passing(
        LanguageModel.generateText({ prompt }).pipe(RunPodLanguageModel.withConfigOverride({ temperature: 0.9 }))
      )
      assert.deepStrictEqual(bodies[0]?.messages, [
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "What is this?" },
            { type: "image_url", image_url: { url: "data:image/png;base64,AQID" } }
          ]
        },
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "c1", type: "function", function: { name: "look", arguments: '{"at":1}' } }]
        },
        { role: "tool", tool_call_id: "c1", content: '{"seen":2}' }
      ] as never)
      assert.deepInclude(bodies[0], { model: "m", temperature: 0.9, max_tokens: 5, top_k: 40 })
    }).pipe(Effect.provide(model({ handler }, { config: { temperature: 0.1, max_tokens: 5, extra: { top_k: 40 } } })))
  })

  it.effect("a cold start of 150 seconds is waited for, plain and streamed", () =>
    Effect.gen(function* () {
      const [answer, parts] = yield* passing(
        Effect.all(
          [LanguageModel.generateText({ prompt: "Hi" }), Stream.runCollect(LanguageModel.streamText({ prompt: "Hi" }))],
          { concurrency: 2 }
        )
      )
      assert.strictEqual(answer.text, "Hello")
      assert.strictEqual(deltas(parts), "Hello")
    }).pipe(Effect.provide(model({ coldStart: "150 seconds", handler: saying(() => ["Hello"]) })))
  )

  it.effect("the job of a call that is interrupted is cancelled, once", () =>
    Effect.gen(function* () {
      for (const call of [
        LanguageModel.generateText({ prompt: "Hi" }),
        Stream.runDrain(LanguageModel.streamText({ prompt: "Hi" }))
      ]) {
        const fiber = yield* Effect.fork(call)
        yield* TestClock.adjust("30 seconds")
        yield* Fiber.interrupt(fiber)
      }
      const jobs = yield* (yield* Emulator.Emulator).jobs("llm")
      assert.deepStrictEqual(
        jobs.map(({ cancels, status }) => [status, cancels]),
        [
          ["CANCELLED", 1],
          ["CANCELLED", 1]
        ]
      )
    }).pipe(Effect.provide(model({ execution: "1 hour" })))
  )

  it.effect("a reader that takes only the first words cancels the job", () =>
    Effect.gen(function* () {
      yield* passing(
        LanguageModel.streamText({ prompt: "Hi" }).pipe(
          Stream.takeUntil(({ type }) => type === "text-delta"),
          Stream.runDrain
        ),
        1
      )
      const [job] = yield* (yield* Emulator.Emulator).jobs("llm")
      assert.strictEqual(job?.status, "CANCELLED")
    }).pipe(Effect.provide(model({ handler: saying(() => Array.from({ length: 500 }, () => "word "), "500 millis") })))
  )

  it.effect(
    "an answer of the stream that is lost is made up for from the job's output: no text is lost or doubled",
    () =>
      Effect.gen(function* () {
        const words = Array.from({ length: 12 }, (_, n) => `word ${n} `)
        const parts = yield* passing(Stream.runCollect(LanguageModel.streamText({ prompt: "Hi" })))
        assert.strictEqual(deltas(parts), words.join(""))
        const { faults } = yield* (yield* Emulator.Emulator).counts
        assert.isAbove(faults.ResetAfter ?? 0, 0)
      }).pipe(
        Effect.provide(
          model(
            { handler: saying(() => Array.from({ length: 12 }, (_, n) => `word ${n} `), "300 millis") },
            {},
            {
              faults: [Emulator.Fault.resetAfter({ operations: ["stream"], after: 2, times: 2 })]
            }
          )
        )
      )
  )

  const letters = [..."abcdefghijkl"]
  it.effect("without an aggregated output, a lost answer of the stream is an error", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(passing(Stream.runDrain(LanguageModel.streamText({ prompt: "Hi" }))))
      assert.strictEqual(error._tag, "MalformedOutput")
      const cause = ModelError.causeOf(error)
      assert.deepInclude(cause, { _tag: "IncompleteStreamError", reason: "Gap" })
      // Of the text, not of its frames.
      const received = cause?._tag === "IncompleteStreamError" ? cause.received : 0
      assert.isTrue(received > 0 && received < letters.length, String(received))
    }).pipe(
      Effect.provide(
        model(
          { aggregateStream: false, handler: saying(() => letters, "300 millis") },
          {},
          { faults: [Emulator.Fault.resetAfter({ operations: ["stream"], after: 20, times: 1 })] }
        )
      )
    )
  )

  it.effect("a worker's error in a COMPLETED job fails the call, plain and streamed", () =>
    Effect.gen(function* () {
      for (const call of [
        LanguageModel.generateText({ prompt: "Hi" }),
        Stream.runDrain(LanguageModel.streamText({ prompt: "Hi" }))
      ]) {
        const error = yield* Effect.flip(passing(call, 1))
        assert.isTrue(AiError.isAiError(error))
        assert.deepInclude(ModelError.causeOf(error), {
          _tag: "WorkerError",
          detail: "vLLM returned HTTP 404: the model `m` does not exist",
          type: "worker_error"
        })
        assert.include(error.message, "does not exist")
      }
      const [job] = yield* (yield* Emulator.Emulator).jobs("llm")
      assert.strictEqual(job?.status, "COMPLETED")
    }).pipe(
      Effect.provide(
        model({
          handler: yielding({
            error: { message: "vLLM returned HTTP 404: the model `m` does not exist", type: "worker_error", code: null }
          })
        })
      )
    )
  )

  it.effect("a job that fails, and an endpoint that is paused, are the causes of the call's error", () =>
    Effect.gen(function* () {
      const failed = yield* Effect.flip(passing(LanguageModel.generateText({ prompt: "Hi" }), 1))
      assert.deepInclude(ModelError.causeOf(failed), { _tag: "JobFailedError" })
      yield* (yield* Emulator.Emulator).setWorkers("llm", 0)
      const paused = yield* Effect.flip(passing(LanguageModel.generateText({ prompt: "Hi" }), 1))
      assert.strictEqual(ModelError.causeOf(paused)?._tag, "EndpointPausedError")
    }).pipe(Effect.provide(model({ handler: () => Effect.fail(new Error("CUDA out of memory")) })))
  )

  it.effect("a stream that ends early gives what came, then an error, and no finish", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const exit = yield* passing(
        LanguageModel.streamText({ prompt: "Hi" }).pipe(
          Stream.runForEach(({ type }) => Effect.sync(() => seen.push(type))),
          Effect.exit
        ),
        1
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(seen, ["response-metadata", "text-start", "text-delta"])
    }).pipe(Effect.provide(model({ handler: yielding(streamOf(["Hello", "there"]).replace(/there[^]*/, "")) })))
  )

  it.effect("an object comes by a JSON schema, and one that is cut off is an error that says so", () => {
    const { bodies, handler } = recorded((input) => {
      const wants = bodyOf(input).messages[0]?.content
      const answer = completion('{"name":"Ada","age":36}')
      const [choice] = answer.choices
      return Stream.make(wants === "cut" ? { ...answer, choices: [{ ...choice, finish_reason: "length" }] } : answer)
    })
    const Person = Schema.Struct({ name: Schema.String, age: Schema.Number }).annotations({ identifier: "a/Person" })
    return Effect.gen(function* () {
      const { value } = yield* passing(
        LanguageModel.generateObject({ prompt: "who", schema: Person, objectName: "a b" })
      )
      assert.deepStrictEqual(value, { name: "Ada", age: 36 })
      const format = bodies[0]?.["response_format"]
      assert.deepInclude(format, { type: "json_schema" })
      assert.include(JSON.stringify(format), '"name":"a_b"')
      assert.include(JSON.stringify(format), '"required":["name","age"]')
      const error = yield* Effect.flip(passing(LanguageModel.generateObject({ prompt: "cut", schema: Person }), 1))
      assert.deepInclude(ModelError.causeOf(error), { _tag: "UnfinishedAnswerError", reason: "Length" })
    }).pipe(Effect.provide(model({ handler })))
  })

  const Add = Tool.make("add", {
    description: "Adds two numbers",
    parameters: { a: Schema.Number, b: Schema.Number },
    success: Schema.Number
  })
  const tools = Toolkit.make(Add)
  const Adds = tools.toLayer({ add: ({ a, b }) => Effect.succeed(a + b) })
  const call = { index: 0, id: "c1", type: "function", function: { name: "add", arguments: '{"a":1,"b":2}' } }

  it.effect("a tool that the model calls is run, plain and streamed", () => {
    const { bodies, handler } = recorded((input) => {
      if (bodyOf(input).stream !== true) {
        const answer = completion(null, { tool_calls: [call] })
        const [choice] = answer.choices
        // So ends a call that was forced.
        return Stream.make({ ...answer, choices: [{ ...choice, finish_reason: "stop" }] })
      }
      const [first, second] = ['{"a":1', ',"b":2}']
      const frames = [
        chunk({ role: "assistant", content: null, reasoning: "I add" }),
        chunk({ tool_calls: [{ ...call, function: { name: "add", arguments: "" } }] }),
        chunk({ tool_calls: [{ index: 0, function: { arguments: first } }] }),
        chunk({ tool_calls: [{ index: 0, function: { arguments: second } }] }),
        chunk({ content: "" }, "tool_calls"),
        usageChunk,
        "[DONE]"
      ]
      return Stream.make(...frames.map(frame))
    })
    return Effect.gen(function* () {
      const answer = yield* passing(LanguageModel.generateText({ prompt: "1+2", toolkit: tools }))
      assert.strictEqual(answer.finishReason, "tool-calls")
      assert.deepInclude(answer.toolResults[0], { id: "c1", name: "add", result: 3 })
      assert.deepInclude(bodies[0], { tool_choice: "auto" })
      assert.include(JSON.stringify(bodies[0]?.["tools"]), '"description":"Adds two numbers"')

      const parts = yield* passing(
        Stream.runCollect(LanguageModel.streamText({ prompt: "1+2", toolkit: tools, toolChoice: { tool: "add" } }))
      )
      assert.deepInclude(bodies[1], { tool_choice: { type: "function", function: { name: "add" } } })
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(parts).map(({ type }) => type),
        [
          "response-metadata",
          "reasoning-start",
          "reasoning-delta",
          "reasoning-end",
          "tool-params-start",
          "tool-params-delta",
          "tool-params-delta",
          "tool-params-end",
          "tool-call",
          "tool-result",
          "finish"
        ]
      )
    }).pipe(Effect.provide(Layer.merge(model({ handler }), Adds)))
  })

  it.effect("arguments of a tool that are no JSON are an error", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(passing(LanguageModel.generateText({ prompt: "1+2", toolkit: tools }), 1))
      assert.strictEqual(error._tag, "MalformedOutput")
    }).pipe(
      Effect.provide(
        Layer.merge(
          model({
            handler: yielding(
              completion(null, { tool_calls: [{ ...call, function: { name: "add", arguments: '{"a":' } }] })
            )
          }),
          Adds
        )
      )
    )
  )

  it.effect("the job is told before it is waited for, and its answer can be read by its id", () =>
    Effect.gen(function* () {
      const told = yield* Deferred.make<string>()
      const first = yield* LanguageModel.LanguageModel.pipe(
        Effect.flatMap((service) => Stream.runDrain(service.streamText({ prompt: "Hi" }))),
        Effect.provide(
          RunPodLanguageModel.layer({
            endpoint: "llm",
            model: "m",
            job: { onJob: ({ id }) => Effect.asVoid(Deferred.succeed(told, id)), cancelOnInterrupt: false }
          })
        ),
        Effect.fork
      )
      const id = yield* Deferred.await(told)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(first)
      const parts = yield* passing(
        LanguageModel.LanguageModel.pipe(
          Effect.flatMap((service) => Stream.runCollect(service.streamText({ prompt: "Hi" }))),
          ModelCall.withJob(id)
        )
      )
      assert.strictEqual(deltas(parts), "Hello there")
      const whole = yield* passing(LanguageModel.generateText({ prompt: "Hi" }).pipe(ModelCall.withJob(id)), 1)
      assert.strictEqual(whole.text, "Hello there")
      assert.lengthOf(yield* (yield* Emulator.Emulator).jobs("llm"), 1)
    }).pipe(Effect.provide(model({ coldStart: "1 minute", handler: saying(() => ["Hello", " there"], "1000 millis") })))
  )

  it.effect("the job of a call is cancelled when who is told of it dies", () =>
    Effect.gen(function* () {
      const dying = RunPodLanguageModel.layer({
        endpoint: "llm",
        model: "m",
        job: { onJob: () => Effect.die("no disk") }
      })
      const calls = [
        LanguageModel.generateText({ prompt: "Hi" }),
        Stream.runDrain(LanguageModel.streamText({ prompt: "Hi" }))
      ]
      for (const call of calls)
        assert.isTrue(Exit.isFailure(yield* passing(Effect.exit(Effect.provide(call, dying)), 1)))
      const jobs = yield* (yield* Emulator.Emulator).jobs("llm")
      assert.deepStrictEqual(
        jobs.map(({ status }) => status),
        ["CANCELLED", "CANCELLED"]
      )
    }).pipe(Effect.provide(model({ coldStart: "10 minutes", handler: saying(() => ["Hello"]) })))
  )

  it.effect("a handler that is no generator answers a stream, too: by a job, and by the route", () =>
    Effect.gen(function* () {
      for (const via of ["job", "route"] as const) {
        const asked = Stream.runCollect(LanguageModel.streamText({ prompt: "Hi" }))
        const called = RunPodLanguageModel.layer({ endpoint: "llm", model: "m", via })
        const parts = yield* passing(Effect.provide(asked, called), 1)
        assert.strictEqual(deltas(parts), "Hello")
        assert.strictEqual(Chunk.toReadonlyArray(parts).at(-1)?.type, "finish")
      }
    }).pipe(Effect.provide(model({ handler: () => Effect.succeed(completion("Hello")) })))
  )

  it.effect("no error holds the API key", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(passing(LanguageModel.generateText({ prompt: "Hi" }), 1))
      assert.strictEqual(ModelError.causeOf(error)?._tag, "AuthenticationError")
      const { inspect } = yield* Effect.promise(() => import("node:util"))
      for (const text of [JSON.stringify(error), inspect(error, { depth: 9 }), String(error)]) {
        assert.notInclude(text, "rpa_secret")
      }
    }).pipe(Effect.provide(model({}, {}, { apiKey: "other", client: { apiKey: "rpa_secret_0123456789" } })))
  )

  it.effect("spans have what OpenTelemetry's conventions ask for", () =>
    Effect.gen(function* () {
      const seen = yield* Ref.make<Array<ReadonlyMap<string, unknown>>>([])
      yield* passing(
        LanguageModel.generateText({ prompt: "Hi" }).pipe(
          Effect.withTracer({
            ...(yield* Effect.tracer),
            span: (...args) => {
              const span = makeSpan(...args)
              Effect.runSync(Ref.update(seen, (spans) => [...spans, span.attributes]))
              return span
            }
          })
        )
      )
      const attributes = (yield* Ref.get(seen)).find((span) => span.has("gen_ai.system"))
      assert.strictEqual(attributes?.get("gen_ai.request.model"), "m")
      assert.strictEqual(attributes?.get("gen_ai.usage.output_tokens"), 5)
    }).pipe(Effect.provide(model({ handler: saying(() => ["Hello"]) })))
  )
})
