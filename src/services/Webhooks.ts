/**
 * Webhooks that can be trusted. RunPod does not sign what it delivers, and may deliver it twice, late or never. So each URL
 * holds a token, signed for one job and a time; each delivery is stored before it is acknowledged; and what it says is a
 * hint, which `Endpoint` and `JobHandle` confirm by asking RunPod.
 *
 * @example
 * ```ts
 * import { Webhooks } from "effect-runpod"
 * import { Config, Effect, Stream } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const webhooks = yield* Webhooks.Webhooks
 *   yield* Stream.runForEach(webhooks.events, ({ job, key }) => Effect.log(`${key}: ${job.id} is ${job.status}`))
 * })
 *
 * export const main = program.pipe(
 *   Effect.provide(
 *     Webhooks.layerConfig({ secret: Config.redacted("WEBHOOK_SECRET"), url: "https://app.example/hooks/runpod" })
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Stream from "effect/Stream"
import type { WebhookError, WebhookSetupError, WebhookStoreError } from "../errors/WebhookError.js"
import { runtime } from "../internal/effect/fiber.js"
import { read } from "../internal/text/config.js"
import * as Handler from "../internal/webhooks/handler.js"
import * as receiver from "../internal/webhooks/receiver.js"
import * as settings from "../internal/webhooks/settings.js"
import { Webhooks } from "../internal/webhooks/tag.js"
import { FlightRecorder, type Service as FlightService } from "../layers/FlightRecorder.js"
import * as WebhookStore from "../layers/WebhookStore.js"
import type * as WebhookEvent from "../schemas/WebhookEvent.js"

/**
 * The tag of the service.
 *
 * @since 0.1.0
 * @category tags
 */
export { Webhooks }

/**
 * A key that tokens are signed with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  /** Names the key in every URL: 1 to 64 letters, digits, `-` or `_`. Default: drawn from the secret. */
  readonly id?: string | undefined
  /** At least 16 characters that cannot be guessed, such as 32 random bytes in base64. */
  readonly secret: string | Redacted.Redacted
}

/**
 * What all `Webhooks` layers take besides their keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface BaseOptions {
  /** Where the receiver can be reached from outside, as RunPod is to call it. */
  readonly url: string | URL
  /** Signing secrets (`whsec_…`) of relays that send standard webhooks, at most 5 minutes from now. Default: none. */
  readonly relaySecrets?: ReadonlyArray<string | Redacted.Redacted> | undefined
  /** The largest body, in bytes. RunPod's can be larger than 10 MiB. Default: 32 MiB. */
  readonly bodyLimit?: number | undefined
  /** How long a server waits for a whole body. Default: 30 seconds. */
  readonly readTimeout?: Duration.DurationInput | undefined
  /** Reads a body's JSON. Default: `JSON.parse`, which rounds integers above 2^53. */
  readonly parseJson?: ((text: string) => unknown) | undefined
}

/**
 * What tokens are signed with: `secret`, or `keys` where keys are rotated. The first key signs, all are accepted: put
 * the new key first, and drop the old one when the last token it signed has expired.
 *
 * @since 0.1.0
 * @category models
 */
export type Secrets =
  | { readonly secret: string | Redacted.Redacted; readonly keys?: never }
  | { readonly keys: readonly [Key, ...ReadonlyArray<Key>]; readonly secret?: never }

/**
 * The options of a `Webhooks` layer.
 *
 * @since 0.1.0
 * @category models
 */
export type Options = BaseOptions & Secrets

/**
 * The options of `layerConfig`: each a value, or a `Config` of one. Without `secret` and `keys` the secret comes from
 * `RUNPOD_WEBHOOK_SECRET`, without `url` the URL from `RUNPOD_WEBHOOK_URL`.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigOptions = {
  readonly [K in keyof Options]?: Options[K] | Config.Config<Exclude<Options[K], undefined>> | undefined
}

/**
 * Headers as servers have them: a record, or the `Headers` of the web.
 *
 * @since 0.1.0
 * @category models
 */
export type Headers =
  | { readonly [name: string]: string | ReadonlyArray<string> | undefined }
  | { readonly get: (name: string) => string | null }

/**
 * A delivery as it came.
 *
 * @since 0.1.0
 * @category models
 */
export interface Incoming {
  /** With its query as it stands; the path alone will do. */
  readonly url: string | URL
  readonly headers?: Headers | undefined
  /** As it came, before anything has parsed it. */
  readonly body: Uint8Array | string
}

/**
 * A delivery that was accepted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Receipt
  extends WebhookEvent.WebhookEvent, Pick<WebhookStore.Delivery, "endpointId" | "key" | "receivedAt"> {
  /** The same end of the job was delivered before: nothing happened. */
  readonly duplicate: boolean
}

/**
 * A delivery that was stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Received extends Omit<Receipt, "duplicate">, Pick<WebhookStore.Stored, "sequence"> {}

/**
 * What a URL is issued for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Issue {
  readonly endpointId: string
  /** What the application calls the job, readable in the URL. More than 512 characters are a defect. */
  readonly key: string
  /** How long the URL is good for. Default: 25 hours, an hour more than RunPod keeps a job unless its `ttl` says otherwise. */
  readonly expiresIn?: Duration.DurationInput | undefined
  /** Another base than that of the layer, such as a relay's. One with a `token` in its query is a defect. */
  readonly url?: string | URL | undefined
}

