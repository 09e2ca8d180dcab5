/**
 * Traces and metrics as OTLP, without OpenTelemetry's SDK. They go to OTEL_EXPORTER_OTLP_ENDPOINT (`http://localhost:4318`, say);
 * without it to a collector in this process, which then prints what it got.
 */
import * as Otlp from "@effect/opentelemetry/Otlp"
import { FetchHttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Batch, Endpoint } from "effect-runpod"
import { Config, Console, Effect, Layer, Option, Schema } from "effect"
import { attributesOf, type Collector, serveCollector, type Span } from "./support/collector.js"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const work = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown
  })
  yield* endpoint.call({ prompt: "a red bicycle" })
  yield* Effect.ignore(endpoint.call({ prompt: "a bicycle too large" }))
  // The wait is another span than the submit, and linked to it.
  const job = yield* endpoint.run({ prompt: "a blue bicycle" })
  yield* job.result()
  yield* Batch.collect(endpoint, [{ prompt: "a bell" }, { prompt: "a saddle" }])
}).pipe(Effect.withSpan("work"))

/** All that is sent leaves when this layer closes, at the latest. */
const telemetry = (baseUrl: string) =>
  Otlp.layerJson({ baseUrl, resource: { serviceName: "pictures" } }).pipe(Layer.provide(FetchHttpClient.layer))

const layer = runPodOrEmulator({
  workers: 2,
  handler: ({ prompt }) =>
    prompt === "a bicycle too large"
      ? Effect.fail(new Error("CUDA out of memory"))
      : Effect.delay(Effect.succeed({ text: `drew ${prompt}` }), "200 millis")
})

const describe = (span: Span): string => {
  const { "error.type": error, "runpod.status": status } = attributesOf(span)
  const linked = span.links.length === 0 ? "" : "linked to its submit"
  return [span.name, status, error, linked].filter(Boolean).join(", ")
}

const treeOf = (spans: ReadonlyArray<Span>, parent?: string): ReadonlyArray<string> =>
  spans
    .filter(({ parentSpanId }) => parentSpanId === parent)
    .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)))
    .flatMap((span) => [describe(span), ...treeOf(spans, span.spanId).map((line) => `  ${line}`)])

const print = ({ metrics, spans }: Collector) =>
  Effect.gen(function* () {
    yield* Effect.forEach(treeOf(spans), (line) => Console.log(line))
    for (const name of ["runpod_jobs_submitted", "runpod_jobs_ended"]) {
      for (const point of metrics.get(name)?.sum?.dataPoints ?? []) {
        const { status = "" } = attributesOf(point)
        yield* Console.log(name, status, point.asDouble)
      }
    }
  })

const program = Effect.gen(function* () {
  const url = yield* Config.option(Config.nonEmptyString("OTEL_EXPORTER_OTLP_ENDPOINT"))
  if (Option.isSome(url)) return yield* Effect.provide(work, telemetry(url.value))
  const collector = yield* serveCollector
  yield* Effect.provide(work, telemetry(collector.url))
  yield* print(collector)
})

program.pipe(Effect.scoped, Effect.provide(layer), NodeRuntime.runMain)
