/** The OpenAI route as a client and as a `fetch`: where requests go, what of an answer is an error, and what is sent again. */
import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import { RetryPolicy, type RunPodError } from "effect-runpod"
import { type ModelError, OpenAi } from "effect-runpod-ai"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { inspect } from "node:util"
import { chunk, completion, frame, streamOf } from "./support/answers.js"
import * as Transport from "./support/transport.js"

type Route = HttpClient.HttpClient.With<RunPodError.RunPodError | ModelError.ModelError>

const using = <A, E>(
  transport: ReturnType<typeof Transport.make>,
  use: (route: Route) => Effect.Effect<A, E>,
  options: Parameters<typeof transport.layer>[0] = { retry: RetryPolicy.none }
) => Effect.flatMap(OpenAi.client("abc123"), use).pipe(Effect.provide(transport.layer(options)))

const chat = (stream: boolean, path = "/v1/chat/completions") =>
  HttpClientRequest.post(path, { body: HttpBody.unsafeJson({ model: "m", messages: [], stream }) })

const json = (value: unknown, status = 200): Transport.Answer => ({ status, pieces: [JSON.stringify(value)] })

const events = (...pieces: ReadonlyArray<string | Uint8Array>): Transport.Answer => ({
  type: "text/event-stream",
  pieces
})

interface Streamed {
  readonly text: string
  readonly error: ModelError.ModelError | undefined
}

/** The text of a streamed answer, and how it ended. */
const streamed = (answer: Transport.Answer, path?: string): Effect.Effect<Streamed, unknown> =>
  using(
    Transport.make(() => answer),
    (route) =>
      Effect.gen(function* () {
        let text = ""
        const response = yield* route.execute(chat(true, path))
        const end = yield* Effect.either(
          Stream.runForEach(Stream.decodeText(response.stream), (piece) => Effect.sync(() => (text += piece)))
        )
        return { text, error: Either.isLeft(end) ? (end.left.cause as ModelError.ModelError) : undefined }
      })
  )

const tagOf = (error: unknown): unknown => (error as { _tag?: unknown } | undefined)?._tag

describe("where a request goes", () => {
  const targets: ReadonlyArray<readonly [string, string]> = [
    ["/v1/models", "/v2/abc123/openai/v1/models"],
    ["/models", "/v2/abc123/openai/v1/models"],
    ["models?limit=1", "/v2/abc123/openai/v1/models?limit=1"],
    ["https://api.openai.com/v1/chat/completions", "/v2/abc123/openai/v1/chat/completions"],
    ["https://api.runpod.ai/v2/other/openai/v1/embeddings?a=b", "/v2/abc123/openai/v1/embeddings?a=b"],
    ["https://api.openai.com/v1", "/v2/abc123/openai/v1/"]
  ]
  it.effect.each(targets)("%s goes to %s, with the layer's key", ([url, path]) =>
    Effect.gen(function* () {
      const transport = Transport.make(() => json({ data: [] }))
      yield* using(transport, (route) =>
        route.execute(HttpClientRequest.bearerToken(HttpClientRequest.get(url), "own"))
      )
      assert.strictEqual(transport.asked[0]?.path, path)
      assert.strictEqual(transport.asked[0]?.headers["authorization"], `Bearer ${Transport.key}`)
    })
  )

  it.effect("a path that climbs out of the route is refused, and an endpoint that is none, too", () =>
    Effect.gen(function* () {
      const transport = Transport.make(() => json({}))
      const climbed = yield* Effect.flip(using(transport, (route) => route.get("/v1/../../../run")))
      assert.strictEqual(climbed._tag, "BadRequestError")
      const wrong = yield* Effect.flip(
        Effect.flatMap(OpenAi.client("a/b"), (route) => route.get("/v1/models")).pipe(Effect.provide(transport.layer()))
      )
      assert.strictEqual(wrong._tag, "BadRequestError")
      assert.strictEqual(transport.asked.length, 0)
    })
  )
})

