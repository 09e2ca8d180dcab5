import * as Effect from "effect/Effect"
import { statusOf, type WebhookError, WebhookTooLargeError } from "../../errors/WebhookError.js"
import type { Headers, Service } from "../../services/Webhooks.js"

/** An HTTP request, whichever server it came to. */
export interface Request {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  /** What `content-length` says, if anything. */
  readonly length: number | undefined
  /** Reads the body; stops behind `limit` bytes. */
  readonly readBody: (limit: number) => Effect.Effect<Uint8Array, BodyError>
}

/** The body is too large, or its sender has gone. */
export type BodyError = "TooLarge" | "Broken"

/** The number in a `content-length`. */
export const contentLength = (header: string | null | undefined): number | undefined =>
  /^\d{1,15}$/.test(header ?? "") ? Number(header) : undefined

/** How many bodies of the largest size may be in memory at once: RunPod delivers again, and a server out of memory is down. */
const bodiesInMemory = 4

/** The bytes reserved for bodies that are being received, for each receiver. */
const bytesReserved = new WeakMap<Service, number>()

const reserve = (service: Service, bytes: number): void => {
  bytesReserved.set(service, (bytesReserved.get(service) ?? 0) + bytes)
}

/** The status for a delivery that was refused, which is logged. */
const refuse = (error: WebhookError): Effect.Effect<number> => {
  const status = statusOf(error)
  const log = status >= 500 ? Effect.logError : Effect.logDebug
  return Effect.as(log(error.message), status)
}

/** Reads the body and hands the delivery to the receiver, within the memory there is for bodies. */
const receive = (service: Service, { headers, length, readBody, url }: Request): Effect.Effect<number> =>
  Effect.suspend(() => {
    const { bodyLimit, readTimeout } = service
    if (length !== undefined && length > bodyLimit) return refuse(new WebhookTooLargeError({ limit: bodyLimit }))
    // A body that does not say how long it is may be as long as is allowed.
    const reserved = length ?? bodyLimit
    const others = bytesReserved.get(service) ?? 0
    if (others > 0 && others + reserved > bodiesInMemory * bodyLimit) return Effect.succeed(503)
    reserve(service, reserved)
    return readBody(reserved).pipe(
      Effect.mapError((error) => (error === "TooLarge" ? 413 : 400)),
      Effect.timeoutFail({ duration: readTimeout, onTimeout: () => 408 }),
      Effect.matchEffect({
        onFailure: Effect.succeed,
        onSuccess: (body) =>
          Effect.matchEffect(service.receive({ url, headers, body }), {
            onFailure: refuse,
            onSuccess: () => Effect.succeed(200)
          })
      }),
      Effect.ensuring(Effect.sync(() => reserve(service, -reserved)))
    )
  })

/**
 * Answers a delivery with a status and nothing else: 200 once it is stored (or was before), 4xx when it is refused, 503 when
 * it should come again. A request without a token is refused before its body is read.
 */
export const handle = (service: Service, request: Request): Effect.Effect<number> =>
  Effect.suspend(() => {
    if (request.method !== "POST") return Effect.succeed(405)
    return Effect.matchEffect(service.verify(request), {
      onFailure: refuse,
      onSuccess: () => receive(service, request)
    })
  }).pipe(
    Effect.catchAllCause((cause) =>
      // A bug: the delivery may be good, so let it come again.
      Effect.as(Effect.logError("A delivery to a webhook could not be handled", cause), 503)
    )
  )
