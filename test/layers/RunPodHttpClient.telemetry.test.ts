import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPodMetrics from "../../src/layers/RunPodMetrics.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Recorder from "../support/recorder.js"
import * as Scripted from "../support/scripted.js"
import { call, errorTag, good, job, status, text, type Operation } from "../support/pipeline.js"

const { json } = Scripted

const exact = RetryPolicy.make({ jitter: "none", maxAttempts: 4 })

describe("RunPodHttpClient: spans", () => {
  const traced = (
    operation: Operation,
    answers: ReadonlyArray<Scripted.Answer>,
    options: Partial<RunPod.Options> = {}
  ) =>
    Effect.gen(function* () {
      const { spans, tracer } = Recorder.makeTracer()
      const transport = Scripted.make(answers)
      const program = Effect.exit(Effect.provide(call(operation), transport.layer({ retry: exact, ...options })))
      const exit = yield* finish(Effect.withTracer(Effect.withSpan(program, "caller"), tracer))
      return { exit, transport, spans: spans.filter(({ name }) => name !== "caller") }
    })

  for (const operation of [...Object.keys(good)] as ReadonlyArray<Operation>) {
    it.effect(`RunPod.${operation} is one span, and the only one, and no trace headers are sent`, () =>
      Effect.gen(function* () {
        const { spans, transport } = yield* traced(operation, [text(429), good[operation]])
        assert.deepStrictEqual(
          spans.map(({ name }) => name),
          [`RunPod.${operation}`]
        )
        const [span] = spans
        assert.strictEqual(span?.kind, "client")
        const hasJob = !["health", "purgeQueue", "requests"].includes(operation)
        const { "url.full": url, ...attributes } = Object.fromEntries(span?.attributes ?? [])
        assert.strictEqual(url, `https://runpod.test${transport.asked[0]?.url.split("?")[0]}`)
        assert.deepStrictEqual(attributes, {
          "http.request.method": ["status", "statusSync", "stream", "health", "requests"].includes(operation)
            ? "GET"
            : "POST",
          "server.address": "runpod.test",
          "server.port": 443,
          "http.request.resend_count": 1,
          "runpod.endpoint_id": "ep",
          ...(hasJob ? { "runpod.job_id": "job-1" } : {}),
          "runpod.attempt": 2,
          "http.response.status_code": 200
        })
        // Its value, a job perhaps, can hold what a worker was sent.
        assert.deepStrictEqual(span?.exit, Exit.void)
        assert.deepStrictEqual(
          transport.asked
            .flatMap(({ headers }) => Object.keys(headers))
            .filter((key) => /^(?:b3|x-b3|trace)/.test(key)),
          []
        )
      })
    )
  }

  it.effect("asks for answers that are not compressed: not every transport can read those", () =>
    Effect.gen(function* () {
      const { transport } = yield* traced("status", [good.status])
      assert.strictEqual(transport.asked[0]?.headers["accept-encoding"], "identity")
    })
  )

  it.effect("it belongs to the span of its caller", () =>
    Effect.gen(function* () {
      const { spans } = yield* traced("status", [job])
      const parent = Option.getOrThrow(spans[0]!.parent)
      assert(parent._tag === "Span")
      assert.strictEqual(parent.name, "caller")
    })
  )

  it.effect("its end is the class of the operation's error, and nothing of what the server said", () =>
    Effect.gen(function* () {
      const { spans } = yield* traced("health", [json({ error: "said by the server" }, 400)])
      const [span] = spans
      assert.strictEqual(span?.attributes.get("http.response.status_code"), 400)
      assert.strictEqual(span?.attributes.get("error.type"), "400")
      assert(span?.exit !== undefined && Exit.isFailure(span.exit))
      const [error] = Cause.failures(span.exit.cause)
      assert.strictEqual((error as Error).name, "BadRequestError")
      assert.notInclude(Cause.pretty(span.exit.cause), "said by the server")
    })
  )

  it.effect("tells of its attempts: what they failed with, and what kept them", () =>
    Effect.gen(function* () {
      const answers = [text(503), "reset", text(429, { "retry-after": "2" }), good.status] as const
      const { spans } = yield* traced("status", answers)
      assert.deepStrictEqual(
        spans[0]?.events.map(({ attributes, name }) => [name, attributes]),
        [
          ["retry", { "error.type": "503", "http.request.resend_count": 1 }],
          ["retry", { "error.type": "TransportError", "http.request.resend_count": 2 }],
          ["throttled", { "runpod.retry_after": 2 }],
          ["retry", { "error.type": "429", "http.request.resend_count": 3 }]
        ]
      )
    })
  )

  it.effect("says how long the limits kept it", () =>
    Effect.gen(function* () {
      const { spans, tracer } = Recorder.makeTracer()
      const transport = Scripted.make([good.status])
      const limits = RateLimits.make({ status: { limit: 1, window: "3 seconds" } })
      const program = Effect.provide(Effect.all([status(), status()]), transport.layer({ limits }))
      yield* finish(Effect.withTracer(program, tracer))
      assert.deepStrictEqual(
        spans.map(({ events }) => events),
        [[], [{ name: "limiter", attributes: { "runpod.limiter_wait": 3 } }]]
      )
    })
  )
})

