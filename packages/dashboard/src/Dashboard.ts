/**
 * Serves a page that shows sources while they run, over any `HttpServer`. `NodeDashboard` has a server of its own, which only this machine
 * reaches.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as HttpPlatform from "@effect/platform/HttpPlatform"
import type * as Etag from "@effect/platform/Etag"
import type * as Path from "@effect/platform/Path"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { api } from "./Api.js"
import * as Assets from "./internal/assets.js"
import { makeLife } from "./internal/events.js"
import * as Handlers from "./internal/handlers.js"
import * as Sampler from "./internal/sampler.js"
import { guard } from "./internal/security.js"
import type { Source } from "./Source.js"

/**
 * The options of a dashboard.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What it shows, each under a name of its own. */
  readonly sources: ReadonlyArray<Source>
  /** What actions, and a look at inputs and outputs, need. Random, and at least 16 characters long: else it is a defect (RangeError). */
  readonly token: Redacted.Redacted
  /** Names, beside those of the loopback, under which the server may be asked, without ports. Default: none. */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /** How often each source is read. Default: 1 second. */
  readonly interval?: Duration.DurationInput | undefined
  /** How many readings are kept for the charts. Default: 600. */
  readonly history?: number | undefined
  /** The folder with the files of the page. Default: `dist/page` of this package; a program that is bundled with it has a copy elsewhere. */
  readonly page?: string | undefined
}

/**
 * The page and its API on the server of the context, until the scope closes; open streams of events end then.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  never,
  PlatformError,
  HttpServer.HttpServer | FileSystem | Path.Path | HttpPlatform.HttpPlatform | Etag.Generator
> =>
  Layer.unwrapScoped(
    Effect.gen(function* () {
      const { allowedHosts = [], history = 600, interval = "1 second", page: folder, sources, token } = options
      if (Redacted.value(token).length < 16) throw new RangeError("the token must be at least 16 characters long")
      const assets = yield* Assets.load(folder)
      const watched = yield* Effect.forEach(sources, (source) => Sampler.watch(source, { interval, kept: history }))
      const life = yield* makeLife
      const all: Handlers.All = new Map(watched.map((one) => [one.source.name, one]))
      const page = HttpApiBuilder.Router.use((router) =>
        router.get(
          "/*",
          Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) => {
            const [path = ""] = url.split("?")
            const asset = assets.get(path === "/" ? "index.html" : path.slice(1))
            return asset === undefined
              ? HttpServerResponse.text("There is nothing here.\n", { status: 404 })
              : HttpServerResponse.uint8Array(asset.body, { contentType: asset.type })
          })
        )
      )
      const handlers = HttpApiBuilder.api(api).pipe(
        Layer.provide([Handlers.view({ all, life }), Handlers.actions(all)]),
        Layer.provide(Handlers.authorization(token))
      )
      return HttpApiBuilder.serve(guard(allowedHosts)).pipe(
        Layer.provide(HttpApiBuilder.middlewareOpenApi({ path: "/api/openapi.json" })),
        Layer.provide(page),
        Layer.provide(handlers)
      )
    })
  )
