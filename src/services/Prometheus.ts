/**
 * Effect's metrics for Prometheus, those of `RunPodMetrics` and all others of the process: as text, and as a route that Prometheus scrapes.
 *
 * ```ts
 * import { HttpRouter } from "@effect/platform"
 * import { Prometheus } from "effect-runpod"
 *
 * export const router = HttpRouter.empty.pipe(Prometheus.route("/metrics"))
 * ```
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Exposition from "../internal/telemetry/exposition.js"

/**
 * Which metrics are told of.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Whether a metric is, by its name as Effect knows it (`runpod_requests`). Default: all are. */
  readonly filter?: ((name: string) => boolean) | undefined
}

/**
 * The metrics of this process in Prometheus's text format 0.0.4. A counter's name ends with `_total`, and the tag `unit` is not
 * a label but the end of the name: `runpod_request_duration`, in seconds, is `runpod_request_duration_seconds`. What a name or a label may not hold
 * becomes `_`. A counter that may fall is a gauge; a frequency is a counter with a label `key`; a summary has no `min` and `max`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const format = ({ filter }: Options = {}): Effect.Effect<string> =>
  Effect.map(Metric.snapshot, (pairs) =>
    Exposition.format(filter === undefined ? pairs : pairs.filter(({ metricKey }) => filter(metricKey.name)))
  )

/**
 * An app of `@effect/platform` that answers with the metrics, for any router or server. The server's log is not told of scrapes.
 *
 * @since 0.1.0
 * @category servers
 */
export const httpApp = (options?: Options): HttpApp.Default =>
  Effect.map(format(options), (text) =>
    HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" })
  ).pipe(HttpMiddleware.withLoggerDisabled)

/**
 * Adds the metrics to an `HttpRouter`, at a path: commonly `/metrics`.
 *
 * @since 0.1.0
 * @category servers
 */
export const route =
  (path: HttpRouter.PathInput, options?: Options) =>
  <E, R>(self: HttpRouter.HttpRouter<E, R>): HttpRouter.HttpRouter<E, R> =>
    HttpRouter.get(self, path, httpApp(options))

/**
 * Adds the metrics to a router that is a service: one made with `HttpRouter.Tag`, or that of an `HttpApi`, as in
 * `Prometheus.layerRoute(HttpApiBuilder.Router, "/metrics")` beside the layers of its groups.
 *
 * @since 0.1.0
 * @category servers
 */
export const layerRoute = <Self, Name extends string, E, R>(
  router: HttpRouter.HttpRouter.TagClass<Self, Name, E, R>,
  path: HttpRouter.PathInput,
  options?: Options
): Layer.Layer<never> => router.use((service) => service.get(path, httpApp(options)))
