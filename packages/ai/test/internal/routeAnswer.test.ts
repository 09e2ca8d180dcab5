/** Answers of the OpenAI route, cut anywhere. That the parser takes a cut at every byte, `chunkReader.test.ts` shows. */
import * as Cookies from "@effect/platform/Cookies"
import * as Headers from "@effect/platform/Headers"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import { RunPodError } from "effect-runpod"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { read } from "../../src/internal/routeAnswer.js"
import type { ModelError } from "../../src/ModelError.js"
import { chunk, completion, frame, streamOf } from "../support/answers.js"

interface Asked {
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  /** What comes behind the pieces. */
  readonly then?: Stream.Stream<never, RunPodError.RunPodError>
}

const scrub = (text: string) => text.replaceAll("rpa_KEY", "<redacted>")

/** The text that is given of a stream in these pieces, and how it ends. */
const given = (
  pieces: ReadonlyArray<Uint8Array | string>,
  { headers: more, path = "/v1/chat/completions", then = Stream.empty }: Asked = {}
) =>
  Effect.gen(function* () {
    const request = HttpClientRequest.post(path, { body: HttpBody.unsafeJson({ stream: true }) })
    const headers = Headers.fromInput({ "content-type": "text/event-stream; charset=utf-8", ...more })
    const bytes = pieces.map((piece) => (typeof piece === "string" ? new TextEncoder().encode(piece) : piece))
    const stream = Stream.concat(Stream.rechunk(Stream.fromIterable(bytes), 1), then)
    const answer = yield* read({ status: 200, headers, cookies: Cookies.empty, stream }, request, scrub)
    let text = ""
    const end = yield* Effect.either(
      Stream.runForEach(Stream.decodeText(answer.stream), (piece) => Effect.sync(() => (text += piece)))
    )
    return { text, error: Either.isLeft(end) ? (end.left as ModelError) : undefined }
  })

const whole = streamOf(["Hello, ", "größe 🐈", ' {"error": 1}'])
const bytes = new TextEncoder().encode(whole)

/** In two pieces, cut at places all over it. */
const cuts = (bytes: Uint8Array, step: number) =>
  Array.from({ length: Math.ceil((bytes.length + 1) / step) }, (_, n) => [
    bytes.slice(0, n * step),
    bytes.slice(n * step)
  ])

