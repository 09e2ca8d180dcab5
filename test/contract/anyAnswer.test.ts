import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { isJobError } from "../../src/errors/JobError.js"
import { isRunPodError } from "../../src/errors/RunPodError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as RunPod from "../../src/services/RunPod.js"
import { anyText, body } from "../support/arbitraries.js"
import { call, operations } from "../support/pipeline.js"
import * as Scripted from "../support/scripted.js"
import * as VirtualTime from "../support/virtualTime.js"

const bytesOf = (text: string) => new TextEncoder().encode(text)

const makeEndpoint = Endpoint.make("ep", {
  input: Schema.Struct({ prompt: Schema.String }),
  output: Schema.Struct({ image: Schema.String }),
  progress: Schema.Number,
  chunk: Schema.Struct({ token: Schema.String })
})

type TheEndpoint = Effect.Effect.Success<typeof makeEndpoint>
type Program = Effect.Effect<unknown, unknown, RunPod.RunPod>

const on = (use: (endpoint: TheEndpoint) => Effect.Effect<unknown, unknown>): Program =>
  Effect.flatMap(makeEndpoint, use)

const input = { prompt: "a cat" }
const wait = { timeout: "1 second" } as const

/** Everything that makes requests, by name. */
const programs: Readonly<Record<string, Program>> = {
  ...Object.fromEntries(operations.map((operation) => [operation, call(operation)])),
  "Endpoint.run": on((_) => _.run(input)),
  "Endpoint.call": on((_) => _.call(input, wait)),
  "Endpoint.call with progress": on((_) => _.call(input, { ...wait, onProgress: () => Effect.void })),
  "Endpoint.runSync": on((_) => _.runSync(input, wait)),
  "JobHandle.watch": on((_) => Stream.runCollect(_.attach("job-1").watch(wait))),
  "JobHandle.settle": on((_) => _.attach("job-1").settle(wait)),
  "JobHandle.result": on((_) => _.attach("job-1").result(wait)),
  "JobHandle.stream": on((_) => Stream.runCollect(Stream.take(_.attach("job-1").stream(wait), 20)))
}

interface Answer {
  readonly status: number
  readonly headers: Record<string, string>
  readonly chunks: ReadonlyArray<Uint8Array>
}

/** The programs by turns: one of `of` meets the answer, beginning with this one. */
interface Share {
  readonly of: number
  readonly from: number
}

/** Every program, or each in its turn, ends with a value or an error of ours that can be printed, whatever it is answered. */
const check = ({ chunks, headers, status }: Answer, share: Share = { of: 1, from: 0 }) => {
  const transport = Scripted.make([{ status, headers, stream: Stream.fromIterable(chunks) }])
  const layer = transport.layer({ retry: RetryPolicy.none, limits: RateLimits.unlimited })
  const checks = Effect.forEach(
    Object.entries(programs).filter((_, n) => (n + share.from) % share.of === 0),
    Effect.fnUntraced(function* ([name, program]) {
      // A stream that never ends is one whose job never does.
      const exit = yield* Effect.exit(Effect.timeoutOption(program, "1500 millis"))
      if (Exit.isSuccess(exit)) return
      assert.strictEqual(exit.cause._tag, "Fail", `${name}: ${Cause.pretty(exit.cause)}`)
      const error = Cause.squash(exit.cause)
      assert.isTrue(isRunPodError(error) || isJobError(error), `${name}: ${String(error)}`)
      assert(error instanceof Error)
      assert.isAtMost(error.message.length, 20_000)
      assert.include(Cause.pretty(exit.cause), error.message.slice(0, 20))
    }),
    { concurrency: "unbounded", discard: true }
  )
  return VirtualTime.run(Effect.provide(checks, layer))
}

