/** A transport that answers by a script and notes when it was asked what. */
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { type HttpError, inProcess, requestError } from "../../src/internal/effect/httpClientError.js"
import { responseOf } from "../../src/internal/http/bufferedBody.js"
import * as RunPod from "../../src/services/RunPod.js"

/** One answer of the script. */
export type Answer =
  | { readonly status: number; readonly body: string; readonly headers?: Record<string, string> }
  /** An answer whose body comes as this stream does, on the test's clock. */
  | { readonly status: number; readonly stream: Stream.Stream<Uint8Array>; readonly headers?: Record<string, string> }
  /** An error of the transport's own making. */
  | { readonly fail: (request: HttpClientRequest.HttpClientRequest) => HttpError }
  /** A connection that breaks after the request was sent. */
  | "reset"
  /** A connection that is never made. */
  | "refused"
  /** No answer, ever. */
  | "hang"
  /** Headers and the beginning of a body, and then nothing. */
  | "stall"

export const json = (body: unknown, status = 200, headers: Record<string, string> = {}): Answer => ({
  status,
  body: JSON.stringify(body),
  headers: { "content-type": "application/json", ...headers }
})

export interface Asked {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
  readonly at: number
}

const transportError = (request: HttpClientRequest.HttpClientRequest, code: string) =>
  requestError(request, "Transport", Object.assign(new Error(`socket: ${code}`), { code }))

const bodyOf = (request: HttpClientRequest.HttpClientRequest) =>
  request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : undefined

/** An answer whose body comes as this stream does, read as a stream or as text. */
const answerOf = (
  request: HttpClientRequest.HttpClientRequest,
  { headers = {}, status }: { readonly status: number; readonly headers?: Record<string, string> | undefined },
  stream: Stream.Stream<Uint8Array>
): HttpClientResponse.HttpClientResponse =>
  Object.create(responseOf(request, status, { headers: Object.entries(headers) }), {
    stream: { value: stream },
    text: { value: Stream.mkString(Stream.decodeText(stream)) }
  })

const bytesOf = (text: string): Stream.Stream<Uint8Array> => Stream.sync(() => new TextEncoder().encode(text))

/** A body that comes a byte at a time, one every `interval`. */
export const drip = (text: string, interval: Duration.DurationInput): Stream.Stream<Uint8Array> =>
  Stream.fromIterable(new TextEncoder().encode(text)).pipe(
    Stream.mapEffect((byte) => Effect.as(Effect.sleep(interval), Uint8Array.of(byte)))
  )

/**
 * A client whose n-th request gets the n-th answer; the last answer is repeated. `asked` notes every request,
 * `aborted` counts those that were interrupted. `latency` is how long each answer takes.
 */
export const make = (
  answers: ReadonlyArray<Answer> | ((request: Asked) => Answer),
  latency: Duration.DurationInput | ((request: Asked) => Duration.DurationInput) = 0
) => {
  const asked: Array<Asked> = []
  let aborted = 0
  const client = inProcess((request, url) =>
    Effect.gen(function* () {
      const entry: Asked = {
        method: request.method,
        url: url.pathname + url.search,
        authorization: request.headers["authorization"],
        headers: { ...request.headers },
        body: bodyOf(request),
        at: yield* Clock.currentTimeMillis
      }
      asked.push(entry)
      const answer =
        typeof answers === "function" ? answers(entry) : answers[Math.min(asked.length, answers.length) - 1]
      const takes = typeof latency === "function" ? latency(entry) : latency
      if (Duration.toMillis(takes) > 0) yield* Effect.sleep(takes)
      if (answer === undefined || answer === "hang") return yield* Effect.never
      if (answer === "reset") return yield* Effect.fail(transportError(request, "ECONNRESET"))
      if (answer === "refused") return yield* Effect.fail(transportError(request, "ECONNREFUSED"))
      if (answer === "stall") {
        return answerOf(request, { status: 200 }, Stream.concat(bytesOf(`{"id":`), Stream.never))
      }
      if ("fail" in answer) return yield* Effect.fail(answer.fail(request))
      if ("stream" in answer) return answerOf(request, answer, answer.stream)
      const { headers = {}, status } = answer
      // Answers with these statuses have no body.
      return status === 204 || status === 205 || status === 304
        ? HttpClientResponse.fromWeb(request, new Response(null, { status, headers }))
        : answerOf(request, answer, bytesOf(answer.body))
    }).pipe(Effect.onInterrupt(() => Effect.sync(() => aborted++)))
  )
  return {
    asked,
    /** When each request was made, in milliseconds of the test's clock. */
    times: () => asked.map(({ at }) => at),
    aborted: () => aborted,
    layer: (options: Partial<RunPod.Options> = {}) =>
      RunPod.layer({ apiKey: "test-key", baseUrl: "https://runpod.test/v2", ...options }).pipe(
        Layer.provide(Layer.succeed(HttpClient.HttpClient, client))
      ),
    client
  }
}
