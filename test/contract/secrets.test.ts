import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import { job, text } from "../support/pipeline.js"
import * as Scripted from "../support/scripted.js"
import * as Secrets from "../support/secrets.js"

const { key, s3Config, webhook } = Secrets

const request = { input: { prompt: "a cat" }, s3Config, webhook }

const layerOf = (transport: ReturnType<typeof Scripted.make>, options: Partial<RunPod.Options> = {}) =>
  transport.layer({
    apiKey: Redacted.make(key),
    retry: RetryPolicy.make({ maxAttempts: 2, jitter: "none" }),
    limits: RateLimits.unlimited,
    ...options
  })

const submits = ["run", "runSync"] as const
const ofJob = ["status", "statusSync", "cancel", "retry"] as const
const ofEndpoint = ["purgeQueue", "health", "requests"] as const

/** Everything that can be done with the service. */
const plain: ReadonlyArray<Effect.Effect<unknown, unknown, RunPod.RunPod>> = [
  ...submits.map((name) => Effect.flatMap(RunPod.RunPod, (_) => _[name]("ep", request))),
  Effect.flatMap(RunPod.RunPod, (_) => _.run("ep", request, { resubmit: true })),
  ...ofJob.map((name) => Effect.flatMap(RunPod.RunPod, (_) => _[name]("ep", "job-1"))),
  ...ofEndpoint.map((name) => Effect.flatMap(RunPod.RunPod, (_) => _[name]("ep"))),
  Effect.flatMap(RunPod.RunPod, (_) => Stream.runCollect(_.stream("ep", "job-1")))
]

const endpoint = Endpoint.make("ep", {
  input: Schema.Struct({ prompt: Schema.String }),
  output: Schema.Struct({ image: Schema.String }),
  chunk: Schema.Struct({ token: Schema.String })
})

const input = { prompt: "a cat" }
const choices = { s3Config, webhook } as const
const wait = { timeout: "20 seconds" } as const

/** Everything that can be done with an endpoint and its jobs, after a submit that goes well or not. */
const typed: ReadonlyArray<Effect.Effect<unknown, unknown, RunPod.RunPod>> = [
  Effect.flatMap(endpoint, (_) => _.run(input, choices)),
  Effect.flatMap(endpoint, (_) => _.call(input, { ...choices, ...wait })),
  Effect.flatMap(endpoint, (_) => _.call(input, { ...choices, ...wait, hold: false })),
  Effect.flatMap(endpoint, (_) => _.runSync(input, { ...choices, ...wait })),
  ...(["result", "settle"] as const).map((name) =>
    Effect.flatMap(
      Effect.flatMap(endpoint, (_) => _.run(input, choices)),
      (handle) => handle[name](wait)
    )
  ),
  Effect.flatMap(
    Effect.flatMap(endpoint, (_) => _.run(input, choices)),
    (handle) => Stream.runCollect(handle.stream(wait))
  ),
  Effect.flatMap(
    Effect.flatMap(endpoint, (_) => _.run(input, choices)),
    (handle) => Stream.runCollect(handle.watch(wait))
  ),
  Effect.flatMap(RunPod.RunPod, () => Jobs.result("ep", "job-1", wait)),
  // Interrupted while the submit is under way: what becomes of it is logged.
  Effect.flatMap(endpoint, (_) => Effect.timeout(_.call(input, choices), "10 millis")),
  Effect.flatMap(endpoint, (_) => Effect.timeout(_.run(input, choices), "10 millis"))
]

/** A submit is taken at first, so that there is a job to wait for. */
const takesJob =
  (answer: (asked: Scripted.Asked) => Scripted.Answer) =>
  (asked: Scripted.Asked): Scripted.Answer =>
    asked.url.endsWith("/run") ? job : answer(asked)

type Answering = (asked: Scripted.Asked) => Scripted.Answer

/** Runs everything against answers of one kind, and looks for what was planted wherever it could have come out. */
const search = (
  answers: Readonly<Record<string, Answering>>,
  programs: ReadonlyArray<Effect.Effect<unknown, unknown, RunPod.RunPod>>,
  options: Partial<RunPod.Options> = {}
) =>
  Effect.gen(function* () {
    const { lines, record, spans } = Secrets.makeRecorder()
    let failures = 0
    const run = (name: string, answering: Answering, program: Effect.Effect<unknown, unknown, RunPod.RunPod>) =>
      Effect.gen(function* () {
        const transport = Scripted.make(answering, "20 millis")
        const exit = yield* Effect.exit(Effect.provide(program, layerOf(transport, options)))
        if (Exit.isSuccess(exit)) return
        failures++
        assert.isUndefined(Secrets.leakOf(exit), name)
        yield* Effect.logError(name, exit.cause)
        for (const error of Cause.failures(exit.cause)) yield* Effect.logDebug(error)
      })
    const all = Object.entries(answers).flatMap(([name, answering]) =>
      programs.map((program) => run(name, answering, program))
    )
    yield* finish(record(Effect.all(all, { concurrency: "unbounded", discard: true })), "2 hours")
    for (const line of lines) assert.isUndefined(Secrets.leakIn(line))
    for (const span of spans) {
      const { attributes, events, exit, links, name, status } = span
      assert.isUndefined(Secrets.leakOf({ name, attributes, events, exit, links, status }), `span ${name}`)
      if (exit !== undefined) assert.isUndefined(Secrets.leakOf(exit), `exit of span ${name}`)
    }
    const metrics = yield* Metric.snapshot
    assert.isUndefined(Secrets.leakOf(metrics.map(({ metricKey, metricState }) => ({ metricKey, metricState }))))
    // The search would find nothing in nothing.
    assert.isAbove(failures, 0)
    assert.isAbove(lines.length, 0)
    assert.isAbove(spans.length, 0)
  })

