import type * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type BodyError, bodyError, inProcess, requestError } from "../../internal/effect/httpClientError.js"
import { concatBytes } from "../../internal/text/bytes.js"
import type { Core } from "./core.js"
import { headersOf, type Transmission } from "./http/messages.js"

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
    case "FormData":
      return Effect.succeed(new Uint8Array())
  }
}

const responseOf = (
  request: HttpClientRequest.HttpClientRequest,
  transmission: Exclude<Transmission, { readonly _tag: "Reset" | "Refused" }>
): HttpClientResponse.HttpClientResponse => {
  const { status } = transmission.response
  const bytes = encoder.encode(transmission.response.body)
  const headers = headersOf(transmission.response, bytes.byteLength)
  const response = HttpClientResponse.fromWeb(request, new Response(null, { status, headers }))
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
export const make = (core: Core): HttpClient.HttpClient =>
  inProcess((request, url) =>
    Effect.flatMap(
      core.handle({
        method: request.method,
        target: url.pathname + url.search,
        authorization: request.headers["authorization"],
        readBody: (limit) =>
          Effect.map(bytesOf(request.body), (bytes) => (bytes.byteLength > limit ? undefined : decoder.decode(bytes)))
      }),
      (transmission) => {
        if (transmission._tag === "Reset") return Effect.fail(requestError(request, "Transport", connectionReset()))
        if (transmission._tag === "Refused") return Effect.fail(requestError(request, "Transport", connectionRefused()))
        return Effect.succeed(responseOf(request, transmission))
      }
    )
  )
