import { type AiError, LanguageModel, Tool, Toolkit } from "@effect/ai"
import { HttpClient, HttpClientError, HttpClientRequest } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Layer, Schema, Stream, TestClock } from "effect"
import { RunPodError } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { type ModelCall, ModelError, RunPodLanguageModel } from "effect-runpod-ai"
import { chunk, completion, frame, streamOf } from "./support/answers.js"
import { type Answer, bytesOf, type Call, scripted } from "./support/server.js"
import { passing } from "./support/passing.js"
import { saying } from "./support/worker.js"

const text = "Héllo 🌍!"

const answered = ({ body }: Call): Answer =>
  body["stream"] === true ? { body: bytesOf(streamOf([...text]), 3) } : { body: JSON.stringify(completion(text)) }

interface Choices {
  readonly via?: "route" | "auto"
  readonly endpoint?: Emulator.EndpointOptions
}

/** A model whose route is scripted, and whose jobs say "by job". */
const model = (server: Pick<ModelCall.Options, "client">, { endpoint, via = "route" }: Choices = {}) => {
  const client =
    server.client && HttpClient.mapRequest(server.client, HttpClientRequest.prependUrl("https://llm.example"))
  return RunPodLanguageModel.layer({ endpoint: "llm", model: "m", via, client }).pipe(
    Layer.provideMerge(
      Emulator.layerRunPod({
        apiKey: "rpa_secret_0123456789",
        endpoints: { llm: { handler: saying(() => ["by job"]), ...endpoint } }
      })
    )
  )
}

const plain = Effect.map(LanguageModel.generateText({ prompt: "Hi" }), (answer) => answer.text)

const streamed = Stream.runCollect(LanguageModel.streamText({ prompt: "Hi" })).pipe(
  Effect.map((parts) =>
    Chunk.toReadonlyArray(parts)
      .map((part) => (part.type === "text-delta" ? part.delta : ""))
      .join("")
  )
)

const both = [plain, streamed]

const jobs = Effect.flatMap(Emulator.Emulator, (emulator) => emulator.jobs("llm"))

/** Workers that are up. */
const warm = { workers: { max: 2, min: 1 } }

/** A client whose requests fail with an error of RunPod. */
const failing = (error: RunPodError.RunPodError) => {
  const { calls, client } = scripted(() => ({ body: "" }))
  return { calls, client: HttpClient.transformResponse(client, Effect.zipRight(Effect.fail(error))) }
}

const where = { operation: "openai", endpointId: "llm", method: "POST", path: "/llm/openai/v1/chat/completions" }

