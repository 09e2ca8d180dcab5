/**
 * A load-balancing endpoint: an `HttpClient` for the routes of the program's own server on its workers, `{id}.api.runpod.ai`. There are
 * no jobs and there is no queue: a worker answers each request itself.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { LoadBalancer } from "effect-runpod"
 *
 * export const program = Effect.gen(function* () {
 *   const balancer = yield* LoadBalancer.make("abc123")
 *   const answer = yield* balancer.get("/models")
 *   return yield* answer.json
 * }).pipe(Effect.catchTag("NoWorkerError", () => Effect.succeed("no worker is there yet")))
 * ```
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import {
  BadRequestError,
  type Context,
  type ErrorResponse,
  fromResponse,
  NoWorkerError,
  RequestTimeoutError,
  type RunPodError,
  WorkerGoneError
} from "../errors/RunPodError.js"
import type { Restore } from "../internal/effect/fiber.js"
import { withCaller } from "../internal/http/requestOptions.js"
import * as Timer from "../internal/pace/timer.js"
import { WaitQueue } from "../internal/pace/waitQueue.js"
import { defined, isJsonObject, parseJson } from "../internal/text/json.js"
import { isAbsoluteUrl } from "../internal/text/url.js"
import type { Limit } from "../layers/RateLimits.js"
import { httpClient, type OpenRequest, RunPodHttpClient, type Service } from "../layers/RunPodHttpClient.js"
import * as EndpointId from "../schemas/EndpointId.js"
import * as ErrorBody from "../schemas/ErrorBody.js"

/**
 * Options of `make`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How long an attempt may take until the answer's headers; numbers are milliseconds. RunPod waits up to 2 minutes for a worker, which then
   * has 5.5 minutes to process the request. Default: 7.5 minutes.
   */
  readonly headersTimeout?: Duration.DurationInput | undefined
  /** How long the body of an answer may stand still; numbers are milliseconds. Default: 5.5 minutes. */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /** How many requests may be sent. Default: any number. */
  readonly limit?: Limit | undefined
}

/**
 * Options of a session.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionOptions {
  /**
   * What becomes of requests while the session's worker has no room: with `strict` they wait for it up to 5 minutes, with `prefer`
   * another worker takes them. `strict-resume` is RunPod's third. Default: `strict`.
   */
  readonly affinity?: "strict" | "strict-resume" | "prefer" | undefined
  /** The worker of an earlier session. Default: the one that answers its first request. */
  readonly workerId?: string | undefined
}

/**
 * A client whose requests go to one worker. While none is known yet, they go one after another.
 *
 * @since 0.1.0
 * @category models
 */
export interface Session extends HttpClient.HttpClient.With<RunPodError> {
  /** The worker; `None` until it has answered the first request. */
  readonly workerId: Effect.Effect<Option.Option<string>>
}

/**
 * A client for one endpoint. Requests name a path, or a URL below `baseUrl`. An answer of the program's server is passed on as it is,
 * whatever its status: only what RunPod itself refuses is an error. What names a worker (`X-Runpod-Worker-Id`) is the server's.
 *
 * - `NoWorkerError`: no worker took it, which proves that it did nothing, so that the layer's `RetryPolicy` sends it again;
 * - `PayloadTooLargeError`: over 30 MB, measured before it is sent;
 * - a connection that is lost fails with `TransportError`, a deadline with `RequestTimeoutError`: after GET, HEAD and OPTIONS it is sent
 *   again, after others only where `sent` is `No`;
 * - a body that is a stream is sent once, since it may be one that can be read once.
 *
 * `RunPodHttpClient.withHttpErrors` makes of it what code takes that is written for any `HttpClient`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadBalancer extends HttpClient.HttpClient.With<RunPodError> {
  readonly endpointId: string
  /** Without a slash at its end. */
  readonly baseUrl: string
  /** Begins a session. When its worker is gone, requests fail with `WorkerGoneError`. */
  readonly session: (options?: SessionOptions) => Effect.Effect<Session>
}

