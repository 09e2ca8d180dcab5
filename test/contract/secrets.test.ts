import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPodHttpClient from "../../src/layers/RunPodHttpClient.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import { job, text } from "../support/pipeline.js"
import * as Scripted from "../support/scripted.js"
import * as Secrets from "../support/secrets.js"
import * as VirtualTime from "../support/virtualTime.js"

const { key, s3Config, webhook } = Secrets

const request = { input: { prompt: "a cat" }, s3Config, webhook }

const layerOf = (transport: ReturnType<typeof Scripted.make>, options: Partial<RunPod.Options> = {}) =>
  transport.layer({
    apiKey: Redacted.make(key),
    retry: RetryPolicy.make({ maxAttempts: 2, jitter: "none" }),
    limits: RateLimits.unlimited,
    ...options
  })

type Program = Effect.Effect<unknown, unknown, RunPod.RunPod>

const withService = (use: (service: RunPod.Service) => Effect.Effect<unknown, unknown>): Program =>
  Effect.flatMap(RunPod.RunPod, use)

const wait = { timeout: "1 second" } as const

/** Everything that can be done with the service. */
const plain: ReadonlyArray<Program> = [
  withService((_) => _.run("ep", request)),
  withService((_) => _.runSync("ep", request)),
  withService((_) => _.run("ep", request, { resubmit: true })),
  withService((_) => _.status("ep", "job-1")),
  withService((_) => _.statusSync("ep", "job-1")),
  withService((_) => _.cancel("ep", "job-1")),
  withService((_) => _.retry("ep", "job-1")),
  withService((_) => Stream.runCollect(_.stream("ep", "job-1"))),
  withService((_) => _.purgeQueue("ep")),
  withService((_) => _.health("ep")),
  withService((_) => _.requests("ep")),
  Jobs.result("ep", "job-1", wait)
]

const makeEndpoint = Endpoint.make("ep", {
  input: Schema.Struct({ prompt: Schema.String }),
  output: Schema.Struct({ image: Schema.String }),
  chunk: Schema.Struct({ token: Schema.String })
})

type TheEndpoint = Effect.Effect.Success<typeof makeEndpoint>
type Handle = Effect.Effect.Success<ReturnType<TheEndpoint["run"]>>

const withEndpoint = (use: (endpoint: TheEndpoint) => Effect.Effect<unknown, unknown>): Program =>
  Effect.flatMap(makeEndpoint, use)

const input = { prompt: "a cat" }
const choices = { s3Config, webhook } as const

const withHandle = (use: (handle: Handle) => Effect.Effect<unknown, unknown>): Program =>
  withEndpoint((_) => Effect.flatMap(_.run(input, choices), use))

/** Everything that can be done with an endpoint and the jobs it has submitted. */
const typed: ReadonlyArray<Program> = [
  withEndpoint((_) => _.run(input, choices)),
  withEndpoint((_) => _.call(input, { ...choices, ...wait })),
  withEndpoint((_) => _.call(input, { ...choices, ...wait, hold: false })),
  withEndpoint((_) => _.runSync(input, { ...choices, ...wait })),
  withHandle((_) => _.result(wait)),
  withHandle((_) => _.settle(wait)),
  withHandle((_) => _.status),
  withHandle((_) => _.cancel),
  withHandle((_) => _.retry),
  withHandle((_) => Stream.runCollect(_.stream(wait))),
  withHandle((_) => Stream.runCollect(_.watch(wait))),
  // Interrupted while the submit is under way: what becomes of it is logged.
  withEndpoint((_) => Effect.timeout(_.call(input, choices), "10 millis")),
  withEndpoint((_) => Effect.timeout(_.run(input, choices), "10 millis"))
]

/** A submit is taken at first, so that there is a job to wait for. */
const takesJob =
  (answer: (asked: Scripted.Asked) => Scripted.Answer) =>
  (asked: Scripted.Asked): Scripted.Answer =>
    asked.url.endsWith("/run") ? job : answer(asked)