describe("a stream of the route", () => {
  it.effect("comes the same wherever it is cut, in two pieces or in bytes", () =>
    Effect.gen(function* () {
      for (const pieces of [...cuts(bytes, 17), [...bytes].map((byte) => Uint8Array.of(byte))]) {
        assert.deepStrictEqual(yield* given(pieces), { text: whole, error: undefined })
      }
    })
  )

  it.effect("that ends anywhere before its end fails, and has given only whole frames of it", () =>
    Effect.gen(function* () {
      const end = new TextEncoder().encode(whole.slice(0, whole.lastIndexOf("[DONE]") + "[DONE]".length)).length
      for (let at = 0; at < end; at += at < end - 60 ? 17 : 1) {
        const { error, text } = yield* given([bytes.slice(0, at)])
        assert.strictEqual(error?._tag, "IncompleteStreamError", `cut at ${at}`)
        assert.isTrue(whole.startsWith(text))
        assert.isTrue(text === "" || text.endsWith("\n\n"))
      }
    })
  )

  it.effect("of a route that is not known may have frames that are no JSON, which are given without the key", () =>
    Effect.gen(function* () {
      const { text } = yield* given([frame("no answer for rpa_KEY") + frame("[DONE]")], { path: "/v1/audio" })
      assert.strictEqual(text, frame("no answer for <redacted>") + frame("[DONE]"))
    })
  )

  it.effect("of the legacy route is one, too", () =>
    Effect.gen(function* () {
      const piece = (text: string, finish_reason: string | null = null) => frame({ choices: [{ text, finish_reason }] })
      const path = "/v1/completions"
      const frames = piece("Hel") + piece("lo", "stop") + frame("[DONE]")
      assert.deepStrictEqual(yield* given([frames], { path }), { text: frames, error: undefined })
      const { error } = yield* given([piece("Hel") + piece("lo") + frame("[DONE]")], { path })
      assert.deepInclude(error, { _tag: "IncompleteStreamError", reason: "NoFinish", received: 5 })
    })
  )

  const event = (type: string, more: object) => `event: ${type}\n${frame({ type, ...more })}`
  const response = { object: "response", status: "completed", output: [], error: null }
  const delta = event("response.output_text.delta", { delta: "Hi" })
  const notWhole: ReadonlyArray<readonly [string, string, string]> = [
    ["[DONE] alone", "/chat/completions", ""],
    ["a text without `finish_reason`", "/chat/completions", frame(chunk({ content: "Hi" }))],
    ["a frame with a detail", "/chat/completions", frame({ detail: "no rpa_KEY" }) + frame(chunk({}, "stop"))],
    ["an error that does not say so", "/chat/completions", frame({ message: "no rpa_KEY", code: 500 })],
    ["a frame that is a text", "/chat/completions", frame(JSON.stringify("no rpa_KEY")) + frame(chunk({}, "stop"))],
    ["a frame that is a list", "/chat/completions", frame([chunk({ content: "Hi" }, "stop")])],
    ["a choice that is none", "/chat/completions", frame({ choices: [null] }) + frame(chunk({}, "stop"))],
    ["half a frame", "/chat/completions", frame('{"choices":[{"del rpa_KEY') + frame(chunk({}, "stop"))],
    ["deltas alone", "/responses", delta],
    ["half a delta", "/responses", frame('{"type":"response.o') + event("response.completed", { response })],
    ["a delta without text", "/responses", event("response.output_text.delta", {})],
    ["an end that holds nothing", "/responses", event("response.completed", { response: { object: "response" } })],
    ["a frame of no type", "/responses", frame({ detail: "no rpa_KEY" }) + event("response.completed", { response })],
    ["chunks of another route", "/responses", frame(chunk({ content: "Hi" }, "stop"))]
  ]
  it.effect.each(notWhole)("that has %s, on %s, fails before its [DONE]", ([, path, frames]) =>
    Effect.gen(function* () {
      const { error, text } = yield* given([frames + frame("[DONE]")], { path: `/v1${path}` })
      assert.include(["IncompleteStreamError", "MalformedAnswerError"], error?._tag)
      assert.notInclude(text, "[DONE]")
      assert.notInclude(text + error?.message, "rpa_KEY")
    })
  )

  const pings = ["{}", '{"type":"ping"}', "2026-11-26T07:24:00Z"].map((data) => `event: ping\n${frame(data)}`)
  it.effect("may have pings between its frames, which are none", () =>
    Effect.gen(function* () {
      const chat = [chunk({ content: "Hi" }), chunk({}, "stop"), "[DONE]"].map(frame)
      const responses = [delta, event("response.completed", { response }), frame("[DONE]")]
      for (const [path, frames] of [["/v1/chat/completions", chat] as const, ["/v1/responses", responses] as const]) {
        for (const ping of [...pings, frame({ type: "ping" })]) {
          const { error, text } = yield* given([ping + frames.join(ping)], { path })
          assert.isUndefined(error)
          assert.isTrue(frames.join("").startsWith(text) && text !== "")
        }
      }
    })
  )

  it.effect("of a route that is not known needs no end, unless its events have one", () =>
    Effect.gen(function* () {
      const [ping = ""] = pings
      const streams: ReadonlyArray<readonly [string, string | undefined, string]> = [
        ["/audio/transcriptions", event("transcript.text.delta", { delta: "Hi" }), "transcript.text.done"],
        ["/audio/speech", event("speech.audio.delta", { audio: "AAAA" }), "speech.audio.done"],
        [
          "/images/generations",
          event("image_generation.partial_image", { b64_json: "AA" }),
          "image_generation.completed"
        ],
        ["/images/edits", event("image_edit.partial_image", { b64_json: "AA" }), "image_edit.completed"],
        ["/messages", event("message_start", {}) + ping + event("content_block_delta", {}), "message_stop"]
      ]
      for (const [route, parts = "", last] of streams) {
        const frames = parts + event(last, { text: "Hi" })
        assert.deepStrictEqual(yield* given([frames], { path: `/v1${route}` }), { text: frames, error: undefined })
        const cut = yield* given([parts], { path: `/v1${route}` })
        assert.strictEqual(cut.error?._tag, "IncompleteStreamError", route)
      }
      const own = event("step", { n: 1 }) + event("step", { n: 2 })
      assert.deepStrictEqual(yield* given([own], { path: "/v1/other" }), { text: own, error: undefined })
      for (const none of ["", ping, frame(chunk({ content: "Hi" })), own + 'data: {"ha']) {
        assert.strictEqual((yield* given([none], { path: "/v1/other" })).error?._tag, "IncompleteStreamError")
      }
    })
  )

  it.effect("that was asked for, and is answered with another type, is read as that", () =>
    Effect.gen(function* () {
      const sound = Uint8Array.from({ length: 999 }, (_, at) => at % 256)
      const request = HttpClientRequest.post("/v1/audio/speech", { body: HttpBody.unsafeJson({ stream: true }) })
      const headers = Headers.fromInput({ "content-type": "audio/pcm" })
      const stream = Stream.make(sound)
      const answer = yield* read({ status: 200, headers, cookies: Cookies.empty, stream }, request, scrub)
      assert.deepStrictEqual([...(yield* Stream.runCollect(answer.stream))], [sound])
    })
  )

  it.effect("is one chunk where a completion came, with its tool calls", () =>
    Effect.gen(function* () {
      const call = { id: "c1", type: "function", function: { name: "add", arguments: "{}" } }
      const answer = completion(null, { tool_calls: [call, { ...call, id: "c2" }] })
      const { error, text } = yield* given([JSON.stringify(answer, null, 2)], {
        headers: { "content-type": "application/json" }
      })
      assert.isUndefined(error)
      const [first = "", done] = text.split("\n\n")
      const { choices, object } = JSON.parse(first.slice("data: ".length)) as {
        object: string
        choices: ReadonlyArray<{ delta: { tool_calls: unknown } }>
      }
      assert.strictEqual(object, "chat.completion.chunk")
      assert.deepStrictEqual(choices[0]?.delta.tool_calls, [
        { ...call, index: 0 },
        { ...call, id: "c2", index: 1 }
      ])
      assert.strictEqual(done, "data: [DONE]")
      const other = yield* given(['{"nope":1}'])
      assert.include(other.error?.message, '{"nope":1}')
      assert.notInclude(other.error?.message, "_tag")
    })
  )

  const failed: ReadonlyArray<readonly [string, string, string]> = [
    ["failed", event("response.failed", { response: { ...response, status: "failed" } }), "failed"],
    [
      "failed with an error",
      event("response.failed", { response: { ...response, error: { code: "server_error", message: "no rpa_KEY" } } }),
      "no <redacted>"
    ],
    [
      "failed, and is called completed",
      event("response.completed", { response: { ...response, status: "failed" } }),
      ""
    ]
  ]
  it.effect.each(failed)("whose response %s fails with that", ([, last, message]) =>
    Effect.gen(function* () {
      const { error, text } = yield* given([delta + last], { path: "/v1/responses" })
      assert.strictEqual(error?._tag, "WorkerError")
      assert.include(error?.message, message)
      assert.strictEqual(text, delta)
    })
  )

  const broken = new RunPodError.TransportError({
    operation: "openai",
    method: "POST",
    path: "/",
    sent: "Maybe",
    cause: undefined
  })
  const behind: ReadonlyArray<readonly [string, string, Asked["then"]]> = [
    ["an error", frame({ error: "late" }), undefined],
    ["what is no frame", '{"a":1}\n\n', undefined],
    ["a connection that breaks", "", Stream.fail(broken)],
    ["a connection that stays", ": ping\n\n", Stream.never]
  ]
  it.effect.each(behind)("is whole with its end, and %s behind it is none of it", ([, more, then]) =>
    Effect.gen(function* () {
      for (const [path, frames] of [
        ["/v1/chat/completions", whole],
        ["/v1/responses", delta + event("response.completed", { response })]
      ] as const) {
        const reading = yield* Effect.fork(given([frames, more], then === undefined ? { path } : { path, then }))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(reading), { text: frames, error: undefined })
      }
    })
  )

  it.effect("that is packed says so", () =>
    Effect.gen(function* () {
      const { error } = yield* given([Uint8Array.of(0x1f, 0x8b, 8, 0)], { headers: { "content-encoding": "gzip" } })
      assert.strictEqual(error?._tag, "MalformedAnswerError")
      assert.include(error?.message, "content-encoding is gzip")
    })
  )

  const error = { message: "CUDA out of memory", type: "worker_error", code: null }
  const failing: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["alone", [JSON.stringify({ error })]],
    ["as the first frame", [frame({ error })]],
    ["behind frames, without `data:`", [frame(chunk({ content: "Hi" })), JSON.stringify({ error })]],
    ["behind frames, as a frame", [frame(chunk({ content: "Hi" })), frame({ error }), frame("[DONE]")]],
    ["behind half a frame", [frame(chunk({ content: "Hi" })), 'data: {"id":"x","cho', JSON.stringify({ error })]],
    ["as an event of its own", [`event: error\n${frame({ message: error.message })}`, frame("[DONE]")]],
    ["in a field of its own", [`error: ${JSON.stringify(error)}\n\n`]],
    ["of responses", [`event: error\n${frame({ type: "error", code: "500", message: error.message })}`]]
  ]
  it.effect.each(failing)("with an error %s fails with it wherever it is cut", ([, parts]) =>
    Effect.gen(function* () {
      for (const pieces of cuts(new TextEncoder().encode(parts.join("")), 3)) {
        const { error, text } = yield* given(pieces)
        assert.strictEqual(error?._tag, "WorkerError")
        assert.include(error?.message, "CUDA out of memory")
        assert.notInclude(text, "CUDA")
      }
    })
  )
})