/**
 * The defaults of `Options`, and the most that RunPod takes in a body, in bytes. Source: RunPod's documentation of load balancing.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  headersTimeout: "450 seconds",
  idleTimeout: "330 seconds",
  largestBody: 30_000_000
} as const satisfies Options & { readonly largestBody: number }

/** The header that names the worker, in requests and answers. */
const workerHeader = "x-runpod-worker-id"

const refuse = (detail: string): BadRequestError =>
  new BadRequestError({ operation: "loadBalancer", method: "GET", path: "", detail })

/** Where the routes of an endpoint are, when its id alone is given: RunPod's host below that of its API. */
const baseUrlOf = (id: string, apiUrl: string): string | undefined => {
  const url = URL.canParse(apiUrl) ? new URL(apiUrl) : undefined
  return url?.hostname === "api.runpod.ai" ? `${url.protocol}//${id}.${url.host}` : undefined
}

const addressOf = (idOrUrl: string | URL, apiUrl: string): Effect.Effect<Address, BadRequestError> => {
  const text = String(idOrUrl)
  if (!isAbsoluteUrl(text)) {
    const problem =
      EndpointId.problemOf(text) ?? (/^[\w-]+$/.test(text) ? undefined : "it cannot be part of a host's name")
    if (problem !== undefined) return Effect.fail(refuse(`the endpoint id is not valid: ${problem}`))
    const baseUrl = baseUrlOf(text, apiUrl)
    return baseUrl === undefined
      ? Effect.fail(
          refuse("the base URL of the layer is not RunPod's, so give the URL of the load balancer, not an id")
        )
      : Effect.succeed({ endpointId: text, baseUrl })
  }
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) return Effect.fail(refuse("the URL must be http or https"))
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return Effect.fail(refuse("the URL must end with its path, and hold no user or password"))
  }
  const [endpointId = "", ...host] = url.hostname.split(".")
  return Effect.succeed({
    endpointId: host.join(".") === "api.runpod.ai" ? endpointId : url.host,
    baseUrl: url.href.replace(/\/+$/, "")
  })
}

/** What RunPod says when no worker takes a request, and when the one that it is for is gone. */
const noWorker: ReadonlySet<string> = new Set([
  "no workers available",
  "timed out waiting for worker",
  "worker_timeout"
])
const workerGone = "affinity_worker_gone"

/** How long an answer that names no worker is read to tell whose it is, in milliseconds. RunPod's come whole. */
const longestDoubt = 2_000

/** A worker has answered what names one: the program's server has acted, whatever the answer says. */
const errorWait: OpenRequest["errorWait"] = ({ headers }) => (headers[workerHeader] === undefined ? longestDoubt : 0)

/** What RunPod refuses. The rest is the answer of the program's server, also when it is an error. */
const errorOf = (workerId: () => string | undefined) => (where: Context, response: ErrorResponse) => {
  const { status, text } = response
  const { code, detail, form } = ErrorBody.fromText(text)
  const body = parseJson(text)
  const isProblem = form === "RunPod" && isJsonObject(body) && body["status"] === status
  // It says this and nothing else: plain, or as `{"error": …}`.
  const isBare = isJsonObject(body)
    ? Object.keys(body).join() === "error" && body["error"] === detail
    : form === "Other"
  if (!isProblem && !isBare) return undefined
  const at = { ...where, status, ...defined({ detail, workerId: workerId() }) }
  const title = isProblem ? body["title"] : undefined
  const said = [code, detail, title].map((text) => (typeof text === "string" ? text.toLowerCase() : ""))
  if (status === 400 && said.some((text) => noWorker.has(text))) return new NoWorkerError(at)
  if (status === 404 && said.includes(workerGone)) return new WorkerGoneError(at)
  return isProblem ? fromResponse(where, response) : undefined
}

