import * as Cookies from "@effect/platform/Cookies"
import * as Headers from "@effect/platform/Headers"
import type * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { constVoid } from "effect/Function"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { withFiber } from "../../internal/effect/fiber.js"
import { valueIn } from "../../internal/effect/fiberRef.js"
import * as HttpErrors from "../../internal/effect/httpClientError.js"
import { currentAttempt } from "../../internal/http/sendWithClient.js"
import { concatBytes } from "../../internal/text/bytes.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"

/** A body is taken off the connection as it comes until so much of it lies unread, in bytes. */
const mostUnread = 256 * 1024

/** What has come of a body and waits for its reader. */
class Inbox {
  call: Dispatcher.Exchange | undefined
  private chunks: Array<Uint8Array> = []
  private size = 0
  private isPaused = false
  private state: "Open" | "Ended" | { readonly cause: unknown } = "Open"
  private wake: () => void = constVoid

  add(chunk: Uint8Array): void {
    this.chunks.push(chunk)
    this.size += chunk.byteLength
    if (this.size > mostUnread && !this.isPaused) {
      this.isPaused = true
      this.call?.pause()
    }
    this.wake()
  }

  close(state: "Ended" | { readonly cause: unknown }): void {
    if (this.state === "Open") this.state = state
    this.wake()
  }

  get isOpen(): boolean {
    return this.state === "Open"
  }

  /** What has come since the last time, at least one chunk; `undefined` at the end. */
  readonly pull: Effect.Effect<ReadonlyArray<Uint8Array> | undefined, { readonly cause: unknown }> = Effect.suspend(
    () => {
      if (this.chunks.length > 0) {
        const { chunks } = this
        this.chunks = []
        this.size = 0
        if (this.isPaused) {
          this.isPaused = false
          this.call?.resume()
        }
        return Effect.succeed(chunks)
      }
      if (this.state === "Ended") return Effect.succeed(undefined)
      if (this.state !== "Open") return Effect.fail(this.state)
      return Effect.zipRight(
        Effect.async<void>((resume) => {
          this.wake = () => resume(Effect.void)
          return Effect.sync(() => this.call?.abort())
        }),
        this.pull
      )
    }
  )
}

/** Nobody will read the bodies of answers that are gone. */
const unread = new FinalizationRegistry<Dispatcher.Exchange>((call) => call.abort())

class Response extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpClientResponse.TypeId]: HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly remoteAddress = Option.none<string>()

  constructor(
    readonly request: HttpClientRequest.HttpClientRequest,
    readonly status: number,
    private readonly rawHeaders: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>,
    private readonly inbox: Inbox
  ) {
    super()
    if (inbox.isOpen && inbox.call !== undefined) unread.register(this, inbox.call)
  }

  get stream(): Stream.Stream<Uint8Array, HttpErrors.BodyError> {
    return Stream.repeatEffectChunkOption(
      Effect.matchEffect(this.inbox.pull, {
        onFailure: ({ cause }) => Effect.fail(Option.some(this.decodeError(cause))),
        onSuccess: (chunks) =>
          chunks === undefined ? Effect.fail(Option.none()) : Effect.succeed(Chunk.unsafeFromArray([...chunks]))
      })
    ).pipe(
      // A body that is not read to its end is let go.
      Stream.ensuring(
        Effect.sync(() => {
          if (this.inbox.isOpen) this.inbox.call?.abort()
        })
      )
    )
  }

  private whole: Effect.Effect<ArrayBuffer, HttpErrors.BodyError> | undefined

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpErrors.BodyError> {
    return (this.whole ??= Effect.runSync(
      Effect.cached(
        Effect.map(Stream.runCollect(this.stream), (chunks) => {
          const bytes = concatBytes(Chunk.toReadonlyArray(chunks))
          const copy = new ArrayBuffer(bytes.byteLength)
          new Uint8Array(copy).set(bytes)
          return copy
        })
      )
    ))
  }

  private decodeError(cause: unknown) {
    return HttpErrors.bodyError(this, cause)
  }

  get headers(): Headers.Headers {
    return Headers.fromInput(this.rawHeaders)
  }

  get cookies(): Cookies.Cookies {
    const header = this.rawHeaders["set-cookie"]
    return header === undefined ? Cookies.empty : Cookies.fromSetCookie(typeof header === "string" ? [header] : header)
  }

  get text(): Effect.Effect<string, HttpErrors.BodyError> {
    return Effect.map(this.arrayBuffer, (bytes) => new TextDecoder().decode(bytes))
  }

  get json(): Effect.Effect<unknown, HttpErrors.BodyError> {
    return Effect.tryMap(this.text, {
      try: (text): unknown => (text === "" ? null : JSON.parse(text)),
      catch: (cause) => this.decodeError(cause)
    })
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpErrors.BodyError> {
    return Effect.map(this.text, (text) => UrlParams.fromInput(new URLSearchParams(text)))
  }

  get formData(): Effect.Effect<FormData, HttpErrors.BodyError> {
    const type = this.headers["content-type"]
    return Effect.flatMap(this.arrayBuffer, (bytes) =>
      Effect.tryPromise({
        try: () =>
          new globalThis.Response(bytes, type === undefined ? {} : { headers: { "content-type": type } }).formData(),
        catch: (cause) => this.decodeError(cause)
      })
    )
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "@effect/platform/HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }
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

const execute = (
  dispatcher: Dispatcher.Service,
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpErrors.HttpError> =>
  withFiber((fiber) => {
    const failure = (reason: "Encode" | "InvalidUrl" | "Transport", cause: unknown) =>
      HttpErrors.requestError(request, reason, cause)
    const url = UrlParams.makeUrl(request.url, request.urlParams, request.hash)
    if (Either.isLeft(url)) return Effect.fail(failure("InvalidUrl", url.left))
    const attempt = valueIn(fiber, currentAttempt)
    if (attempt !== undefined) attempt.sent = "No"
    return Effect.flatMap(
      Effect.mapError(sendableOf(request.body), (cause) => failure("Encode", cause)),
      (sendable) =>
        Effect.async<HttpClientResponse.HttpClientResponse, HttpErrors.RequestError>((resume) => {
          const inbox = new Inbox()
          let hasHead = false
          const call = dispatcher.dispatch(toRequest(request, url.right, sendable), {
            onConnected: () => {
              if (attempt !== undefined) attempt.sent = "Maybe"
            },
            onHead: (status, headers) => {
              hasHead = true
              resume(Effect.succeed(new Response(request, status, headers, inbox)))
            },
            onData: (bytes) => inbox.add(bytes),
            onEnd: () => inbox.close("Ended"),
            onError: (cause) => (hasHead ? inbox.close({ cause }) : resume(Effect.fail(failure("Transport", cause))))
          })
          inbox.call = call
          return Effect.sync(() => call.abort())
        })
    )
  })

/**
 * A dispatcher as an `HttpClient`: it makes no spans and follows no redirects. Unlike the stock client over undici it knows
 * whether a request that ends at a deadline had got a connection, so that a submit which never had one is not ambiguous.
 */
export const make = (dispatcher: Dispatcher.Service): HttpClient.HttpClient =>
  HttpClient.makeWith<never, never, HttpErrors.HttpError, never>(
    Effect.flatMap((request) => execute(dispatcher, request)),
    Effect.succeed
  )