/**
 * The service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** A URL for the `webhook` of one job. Hand it to nobody else: who has it can claim that the job has ended. */
  readonly issue: (options: Issue) => Effect.Effect<URL>
  /** What can be said of a delivery before its body has been read. */
  readonly verify: (incoming: Omit<Incoming, "body">) => Effect.Effect<void, WebhookError>
  /** Verifies, stores and publishes a delivery: then answer with a 2xx, after a failure with `WebhookError.statusOf`. */
  readonly receive: (incoming: Incoming) => Effect.Effect<Receipt, WebhookError>
  /**
   * The deliveries that are stored from now on. Each subscriber reads them from the store at its own pace: a slow one
   * costs no memory, and misses only what the store no longer keeps.
   */
  readonly events: Stream.Stream<Received, WebhookStoreError>
  /** The deliveries that are kept with a higher sequence number, and then those to come. 0 for all. */
  readonly eventsSince: (sequence: number) => Stream.Stream<Received, WebhookStoreError>
  /** The sequence number of the newest delivery so far, for `eventsSince`; 0 when there is none. */
  readonly latest: Effect.Effect<number, WebhookStoreError>
  /** The newest delivery that fits, or else the first to come. */
  readonly next: (match: WebhookStore.Match) => Effect.Effect<Received, WebhookStoreError>
  /** The largest body, in bytes. */
  readonly bodyLimit: number
  /** How long a server waits for a whole body. */
  readonly readTimeout: Duration.Duration
}

/**
 * The defaults of `Options` and `Issue`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = settings.defaults

/**
 * The service over a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Service, WebhookSetupError, WebhookStore.WebhookStore> =>
  Effect.gen(function* () {
    const service = yield* receiver.make(options, yield* WebhookStore.WebhookStore)
    const recorder = yield* Effect.serviceOption(FlightRecorder)
    return Option.isNone(recorder) ? service : recorded(service, recorder.value)
  })

/** The service, which tells a recorder of each delivery. */
const recorded = (service: Service, { onDelivery }: FlightService): Service => ({
  ...service,
  receive: (incoming) => {
    const url = String(incoming.url)
    return Effect.tapBoth(service.receive(incoming), {
      onFailure: ({ _tag }) => Effect.sync(() => onDelivery({ url, received: { error: _tag } })),
      onSuccess: (received) => Effect.sync(() => onDelivery({ url, received }))
    })
  }
})

/**
 * The service with a store in memory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Webhooks, WebhookSetupError> =>
  Layer.provide(layerStore(options), WebhookStore.layerMemory())

/**
 * The service over a store of one's choice, such as `WebhookStore.layerFile`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = (options: Options): Layer.Layer<Webhooks, WebhookSetupError, WebhookStore.WebhookStore> =>
  Layer.effect(Webhooks, make(options))

const fromConfig = (options: ConfigOptions): Effect.Effect<Options, ConfigError.ConfigError> =>
  Effect.zipWith(
    settings.fromConfig(options),
    read(options.url ?? Config.string("RUNPOD_WEBHOOK_URL")),
    (others, url) => ({ ...others, url })
  )

/**
 * `layer` from `Config`; what is not given comes from `RUNPOD_WEBHOOK_SECRET` and `RUNPOD_WEBHOOK_URL`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: ConfigOptions = {}
): Layer.Layer<Webhooks, WebhookSetupError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(fromConfig(options), layer))

/**
 * `layerStore` with options from `Config`, as `layerConfig` reads them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfigStore = (
  options: ConfigOptions = {}
): Layer.Layer<Webhooks, WebhookSetupError | ConfigError.ConfigError, WebhookStore.WebhookStore> =>
  Layer.unwrapEffect(Effect.map(fromConfig(options), layerStore))

/**
 * The receiver as an app of `@effect/platform`, for any router or server. It answers POST with 200, 4xx or 503 and no body,
 * and keeps the URL, which holds the token, out of the server's log and spans.
 *
 * @since 0.1.0
 * @category servers
 */
export const httpApp: HttpApp.Default<never, Webhooks> = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const service = yield* Webhooks
  yield* Handler.redactSpans
  return HttpServerResponse.empty({ status: yield* Handler.handle(service, Handler.fromPlatform(request)) })
}).pipe(HttpMiddleware.withLoggerDisabled)

/**
 * Adds the receiver to an `HttpRouter`, at a path.
 *
 * @since 0.1.0
 * @category servers
 */
export const route =
  (path: HttpRouter.PathInput) =>
  <E, R>(self: HttpRouter.HttpRouter<E, R>): HttpRouter.HttpRouter<E, R | Webhooks> =>
    HttpRouter.all(self, path, httpApp)

/**
 * Adds the receiver to a router that is a service: one made with `HttpRouter.Tag`, or that of an `HttpApi`, as in
 * `Webhooks.layerRoute(HttpApiBuilder.Router, "/hooks/runpod")` beside the layers of its groups.
 *
 * @since 0.1.0
 * @category servers
 */
export const layerRoute = <Self, Name extends string, E, R>(
  router: HttpRouter.HttpRouter.TagClass<Self, Name, E, R>,
  path: HttpRouter.PathInput
): Layer.Layer<never, never, Webhooks> =>
  router.use((service) =>
    Effect.flatMap(Webhooks, (webhooks) => service.all(path, Effect.provideService(httpApp, Webhooks, webhooks)))
  )

/**
 * The receiver as a function from a `Request` to a `Response`, for any server and any serverless host. It never rejects.
 *
 * @since 0.1.0
 * @category servers
 */
export const webHandler: Effect.Effect<(request: Request) => Promise<Response>, never, Webhooks> = Effect.map(
  runtime<Webhooks>(),
  (current) => {
    const handler = HttpApp.toWebHandlerRuntime(current)(httpApp)
    return (request) => handler(request)
  }
)