const good = [
  { id: "job-1", status: "IN_QUEUE" },
  { id: "job-1", status: "IN_PROGRESS", output: 7 },
  { id: "job-1", status: "COMPLETED", output: { image: "a cat" }, delayTime: 1, executionTime: 2, workerId: "w" },
  { id: "job-1", status: "FAILED", error: `{"error_message":"no","error_type":"<class 'Error'>"}` },
  { status: "COMPLETED", stream: [{ output: { token: "a" } }] },
  { removed: 1, status: "completed" },
  { jobs: { inQueue: 1 }, workers: { idle: 1 } },
  { requests: [{ id: "job-1", status: "IN_QUEUE" }] }
].map((json) => JSON.stringify(json))

const levels = 10_000
const deepArray = "[".repeat(levels) + "]".repeat(levels)
const deepObject = `{"a":`.repeat(levels) + "1" + "}".repeat(levels)

/** Bodies that have broken decoders. */
const texts: Readonly<Record<string, string>> = {
  "deep arrays": deepArray,
  "deep objects": deepObject,
  "a deep output": `{"id":"job-1","status":"COMPLETED","output":${deepArray}}`,
  "a deep progress": `{"id":"job-1","status":"IN_PROGRESS","output":${deepObject}}`,
  "a deep error": `{"id":"job-1","status":"FAILED","error":${deepObject},"output":${deepArray}}`,
  "a deep error within JSON": JSON.stringify({ id: "job-1", status: "FAILED", error: deepObject }),
  "a deep reason": `{"error":${deepObject},"message":${deepArray},"detail":${deepObject}}`,
  "a deep stream": `{"status":"COMPLETED","stream":${deepArray}}`,
  "a deep chunk": `{"status":"COMPLETED","stream":[{"output":${deepArray}}]}`,
  "a deep list": `{"requests":[{"id":"job-1","status":"FAILED","error":${deepArray}}]}`,
  "deep health": `{"jobs":${deepObject},"workers":${deepArray}}`,
  "deep and cut": "[".repeat(levels),
  "a prototype": `{"__proto__":{"id":"job-1","status":"COMPLETED"},"constructor":null,"toString":1}`,
  "a prototype in a job": `{"id":"job-1","status":"COMPLETED","output":{"__proto__":{"image":"x"}},"__proto__":[]}`,
  "a prototype in an error": `{"id":"job-1","status":"FAILED","error":{"__proto__":null,"toString":1,"valueOf":2}}`,
  "a status called __proto__": `{"id":"job-1","status":"__proto__"}`,
  "an id called constructor": `{"id":"constructor","status":"toString"}`,
  "huge numbers": `{"id":"job-1","status":"COMPLETED","delayTime":1e999,"executionTime":-1e999,"retries":${"9".repeat(400)}}`,
  "negative numbers": `{"id":"job-1","status":"COMPLETED","delayTime":-0,"executionTime":-5.5,"output":{"image":"x"}}`,
  "times that are texts": `{"id":"job-1","status":"COMPLETED","delayTime":"1","executionTime":{},"output":null}`,
  null: "null",
  true: "true",
  "a number": "1e400",
  "an empty string": `""`,
  "an empty array": "[]",
  "arrays of arrays": "[[],[[]],null]",
  "an empty object": "{}",
  nothing: "",
  space: " \n\t ",
  "only a byte order mark": "\uFEFF",
  "two byte order marks": `\uFEFF\uFEFF${good[0]}`,
  "lone surrogates": `{"id":"\\ud800","status":"\\udfff","error":"\\ud83d"}`,
  "control characters in an id": `{"id":"a\\u0000b","status":"IN_QUEUE"}`,
  "an id with a path": `{"id":"../../x","status":"IN_QUEUE"}`,
  "doubled keys": `{"id":1,"id":"job-1","status":1,"status":"IN_QUEUE"}`,
  "an error that is false": `{"error":false,"id":"job-1"}`,
  "an error that is null": `{"error":null,"status":null,"id":null}`,
  "a long word": "x".repeat(300_000),
  "a long error": JSON.stringify({ error: "é".repeat(200_000) }),
  "two documents": `${good[0]}${good[0]}`,
  HTML: "<!doctype html><html><body>502</body></html>",
  "NaN and Infinity": `{"id":"job-1","status":"COMPLETED","output":NaN}`
}

