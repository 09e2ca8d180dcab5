import { assert, describe, it } from "@effect/vitest"
import { Cause, Chunk, Effect, Exit, Option, Schema, Stream } from "effect"
import { Batch, type JobError, type JobHandle } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { type ChatCompletion, ModelEndpoint } from "effect-runpod-ai"
import { completion, streamOf } from "./support/answers.js"
import { passing } from "./support/passing.js"
import { bodyOf, saying, yielding } from "./support/worker.js"

const emulator = (endpoint: Emulator.EndpointOptions, options: Partial<Emulator.RunPodOptions> = {}) =>
  Effect.provide(Emulator.layerRunPod({ endpoints: { llm: endpoint }, ...options }))

const Review = Schema.Struct({ stars: Schema.Int, summary: Schema.String }).annotations({ identifier: "Review" })

const finishing = (content: string | null, finishReason: string, more: object = {}) => {
  const answer = completion(content, more)
  return { ...answer, choices: answer.choices.map((choice) => ({ ...choice, finish_reason: finishReason })) }
}

describe("ModelEndpoint", () => {
  it.effect("a chat is a job with the route and the body that workers take, and its answer is a completion", () =>
    Effect.gen(function* () {
      const chat = yield* ModelEndpoint.chat("llm", { model: "m", config: { max_tokens: 9 } })
      const answer = yield* passing(chat.call({ prompt: "Hi", temperature: 0.5 }))
      assert.strictEqual(answer.choices[0]?.content, "Hello")
      const [job] = yield* (yield* Emulator.Emulator).jobs("llm")
      assert.deepStrictEqual(job?.input, {
        openai_route: "/v1/chat/completions",
        openai_input: { model: "m", max_tokens: 9, temperature: 0.5, messages: [{ role: "user", content: "Hi" }] }
      })
    }).pipe(emulator({ handler: saying(() => ["Hel", "lo"]) }))
  )

  it.effect("another process reads the answer by the job's id", () =>
    Effect.gen(function* () {
      const chat = yield* ModelEndpoint.chat("llm", { model: "m" })
      const { id } = yield* chat.run("Hi")
      const later = yield* ModelEndpoint.chat("llm", { model: "m" })
      const answer = yield* passing(later.attach(id).result())
      assert.strictEqual(answer.choices[0]?.content, "Hello")
    }).pipe(emulator({ coldStart: "150 seconds", handler: saying(() => ["Hello"]) }))
  )

  it.effect("a chat that streams gives its chunks, and its output is the same completion", () =>
    Effect.gen(function* () {
      const words = ["Hel", "lo", " the", "re", "!"]
      const chat = yield* ModelEndpoint.chat("llm", { model: "m", stream: true })
      const job = yield* chat.run("Hi")
      const chunks = yield* passing(Stream.runCollect(ModelEndpoint.chunks(job)))
      assert.strictEqual(textOf(chunks), words.join(""))
      const { choices, usage } = yield* passing(job.result(), 1)
      assert.deepInclude(choices[0], { content: words.join(""), finishReason: "stop" })
      assert.strictEqual(usage?.totalTokens, 12)
    }).pipe(
      emulator(
        { handler: saying(() => ["Hel", "lo", " the", "re", "!"], "500 millis") },
        { faults: [Emulator.Fault.resetAfter({ operations: ["stream"], after: 1, times: 1 })] }
      )
    )
  )

  it.effect("a batch of prompts gives typed objects, and each bad answer is that item's error", () =>
    Effect.gen(function* () {
      const rating = yield* ModelEndpoint.object("llm", {
        model: "m",
        schema: Review,
        prompt: (n: number) => `Rate ${n}`
      })
      const prompts = Array.from({ length: 60 }, (_, n) => n)
      const outcomes = yield* passing(Batch.run(rating, prompts).pipe(Stream.runCollect, Effect.map(read)))
      assert.lengthOf(outcomes.good, 56)
      assert.deepInclude(outcomes.good, { stars: 17, summary: "fine" })
      assert.deepStrictEqual(outcomes.bad.sort(), [
        "MalformedAnswerError",
        "UnfinishedAnswerError",
        "WorkerError",
        "none"
      ])
    }).pipe(
      emulator({
        workers: 10,
        handler: (input) => {
          const n = Number(String(bodyOf(input).messages[0]?.content).slice(5))
          const bad: Record<number, unknown> = {
            3: { error: { message: "gone", type: "worker_error", code: null } },
            4: finishing('{"stars":', "length"),
            5: completion('{"stars":"many"}'),
            6: completion(null)
          }
          return Stream.make(bad[n] ?? completion(JSON.stringify({ stars: n, summary: "fine" })))
        }
      })
    )
  )

  it.effect("the schema is sent, under its identifier", () =>
    Effect.gen(function* () {
      const rating = yield* ModelEndpoint.object("llm", { model: "m", schema: Review })
      const review = yield* passing(rating.call([{ role: "user", content: "Rate it" }]))
      assert.deepStrictEqual(review, { stars: 5, summary: "good" })
      const [job] = yield* (yield* Emulator.Emulator).jobs("llm")
      const format = JSON.stringify(bodyOf(job!.input)["response_format"])
      assert.include(format, '"name":"Review"')
      assert.include(format, '"required":["stars","summary"]')
    }).pipe(emulator({ handler: yielding(completion('{"stars":5,"summary":"good"}')) }))
  )

  it.effect("each way an answer is none is told apart by `errorOf`, and the message says it", () =>
    Effect.gen(function* () {
      const rating = yield* ModelEndpoint.object("llm", { model: "m", schema: Review })
      const ways: ReadonlyArray<readonly [string, string | undefined, string]> = [
        ["error", "WorkerError", "the model `x` does not exist"],
        ["length", "UnfinishedAnswerError", "max_tokens"],
        ["filter", "UnfinishedAnswerError", "filter"],
        ["refusal", "UnfinishedAnswerError", "I will not"],
        ["prose", undefined, "JSON"],
        ["wrong", undefined, "summary"]
      ]
      for (const [way, tag, says] of ways) {
        const error = yield* Effect.flip(passing(rating.call(way), 1))
        assert.strictEqual(error._tag, "OutputDecodeError", way)
        assert.include(error.message, says)
        assert.strictEqual(ModelEndpoint.errorOf(error as JobError.OutputDecodeError)?._tag, tag, way)
      }
    }).pipe(
      emulator({
        handler: (input) => {
          const answers: Record<string, unknown> = {
            error: { error: { message: "the model `x` does not exist", type: "NotFoundError", code: 404 } },
            length: finishing('{"stars":5,', "length"),
            filter: finishing("", "content_filter"),
            refusal: completion(null, { refusal: "I will not" }),
            prose: completion("Five stars!"),
            wrong: completion('{"stars":5}')
          }
          return Stream.make(answers[String(bodyOf(input).messages[0]?.content)])
        }
      })
    )
  )

  it.effect("a stream that was cut in a COMPLETED job does not decode", () =>
    Effect.gen(function* () {
      const chat = yield* ModelEndpoint.chat("llm", { model: "m", stream: true })
      const job = yield* chat.run("Hi")
      const error = yield* Effect.flip(passing(job.result(), 1))
      assert.strictEqual(
        error._tag === "OutputDecodeError" ? ModelEndpoint.errorOf(error)?._tag : undefined,
        "IncompleteStreamError"
      )
    }).pipe(emulator({ handler: yielding(streamOf(["Hello"]).slice(0, -20)) }))
  )

  const key = "rpa_secret_0123456789"
  const escaped = `\\u0072${key.slice(1)}`
  const error = (text: string) => `{"error":{"message":"bad ${text}"}}`
  const quoting: Readonly<Record<string, ReadonlyArray<unknown>>> = {
    "an error in a frame": [`data: ${error(key)}\n\n`],
    "an error": [JSON.parse(error(key))],
    "a frame of another kind": [`data: {"nope":"${key}"}\n\n`],
    "another object that is cut where the key stands": [{ nope: `${"x".repeat(180)}${key}` }],
    "an error in the text of JSON, with escapes": [error(escaped)],
    "a frame with escapes": [`data: ${error(escaped)}\n\n`],
    "a frame that is cut within the key": [`data: ${error(key)}`.slice(0, -14), `${error(key).slice(-14)}\n\n`]
  }
  for (const [name, yielded] of Object.entries(quoting)) {
    it.effect(`no error quotes the key: ${name}`, () =>
      Effect.gen(function* () {
        const chat = yield* ModelEndpoint.chat("llm", { model: "m", stream: true })
        const streamed = yield* chat.run("Hi")
        const errors: Array<unknown> = [yield* Effect.flip(passing(Stream.runDrain(ModelEndpoint.chunks(streamed)), 1))]
        const rating = yield* ModelEndpoint.object("llm", { model: "m", schema: Review })
        const jobs: ReadonlyArray<JobHandle.JobHandle<unknown>> = [yield* chat.run("Hi"), yield* rating.run("Hi")]
        for (const job of jobs) {
          const error = yield* Effect.flip(passing(job.result(), 1))
          errors.push(error, error._tag === "OutputDecodeError" ? ModelEndpoint.errorOf(error) : undefined)
        }
        const shown = errors.map((it) => `${String(it)} ${JSON.stringify(it)}`).join("\n")
        assert.lengthOf(errors, 5)
        for (const secret of [key, key.slice(1), key.slice(0, 11)]) assert.notInclude(shown, secret)
      }).pipe(emulator({ handler: yielding(...yielded) }, { apiKey: key, client: { apiKey: key } }))
    )
  }

  for (const [name, output] of Object.entries({
    "an object": completion("Hello"),
    "the text of one": JSON.stringify(completion("Hello")),
    "a list with one": [completion("Hello")]
  })) {
    it.effect(`a handler that is no generator streams nothing, and its answer is read from its output: ${name}`, () =>
      Effect.gen(function* () {
        const chat = yield* ModelEndpoint.chat("llm", { model: "m", stream: true })
        const chunks = yield* passing(Stream.runCollect(ModelEndpoint.chunks(yield* chat.run("Hi"))), 1)
        assert.strictEqual(textOf(chunks), "Hello")
      }).pipe(emulator({ handler: () => Effect.succeed(output) }))
    )
  }

  it.effect("an error that a handler returns is told by its chunks", () =>
    Effect.gen(function* () {
      const chat = yield* ModelEndpoint.chat("llm", { model: "m", stream: true })
      const job = yield* chat.run("Hi")
      const error = yield* Effect.flip(passing(Stream.runDrain(ModelEndpoint.chunks(job)), 1))
      assert.strictEqual(error._tag, "WorkerError")
      assert.include(error.message, "model not found")
    }).pipe(emulator({ handler: () => Effect.succeed([{ error: { message: "model not found", code: 404 } }]) }))
  )

  it.effect("a prompt that no model's server takes is refused before anything is sent", () =>
    Effect.gen(function* () {
      const chat = yield* ModelEndpoint.chat("llm", { model: "m" })
      const file = { type: "file", mediaType: "application/pdf", data: new Uint8Array([1]) } as const
      const error = yield* Effect.flip(chat.run([{ role: "user", content: [file] }]))
      assert.strictEqual(error._tag, "BadRequestError")
      assert.include(error.message, "application/pdf")
      assert.strictEqual((yield* (yield* Emulator.Emulator).counts).total, 0)
    }).pipe(emulator({}))
  )
})

const textOf = (chunks: Chunk.Chunk<ChatCompletion.ChatChunk>): string =>
  Chunk.toReadonlyArray(chunks)
    .map(({ choices }) => choices[0]?.content ?? "")
    .join("")

type Outcome = Batch.Outcome<number, typeof Review.Type>

const read = (outcomes: Chunk.Chunk<Outcome>) => {
  const good: Array<unknown> = []
  const bad: Array<string> = []
  for (const { result } of outcomes) {
    if (Exit.isSuccess(result)) good.push(result.value)
    else {
      const error = Option.getOrThrow(Cause.failureOption(result.cause))
      bad.push(error._tag === "OutputDecodeError" ? (ModelEndpoint.errorOf(error)?._tag ?? "none") : error._tag)
    }
  }
  return { good, bad }
}