type Answering = (asked: Scripted.Asked) => Scripted.Answer

/** The programs by turns: an answer meets one of `of`, its neighbour the next; `from` says with which the first begins. */
interface Share {
  readonly of: number
  readonly from: number
}

/** Runs everything against answers of one kind, and looks for what was planted wherever it could have come out. */
const search = (
  answers: Readonly<Record<string, Answering>>,
  programs: ReadonlyArray<Program>,
  options: Partial<RunPod.Options> = {},
  share: Share = { of: 1, from: 0 }
) =>
  Effect.gen(function* () {
    const { lines, record, spans } = Secrets.makeRecorder()
    let failures = 0
    const run = (name: string, answering: Answering, program: Program) =>
      Effect.gen(function* () {
        const transport = Scripted.make(answering, "20 millis")
        const exit = yield* Effect.exit(Effect.withSpan(Effect.provide(program, layerOf(transport, options)), "caller"))
        if (Exit.isSuccess(exit)) return
        failures++
        assert.isUndefined(Secrets.leakOf(exit), name)
        yield* Effect.logError(name, exit.cause)
        for (const error of Cause.failures(exit.cause)) yield* Effect.logDebug(error)
      })
    const all = Object.entries(answers).flatMap(([name, answering], i) =>
      programs.flatMap((program, j) => ((share.from + i + j) % share.of === 0 ? run(name, answering, program) : []))
    )
    yield* VirtualTime.run(record(Effect.all(all, { concurrency: "unbounded", discard: true })))
    for (const line of lines) assert.isUndefined(Secrets.leakIn(line))
    for (const span of spans) {
      const { attributes, events, exit, links, name } = span
      assert.isUndefined(Secrets.leakOf({ name, attributes, events, links }), `span ${name}`)
      if (name !== "caller") assert.isUndefined(Secrets.leakOf(exit), `exit of span ${name}`)
    }
    const metrics = yield* Metric.snapshot
    assert.isUndefined(Secrets.leakOf(metrics.map(({ metricKey, metricState }) => ({ metricKey, metricState }))))
    // The search would find nothing in nothing.
    assert.isAbove(failures, 0)
    assert.isAbove(lines.length, 0)
    assert.isAbove(spans.length, 0)
  })

const statuses = [200, 201, 204, 302, 400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 524]

type Write = (text: string) => string

const echo =
  (status: number, dump: (asked: Scripted.Asked) => string, encode: Write, shape: Write): Answering =>
  (asked) =>
    text(status, {}, shape(encode(dump(asked))))

const encodings = Object.entries(Secrets.encodings)
/** A few at a time, so that all of them stand within the part of a body that an error keeps. */
const groups = Array.from({ length: Math.ceil(encodings.length / 3) }, (_, i) => encodings.slice(3 * i, 3 * i + 3))

const ofJobs = Object.entries(Secrets.shapes).filter(([name]) => name.includes("job") || name === "problem")