const statuses = [200, 201, 204, 302, 400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 524]

const echo =
  (status: number, encode: (text: string) => string, shape: (text: string) => string): Answering =>
  (asked) =>
    text(status, {}, shape(encode(Secrets.dump(asked))))

describe("nothing of a key, an S3 secret or a webhook's token is printed", () => {
  for (const [encoding, encode] of Object.entries(Secrets.encodings)) {
    const answers = Object.fromEntries(
      Object.entries(Secrets.shapes).flatMap(([name, shape], i) =>
        [200, statuses[i % statuses.length]!].map((status) => [
          `${status} ${name}, ${encoding}`,
          echo(status, encode, shape)
        ])
      )
    )
    it.effect(`of an answer that echoes the request, ${encoding}`, () => search(answers, plain))

    it.effect(`of a job that echoes its request, ${encoding}`, () =>
      search(Object.fromEntries(Object.entries(answers).map(([name, answer]) => [name, takesJob(answer)])), typed)
    )
  }

  it.effect("of an answer of any status", () =>
    search(
      Object.fromEntries(
        statuses.map((status) => [
          String(status),
          ((asked) =>
            text(
              status,
              { "retry-after": "1", "www-authenticate": key, location: webhook },
              Object.values(Secrets.encodings)
                .map((encode) => encode(Secrets.dump(asked)))
                .join("\n")
            )) satisfies Answering
        ])
      ),
      [...plain, ...typed]
    )
  )

  const withRequest =
    (
      make: (
        at: Parameters<Extract<Scripted.Answer, { readonly fail: unknown }>["fail"]>[0]
      ) => HttpClientError.HttpClientError
    ): Answering =>
    () => ({ fail: make })

  const causeWith = (request: unknown) =>
    Object.assign(new Error(`Bearer ${key} to ${webhook}`, { cause: { request, message: key, code: key } }), {
      request,
      headers: { authorization: `Bearer ${key}` },
      code: "ECONNRESET"
    })

  const transportFaults: Readonly<Record<string, Answering>> = {
    reset: () => "reset",
    refused: () => "refused",
    hang: () => "hang",
    stall: () => "stall",
    "an error with the request in it": withRequest(
      (request) => new HttpClientError.RequestError({ request, reason: "Transport", cause: causeWith(request) })
    ),
    "an error that is a text": withRequest(
      (request) => new HttpClientError.RequestError({ request, reason: "Transport", cause: `sent ${key} ${webhook}` })
    ),
    "an error of many addresses": withRequest(
      (request) =>
        new HttpClientError.RequestError({
          request,
          reason: "Transport",
          cause: new AggregateError([causeWith(request), causeWith(request)], key)
        })
    ),
    "a request that cannot be encoded": withRequest(
      (request) => new HttpClientError.RequestError({ request, reason: "Encode", cause: causeWith(request) })
    ),
    "a URL that is none": withRequest(
      (request) => new HttpClientError.RequestError({ request, reason: "InvalidUrl", cause: causeWith(request) })
    ),
    "a body that breaks": () => ({
      status: 200,
      stream: Stream.concat(Stream.succeed(new TextEncoder().encode(`{"id":"${key}`)), Stream.dieMessage(key))
    })
  }

  it.effect("of a transport that fails", () => search(transportFaults, plain))
  it.effect("of a transport that fails while a job is waited for", () =>
    search(Object.fromEntries(Object.entries(transportFaults).map(([name, answer]) => [name, takesJob(answer)])), typed)
  )
  it.effect("of a transport that fails as jobs are submitted", () => search(transportFaults, typed))

  it.effect("of a transport or a parser that has a bug", () =>
    Effect.gen(function* () {
      const bug = (request: unknown) => causeWith(request)
      yield* search({ job: () => job }, [...plain, ...typed], {
        transformClient: HttpClient.mapRequestEffect((request) => Effect.die(bug(request)))
      })
      yield* search({ job: () => job }, [...plain, ...typed], {
        transformClient: HttpClient.transformResponse(Effect.flatMap((response) => Effect.die(bug(response.request))))
      })
      yield* search({ job: () => job }, [...plain, ...typed], {
        parseJson: () => {
          throw causeWith({ headers: key })
        }
      })
    })
  )
})