describe("an answer that comes whole", () => {
  it.effect("is passed on to the byte", () =>
    Effect.gen(function* () {
      const text = ` ${JSON.stringify(completion("größe 🐈"), undefined, 1)}\n`
      const bytes = new TextEncoder().encode(text)
      for (let at = 0; at <= bytes.length; at += 29) {
        const transport = Transport.make(() => ({ pieces: [bytes.slice(0, at), bytes.slice(at)] }))
        const got = yield* using(transport, (route) => Effect.flatMap(route.execute(chat(false)), (it) => it.text))
        assert.strictEqual(got, text)
      }
    })
  )

  it.effect("that is an error of the worker may pause for as long as any", () =>
    Effect.gen(function* () {
      const pieces = [`{"error":{"message":"no `, `such model",`, `"code":404}}`]
      const transport = Transport.make(() => ({ status: 404, pieces, takes: "50 seconds" }))
      const failing = yield* Effect.fork(Effect.flip(using(transport, (route) => route.execute(chat(false)))))
      yield* TestClock.adjust("151 seconds")
      const error = yield* Fiber.join(failing)
      assert.deepInclude(error, { _tag: "WorkerError", detail: "no such model", status: 404 })
    })
  )

  const failures: ReadonlyArray<readonly [string, Transport.Answer, string]> = [
    [
      "an error with 200",
      json({ error: { message: "vLLM returned HTTP 400: x", type: "worker_error", code: null } }),
      "WorkerError"
    ],
    ["an error as text with 200", json({ error: "Invalid route" }), "WorkerError"],
    ["vLLM's own form", json({ object: "error", message: "no", type: "NotFoundError", code: 404 }, 404), "WorkerError"],
    [
      "OpenAI's form with a status",
      json({ error: { message: "no such model", type: "NotFoundError", code: 404 } }, 404),
      "WorkerError"
    ],
    ["a page with 200", { type: "text/html", pieces: ["<html>"] }, "MalformedAnswerError"],
    ["nothing", { pieces: [] }, "MalformedAnswerError"],
    ["half an object", { pieces: [`{"id":`] }, "MalformedAnswerError"],
    [
      "a refused key",
      json({ status: 401, title: "Unauthorized", detail: "invalid api key" }, 401),
      "AuthenticationError"
    ],
    ["a missing endpoint", json({ error: "endpoint not found" }, 404), "EndpointNotFoundError"],
    ["a paused endpoint", json({ error: "ENDPOINT_PAUSED" }, 409), "EndpointPausedError"],
    ["a limit", json({ status: 429, title: "Too Many Requests" }, 429), "RateLimitedError"],
    ["a gateway's page", { status: 502, type: "text/html", pieces: ["<html>"] }, "SubmitAmbiguousError"],
    ["the edge's deadline", { status: 524, type: "text/html", pieces: ["<html>"] }, "ColdStartError"],
    ["a body that is cut", { pieces: [`{"id":`], then: "reset" }, "TransportError"]
  ]
  it.effect.each(failures)("%s fails with its error", ([, answer, tag]) =>
    Effect.gen(function* () {
      const transport = Transport.make(() => answer)
      const error = yield* Effect.flip(using(transport, (route) => route.execute(chat(false)), {}))
      assert.strictEqual(error._tag, tag)
      if (tag !== "RateLimitedError") assert.strictEqual(transport.asked.length, 1)
      const shown = [inspect(error, { depth: 9, showHidden: true }), JSON.stringify(error), String(error)].join()
      assert.notInclude(shown, Transport.key)
    }).pipe((test) =>
      Effect.flatMap(Effect.fork(test), (fiber) => Effect.zipRight(TestClock.adjust("2 minutes"), Fiber.join(fiber)))
    )
  )

  it.effect("524 says what to do", () =>
    Effect.gen(function* () {
      const transport = Transport.make(() => ({ status: 524, pieces: ["error code: 524"] }))
      const error = yield* Effect.flip(using(transport, (route) => route.execute(chat(false))))
      assert.match(error.message, /HTTP 524.*cold start.*not sent again.*OpenAi\.warm.*through a job/)
      assert.strictEqual(tagOf((error as ModelError.ColdStartError).cause), "SubmitAmbiguousError")
    })
  )

  it.effect("no headers in 2 minutes is a cold start, too", () =>
    Effect.gen(function* () {
      const waiting = yield* Effect.fork(
        Effect.flip(
          using(
            Transport.make(() => "hang"),
            (route) => route.execute(chat(false))
          )
        )
      )
      yield* TestClock.adjust("119 seconds")
      assert.isNull(waiting.unsafePoll())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "ColdStartError")
    })
  )

  it.effect("`error: null` is added to a response without `error`, and to nothing else", () =>
    Effect.gen(function* () {
      const text = (value: unknown, path = "/v1/responses") =>
        using(
          Transport.make(() => json(value)),
          (route) => Effect.flatMap(route.post(path, { body: HttpBody.unsafeJson({}) }), (it) => it.json)
        )
      const response = { id: "resp_1", object: "response", output: [] }
      assert.deepStrictEqual(yield* text(response), { ...response, error: null })
      assert.deepStrictEqual(yield* text({ ...response, error: null }), { ...response, error: null })
      assert.deepStrictEqual(
        yield* text(completion("a"), "/v1/chat/completions"),
        JSON.parse(JSON.stringify(completion("a")))
      )
    })
  )

  it.effect("that is no text is passed on as it is", () =>
    Effect.gen(function* () {
      const sound = Uint8Array.of(0xff, 0xfb, 0x00, 0x7b)
      const transport = Transport.make(() => ({ type: "audio/mpeg", pieces: [sound] }))
      const got = yield* using(transport, (route) =>
        Effect.flatMap(route.post("/v1/audio/speech", { body: HttpBody.unsafeJson({}) }), (it) => it.arrayBuffer)
      )
      assert.deepStrictEqual(new Uint8Array(got), sound)
    })
  )
})

