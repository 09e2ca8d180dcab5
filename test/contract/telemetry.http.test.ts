/** What a collector and Prometheus get of a program's jobs, over real sockets, and what RunPod gets: nothing of it. */
import * as Otlp from "@effect/opentelemetry/Otlp"
import { FetchHttpClient, HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, LogLevel, Metric, Redacted, Schema, Stream, Tracer } from "effect"
import { createServer } from "node:http"
import * as Net from "node:net"
import { attributesOf, type Collector, serveCollector, type Span } from "../../examples/support/collector.js"
import type * as EmulatorContract from "../../src/emulator/contract.js"
import * as Fault from "../../src/emulator/Fault.js"
import * as Cost from "../../src/layers/Cost.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPodMetrics from "../../src/layers/RunPodMetrics.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as NodeWebhooks from "../../src/node/NodeWebhooks.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Prometheus from "../../src/services/Prometheus.js"
import * as RunPod from "../../src/services/RunPod.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import * as Exposition from "../support/exposition.js"
import { listening } from "../support/listening.js"

/** What nobody may see; each is planted below. */
const canaries = {
  key: "rpa_CanaryOfTheKey",
  s3Secret: "CanaryOfS3",
  webhookSecret: "CanaryOfWebhooks",
  input: "CanaryOfAnInput",
  output: "CanaryOfAnOutput",
  worker: "CanaryOfAWorkersWords",
  url: "CanaryOfTheReceiversPath"
}

const s3Config = {
  accessId: canaries.s3Secret,
  accessSecret: Redacted.make(canaries.s3Secret),
  bucketName: canaries.s3Secret,
  endpointUrl: "https://s3.test"
}

const Input = Schema.Struct({ n: Schema.Number, text: Schema.String })
/** In USD a second. */
const rate = 0.01
const cost = Cost.layer({ rates: Cost.rates({ gpu: { flex: rate } }), gpu: "gpu" })

const inputOf = (n: number) => ({ n, text: canaries.input })

/** -1 fails, others take so many milliseconds. */
const handler: EmulatorContract.Handler = ({ n }) =>
  Number(n) < 0
    ? Effect.fail(new Error(canaries.worker))
    : Effect.delay(Effect.succeed({ text: canaries.output }), Number(n))

/** Passes connections on, and keeps what clients say. */
const recordingProxy = (port: number) => {
  const said: Array<string> = []
  const server = Net.createServer((client) => {
    const upstream = Net.connect(port, "127.0.0.1")
    client.on("data", (bytes) => said.push(bytes.toString("latin1")))
    client.on("error", () => upstream.destroy())
    upstream.on("error", () => client.destroy())
    client.on("close", () => upstream.destroy())
    upstream.on("close", () => client.destroy())
    client.pipe(upstream).pipe(client)
  })
  return Effect.map(listening(server), (port) => ({ said, origin: `http://127.0.0.1:${port}` }))
}