describe("an answer that comes whole", () => {
  const readBody = (
    path: string,
    body: string,
    { asks = {}, method = "POST", status = 200, type = "application/json" } = {}
  ) =>
    Effect.gen(function* () {
      const asked = HttpClientRequest.make(method as "POST")(
        path,
        method === "POST" ? { body: HttpBody.unsafeJson(asks) } : {}
      )
      const headers = Headers.fromInput({ "content-type": type, "content-length": String(body.length) })
      const stream = Stream.make(new TextEncoder().encode(body))
      const answer = yield* read({ status, headers, cookies: Cookies.empty, stream }, asked, scrub)
      return yield* Stream.mkString(Stream.decodeText(answer.stream))
    })

  const noAnswers: ReadonlyArray<readonly [string, string, string]> = [
    ["/v1/chat/completions", '{"id":"j","status":"FAILED"}', "WorkerError"],
    ["/v1/models", '{"id":"j","status":"TIMED_OUT"}', "WorkerError"],
    ["/v1/models", '[{"error":{"message":"gone"}}]', "WorkerError"],
    ["/v1/models", '{"id":"j","status":"IN_PROGRESS"}', "MalformedAnswerError"],
    ...["null", "{}", "[]", "1", '{"choices":[]}', '{"choices":[null]}', '{"detail":"Not Found"}'].map(
      (body) => ["https://llm.example/v1/chat/completions?a=b", body, "MalformedAnswerError"] as const
    ),
    ["/v1/embeddings", '{"choices":[{}]}', "MalformedAnswerError"],
    ["/v1/responses", '{"choices":[{}]}', "MalformedAnswerError"],
    ...["failed", "cancelled"].map(
      (status) => ["/v1/responses", `{"object":"response","status":"${status}","output":[]}`, "WorkerError"] as const
    ),
    ...["queued", "in_progress"].map(
      (status) =>
        ["/v1/responses", `{"object":"response","status":"${status}","output":[]}`, "MalformedAnswerError"] as const
    )
  ]
  it.effect.each(noAnswers)("to %s that is %s is an error: %s", ([path, body, tag]) =>
    Effect.gen(function* () {
      const types = ["application/json", "text/plain"]
      if (!path.endsWith("/models")) types.push("application/octet-stream", "application/x-ndjson", "text/event-stream")
      for (const type of types) {
        assert.strictEqual((yield* Effect.flip(readBody(path, body, { type })))._tag, tag)
      }
    })
  )

  it.effect("that is all that a handler yielded is given, and one without a body", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* readBody("/v1/completions", '[{"choices":[{}]}]'), '{"choices":[{}]}')
      assert.strictEqual(yield* readBody("/v1/models", "", { method: "HEAD" }), "")
      assert.strictEqual(yield* readBody("/v1/files/1", "", { method: "DELETE", status: 204, type: "" }), "")
      const lines = '{"a":1}\n{"a":2}\n'
      assert.strictEqual(yield* readBody("/v1/files/1/content", lines, { type: "application/jsonl" }), lines)
    })
  )

  it.effect("of a known route is JSON, whatever its type says, and has a body", () =>
    Effect.gen(function* () {
      for (const type of ["text/plain", "application/xml", "text/event-stream"]) {
        for (const body of ["", "upstream connect error", frame(chunk({}, "stop")) + frame("[DONE]")]) {
          const error = yield* Effect.flip(readBody("/v1/chat/completions", body, { type }))
          assert.strictEqual(error._tag, "MalformedAnswerError")
        }
      }
      const empty = yield* Effect.flip(readBody("/v1/chat/completions", "", { status: 204, type: "" }))
      assert.strictEqual(empty._tag, "MalformedAnswerError")
      assert.strictEqual(yield* readBody("/v1/audio/transcriptions", "Hello", { type: "text/plain" }), "Hello")
    })
  )

  it.effect("is a response that goes on where one in the background was asked for, or it is looked up", () =>
    Effect.gen(function* () {
      const response = '{"object":"response","status":"queued","output":[],"error":null}'
      assert.strictEqual(yield* readBody("/v1/responses", response, { asks: { background: true } }), response)
      const cancelled = response.replace("queued", "cancelled")
      assert.strictEqual(yield* readBody("/v1/responses/resp_1", cancelled, { method: "GET" }), cancelled)
      assert.strictEqual(yield* readBody("/v1/responses/resp_1/cancel", cancelled), cancelled)
    })
  )

  it.effect("of GET can be a file with any text, and one of another route can be empty", () =>
    Effect.gen(function* () {
      const line = '{"custom_id":"1","error":{"message":"no"}}'
      const file = (body: string, type: string) => readBody("/v1/files/1/content", body, { method: "GET", type })
      assert.strictEqual(yield* file(line, "text/plain"), line)
      assert.strictEqual(yield* file(`${line}\n${line}\n`, "application/json"), `${line}\n${line}\n`)
      assert.strictEqual(yield* file("", ""), "")
      assert.strictEqual((yield* Effect.flip(file(line, "application/json")))._tag, "WorkerError")
      const models = yield* Effect.flip(readBody("/v1/models", "", { method: "GET", type: "" }))
      assert.strictEqual(models._tag, "MalformedAnswerError")
    })
  )

  it.effect("is no error where that says nothing, beside an answer", () =>
    Effect.gen(function* () {
      for (const error of ["", {}, null]) {
        const answer = JSON.stringify({ ...completion("Hi"), error })
        assert.strictEqual(yield* readBody("/v1/chat/completions", answer), answer)
        const alone = yield* Effect.flip(readBody("/v1/chat/completions", JSON.stringify({ error })))
        assert.strictEqual(alone._tag, error === null ? "MalformedAnswerError" : "WorkerError")
      }
    })
  )

  it.effect("has vectors in the format that was asked for", () =>
    Effect.gen(function* () {
      const numbers = [0.5, -1.25, 3]
      const base64 = Buffer.from(new Float32Array(numbers).buffer).toString("base64")
      const answer = (embedding: unknown) =>
        JSON.stringify({ object: "list", data: [{ index: 0, embedding }], model: "m" })
      const asked = (embedding: unknown, encoding_format?: string) =>
        readBody("/v1/embeddings", answer(embedding), { asks: { encoding_format } })
      for (const came of [numbers, base64]) {
        assert.strictEqual(yield* asked(came, "base64"), answer(base64))
        assert.strictEqual(yield* asked(came, "float"), answer(numbers))
        assert.strictEqual(yield* asked(came), answer(numbers))
      }
      assert.strictEqual(yield* asked("AAA=", "base64"), answer("AAA="))
      for (const none of [[], null, "AAA", [null], [["a"]]]) {
        assert.strictEqual((yield* Effect.flip(asked(none, "base64")))._tag, "MalformedAnswerError")
      }
    })
  )

  it.effect("shows no key that a server quotes", () =>
    Effect.gen(function* () {
      const quoted = { error: { message: "no such key: rpa_KEY", type: "rpa_KEY" } }
      const errors = [JSON.stringify(quoted), '{"authorization":"Bearer rpa_KEY"}', "<p>rpa_KEY</p>"]
      for (const body of errors) {
        const error = yield* Effect.flip(readBody("/v1/chat/completions", body))
        assert.notInclude(JSON.stringify(error) + error.message, "rpa_KEY")
        assert.include(error.message, "<redacted>")
      }
    })
  )
})