// The registry of metrics is one for all.
describe.sequential("RunPodHttpClient: metrics", () => {
  const counts = (operation: Operation) =>
    Effect.forEach([RunPodMetrics.requests, RunPodMetrics.retries, RunPodMetrics.throttles], (counter) => {
      const tagged = Metric.tagged(Metric.tagged(counter, "endpoint", "ep"), "operation", operation)
      return Effect.map(Metric.value(tagged), ({ count }) => count)
    })

  it.effect("count every attempt, the retries among them, and the answers 429", () =>
    Effect.gen(function* () {
      const before = yield* counts("requests")
      const transport = Scripted.make([text(429), text(503), text(429), good.requests])
      yield* finish(
        Effect.provide(Effect.zipRight(call("requests"), call("requests")), transport.layer({ retry: exact }))
      )
      const after = yield* counts("requests")
      assert.deepStrictEqual(
        after.map((count, i) => count - before[i]!),
        [5, 3, 2]
      )
    })
  )

  it.effect("count no request that was refused before sending or waits in vain", () =>
    Effect.gen(function* () {
      const before = yield* counts("health")
      const transport = Scripted.make(["hang"])
      const refused = Effect.flatMap(RunPod.RunPod, (_) => Effect.exit(_.health("a/b")))
      yield* finish(Effect.provide(refused, transport.layer()))
      assert.deepStrictEqual(yield* counts("health"), before)
    })
  )
})

describe("RunPodHttpClient: transformClient", () => {
  it.effect("sees every attempt, with the base URL and the key on it", () =>
    Effect.gen(function* () {
      const seen: Array<readonly [string, string | undefined]> = []
      const transport = Scripted.make([text(503), text(429), job])
      const transformClient = HttpClient.mapRequest((request) => {
        seen.push([request.url, request.headers["authorization"]])
        return HttpClientRequest.setHeader(request, "x-own", String(seen.length))
      })
      yield* finish(Effect.provide(status(), transport.layer({ retry: exact, transformClient })))
      const attempt = ["https://runpod.test/v2/ep/status/job-1", "Bearer test-key"] as const
      assert.deepStrictEqual(seen, [attempt, attempt, attempt])
      assert.deepStrictEqual(
        transport.asked.map(({ headers }) => headers["x-own"]),
        ["1", "2", "3"]
      )
    })
  )

  it.effect("is made once, not for every request", () =>
    Effect.gen(function* () {
      let made = 0
      const transport = Scripted.make([job])
      const transformClient = (client: HttpClient.HttpClient) => {
        made++
        return client
      }
      yield* finish(Effect.provide(Effect.zipRight(status(), status()), transport.layer({ transformClient })))
      assert.strictEqual(made, 1)
    })
  )

  const statuses: ReadonlyArray<readonly [Scripted.Answer, string]> = [
    [json({ status: 400, title: "Bad Request", detail: "no" }, 400), "BadRequestError"],
    [text(401), "AuthenticationError"],
    [json({ error: "job not found" }, 404), "JobNotFoundError"],
    [text(429, { "retry-after": "3" }), "RateLimitedError"],
    [text(502, {}, "<html>"), "ServerError"]
  ]
  for (const [answer, tag] of statuses) {
    it.effect(`that makes errors of statuses itself still leads to ${tag}, with the body`, () =>
      Effect.gen(function* () {
        const transport = Scripted.make([answer])
        const plain = yield* finish(Effect.exit(Effect.provide(status(), transport.layer({ retry: RetryPolicy.none }))))
        const filtered = yield* finish(
          Effect.exit(
            Effect.provide(
              status(),
              transport.layer({ retry: RetryPolicy.none, transformClient: HttpClient.filterStatusOk })
            )
          )
        )
        assert.strictEqual(errorTag(filtered), tag)
        assert.deepStrictEqual(filtered, plain)
      })
    )
  }
})