describe("via route", () => {
  const server = scripted(answered)
  it.effect("whole and streamed answers come over the client, bytes cut inside of characters", () =>
    Effect.gen(function* () {
      for (const call of both) assert.strictEqual(yield* passing(call), text)
      assert.deepStrictEqual(
        server.calls.map(({ url }) => url),
        ["https://llm.example/v1/chat/completions", "https://llm.example/v1/chat/completions"]
      )
      assert.deepInclude(server.calls[1]?.body, { model: "m", stream: true, stream_options: { include_usage: true } })
      assert.lengthOf(yield* jobs, 0)
    }).pipe(Effect.provide(model(server)))
  )

  const refused: ReadonlyArray<readonly [string, Answer | undefined, object]> = [
    [
      "vLLM's error with its status",
      { status: 404, body: '{"object":"error","message":"no model m","type":"NotFoundError","code":404}' },
      { _tag: "WorkerError", detail: "no model m", type: "NotFoundError", code: "404", status: 404 }
    ],
    ["a page of a gateway", { status: 502, body: "<html>bad gateway" }, { _tag: "WorkerError", status: 502 }],
    ["an empty body", { status: 500, body: "" }, { _tag: "WorkerError", status: 500 }],
    [
      "a worker's error in a 200",
      { body: '{"error":{"message":"gone","type":"worker_error","code":null}}' },
      { _tag: "WorkerError", detail: "gone", type: "worker_error" }
    ],
    ["a reset", undefined, { _tag: "ConnectionError", detail: "Transport (ECONNRESET)" }]
  ]
  for (const [name, answer, expected] of refused) {
    const server = scripted(() => answer)
    it.effect(`${name} fails a call, plain and streamed, without the key`, () =>
      Effect.gen(function* () {
        const { inspect } = yield* Effect.promise(() => import("node:util"))
        for (const call of both) {
          const error = yield* Effect.flip(passing(call))
          assert.deepInclude(ModelError.causeOf(error), expected)
          assert.notInclude(JSON.stringify(error) + inspect(error, { depth: 9 }), "rpa_secret")
        }
      }).pipe(Effect.provide(model(server)))
    )
  }

  const quoting: ReadonlyArray<readonly [string, (said: string) => string]> = [
    ["JSON that is no completion", (said) => JSON.stringify({ said })],
    ["a completion without its message", (said) => JSON.stringify({ choices: [{ said }] })],
    ["a frame that is no chunk", (said) => `data: ${JSON.stringify([{ said }])}\n\n`],
    ["a frame that is no JSON", (said) => `data: <p>${said}\n\n`],
    ["JSON that stands in a stream", (said) => `${JSON.stringify({ said })}\n\n`],
    ["a text", (said) => said],
    ["an error", (said) => JSON.stringify({ error: { message: said } })]
  ]
  for (const [name, bodyOf] of quoting) {
    it.effect(`${name} that quotes the key fails a call, plain and streamed, with no part of it`, () =>
      Effect.forEach([0, 175, 180, 185, 1_990], (length) => {
        const body = bodyOf(`${"x".repeat(length)} rpa_secret_0123456789 ${"y".repeat(3_000)}`)
        return Effect.gen(function* () {
          for (const call of both) {
            const error = yield* Effect.flip(passing(call))
            const { inspect } = yield* Effect.promise(() => import("node:util"))
            assert.notMatch(JSON.stringify(error) + inspect(error, { depth: 9 }), /rpa_s/)
          }
        }).pipe(Effect.provide(model(scripted(() => ({ body })))))
      })
    )
  }

  const Add = Tool.make("add", { parameters: { a: Schema.Int }, success: Schema.Int })
  const tools = Toolkit.make(Add)
  type Handlers = Tool.HandlersFor<Toolkit.Tools<typeof tools>>
  const Adds = tools.toLayer({ add: ({ a }) => Effect.succeed(a) })
  const says = (said: object) =>
    scripted(({ body }) =>
      body["stream"] === true
        ? { body: [chunk(said), chunk({}, "stop"), "[DONE]"].map(frame).join("") }
        : { body: JSON.stringify(completion(null, said)) }
    )
  const assertNoKey = (error: unknown) =>
    Effect.map(
      Effect.promise(() => import("node:util")),
      ({ inspect }) => assert.notInclude(JSON.stringify(error) + inspect(error, { depth: 9 }), "rpa_secret")
    )

  it.effect("arguments of a tool that are no JSON are quoted without the key", () =>
    Effect.gen(function* () {
      const asked = { prompt: "Hi", toolkit: tools }
      for (const call of [LanguageModel.generateText(asked), Stream.runDrain(LanguageModel.streamText(asked))]) {
        const error = yield* Effect.flip(
          passing<unknown, AiError.AiError, LanguageModel.LanguageModel | Handlers>(call)
        )
        assert.include(error.message, "<redacted>")
        yield* assertNoKey(error)
      }
    }).pipe(
      Effect.provide(
        Layer.merge(
          model(says({ tool_calls: [{ function: { name: "add", arguments: '{"a": rpa_secret_0123456789' } }] })),
          Adds
        )
      )
    )
  )

  it.effect("a refusal in place of an object is quoted without the key", () =>
    Effect.gen(function* () {
      const call = LanguageModel.generateObject({ prompt: "Hi", schema: Schema.Struct({ a: Schema.Int }) })
      const error = yield* Effect.flip(passing(call))
      assert.deepInclude(ModelError.causeOf(error), { _tag: "UnfinishedAnswerError", detail: "no <redacted>" })
      yield* assertNoKey(error)
    }).pipe(Effect.provide(model(says({ refusal: "no rpa_secret_0123456789" }))))
  )

  const staying = scripted(() => ({ body: Stream.concat(bytesOf(streamOf([text]), 50), Stream.never) }))
  it.effect("a connection that stays behind [DONE] is left", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* passing(streamed, 1 / 30), text)
    }).pipe(Effect.provide(model(staying)))
  )

  it.effect("an answer whose only choice is not the first is one, plain and streamed", () =>
    Effect.gen(function* () {
      for (const call of both) assert.strictEqual(yield* passing(call), "Hello")
    }).pipe(
      Effect.provide(
        model(
          scripted(({ body }) => {
            const second = (value: { readonly choices: ReadonlyArray<object> }) => ({
              ...value,
              choices: value.choices.map((choice) => ({ ...choice, index: 1 }))
            })
            if (body["stream"] !== true) return { body: JSON.stringify(second(completion("Hello"))) }
            const chunks = [chunk({ content: "Hel" }), chunk({ content: "lo" }), chunk({}, "stop")]
            return { body: [...chunks.map(second), "[DONE]"].map(frame).join("") }
          })
        )
      )
    )
  )

  it.effect("an error of RunPod inside one of `HttpClient` is the cause", () => {
    const cause = new RunPodError.EndpointPausedError({ ...where, status: 409 })
    const { client } = scripted(() => ({ body: "" }))
    const wrapped = HttpClient.mapRequestEffect(client, (request) =>
      Effect.fail(new HttpClientError.RequestError({ request, reason: "Transport", cause }))
    )
    return Effect.gen(function* () {
      for (const call of both)
        assert.strictEqual(ModelError.causeOf(yield* Effect.flip(passing(call)))?._tag, "EndpointPausedError")
    }).pipe(Effect.provide(model({ client: wrapped })))
  })

  const pages = scripted(() => ({ body: "<html>hello</html>" }))
  it.effect("a page with status 200 is no answer, plain or streamed", () =>
    Effect.gen(function* () {
      const [whole, stream] = yield* Effect.forEach(both, (call) => Effect.flip(passing(call)))
      assert.strictEqual(ModelError.causeOf(whole)?._tag, "MalformedAnswerError")
      assert.strictEqual(ModelError.causeOf(stream)?._tag, "IncompleteStreamError")
    }).pipe(Effect.provide(model(pages)))
  )

  const broken = scripted(() => ({
    body: Stream.concat(bytesOf(streamOf(["Hello"]).slice(0, 600), 50), Stream.fail(new Error("rpa_secret")))
  }))
  it.effect("a connection that breaks in the middle of a stream fails it", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(passing(streamed))
      assert.strictEqual(ModelError.causeOf(error)?._tag, "ConnectionError")
    }).pipe(Effect.provide(model(broken)))
  )

  const late = scripted(() => ({ body: Stream.concat(bytesOf(streamOf([text]), 50), Stream.fail(new Error("reset"))) }))
  it.effect("a connection that breaks behind [DONE] does no harm", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* passing(streamed), text)
    }).pipe(Effect.provide(model(late)))
  )

  const closed = { value: 0 }
  const endless = scripted(() => ({
    body: Stream.concat(bytesOf(streamOf([text]).slice(0, 900), 50), Stream.never).pipe(
      Stream.ensuring(Effect.sync(() => void closed.value++))
    )
  }))
  it.effect("a reader that leaves, or is interrupted, ends the request", () =>
    Effect.gen(function* () {
      const stream = LanguageModel.streamText({ prompt: "Hi" })
      yield* passing(Stream.runDrain(Stream.takeUntil(stream, ({ type }) => type === "text-delta")))
      assert.strictEqual(closed.value, 1)
      const fiber = yield* Effect.fork(Stream.runDrain(stream))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(closed.value, 2)
    }).pipe(Effect.provide(model(endless)))
  )
})

