import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as Stream from "effect/Stream"
import { valueIn } from "../../internal/effect/fiberRef.js"
import * as HttpErrors from "../../internal/effect/httpClientError.js"
import { currentAttempt } from "../../internal/http/sendWithClient.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"

/** A body is taken off the connection as it comes until so much of it lies unread, in bytes. */
const buffer = new ByteLengthQueuingStrategy({ highWaterMark: 256 * 1024 })
/** Statuses with which a `Response` can have no body; what comes of one is thrown away. */
const bodiless = [204, 205, 304]

/** A response that can be read whole more than once, and in different ways. */
class RepeatableResponse extends Response {
  override readonly arrayBuffer = () => this.clone().arrayBuffer()
  override readonly text = () => this.clone().text()
  override readonly formData = () => this.clone().formData()
}

interface Sendable {
  readonly body: Dispatcher.Request["body"]
  /** What the body itself says it is. */
  readonly type?: string | null | undefined
}

const sendableOf = (body: HttpBody.HttpBody): Effect.Effect<Sendable, unknown> => {
  switch (body._tag) {
    case "Empty":
      return Effect.succeed({ body: null })
    case "Uint8Array":
      return Effect.succeed({ body: body.body })
    case "FormData":
      return Effect.tryPromise(async () => {
        const form = new globalThis.Response(body.formData)
        return { body: new Uint8Array(await form.arrayBuffer()), type: form.headers.get("content-type") }
      })
    case "Stream":
      return Effect.map(Stream.toAsyncIterableEffect(body.stream), (body) => ({ body }))
    case "Raw":
      return typeof body.body === "string"
        ? Effect.succeed({ body: body.body })
        : Effect.fail(new TypeError("a raw body must be a string"))
  }
}

const toRequest = (
  request: HttpClientRequest.HttpClientRequest,
  url: URL,
  { body, type }: Sendable
): Dispatcher.Request => ({
  method: request.method,
  origin: url.origin,
  path: url.pathname + url.search,
  headers: Object.entries(
    typeof type === "string" ? { ...request.headers, "content-type": type } : request.headers
  ).flat(),
  body,
  isHeld: url.searchParams.has("wait")
})

const fieldsOf = (headers: Parameters<Dispatcher.Handler["onHead"]>[1]): Array<[string, string]> =>
  Object.entries(headers).flatMap(([name, value = []]) =>
    (typeof value === "string" ? [value] : value).map((field): [string, string] => [name, field])
  )

/**
 * A dispatcher as an `HttpClient`: it makes no spans and follows no redirects. Unlike the stock client over undici it knows
 * whether a request that ends at a deadline had got a connection, so that a submit which never had one is not ambiguous.
 */
export const make = (dispatcher: Dispatcher.Service): HttpClient.HttpClient =>
  HttpClient.make((request, url, signal, fiber) => {
    const failure = (reason: "Encode" | "Transport") => (cause: unknown) =>
      HttpErrors.requestError(request, reason, cause)
    const attempt = valueIn(fiber, currentAttempt)
    if (attempt !== undefined) attempt.sent = "No"
    const exchange = (sendable: Sendable) =>
      Effect.async<HttpClientResponse.HttpClientResponse, HttpErrors.RequestError>((resume) => {
        let hasHead = false
        let body: ReadableStreamDefaultController<Uint8Array> | undefined
        const call = dispatcher.dispatch(toRequest(request, url, sendable), {
          onConnected: () => {
            if (attempt !== undefined) attempt.sent = "Maybe"
          },
          onHead: (status, headers) => {
            const start = (controller: ReadableStreamDefaultController<Uint8Array>) => {
              body = controller
            }
            const source = { start, pull: () => call.resume(), cancel: () => call.abort() }
            const stream = bodiless.includes(status) ? null : new ReadableStream(source, buffer)
            // It throws for a status above 599: undici closes the connection then, and calls `onError`.
            const response = new RepeatableResponse(stream, { status, headers: fieldsOf(headers) })
            hasHead = true
            resume(Effect.succeed(HttpClientResponse.fromWeb(request, response)))
          },
          onData: (bytes) => {
            body?.enqueue(bytes)
            if (Number(body?.desiredSize) <= 0) call.pause()
          },
          onEnd: () => body?.close(),
          onError: (cause) => (hasHead ? body?.error(cause) : resume(Effect.fail(failure("Transport")(cause))))
        })
        // When the reading of the body is interrupted.
        signal.addEventListener("abort", call.abort, { once: true })
        return Effect.sync(call.abort)
      })
    return Effect.flatMap(Effect.mapError(sendableOf(request.body), failure("Encode")), exchange)
  }).pipe(HttpClient.withTracerDisabledWhen(constTrue))
