/**
 * The OpenAI route of a queue endpoint, `{baseUrl}/{endpointId}/openai/v1/…`, as an `HttpClient` and as a `fetch`.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as Endpoint from "effect-runpod/Endpoint"
import type { JobError } from "effect-runpod/JobError"
import type { Limit } from "effect-runpod/RateLimits"
import type { RunPod } from "effect-runpod/RunPod"
import { isRunPodError, type RunPodError } from "effect-runpod/RunPodError"
import * as RunPodHttpClient from "effect-runpod/RunPodHttpClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fetch from "./internal/fetch.js"
import * as RouteAnswer from "./internal/routeAnswer.js"
import { hasWorker } from "./internal/warmth.js"
import { ColdStartError, type ModelError } from "./ModelError.js"

/**
 * Options of `client`, `httpClient` and `fetch`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How long an attempt may take until the answer's headers; numbers are milliseconds. An answer that is not streamed has them when it is
   * whole. RunPod's edge gives up after about 100 seconds. Default: 2 minutes.
   */
  readonly headersTimeout?: Duration.DurationInput | undefined
  /** How long the body of an answer may stand still; numbers are milliseconds. Default: 1 minute. */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /** How many requests may be sent, for this endpoint. Default: the layer's limit of `runSync`, which is RunPod's for the route. */
  readonly limit?: Limit | undefined
}

/**
 * The defaults of `Options`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  headersTimeout: "2 minutes",
  idleTimeout: "1 minute"
} as const satisfies Options

/** What of a URL names the route: all behind its `/v1`, whatever stands before it. */
const routeOf = (url: string): string => {
  const path = url.replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, "")
  const at = path.search(/\/v1(?=[/?#]|$)/)
  return at === -1 ? path : path.slice(at + "/v1".length)
}

/** No first byte came: at the edge's deadline, or at ours. */
const toColdStart = (error: RunPodError): RunPodError | ColdStartError => {
  const cause = error._tag === "SubmitAmbiguousError" ? error.cause : error
  const isLate =
    (cause?._tag === "ServerError" && cause.status === 524) ||
    (cause?._tag === "RequestTimeoutError" && cause.phase === "Headers" && cause.sent === "Maybe")
  return isLate ? new ColdStartError({ endpointId: error.endpointId, status: cause.status, cause: error }) : error
}

/**
 * The route as a client with tagged errors. A request's URL counts from its `/v1` on (`/v1/models`, `https://api.openai.com/v1/models`) or
 * is a path below it (`/models`); the rest, and an `authorization` of its own, are replaced.
 *
 * - Errors of the worker fail with `WorkerError`, also those inside an answer 200 and inside a stream.
 * - A stream that ends without its end fails with `IncompleteStreamError`; half a frame is not given, nor what comes behind the end, nor pings. A
 *   route that is not known needs no end, unless its events have one.
 * - A completion that came whole in place of a stream is given as its only chunk, and vectors in the format that was asked for.
 * - An answer to completions, embeddings or `/responses` that has none, or a frame of another kind, fails with `MalformedAnswerError`. The
 *   layer's key is in no error.
 * - A request that may have reached a worker is not sent again: `SubmitAmbiguousError`, or `ColdStartError` where no first byte came.
 *
 * @since 0.1.0
 * @category constructors
 */
export const client = (
  endpointId: string,
  options: Options = {}
): Effect.Effect<HttpClient.HttpClient.With<RunPodError | ModelError>, never, RunPodHttpClient.RunPodHttpClient> =>
  Effect.map(RunPodHttpClient.RunPodHttpClient, (client) => {
    const { headersTimeout = defaults.headersTimeout, idleTimeout = defaults.idleTimeout, limit } = options
    const route = RunPodHttpClient.httpClient<ModelError>(client, {
      name: "openai",
      endpointId,
      baseUrl: `${client.baseUrl}/${encodeURIComponent(endpointId)}/openai/v1`,
      rewrite: routeOf,
      repeat: "Submit",
      limit: limit ?? client.limits.operations.runSync,
      headersTimeout,
      idleTimeout,
      errorOf: RouteAnswer.errorOf,
      read: (answer, request) => RouteAnswer.read(answer, request, client.scrub)
    })
    return HttpClient.makeWith<never, never, RunPodError | ModelError, never>(
      Effect.flatMap((request) =>
        Effect.mapError(route.execute(request), (error) => (isRunPodError(error) ? toColdStart(error) : error))
      ),
      Effect.succeed
    )
  })

/**
 * The same with the errors of any `HttpClient`, for code that is written for one, such as `@effect/ai-openai`. The `cause` of each is the
 * original.
 *
 * @since 0.1.0
 * @category constructors
 */
export const httpClient = (
  endpointId: string,
  options?: Options
): Effect.Effect<HttpClient.HttpClient, never, RunPodHttpClient.RunPodHttpClient> =>
  Effect.map(client(endpointId, options), RunPodHttpClient.withHttpErrors)

/**
 * The same as a `fetch`, for clients outside of Effect: `new OpenAI({ apiKey: "unused", fetch })`. Errors are answers in OpenAI's form. One
 * after which a model was asked, or may have been, has the status 424 and `x-should-retry: false`, so that no client asks a second time by
 * itself, nor after its own timeout; `error.code` is its tag. An abort closes the connection. It works as long as the layer is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fetch = (
  endpointId: string,
  options?: Options
): Effect.Effect<typeof globalThis.fetch, never, RunPodHttpClient.RunPodHttpClient> =>
  Effect.zipWith(client(endpointId, options), Effect.runtime(), Fetch.make)

/**
 * Waits until a worker of the endpoint is warm. When `/health` shows none, it submits a job that asks for the list of models, which starts
 * one, and waits for it; interrupting cancels that job. A worker stays warm for the endpoint's idle timeout.
 *
 * @since 0.1.0
 * @category combinators
 */
export const warm = (
  endpointId: string,
  options: Pick<Endpoint.CallOptions<never>, "timeout"> = {}
): Effect.Effect<void, RunPodError | JobError, RunPod> =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make(endpointId, { input: Schema.Unknown, output: Schema.Unknown })
    if (hasWorker(yield* endpoint.health)) return
    yield* endpoint.call({ openai_route: "/v1/models" }, options)
  })
