import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type BodyError, bodyError, inProcess, requestError } from "../../internal/effect/httpClientError.js"
import { concatBytes } from "../../internal/text/bytes.js"
import type { Core } from "./core.js"
import { headersOf, type HttpResponse, isStreamed, type StreamedBody, type Transmission } from "./http/messages.js"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** What Node reports of a connection that its peer reset. */
const connectionReset = (): Error =>
  Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET", errno: -104, syscall: "read" })

/** What Node reports of a connection that was not made. */
const connectionRefused = (): Error =>
  Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED", errno: -111, syscall: "connect" })

/** What undici reports of a body that ends before its time. */
const bodyCut = () => Object.assign(new Error("other side closed"), { name: "SocketError", code: "UND_ERR_SOCKET" })

const bytesOf = (body: HttpBody.HttpBody): Effect.Effect<Uint8Array> => {
  switch (body._tag) {
    case "Uint8Array":
      return Effect.succeed(body.body)
    case "Raw":
      return Effect.succeed(body.body instanceof Uint8Array ? body.body : encoder.encode(String(body.body)))
    case "Stream":
      // A body that its client cannot read is its client's bug.
      return Effect.map(Effect.orDie(Stream.runCollect(body.stream)), (chunks) => concatBytes(Chunk.toArray(chunks)))
    case "Empty":
    case "FormData": // It is bytes by now.
      return Effect.succeed(new Uint8Array())
  }
}

/** A form as `fetch` sends it: with a type that names the boundary of its parts. */
const encodeForm = (
  request: HttpClientRequest.HttpClientRequest,
  form: FormData
): Effect.Effect<HttpClientRequest.HttpClientRequest> => {
  const encoded = new Response(form)
  const type = encoded.headers.get("content-type") ?? undefined
  return Effect.map(
    Effect.promise(() => encoded.arrayBuffer()),
    (bytes) => HttpClientRequest.setBody(request, HttpBody.uint8Array(new Uint8Array(bytes), type))
  )
}

const bytesUpTo = (body: HttpBody.HttpBody, limit: number): Effect.Effect<Uint8Array | undefined> =>
  Effect.map(bytesOf(body), (bytes) => (bytes.byteLength > limit ? undefined : bytes))

const withoutBody = (
  request: HttpClientRequest.HttpClientRequest,
  answer: HttpResponse,
  length: number | undefined
): HttpClientResponse.HttpClientResponse => {
  const headers = new Headers()
  for (const [name, value] of Object.entries(headersOf(answer, length))) {
    for (const each of typeof value === "string" ? [value] : value) headers.append(name, each)
  }
  return HttpClientResponse.fromWeb(request, new Response(null, { status: answer.status, headers }))
}

/** A body that comes bit by bit: it is produced only as fast as it is read. */
const streamedResponse = (
  request: HttpClientRequest.HttpClientRequest,
  answer: HttpResponse,
  body: StreamedBody
): HttpClientResponse.HttpClientResponse => {
  const response = withoutBody(request, answer, undefined)
  const stream = Stream.mapError(body.stream, () => bodyError(response, bodyCut()))
  const bytes = Effect.map(Stream.runCollect(stream), (chunks) => concatBytes(Chunk.toArray(chunks)))
  return Object.defineProperties(response, {
    stream: { value: stream },
    arrayBuffer: { value: Effect.map(bytes, (all) => all.slice().buffer) },
    text: { value: Effect.map(bytes, (all) => decoder.decode(all)) }
  })
}

const responseOf = (
  request: HttpClientRequest.HttpClientRequest,
  transmission: Exclude<Transmission, { readonly _tag: "Reset" | "Refused" }>
): HttpClientResponse.HttpClientResponse => {
  const { body } = transmission.response
  if (isStreamed(body)) return streamedResponse(request, transmission.response, body)
  const bytes = typeof body === "string" ? encoder.encode(body) : body
  const response = withoutBody(request, transmission.response, bytes.byteLength)
  const rest: Effect.Effect<never, BodyError> =
    transmission._tag === "Stall" ? Effect.never : Effect.failSync(() => bodyError(response, bodyCut()))
  const isWhole = transmission._tag === "Whole"
  // The body is read without a ReadableStream, whose promises make a request twice as dear (95 instead of 45 µs of CPU).
  return Object.defineProperties(response, {
    stream: {
      value: isWhole
        ? Stream.succeed(bytes)
        : Stream.concat(Stream.succeed(bytes.subarray(0, transmission.bytes)), Stream.fromEffect(rest))
    },
    arrayBuffer: { value: isWhole ? Effect.sync(() => bytes.slice().buffer) : rest },
    text: { value: isWhole ? Effect.sync(() => decoder.decode(bytes)) : rest }
  })
}

/** An `HttpClient` whose every request is handled by the emulator, in the fiber that sends it. */
export const make = (core: Core): HttpClient.HttpClient => {
  const send = (request: HttpClientRequest.HttpClientRequest, url: URL) =>
    Effect.flatMap(
      core.handle({
        method: request.method,
        target: url.pathname + url.search,
        host: url.host,
        headers: request.headers,
        authorization: request.headers["authorization"],
        readBytes: (limit) => bytesUpTo(request.body, limit),
        readBody: (limit) => Effect.map(bytesUpTo(request.body, limit), (bytes) => bytes && decoder.decode(bytes))
      }),
      (transmission) => {
        if (transmission._tag === "Reset") return Effect.fail(requestError(request, "Transport", connectionReset()))
        if (transmission._tag === "Refused") return Effect.fail(requestError(request, "Transport", connectionRefused()))
        return Effect.succeed(responseOf(request, transmission))
      }
    )
  return inProcess((request, url) =>
    request.body._tag === "FormData"
      ? Effect.flatMap(encodeForm(request, request.body.formData), (encoded) => send(encoded, url))
      : send(request, url)
  )
}