type Address = Pick<LoadBalancer, "endpointId" | "baseUrl">

/** What a client knows of workers, and learns of them. */
interface WorkerOfClient {
  readonly known: () => string | undefined
  readonly onAnswer: (workerId: string | undefined) => void
}

const clientOf = (client: Service, { baseUrl, endpointId }: Address, options: Options, worker: WorkerOfClient) =>
  httpClient(client, {
    ...defaults,
    ...defined(options),
    name: "loadBalancer",
    endpointId,
    baseUrl,
    repeat: "Once",
    errorOf: errorOf(worker.known),
    errorWait,
    read: (answer) => {
      worker.onAnswer(answer.headers[workerHeader])
      return Effect.succeed(answer)
    }
  })

/** Waits for its turn until the deadline that its request is under. */
const enter = (queue: WaitQueue, restore: Restore): Effect.Effect<boolean> =>
  withCaller(({ options: { deadline } }) =>
    deadline === Infinity
      ? queue.enter(restore)
      : Effect.scoped(Effect.flatMap(Timer.make, (timer) => queue.enter(restore, { timer, deadline: () => deadline })))
  )

/** Of a request that came to its deadline before its turn, the client knows no more than that it is too late. */
const waitedFor = (waited: Duration.Duration) => (error: RunPodError) => {
  if (error._tag !== "RequestTimeoutError" || error.sent === "Maybe") return error
  const { endpointId, method, operation, path, phase, sent } = error
  const timeout = Duration.millis(Math.round(Duration.toMillis(waited)))
  return new RequestTimeoutError({ endpointId, method, operation, path, phase, sent, timeout })
}

/** A client that sends its first requests one after another, until it knows its worker. */
const sessionOf = (
  make: (worker: WorkerOfClient) => HttpClient.HttpClient.With<RunPodError>,
  { affinity = "strict", workerId }: SessionOptions
): Session => {
  let known = workerId
  const client = make({ known: () => known, onAnswer: (answered) => (known ??= answered) })
  const queue = new WaitQueue()
  const send = (request: HttpClientRequest.HttpClientRequest) =>
    client.execute(
      known === undefined
        ? request
        : HttpClientRequest.setHeader(request, workerHeader, affinity === "prefer" ? known : `${affinity} ${known}`)
    )
  /** Those that have waited for the first answer go on together. */
  const sendInTurn = (request: HttpClientRequest.HttpClientRequest) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.timed(enter(queue, restore)), ([waited, isHead]) => {
        if (!isHead) return Effect.mapError(restore(send(request)), waitedFor(waited))
        const leave = Effect.sync(() => queue.leave())
        return known === undefined
          ? Effect.ensuring(restore(send(request)), leave)
          : Effect.zipRight(leave, restore(Effect.suspend(() => send(request))))
      })
    )
  const session = HttpClient.makeWith<never, never, RunPodError, never>(
    Effect.flatMap((request) => Effect.suspend(() => (known === undefined ? sendInTurn(request) : send(request)))),
    Effect.succeed
  )
  return Object.assign(session, { workerId: Effect.sync(() => Option.fromNullable(known)) })
}

/**
 * The client of a load-balancing endpoint, by its id, or by its URL, such as that of an emulator. It gets the layer's API key.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  idOrUrl: string | URL,
  options: Options = {}
): Effect.Effect<LoadBalancer, BadRequestError, RunPodHttpClient> =>
  Effect.gen(function* () {
    const client = yield* RunPodHttpClient
    const address = yield* addressOf(idOrUrl, client.baseUrl)
    const of = (worker: WorkerOfClient) => clientOf(client, address, options, worker)
    return Object.assign(of({ known: () => undefined, onAnswer: () => undefined }), {
      ...address,
      session: (choices: SessionOptions = {}) => Effect.sync(() => sessionOf(of, choices))
    })
  })