describe("what is sent again", () => {
  it.effect("a POST that may have reached a worker is not; a GET is, and what was refused is", () =>
    Effect.gen(function* () {
      const run = (answers: Parameters<typeof Transport.make>[0], request: HttpClientRequest.HttpClientRequest) =>
        Effect.gen(function* () {
          const transport = Transport.make(answers)
          const fiber = yield* Effect.fork(Effect.either(using(transport, (route) => route.execute(request), {})))
          yield* TestClock.adjust("10 minutes")
          return { sent: transport.asked.length, end: yield* Fiber.join(fiber) }
        })
      const lost = yield* run((_, n) => (n === 1 ? "reset" : json(completion("a"))), chat(false))
      assert.strictEqual(lost.sent, 1)
      assert.strictEqual(tagOf(Either.isLeft(lost.end) && lost.end.left), "SubmitAmbiguousError")
      const read = yield* run((_, n) => (n === 1 ? "reset" : json({ data: [] })), HttpClientRequest.get("/v1/models"))
      assert.strictEqual(read.sent, 2)
      const limited = yield* run((_, n) => json(n === 1 ? {} : completion("a"), n === 1 ? 429 : 200), chat(false))
      assert.deepStrictEqual([limited.sent, Either.isRight(limited.end)], [2, true])
      const refused = yield* run((_, n) => (n === 1 ? "refused" : json(completion("a"))), chat(false))
      assert.deepStrictEqual([refused.sent, Either.isRight(refused.end)], [2, true])
    })
  )
})

