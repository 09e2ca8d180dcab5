import * as Cookies from "@effect/platform/Cookies"
import * as Headers from "@effect/platform/Headers"
import type * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { concatBytes } from "../../internal/text/bytes.js"
import type { Answer } from "./answers.js"
import type { Box, Incoming, Outcome } from "./box.js"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** What Node reports of a connection that its peer reset. */
const connectionReset = (): Error =>
  Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET", errno: -104, syscall: "read" })

/** What undici reports of a body that ends before its time. */
const bodyCut = (): Error =>
  Object.assign(new Error("other side closed"), { name: "SocketError", code: "UND_ERR_SOCKET" })

const textWithin = (bytes: Uint8Array, limit: number): string | undefined =>
  bytes.byteLength > limit ? undefined : decoder.decode(bytes)

const readBody = (body: HttpBody.HttpBody, limit: number): Effect.Effect<string | undefined> => {
  switch (body._tag) {
    case "Uint8Array":
      return Effect.succeed(textWithin(body.body, limit))
    case "Raw":
      return Effect.succeed(
        body.body instanceof Uint8Array
          ? textWithin(body.body, limit)
          : textWithin(encoder.encode(String(body.body)), limit)
      )
    case "Stream":
      // A body that its client cannot read is its client's bug.
      return Effect.map(Effect.orDie(Stream.runCollect(body.stream)), (chunks) =>
        textWithin(concatBytes(Chunk.toArray(chunks)), limit)
      )
    case "Empty":
    case "FormData":
      return Effect.succeed("")
  }
}

class MemoryResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly status: number
  readonly headers: Headers.Headers
  readonly cookies = Cookies.empty
  readonly remoteAddress = Option.none()
  private readonly bytes: Uint8Array

  constructor(
    readonly request: HttpClientRequest.HttpClientRequest,
    private readonly outcome: Exclude<Outcome, { readonly _tag: "Reset" }>
  ) {
    super()
    const { answer } = outcome
    this.status = answer.status
    this.bytes = encoder.encode(answer.body)
    this.headers = headersOf(answer, this.bytes.byteLength)
  }

  get stream(): Stream.Stream<Uint8Array, HttpClientError.ResponseError> {
    const { outcome } = this
    if (outcome._tag === "Whole") return Stream.succeed(this.bytes)
    const part = Stream.succeed(this.bytes.subarray(0, outcome.bytes))
    return Stream.concat(part, outcome._tag === "Stall" ? Stream.never : Stream.fail(this.failure(bodyCut())))
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError.ResponseError> {
    if (this.outcome._tag === "Whole") return Effect.sync(() => new Uint8Array(this.bytes).buffer)
    return this.outcome._tag === "Stall" ? Effect.never : Effect.fail(this.failure(bodyCut()))
  }

  get text(): Effect.Effect<string, HttpClientError.ResponseError> {
    return Effect.map(this.arrayBuffer, (buffer) => decoder.decode(buffer))
  }

  get json(): Effect.Effect<unknown, HttpClientError.ResponseError> {
    return Effect.tryMap(this.text, {
      try: (text): unknown => (text === "" ? null : JSON.parse(text)),
      catch: (cause) => this.failure(cause)
    })
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError.ResponseError> {
    return Effect.map(this.text, (text) => UrlParams.fromInput(new URLSearchParams(text)))
  }

  get formData(): Effect.Effect<FormData, HttpClientError.ResponseError> {
    return Effect.fail(this.failure(new Error("RunPod does not answer with form data")))
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "@effect/platform/HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }

  private failure(cause: unknown): HttpClientError.ResponseError {
    return new HttpClientError.ResponseError({ request: this.request, response: this, reason: "Decode", cause })
  }
}

const headersOf = (answer: Answer, length: number): Headers.Headers => {
  const headers: Record<string, string> = { "content-length": String(length) }
  if (answer.contentType !== undefined) headers["content-type"] = answer.contentType
  if (answer.retryAfter !== undefined) headers["retry-after"] = answer.retryAfter
  return Headers.fromInput(headers)
}

/** An `HttpClient` whose every request is handled by the emulator, in the fiber that sends it. */
export const make = (box: Box): HttpClient.HttpClient =>
  HttpClient.make((request, url) => {
    const incoming: Incoming = {
      method: request.method,
      target: url.pathname + url.search,
      authorization: request.headers["authorization"],
      readBody: (limit) => readBody(request.body, limit)
    }
    return Effect.flatMap(box.handle(incoming), (outcome) =>
      outcome._tag === "Reset"
        ? Effect.fail(new HttpClientError.RequestError({ request, reason: "Transport", cause: connectionReset() }))
        : Effect.succeed(new MemoryResponse(request, outcome))
    )
  })
