/**
 * A small OpenTelemetry collector on loopback, which keeps what it is sent as OTLP over HTTP in JSON. In production this is
 * OpenTelemetry's own, or a vendor's.
 */
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Schema, type Scope } from "effect"
import { createServer } from "node:http"

const Value = Schema.Struct({
  stringValue: Schema.optional(Schema.String),
  intValue: Schema.optional(Schema.Number),
  doubleValue: Schema.optional(Schema.Number),
  boolValue: Schema.optional(Schema.Boolean)
})

const Attributes = Schema.Array(Schema.Struct({ key: Schema.String, value: Value }))
type Attributes = typeof Attributes.Type

const Span = Schema.Struct({
  traceId: Schema.String,
  spanId: Schema.String,
  parentSpanId: Schema.optional(Schema.String),
  name: Schema.String,
  kind: Schema.Number,
  startTimeUnixNano: Schema.String,
  endTimeUnixNano: Schema.String,
  attributes: Attributes,
  events: Schema.Array(Schema.Struct({ name: Schema.String, timeUnixNano: Schema.String, attributes: Attributes })),
  links: Schema.Array(Schema.Struct({ traceId: Schema.String, spanId: Schema.String })),
  status: Schema.Struct({ code: Schema.Number, message: Schema.optional(Schema.String) })
})
export type Span = typeof Span.Type

const NumberPoint = Schema.Struct({
  attributes: Attributes,
  asDouble: Schema.optional(Schema.Number),
  asInt: Schema.optional(Schema.Number)
})

const HistogramPoint = Schema.Struct({
  attributes: Attributes,
  count: Schema.Number,
  sum: Schema.Number,
  bucketCounts: Schema.Array(Schema.Number),
  explicitBounds: Schema.Array(Schema.Number)
})

const MetricData = Schema.Struct({
  name: Schema.String,
  unit: Schema.String,
  sum: Schema.optional(Schema.Struct({ isMonotonic: Schema.Boolean, dataPoints: Schema.Array(NumberPoint) })),
  gauge: Schema.optional(Schema.Struct({ dataPoints: Schema.Array(NumberPoint) })),
  histogram: Schema.optional(Schema.Struct({ dataPoints: Schema.Array(HistogramPoint) }))
})
export type MetricData = typeof MetricData.Type

const Traces = Schema.Struct({
  resourceSpans: Schema.Array(Schema.Struct({ scopeSpans: Schema.Array(Schema.Struct({ spans: Schema.Array(Span) })) }))
})

const Metrics = Schema.Struct({
  resourceMetrics: Schema.Array(
    Schema.Struct({ scopeMetrics: Schema.Array(Schema.Struct({ metrics: Schema.Array(MetricData) })) })
  )
})

/** What a span, an event or a point of a metric is tagged with. */
export const attributesOf = ({
  attributes
}: {
  readonly attributes: Attributes
}): Readonly<Record<string, string | number | boolean | undefined>> =>
  Object.fromEntries(
    attributes.map(({ key, value: { boolValue, doubleValue, intValue, stringValue } }) => [
      key,
      stringValue ?? intValue ?? doubleValue ?? boolValue
    ])
  )

export interface Collector {
  /** What exporters are given as their base URL. */
  readonly url: string
  readonly spans: Array<Span>
  /** As they last were, by their names. */
  readonly metrics: Map<string, MetricData>
  /** All that was sent, as it came. */
  readonly bodies: Array<string>
}

/** Serves a collector until the scope closes. What is not OTLP is answered with 400. */
export const serveCollector: Effect.Effect<Collector, never, Scope.Scope> = Effect.gen(function* () {
  const received = { spans: new Array<Span>(), metrics: new Map<string, MetricData>(), bodies: new Array<string>() }
  const taking = <A, I>(schema: Schema.Schema<A, I>, take: (value: A) => void) =>
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const body = yield* request.text
      received.bodies.push(body)
      take(yield* Schema.decode(Schema.parseJson(schema))(body))
      return HttpServerResponse.unsafeJson({})
    }).pipe(Effect.orElseSucceed(() => HttpServerResponse.empty({ status: 400 })))

  const router = HttpRouter.empty.pipe(
    HttpRouter.post(
      "/v1/traces",
      taking(Traces, ({ resourceSpans }) => {
        for (const { scopeSpans } of resourceSpans) for (const { spans } of scopeSpans) received.spans.push(...spans)
      })
    ),
    HttpRouter.post(
      "/v1/metrics",
      taking(Metrics, ({ resourceMetrics }) => {
        for (const { scopeMetrics } of resourceMetrics) {
          for (const { metrics } of scopeMetrics)
            for (const metric of metrics) received.metrics.set(metric.name, metric)
        }
      })
    ),
    HttpRouter.post(
      "/v1/logs",
      taking(Schema.Unknown, () => undefined)
    )
  )

  const server = yield* NodeHttpServer.make(() => createServer(), { port: 0, host: "127.0.0.1" })
  yield* server.serve(Effect.orDie(router))
  return { ...received, url: HttpServer.formatAddress(server.address) }
}).pipe(Effect.orDie)
