import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import { constTrue, constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { valueIn } from "../../internal/effect/fiberRef.js"
import * as HttpErrors from "../../internal/effect/httpClientError.js"
import { withBufferedBody } from "../../internal/http/bufferedBody.js"
import { currentAttempt } from "../../internal/http/sendWithClient.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"

/** A body is taken off the connection as it comes until so much of it lies unread, in bytes. */
const mostUnread = 256 * 1024

/** What has come of a body and waits for its reader: a web stream would cost more than the rest of a request. */
class Inbox {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private end: Option.Option<unknown> | undefined
  private wake: () => void = constVoid

  constructor(private readonly call: () => Dispatcher.Exchange) {}

  add(bytes: Uint8Array): void {
    this.chunks.push(bytes)
    this.size += bytes.byteLength
    if (this.size > mostUnread) this.call().pause()
    this.wake()
  }

  /** Nothing more comes: `None` at the end, or why not. */
  close(end: Option.Option<unknown>): void {
    this.end = end
    this.wake()
  }

  /** What has come since the last time. */
  readonly pull: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<unknown>> = Effect.suspend(() => {
    const { chunks, end, size } = this
    if (chunks.length > 0) {
      this.chunks = []
      this.size = 0
      // It may call `add` at once.
      if (size > mostUnread) this.call().resume()
      return Effect.succeed(Chunk.unsafeFromArray(chunks))
    }
    if (end !== undefined) return Effect.fail(end)
    const arrival = Effect.async<void>((resume) => {
      this.wake = () => resume(Effect.void)
    })
    return Effect.zipRight(arrival, this.pull)
  })
}

type Fields = Parameters<Dispatcher.Handler["onHead"]>[1]

const responseOf = (request: HttpClientRequest.HttpClientRequest, status: number, headers: Fields, inbox: Inbox) => {
  // It throws for a status above 599: undici closes the connection then, and calls `onError`.
  const web = new Response(null, { status, headers: fieldsOf(headers) })
  const response = HttpClientResponse.fromWeb(request, web)
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
        let inbox: Inbox | undefined
        const call = dispatcher.dispatch(toRequest(request, url, sendable), {
          onConnected: () => attempt?.onConnected(),
          onHead: (status, headers) => {
            const empty = new Inbox(() => call)
            resume(Effect.succeed(responseOf(request, status, headers, empty)))
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