describe("an answer that is streamed", () => {
  const whole = streamOf(["Hel", "lo, ", "größe 🐈", ' {"error": 1}'])
  it.effect("is given to the byte, and one that ends before its end fails", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* streamed(events(whole.slice(0, 99), whole.slice(99))), {
        text: whole,
        error: undefined
      })
      assert.strictEqual(tagOf((yield* streamed(events(whole.slice(0, -20)))).error), "IncompleteStreamError")
    })
  )

  it.effect("that breaks or stands still says so", () =>
    Effect.gen(function* () {
      const broken = yield* streamed({ ...events(whole.slice(0, 300)), then: "reset" })
      assert.strictEqual(tagOf(broken.error), "TransportError")
      const waiting = yield* Effect.fork(streamed({ ...events(whole.slice(0, 300)), then: "hang" }))
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(tagOf((yield* Fiber.join(waiting)).error), "RequestTimeoutError")
    })
  )

  const error = { message: "CUDA out of memory", type: "worker_error", code: null }

  it.effect(
    "an error with the type of JSON fails as well, and a completion in place of a stream is its only chunk",
    () =>
      Effect.gen(function* () {
        assert.strictEqual(tagOf((yield* streamed(json({ error }))).error), "WorkerError")
        const { error: none, text } = yield* streamed(json(completion("a")))
        assert.isUndefined(none)
        assert.include(text, '"delta":{"role":"assistant","content":"a"')
        assert.isTrue(text.endsWith("data: [DONE]\n\n"))
      })
  )

  it.effect("of `/responses` ends with its last event, and its responses get `error: null`", () =>
    Effect.gen(function* () {
      const event = (type: string, more: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`
      const response = { id: "resp_1", object: "response", output: [] }
      const all = [
        event("response.created", { response }),
        event("response.output_text.delta", { delta: "a" }),
        event("response.completed", { response })
      ]
      const { error, text } = yield* streamed(events(...all), "/v1/responses")
      assert.isUndefined(error)
      const sent = text
        .split("\n\n")
        .filter((it) => it !== "")
        .map((it) => JSON.parse(it.slice(it.indexOf("data: ") + 6)))
      assert.deepStrictEqual(
        sent.map((it) => it.response?.error),
        [null, undefined, null]
      )
      assert.strictEqual(
        tagOf((yield* streamed(events(...all.slice(0, 2)), "/v1/responses")).error),
        "IncompleteStreamError"
      )
    })
  )

  it.effect("is closed when its reader leaves", () =>
    Effect.gen(function* () {
      const transport = Transport.make(() => ({ ...events(whole.slice(0, 400)), then: "hang" }))
      yield* using(transport, (route) =>
        Effect.flatMap(route.execute(chat(true)), (it) => Stream.runDrain(Stream.take(it.stream, 1)))
      )
      assert.strictEqual(transport.closed(), 1)
    })
  )
})

describe("`httpClient`", () => {
  it.effect("has the errors of any client, and the key in none of them", () =>
    Effect.gen(function* () {
      for (const answer of [
        json({ error: { message: "no" } }),
        "reset" as const,
        json({}, 401),
        { status: 524, pieces: [] }
      ]) {
        const transport = Transport.make(() => answer)
        const error = yield* Effect.flip(
          Effect.flatMap(OpenAi.httpClient("abc123"), (client) => client.execute(chat(false))).pipe(
            Effect.provide(transport.layer({ retry: RetryPolicy.none }))
          )
        )
        assert.include(["RequestError", "ResponseError"], error._tag)
        const shown = [
          inspect(error, { depth: 9, showHidden: true }),
          JSON.stringify(error),
          Cause.pretty(Cause.fail(error), { renderErrorCause: true })
        ].join()
        assert.notInclude(shown, Transport.key)
      }
    })
  )
})

describe("`fetch`", () => {
  const fetching = (
    transport: ReturnType<typeof Transport.make>,
    use: (fetch: typeof globalThis.fetch) => Promise<unknown>
  ) =>
    Effect.flatMap(OpenAi.fetch("abc123"), (fetch) => Effect.promise(() => use(fetch))).pipe(
      Effect.provide(transport.layer({ retry: RetryPolicy.none }))
    )
  const post = {
    method: "POST",
    headers: { authorization: "Bearer own", "content-type": "application/json" },
    body: "{}"
  }

  it.live("sends what it is given, and streams the answer", () => {
    const transport = Transport.make(() => events(streamOf(["a", "b"])))
    return fetching(transport, async (fetch) => {
      const response = await fetch("https://api.openai.com/v1/chat/completions", { ...post, body: `{"stream":true}` })
      assert.strictEqual(response.headers.get("content-type"), "text/event-stream")
      assert.strictEqual(await response.text(), streamOf(["a", "b"]))
      assert.strictEqual(transport.asked[0]?.body, `{"stream":true}`)
    })
  })

  const answers: ReadonlyArray<readonly [ReturnType<Parameters<typeof Transport.make>[0]>, number, string]> = [
    [json({ error: { message: "boom" } }), 424, "WorkerError"],
    [json({ error: { message: "vLLM returned HTTP 400: bad", type: "worker_error" } }), 400, "WorkerError"],
    [json({ status: 401, title: "Unauthorized" }, 401), 401, "AuthenticationError"],
    [json({ error: "endpoint not found" }, 404), 404, "EndpointNotFoundError"],
    [json({ status: 429, title: "Too Many Requests" }, 429), 429, "RateLimitedError"],
    [{ status: 524, pieces: [] }, 424, "ColdStartError"],
    [{ status: 502, pieces: [] }, 424, "SubmitAmbiguousError"],
    [json({ error: { message: "upstream", type: "gateway" } }, 504), 424, "WorkerError"],
    [json({ error: { message: "vLLM returned HTTP 408: late", type: "worker_error" } }), 424, "WorkerError"],
    ["reset", 424, "SubmitAmbiguousError"],
    ["refused", 503, "TransportError"]
  ]
  it.live.each(answers)("%o is an answer with %i, in OpenAI's form", ([answer, status]) =>
    fetching(
      Transport.make(() => answer),
      async (fetch) => {
        const response = await fetch("/v1/chat/completions", post)
        assert.strictEqual(response.status, status)
        assert.strictEqual(response.headers.get("x-should-retry"), "false")
        const { error } = (await response.json()) as { error: { message: string; type: string } }
        assert.isNotEmpty(error.message)
        assert.notInclude(JSON.stringify(error), Transport.key)
      }
    )
  )

  it.live("a request that its client sends again after a timeout of its own is not asked a second time", () => {
    const transport = Transport.make(() => json({ choices: [{}] }))
    return fetching(transport, async (fetch) => {
      const again = (count: string) => ({ ...post, headers: { ...post.headers, "x-stainless-retry-count": count } })
      assert.strictEqual((await fetch("/v1/chat/completions", again("0"))).status, 200)
      const second = await fetch("/v1/chat/completions", again("1"))
      assert.strictEqual(second.status, 424)
      assert.strictEqual(second.headers.get("x-should-retry"), "false")
      assert.strictEqual(transport.asked.length, 1)
      await fetch("/v1/models", { headers: { "x-stainless-retry-count": "1" } })
      assert.strictEqual(transport.asked.length, 2)
    })
  })

  it.live("a body that its caller breaks rejects with the caller's error", () =>
    fetching(
      Transport.make(() => json({})),
      async (fetch) => {
        const mine = new Error("mine")
        const body = new ReadableStream({ pull: (controller) => controller.error(mine) })
        const request = new Request("https://llm.example/v1/x", { method: "POST", body, ...{ duplex: "half" } })
        const found = await fetch(request).catch((error: unknown) => error)
        assert.strictEqual(found, mine)
      }
    )
  )

  it.live("an abort rejects with its reason, before the answer and within it, and closes the connection", () => {
    const hung = Transport.make(() => "hang")
    const streaming = Transport.make(() => ({ ...events(streamOf(["a"]).slice(0, 500)), then: "hang" }))
    const rejection = (promise: Promise<unknown>) =>
      promise.then(
        () => undefined,
        (error: unknown) => error
      )
    return Effect.zipRight(
      fetching(hung, async (fetch) => {
        const abort = new AbortController()
        const end = rejection(fetch("/v1/models", { signal: abort.signal }))
        abort.abort(new Error("enough"))
        assert.strictEqual(((await end) as Error).message, "enough")
      }),
      fetching(streaming, async (fetch) => {
        const abort = new AbortController()
        const response = await fetch("/v1/chat/completions", { ...post, body: `{"stream":true}`, signal: abort.signal })
        const end = rejection(response.text())
        abort.abort(new Error("enough"))
        assert.strictEqual(((await end) as Error).message, "enough")
        assert.strictEqual(streaming.closed(), 1)
      })
    )
  })

  it.live("a slow reader gets all that came before an error of the stream", () => {
    const frames = ["one", "two", "three"].map((content) => frame(chunk({ content })))
    return fetching(
      Transport.make(() => events(...frames, frame({ error: { message: "boom" } }))),
      async (fetch) => {
        const { body } = await fetch("/v1/chat/completions", { ...post, body: `{"stream":true}` })
        const reader = body?.getReader()
        let text = ""
        const end = await (async () => {
          for (;;) {
            await new Promise((resolve) => setTimeout(resolve, 20))
            const { done, value } = (await reader?.read()) ?? { done: true }
            if (done) return
            text += new TextDecoder().decode(value)
          }
        })().catch((error: unknown) => error)
        assert.strictEqual(text, frames.join(""))
        assert.strictEqual(tagOf(end), "WorkerError")
      }
    )
  })

  it.live("a stream that is cut rejects with its error", () =>
    fetching(
      Transport.make(() => events(streamOf(["a"]).slice(0, 300))),
      async (fetch) => {
        const response = await fetch("/v1/chat/completions", { ...post, body: `{"stream":true}` })
        const error = await response.text().then(
          () => undefined,
          (error: unknown) => error
        )
        assert.strictEqual(tagOf(error), "IncompleteStreamError")
      }
    )
  )
})

describe("`warm`", () => {
  it.effect("asks for nothing while a worker is there, and submits a job where none is", () =>
    Effect.gen(function* () {
      const at = (ready: number) =>
        Transport.make((path) =>
          path.endsWith("/health")
            ? json({ jobs: {}, workers: { ready } })
            : json({ id: "job-1", status: path.endsWith("/run") ? "IN_QUEUE" : "COMPLETED", output: [] })
        )
      const warm = at(1)
      yield* OpenAi.warm("abc123").pipe(Effect.provide(warm.layer()))
      assert.deepStrictEqual(Chunk.toReadonlyArray(Chunk.fromIterable(warm.asked.map(({ path }) => path))), [
        "/v2/abc123/health"
      ])
      const cold = at(0)
      yield* OpenAi.warm("abc123").pipe(Effect.provide(cold.layer()))
      const submit = cold.asked.find(({ path }) => path.endsWith("/run"))
      assert.deepInclude(JSON.parse(submit?.body ?? "{}"), { input: { openai_route: "/v1/models" } })
    })
  )
})