describe("via auto", () => {
  const up = scripted(answered)
  it.effect("with a worker that is up it takes the route, and asks for health once in a while only", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      for (const call of [plain, streamed, plain]) assert.strictEqual(yield* passing(call, 0.01), text)
      assert.lengthOf(up.calls, 3)
      const { byOperation } = yield* (yield* Emulator.Emulator).counts
      assert.strictEqual(byOperation.health.total, 1)
      assert.lengthOf(yield* jobs, 0)
    }).pipe(Effect.provide(model(up, { via: "auto", endpoint: warm })))
  )

  const cold = scripted(answered)
  it.effect("without one it takes a job, which outlives a cold start of 150 seconds", () =>
    Effect.gen(function* () {
      const answers = yield* passing(Effect.all(both, { concurrency: 2 }))
      assert.deepStrictEqual(answers, ["by job", "by job"])
      assert.lengthOf(cold.calls, 0)
    }).pipe(Effect.provide(model(cold, { via: "auto", endpoint: { coldStart: "150 seconds" } })))
  )

  const limited = failing(new RunPodError.RateLimitedError({ ...where, status: 429 }))
  it.effect("a route that refuses without effect is followed by a job", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      for (const call of both) assert.strictEqual(yield* passing(call), "by job")
      assert.lengthOf(yield* jobs, 2)
    }).pipe(Effect.provide(model(limited, { via: "auto", endpoint: warm })))
  )

  const cutByEdge = failing(new RunPodError.ServerError({ ...where, status: 524 }))
  it.effect("a route that left the call in doubt (524) fails, and nothing is sent again", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      for (const call of both) {
        assert.strictEqual(ModelError.causeOf(yield* Effect.flip(passing(call)))?._tag, "ServerError")
      }
      assert.lengthOf(cutByEdge.calls, 2)
      assert.lengthOf(yield* jobs, 0)
    }).pipe(Effect.provide(model(cutByEdge, { via: "auto", endpoint: warm })))
  )

  const blind = scripted(answered)
  it.effect("where /health does not answer it takes a job", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* passing(plain), "by job")
      assert.lengthOf(blind.calls, 0)
    }).pipe(
      Effect.provide(
        Layer.provideMerge(
          RunPodLanguageModel.layer({ endpoint: "llm", model: "m", client: blind.client }),
          Emulator.layerRunPod({
            endpoints: { llm: { ...warm, handler: saying(() => ["by job"]) } },
            faults: [Emulator.Fault.stall({ operations: ["health"] })]
          })
        )
      )
    )
  )
})