/** A tracer over another that also knows what is wrong with how spans are used. */
const watched = (tracer: Tracer.Tracer) => {
  const open = new Map<string, string>()
  const problems: Array<string> = []
  const watching = Tracer.make({
    context: (run, fiber) => tracer.context(run, fiber),
    span: (name, ...rest) => {
      const span = tracer.span(name, ...rest)
      open.set(span.spanId, name)
      const watch = <Args extends ReadonlyArray<unknown>>(what: string, original: (...args: Args) => void) => {
        return (...args: Args) => {
          if (!open.has(span.spanId)) problems.push(`${name}: ${what} after its end: ${String(args[0])}`)
          original.apply(span, [...args] as never)
        }
      }
      return Object.assign(span, {
        attribute: watch("attribute", span.attribute.bind(span)),
        event: watch("event", span.event.bind(span)),
        addLinks: watch("links", span.addLinks.bind(span)),
        end: (...args: Parameters<typeof span.end>) => {
          if (!open.delete(span.spanId)) problems.push(`${name}: ended twice`)
          Object.getPrototypeOf(span).end.apply(span, args)
        }
      })
    }
  })
  return { tracer: watching, open, problems }
}

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make("collected", { input: Input, output: Schema.Unknown, chunk: Schema.Unknown })
  const call = (n: number, options: Endpoint.CallOptions<unknown> = {}) =>
    Effect.exit(endpoint.call(inputOf(n), { s3Config, ...options }))
  // Fourteen calls: two fail, one is interrupted, one times out, and the first meet faults.
  yield* Effect.forEach([10, 10, 10, -1, 10, -1, 10, 10, 10, 10, 10, 10], (n) => call(n), { concurrency: 4 })
  const interrupted = yield* Effect.fork(call(60_000))
  yield* Effect.sleep("300 millis")
  yield* Fiber.interrupt(interrupted)
  yield* call(60_000, { timeout: "300 millis" })
  yield* endpoint.runSync(inputOf(10))
  yield* Stream.runDrain(endpoint.callStream(inputOf(10)))

  const job = yield* endpoint.run(inputOf(10))
  yield* job.result()
  yield* job.status
  const other = yield* endpoint.run(inputOf(60_000))
  yield* other.cancel
  yield* endpoint.health
  yield* Effect.exit(endpoint.requests)
  const { value: budget } = yield* Metric.value(RunPodMetrics.retryBudget)

  const inputs = Array.from({ length: 60 }, (_, n) => inputOf(n === 7 ? -1 : 10))
  const tracker = yield* Batch.tracker
  const followed = yield* Effect.fork(Stream.runDrain(Batch.progress(tracker, { interval: "20 millis" })))
  yield* Batch.collect(endpoint, inputs, { tracker }).pipe(Effect.withSpan("sixty"))
  yield* Fiber.join(followed)

  const journal = yield* BatchJournal.memory
  const some = [10, 10, 10, 700, 700, 700].map(inputOf)
  const first = yield* Effect.fork(Effect.withSpan(Batch.collect(endpoint, some, { journal }), "first"))
  yield* Effect.sleep("400 millis")
  yield* Fiber.interrupt(first)
  yield* Effect.withSpan(Batch.collect(endpoint, some, { journal }), "second")

  const hooked = yield* endpoint.run(inputOf(10), { webhook: true })
  yield* hooked.result({ trustWebhook: true })
  const webhooks = yield* Webhooks.Webhooks
  const forged = (yield* webhooks.issue({ endpointId: "collected", key: "k" })).origin + `/${canaries.url}?token=forged`
  yield* Effect.promise(() => fetch(forged, { method: "POST", body: "{}" }))
  yield* Batch.wait(endpoint, [yield* endpoint.run(inputOf(10)), yield* endpoint.run(inputOf(-1))])
  return budget
})

const faults = [
  Fault.serverError({ operations: ["requests"] }),
  Fault.serverError({ operations: ["statusSync"], times: 2 }),
  Fault.rateLimited({ operations: ["run"], times: 1, retryAfter: 1 }),
  Fault.resetBefore({ operations: ["statusSync"], times: 1 }),
  Fault.resetAfter({ operations: ["run"], times: 1, after: 5 })
]

/** How many deliveries this process has answered so, in tests of other files, too. */
const deliveries = (status: string) =>
  Effect.map(Metric.value(Metric.tagged(RunPodMetrics.webhookDeliveries, "status", status)), ({ count }) => count)

const emulated = Effect.gen(function* () {
  const server = yield* NodeEmulator.serve({
    apiKey: canaries.key,
    endpoints: { collected: { workers: 30, handler } },
    faults
  })
  const proxy = yield* recordingProxy(Number(new URL(server.url).port))
  return { said: proxy.said, baseUrl: `${proxy.origin}/v2` }
})

const telemetry = ({ url }: Collector) =>
  Otlp.layerJson({ baseUrl: url, resource: { serviceName: "test" } }).pipe(Layer.provide(FetchHttpClient.layer))

const scrape = Effect.gen(function* () {
  const server = yield* NodeHttpServer.make(() => createServer(), { port: 0, host: "127.0.0.1" })
  const only = { filter: (name: string) => name.startsWith("runpod_") }
  yield* server.serve(Effect.orDie(HttpRouter.empty.pipe(Prometheus.route("/metrics", only))))
  return yield* Effect.promise(async () => {
    const response = await fetch(`${HttpServer.formatAddress(server.address)}/metrics`)
    return { contentType: response.headers.get("content-type"), text: await response.text() }
  })
})