describe.sequential("nothing of a key, an S3 secret or a webhook's token is printed", () => {
  for (const [i, group] of groups.entries()) {
    const encode = (text: string) => group.map(([, encode]) => encode(text)).join(" ")
    const title = group.map(([name]) => name).join("; ")
    const echoes = (dump: (asked: Scripted.Asked) => string, shapes = Object.entries(Secrets.shapes)) =>
      shapes.map(([name, shape], j): readonly [string, Answering] => {
        const status = name.includes("job") ? 200 : statuses[(i + j) % statuses.length]!
        return [`${status} ${name}, ${title}`, echo(status, dump, encode, shape)]
      })

    it.effect(`of an answer that echoes its request: ${title}`, () =>
      search(Object.fromEntries(echoes(Secrets.dump)), plain, {}, { of: 3, from: i })
    )

    it.effect(`of answers about a job that echo its submit: ${title}`, () =>
      search(
        Object.fromEntries(echoes(() => Secrets.all, ofJobs).map(([name, answer]) => [name, takesJob(answer)])),
        typed,
        {},
        { of: 3, from: i }
      )
    )
  }

  it.effect("of an answer of any status, and its headers", () =>
    search(
      Object.fromEntries(
        statuses.map((status): readonly [string, Answering] => [
          String(status),
          (asked) =>
            text(status, { "retry-after": "1", "www-authenticate": key, location: webhook }, Secrets.dump(asked))
        ])
      ),
      [...plain, ...typed],
      {},
      { of: 3, from: 0 }
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
    Object.assign(new Error(`Bearer ${key}`, { cause: { request, message: key, code: key } }), {
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
      (request) => new HttpClientError.RequestError({ request, reason: "Transport", cause: `sent ${key}` })
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

  it.effect("of a transport that fails", () => search(transportFaults, plain, {}, { of: 2, from: 0 }))
  it.effect("of a transport that fails while a job is waited for", () =>
    search(
      Object.fromEntries(Object.entries(transportFaults).map(([name, answer]) => [name, takesJob(answer)])),
      typed,
      {},
      { of: 2, from: 0 }
    )
  )
  it.effect("of a transport that fails as jobs are submitted", () =>
    search(transportFaults, typed, {}, { of: 2, from: 1 })
  )

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

  it.effect("of a request that is refused before it is sent", () =>
    Effect.gen(function* () {
      const circular: Record<string, unknown> = {}
      circular["self"] = circular
      const refused: ReadonlyArray<unknown> = [
        { ...request, input: {} },
        { ...request, input: circular },
        { ...request, input: "text" },
        {
          ...request,
          input: {
            toJSON: () => {
              throw new Error(`${webhook} ${s3Config.accessId} ${Redacted.value(s3Config.accessSecret)}`)
            }
          }
        },
        { ...request, webhook: `ftp${webhook}` },
        { ...request, webhook: `${webhook} ` },
        { ...request, webhook: { url: webhook } },
        { ...request, policy: { ttl: 1 } },
        { ...request, more: webhook },
        { ...request, s3Config: { ...s3Config, bucketName: "" } },
        { ...request, s3Config: { ...s3Config, endpointUrl: 7 } },
        { ...request, s3Config: { ...s3Config, more: s3Config.accessId } },
        { ...request, s3Config: { accessId: s3Config.accessId } },
        { ...request, s3Config: s3Config.accessId },
        { ...request, input: { big: "x".repeat(21_000_000) } }
      ]
      yield* search(
        { job: () => job },
        refused.flatMap((request) => [
          withService((_) => _.run("ep", request as Parameters<typeof _.run>[1])),
          withService((_) => _.runSync("ep", request as Parameters<typeof _.runSync>[1]))
        ])
      )
      yield* search({ job: () => job }, [
        withEndpoint((_) => _.call({ prompt: 7 } as never, choices)),
        withEndpoint((_) => _.call(input, { ...choices, webhook: `ftp${webhook}` })),
        withEndpoint((_) => _.run(input, { ...choices, policy: { ttl: 1 } })),
        withService((_) => _.run("a/b", request))
      ])
      yield* search({ job: () => job }, plain, { apiKey: `${key}\u00e9` })
      yield* search({ job: () => job }, plain, { baseUrl: `https://user:${encodeURIComponent(key)}@runpod.test` })
      yield* search({ job: () => job }, plain, { baseUrl: `https://runpod.test?key=${encodeURIComponent(key)}` })
      yield* search({ job: () => job }, plain, { baseUrl: key })
    })
  )

  const echoing = JSON.stringify({
    id: "job-1",
    status: "COMPLETED",
    output: { image: "a cat" },
    webhook,
    webhookV2: { url: webhook },
    s3Config: { ...s3Config, accessSecret: Redacted.value(s3Config.accessSecret) }
  })

  it.effect("of services, endpoints, handles, layers and jobs that are looked at", () =>
    Effect.gen(function* () {
      const options = { apiKey: key, baseUrl: "https://runpod.test" }
      for (const [name, value] of Object.entries({
        layer: RunPod.layer(options),
        layerConfig: RunPod.layerConfig(options),
        "layerConfig of a Config": RunPod.layerConfig({ apiKey: Config.succeed(Redacted.make(key)) }),
        client: RunPodHttpClient.make(options),
        "Node's layer": NodeRunPod.layer(options),
        "Node's layerConfig": NodeRunPod.layerConfig(options)
      })) {
        assert.isUndefined(Secrets.leakOf(value), name)
      }
      const transport = Scripted.make([text(200, {}, echoing)])
      const look = Effect.gen(function* () {
        const service = yield* RunPod.RunPod
        const endpoint = yield* makeEndpoint
        const handle = yield* endpoint.run(input, choices)
        const run = yield* service.run("ep", request)
        const status = yield* service.status("ep", "job-1")
        const sync = yield* service.runSync("ep", request)
        const settled = yield* handle.settle()
        const context = yield* Effect.context<RunPod.RunPod>()
        const runtime = yield* Effect.runtime<RunPod.RunPod>()
        return { service, endpoint, handle, run, status, sync, settled, context, runtime }
      })
      const seen = yield* finish(Effect.provide(look, layerOf(transport, options)))
      for (const [name, value] of Object.entries(seen)) assert.isUndefined(Secrets.leakOf(value), name)
      // What was echoed is still there for who asks for it.
      const { raw } = seen.status
      assert.deepStrictEqual(
        [raw["webhook"], raw["s3Config"]].map((echo) => Redacted.isRedacted(echo) && Redacted.value(echo)),
        [webhook, { ...s3Config, accessSecret: Redacted.value(s3Config.accessSecret) }]
      )
      assert.isTrue(transport.asked.every(({ authorization }) => authorization === `Bearer ${key}`))
      assert.include(transport.asked[0]?.body ?? "", JSON.stringify(Redacted.value(s3Config.accessSecret)))
    })
  )
})

describe("an id that is the API key", () => {
  const key = "rpa_7GZK0QABCDEFGHIJKLMNOP"
  const programs: Readonly<Record<string, Program>> = {
    run: withService((_) => _.run("ep", request)),
    runSync: withService((_) => _.runSync("ep", request)),
    status: withService((_) => _.status("ep", key)),
    "status of a longer id": withService((_) => _.status("ep", `job-${key}-u1`)),
    stream: withService((_) => Stream.runCollect(_.stream("ep", key))),
    "a call": withEndpoint((_) => _.call(input, wait)),
    "a handle": withEndpoint((_) => Effect.flatMap(_.run(input), (handle) => handle.result(wait))),
    "an attached handle": withEndpoint((_) => _.attach(key).result({ ...wait, cancelOnTimeout: true })),
    "an attached handle that is cancelled": withEndpoint((_) => _.attach(key).cancel),
    "a wait that is interrupted": Effect.timeout(Jobs.settle("ep", key, { cancelOnInterrupt: true }), "1 second")
  }

  for (const status of ["IN_QUEUE", "COMPLETED", "FAILED"]) {
    it.effect(`gets into no error, log or span, by an answer that says ${status} or from the program`, () =>
      Effect.forEach(
        Object.entries(programs),
        Effect.fnUntraced(function* ([name, program]) {
          const { lines, record, spans } = Secrets.makeRecorder()
          const transport = Scripted.make([Scripted.json({ id: key, status, output: 1, error: `no ${key}` })])
          const logged = Effect.tapErrorCause(program, (cause) => Effect.logDebug("it failed", cause))
          const exit = yield* VirtualTime.run(
            Effect.provide(Effect.exit(record(logged)), layerOf(transport, { apiKey: key }))
          )
          assert.isTrue(Exit.isFailure(exit), name)
          for (const text of [...Secrets.printed(exit), ...lines, ...Secrets.printed(spans)]) {
            assert.notInclude(text, key, name)
          }
        })
      )
    )
  }
})
