import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { valueIn } from "../../internal/effect/fiberRef.js"
import * as HttpErrors from "../../internal/effect/httpClientError.js"
import { responseOf, withBufferedBody } from "../../internal/http/bufferedBody.js"
import { Inbox } from "../../internal/http/inbox.js"
import { currentAttempt } from "../../internal/http/sendWithClient.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"

type Fields = Parameters<Dispatcher.Handler["onHead"]>[1]

const answerOf = (
  request: HttpClientRequest.HttpClientRequest,
  status: number,
  headers: Fields,
  inbox: Inbox<unknown>
) => {
  const response = responseOf(request, status, { headers: fieldsOf(headers) })
  const failure = (cause: unknown) => HttpErrors.bodyError(response, cause)
  return withBufferedBody(response, Stream.repeatEffectChunkOption(Effect.mapError(inbox.pull, Option.map(failure))))
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

const toRequest = (request: HttpClientRequest.HttpClientRequest, url: URL, { body, type }: Sendable) => ({
  method: request.method,
  origin: url.origin,
  path: url.pathname + url.search,
  headers: Object.entries(
    typeof type === "string" ? { ...request.headers, "content-type": type } : request.headers
  ).flat(),
  body,
  isHeld: url.searchParams.has("wait")
})

const fieldsOf = (headers: Fields): Array<[string, string]> =>
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
    attempt?.onConnecting()
    const exchange = (sendable: Sendable) =>
      Effect.async<HttpClientResponse.HttpClientResponse, HttpErrors.RequestError>((resume) => {
        let inbox: Inbox<unknown> | undefined
        const call = dispatcher.dispatch(toRequest(request, url, sendable), {
          onConnected: () => attempt?.onConnected(),
          onHead: (status, headers) => {
            const empty = new Inbox<unknown>(() => call)
            resume(Effect.succeed(answerOf(request, status, headers, empty)))
            inbox = empty
          },
          onData: (bytes) => inbox?.add(bytes),
          onEnd: () => inbox?.close(Option.none()),
          onError: (cause) =>
            inbox === undefined ? resume(Effect.fail(failure("Transport")(cause))) : inbox.close(Option.some(cause))
        })
        // When the reading of the body is interrupted, or has come to its end.
        signal.addEventListener("abort", call.abort, { once: true })
        return Effect.sync(call.abort)
      })
    return Effect.flatMap(Effect.mapError(sendableOf(request.body), failure("Encode")), exchange)
  }).pipe(HttpClient.withTracerDisabledWhen(constTrue))