const run = Effect.gen(function* () {
  const before = [yield* deliveries("200"), yield* deliveries("401")] as const
  const collector = yield* serveCollector
  const { baseUrl, said } = yield* emulated
  const client = {
    apiKey: Redacted.make(canaries.key),
    baseUrl,
    limits: RateLimits.unlimited,
    retry: RetryPolicy.make({ base: "20 millis" })
  }
  const webhooks = NodeWebhooks.layer({ secret: canaries.webhookSecret, host: "127.0.0.1", path: `/${canaries.url}` })
  const traced = Effect.gen(function* () {
    const spans = watched(yield* Effect.tracer)
    const whole = Effect.gen(function* () {
      const budget = yield* Effect.provide(program, NodeRunPod.layer(client))
      // Over platform's client, which propagates spans if it is not told otherwise.
      const plain = RunPod.layer(client).pipe(Layer.provide(FetchHttpClient.layer))
      const once = Endpoint.make("collected", { input: Input, output: Schema.Unknown })
      yield* Effect.provide(
        Effect.flatMap(once, (endpoint) => endpoint.call(inputOf(10))),
        plain
      )
      return budget
    })
    const budget = yield* Effect.provide(whole, Layer.merge(webhooks, cost)).pipe(
      Effect.withSpan("program"),
      Effect.withTracer(spans.tracer)
    )
    return { ...spans, budget }
  })
  const { budget, open, problems } = yield* Effect.provide(traced, telemetry(collector))
  const { contentType, text: scraped } = yield* scrape
  return { collector, said: said.join(""), open: [...open.values()], problems, budget, contentType, scraped, before }
})

const textOf = (span: Span, name: string) => attributesOf(span)[name]
const jobNames = /^(?:Endpoint|JobHandle|Jobs)\.|^Batch\.item$/
const ofJobs = /^RunPod\.(?:run|runSync|status|statusSync|stream|cancel|retry)$/

