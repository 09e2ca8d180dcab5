import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import { statusOf, type WebhookError, WebhookTooLargeError } from "../../errors/WebhookError.js"
import type { Headers, Service } from "../../services/Webhooks.js"
import { monotonicMillis, timeoutAt } from "../pace/monotonic.js"
import { concatBytes } from "../text/bytes.js"
import { recordDelivery } from "../telemetry/record.js"
import { headerOf } from "./receiver.js"

export interface Request {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  /** Reads the body; stops behind `limit` bytes. */
  readonly readBody: (limit: number) => Effect.Effect<Uint8Array, BodyError>
}

/** The body is too large, or its sender has gone. */
export type BodyError = "TooLarge" | "Broken"

/** What `content-length` says, if anything. */
export const lengthOf = (headers: Headers): number | undefined => {
  const length = headerOf(headers)("content-length") ?? ""
  return /^\d{1,15}$/.test(length) ? Number(length) : undefined
}

/** How many bodies of the largest size may be in memory at once: RunPod delivers again, and a server out of memory is down. */
const bodiesInMemory = 4

/** For bodies that are being received. */
const bytesReserved = new WeakMap<Service, number>()

/** Logs a refusal, and gives its status. */
const refuse = (error: WebhookError): Effect.Effect<number> => {
  const status = statusOf(error)
  const log = status >= 500 ? Effect.logError : Effect.logDebug
  return Effect.as(log(error.message), status)
}

const receive = (service: Service, { headers, readBody, url }: Request): Effect.Effect<number, WebhookError> =>
  Effect.clockWith((clock) => {
    const { bodyLimit, readTimeout } = service
    // A body that does not say how long it is may be as long as is allowed.
    const length = lengthOf(headers) ?? bodyLimit
    if (length > bodyLimit) return Effect.fail(new WebhookTooLargeError({ limit: bodyLimit }))
    const others = bytesReserved.get(service) ?? 0
    if (others > 0 && others + length > bodiesInMemory * bodyLimit) return Effect.succeed(503)
    bytesReserved.set(service, others + length)
    // Also where a server runs its apps uninterruptibly, and with a last look at the socket when the process was suspended.
    return timeoutAt(readBody(length), monotonicMillis(clock) + Duration.toMillis(readTimeout)).pipe(
      Effect.mapError((error) => (error === "TooLarge" ? 413 : 400)),
      Effect.flatMap(Effect.mapError(() => 408)),
      Effect.matchEffect({
        onFailure: Effect.succeed,
        onSuccess: (body) => Effect.as(service.receive({ url, headers, body }), 200)
      }),
      Effect.ensuring(Effect.sync(() => bytesReserved.set(service, (bytesReserved.get(service) ?? 0) - length)))
    )
  })

/** The answer's status: 200 once it is stored, 4xx when it is refused (by its token before its body is read), 503 to come again. */
export const handle = (service: Service, request: Request): Effect.Effect<number> =>
  Effect.suspend(() =>
    request.method === "POST"
      ? Effect.zipRight(service.verify(request), receive(service, request))
      : Effect.succeed(405)
  ).pipe(
    Effect.catchAll(refuse),
    Effect.catchAllCause((cause) =>
      // A bug: the delivery may be good, so let it come again.
      Effect.as(Effect.logError("A delivery to a webhook could not be handled", cause), 503)
    ),
    Effect.tap(recordDelivery)
  )

export const fromPlatform = (request: HttpServerRequest.HttpServerRequest): Request => ({
  method: request.method,
  url: request.originalUrl,
  headers: request.headers,
  readBody: (limit) => {
    let size = 0
    return request.stream.pipe(
      Stream.takeWhile((chunk) => (size += chunk.byteLength) <= limit),
      Stream.runCollect,
      Effect.mapError((): BodyError => "Broken"),
      Effect.filterOrFail(
        () => size <= limit,
        (): BodyError => "TooLarge"
      ),
      Effect.map((chunks) => concatBytes([...chunks]))
    )
  }
})

/** Takes the token out of the spans around a request: a server sets the URL as an attribute before the receiver runs. */
export const redactSpans: Effect.Effect<void> = Effect.map(Effect.option(Effect.currentSpan), (current) => {
  let span: typeof current | Tracer.Span["parent"] = current
  for (; span._tag === "Some" && span.value._tag === "Span"; span = span.value.parent) {
    for (const [name, value] of span.value.attributes) {
      if (typeof value === "string" && value.includes("token=")) {
        span.value.attribute(name, value.replace(/token=[^&#\s]*/g, "token=<redacted>"))
      }
    }
  }
})