const statuses = [200, 201, 202, 204, 206, 299, 301, 304, 400, 401, 403, 404, 409, 413, 418, 429, 500, 503, 529, 599]

describe.sequential("whatever a server answers, an operation gives a value or a typed error", () => {
  for (const [i, [name, text]] of Object.entries(texts).entries()) {
    const chunks = [bytesOf(text)]
    it.effect(name, () =>
      Effect.gen(function* () {
        yield* check({ status: 200, headers: {}, chunks })
        // Which of the failures it is decides nothing about the body, and all operations read its body in one way.
        yield* check({ status: [400, 404, 500][i % 3]!, headers: {}, chunks }, { of: 3, from: i })
      })
    )
  }

  it.effect("a good answer with a byte order mark before it is still good", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status: 200, stream: Stream.succeed(bytesOf(`\uFEFF${good[0]}`)) }])
      const runPod = Effect.flatMap(RunPod.RunPod, (_) => _.status("ep", "job-1"))
      const { status } = yield* Effect.provide(runPod, transport.layer())
      assert.strictEqual(status, "IN_QUEUE")
    })
  )

  it.effect("a good answer at every status", () =>
    Effect.forEach(
      statuses,
      (status, i) => check({ status, headers: {}, chunks: [bytesOf(good[i % good.length]!)] }, { of: 3, from: i }),
      { discard: true }
    )
  )

  it.effect("a good answer cut at every byte", () =>
    Effect.gen(function* () {
      const whole = bytesOf(good[2]!)
      for (let length = 0; length < whole.length; length += 17) {
        yield* check({ status: 200, headers: {}, chunks: [whole.slice(0, length)] }, { of: 2, from: length })
      }
    })
  )

  const cut = (bytes: Uint8Array, at: number) => [
    bytes.slice(0, at % (bytes.length + 1)),
    bytes.slice(at % (bytes.length + 1))
  ]

  const chunks = FastCheck.oneof(
    { weight: 4, arbitrary: body.map((json) => JSON.stringify(json)) },
    { weight: 1, arbitrary: anyText() },
    { weight: 1, arbitrary: FastCheck.constantFrom(...good) }
  )
    .map(bytesOf)
    .chain((bytes) =>
      FastCheck.oneof(
        // As it is, in pieces; cut off; with bytes that are no UTF-8.
        FastCheck.nat().map((at) => cut(bytes, at)),
        FastCheck.nat().map((at) => cut(bytes, at).slice(0, 1)),
        FastCheck.tuple(FastCheck.nat(), FastCheck.uint8Array({ minLength: 1, maxLength: 4 })).map(([at, wrong]) => {
          const [before = bytes, after = bytes] = cut(bytes, at)
          return [before, wrong, after]
        })
      )
    )

  it.effect.prop(
    "any status, headers and bytes",
    {
      status: FastCheck.oneof(FastCheck.constantFrom(200, ...statuses), FastCheck.integer({ min: 200, max: 599 })),
      headers: FastCheck.record(
        {
          "retry-after": FastCheck.oneof(
            FastCheck.constantFrom(
              "0",
              "0.5",
              "-1",
              "1e9",
              "Thu, 01 Jan 1970 00:00:01 GMT",
              "Fri, 31 Dec 9999 99:99:99"
            ),
            FastCheck.stringMatching(/^[ -~]{0,20}$/)
          ),
          "content-type": FastCheck.constantFrom("application/json", "text/html; charset=utf-16", "", "x"),
          "content-length": FastCheck.constantFrom("0", "5", "-1", "9999999999999")
        },
        { requiredKeys: [] }
      ),
      chunks,
      from: FastCheck.nat(1)
    },
    ({ from, ...answer }) => check(answer, { of: 2, from }),
    { fastCheck: { numRuns: 40 }, timeout: 60_000 }
  )
})
