import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import { concatBytes } from "../text/bytes.js"
import { type BodyError, contentLength, type Request } from "./handler.js"

/** Reads a body until it is over, or longer than it may be. */
const readStream =
  <E>(stream: Stream.Stream<Uint8Array, E>): Request["readBody"] =>
  (limit) =>
    Effect.suspend(() => {
      const chunks: Array<Uint8Array> = []
      let size = 0
      return stream.pipe(
        Stream.runForEachWhile((chunk) =>
          Effect.sync(() => {
            size += chunk.byteLength
            if (size <= limit) chunks.push(chunk)
            return size <= limit
          })
        ),
        Effect.mapError((): BodyError => "Broken"),
        Effect.filterOrFail(
          () => size <= limit,
          (): BodyError => "TooLarge"
        ),
        Effect.map(() => concatBytes(chunks))
      )
    })

/** The request of an `@effect/platform` server. */
export const fromPlatform = (request: HttpServerRequest.HttpServerRequest): Request => ({
  method: request.method,
  url: request.originalUrl,
  headers: request.headers,
  length: contentLength(request.headers["content-length"]),
  readBody: readStream(request.stream)
})

/** The request of a fetch-style host. */
export const fromWeb = (request: globalThis.Request): Request => ({
  method: request.method,
  url: request.url,
  headers: request.headers,
  length: contentLength(request.headers.get("content-length")),
  readBody: readStream(
    Stream.suspend(() => {
      const { body } = request
      return body === null
        ? Stream.empty
        : Stream.fromReadableStream(
            () => body,
            (cause) => cause
          )
    })
  )
})

/** Takes the token out of the spans around a request: a server sets the URL as an attribute before the receiver runs. */
export const redactSpans: Effect.Effect<void> = Effect.map(Effect.option(Effect.currentSpan), (current) => {
  let span: Option.Option<Tracer.AnySpan> = current
  for (; span._tag === "Some" && span.value._tag === "Span"; span = span.value.parent) {
    for (const [name, value] of span.value.attributes) {
      if (typeof value === "string" && value.includes("token=")) {
        span.value.attribute(name, value.replace(/token=[^&#\s]*/g, "token=<redacted>"))
      }
    }
  }
})