describe("over real sockets, with faults", () => {
  // What a batch says of its interruption is no subject here.
  const ran = Effect.runSync(Effect.cached(Logger.withMinimumLogLevel(Effect.scoped(run), LogLevel.Error)))

  it.live("a collector gets one span for each job, the parent of its requests, and links to submits", () =>
    Effect.gen(function* () {
      const { spans } = (yield* ran).collector
      const byId = new Map(spans.map((span) => [span.spanId, span]))
      const parentOf = ({ parentSpanId }: Span) => byId.get(parentSpanId ?? "")
      assert.strictEqual(byId.size, spans.length)
      for (const span of spans) {
        const parent = parentOf(span)
        // Every span but the first has a parent that was sent, too, and they are one trace.
        if (span.parentSpanId !== undefined) assert.isDefined(parent, span.name)
        if (parent !== undefined) assert.strictEqual(span.traceId, parent.traceId)
        assert.isAtLeast(Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)), 0)
        for (const { attributes } of [span, ...span.events]) {
          for (const value of Object.values(attributesOf({ attributes }))) assert.isDefined(value)
        }
        if (!ofJobs.test(span.name)) continue
        assert.match(parent?.name ?? "", jobNames, span.name)
        const ids = [textOf(span, "runpod.job_id"), parent && textOf(parent, "runpod.job_id")]
        if (ids[0] !== undefined && ids[1] !== undefined) assert.strictEqual(ids[0], ids[1])
      }
      const submits = spans.filter(({ name }) => name === "RunPod.run" || name === "RunPod.runSync")
      assert.lengthOf(new Set(submits.map(({ parentSpanId }) => parentSpanId)), submits.length)
      assert.lengthOf(submits, 14 + 1 + 1 + 2 + 60 + 6 + 1 + 2 + 1)

      const linked = (span: Span) => span.links.map(({ spanId }) => byId.get(spanId))
      const named = (name: string) => spans.filter((span) => span.name === name)
      for (const name of ["JobHandle.result", "JobHandle.status", "JobHandle.cancel", "Webhooks.receive"]) {
        for (const span of named(name)) {
          const [submit, ...others] = linked(span)
          assert.lengthOf(others, 0)
          assert(submit?.name === "Endpoint.run")
          assert.strictEqual(textOf(submit, "runpod.job_id"), textOf(span, "runpod.job_id"))
        }
      }
      const itemsUnder = (name: string) =>
        named("Batch.item").filter((item) => {
          const batch = parentOf(item)
          return batch !== undefined && parentOf(batch)?.name === name
        })
      assert.lengthOf(itemsUnder("sixty"), 60)
      assert.sameMembers(itemsUnder("second").flatMap(linked), itemsUnder("first"))
      // A receipt is a consumer's span, and no part of that its server was started in.
      const receipts = named("Webhooks.receive")
      assert.deepStrictEqual(
        receipts.map(({ kind, parentSpanId }) => [kind, parentSpanId]),
        [[5, undefined]]
      )
    })
  )

  it.live("it learns what went wrong: status and class, the attempts that failed, and what a 429 took", () =>
    Effect.gen(function* () {
      const { open, problems, collector } = yield* ran
      assert.deepStrictEqual([open, problems], [[], []])
      const { spans } = collector
      const errors = spans
        .filter(({ name }) => name === "Endpoint.call")
        .flatMap((span) => {
          const type = textOf(span, "error.type")
          assert.strictEqual(span.status.code === 2, type !== undefined)
          return type === undefined ? [] : [type]
        })
      assert.sameMembers(errors, ["JobFailedError", "JobFailedError", "SubmitAmbiguousError", "WaitTimeoutError"])
      for (const span of spans) {
        if (span.status.code === 2) assert.isDefined(textOf(span, "error.type"), span.name)
        if (textOf(span, "runpod.status") === "FAILED" && span.name !== "Webhooks.receive") {
          assert.strictEqual(span.status.code, 2, span.name)
        }
      }
      const events = spans.flatMap((span) => span.events.map(({ name }) => `${span.name} ${name}`))
      assert.includeMembers(events, [
        "Endpoint.call throttled",
        "Endpoint.call retry",
        "RunPod.run throttled",
        "RunPod.run retry",
        "Endpoint.call ended",
        "Batch.item ended"
      ])
      const types = spans.filter(({ name }) => name === "RunPod.statusSync").map((span) => textOf(span, "error.type"))
      assert.includeMembers(types, ["503", "TransportError"])
    })
  )

  it.live("it gets the metrics in seconds, each as it is after the run", () =>
    Effect.gen(function* () {
      const {
        before,
        collector: { metrics, spans }
      } = yield* ran
      const pointsOf = (name: string) => {
        const metric = metrics.get(`runpod_${name}`)
        return metric?.sum?.dataPoints ?? metric?.gauge?.dataPoints ?? []
      }
      const valueOf = (name: string, more: Readonly<Record<string, string>>) =>
        pointsOf(name).find((point) => Object.entries(more).every(([key, value]) => attributesOf(point)[key] === value))
          ?.asDouble
      const ep = { endpoint: "collected" }
      assert.strictEqual(valueOf("jobs_submitted", ep), 87)
      assert.strictEqual(valueOf("ambiguous_submits", ep), 1)
      assert.strictEqual(valueOf("jobs_in_flight", ep), 0)
      assert.strictEqual(valueOf("jobs_ended", { ...ep, status: "FAILED" }), 4)
      assert.strictEqual(valueOf("throttles", { ...ep, operation: "run" }), 1)
      assert.isAbove(valueOf("retries", { ...ep, operation: "requests" }) ?? 0, 0)
      assert.strictEqual(valueOf("cancels", ep), 3)
      assert.strictEqual(valueOf("failed_cancels", ep), 0)
      assert.strictEqual(valueOf("batch_eta", ep), 0)
      assert.strictEqual(valueOf("batch_items", { ...ep, outcome: "JobFailedError" }), 1)
      assert.strictEqual(valueOf("webhook_deliveries", { status: "200" }), before[0] + 1)
      assert.strictEqual(valueOf("webhook_deliveries", { status: "401" }), before[1] + 1)
      assert.isDefined(valueOf("workers", { ...ep, state: "idle" }))
      assert.isDefined(valueOf("queue", { ...ep, state: "inQueue" }))
      const bounds = Array.from({ length: 18 }, (_, n) => 0.05 * 2 ** n)
      for (const name of [
        "request_duration",
        "limiter_wait",
        "delay_time",
        "execution_time",
        "wait_time",
        "seen_after_end"
      ]) {
        const metric = metrics.get(`runpod_${name}`)
        assert(metric?.unit === "s", name)
        const points =
          metric.histogram?.dataPoints.filter((point) => attributesOf(point)["endpoint"] === "collected") ?? []
        assert.isTrue(
          points.some(({ count }) => count > 0),
          name
        )
        for (const { bucketCounts, count, explicitBounds } of points) {
          assert.deepStrictEqual(explicitBounds, bounds)
          assert.strictEqual(
            bucketCounts.reduce((sum, n) => sum + n, 0),
            count
          )
        }
      }
      assert.strictEqual(metrics.get("runpod_batch_eta")?.unit, "s")
      assert.strictEqual(metrics.get("runpod_cost")?.unit, "USD")
      // What jobs cost, as their metric and their spans tell.
      const points = metrics.get("runpod_execution_time")?.histogram?.dataPoints ?? []
      const worked = points.find((point) => attributesOf(point)["endpoint"] === "collected")?.sum ?? 0
      assert.approximately(valueOf("cost", ep) ?? 0, rate * worked, 1e-9)
      const costs = spans.flatMap((span) => {
        const { "runpod.cost": cost, "runpod.execution_time": time, "runpod.status": status } = attributesOf(span)
        if (cost === undefined) return []
        assert.match(String(status), /^(?:COMPLETED|FAILED)$/, span.name)
        assert.approximately(Number(cost), rate * Number(time), 1e-9, span.name)
        return [Number(cost)]
      })
      assert.approximately(
        costs.reduce((sum, cost) => sum + cost, 0),
        rate * worked,
        1e-9
      )
    })
  )

  it.live("the budget of retries is what they have left of it", () =>
    Effect.gen(function* () {
      const { budget } = yield* ran
      assert.isBelow(budget, RetryPolicy.make().budget)
    })
  )

  it.live("nobody gets a secret, an input or an output, and RunPod gets no trace", () =>
    Effect.gen(function* () {
      const { collector, said, scraped } = yield* ran
      const seen = [...collector.bodies, scraped].join("\n")
      for (const [name, canary] of Object.entries(canaries)) {
        // All of them were planted, the worker's own words apart, which only RunPod's answers have.
        if (!["output", "worker", "webhookSecret"].includes(name)) assert.include(said, canary, name)
        assert.notInclude(seen, canary, name)
      }
      const [, token] = /"webhook":"[^"]*?([\w-]{30,}[^"]*)"/.exec(said) ?? []
      assert.isDefined(token)
      assert.notInclude(seen, token ?? "")
      assert.notMatch(said, /traceparent|tracestate|\bb3:/i)
      for (const { spanId, traceId } of collector.spans) {
        assert.notInclude(said, spanId)
        assert.notInclude(said, traceId)
      }
    })
  )

  it.live("Prometheus reads the same at its route", () =>
    Effect.gen(function* () {
      const { collector, contentType, scraped } = yield* ran
      assert.strictEqual(contentType, "text/plain; version=0.0.4; charset=utf-8")
      const families = Exposition.read(scraped)
      assert.isTrue([...families.keys()].every((name) => name.startsWith("runpod_")))
      const requests = families.get("runpod_requests_total")?.samples ?? []
      const points = collector.metrics.get("runpod_requests")?.sum?.dataPoints ?? []
      assert.sameDeepMembers(
        requests.map(({ labels, value }) => ({ ...labels, value })),
        points.map((point) => ({ ...attributesOf(point), value: point.asDouble }))
      )
      assert.strictEqual(families.get("runpod_wait_time_seconds")?.type, "histogram")
    })
  )
})
