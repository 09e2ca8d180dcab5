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
  readonly readBody: (limit: number) => Effect.Effect<Uint8Array, Unreadable>
}

/** The number in a `content-length`. */
export const readLength = (header: string | null | undefined): number | undefined =>
  /^\d{1,15}$/.test(header ?? "") ? Number(header) : undefined

/** The body is too large, or its sender has gone. */
export type Unreadable = "TooLarge" | "Broken"

/** How many bytes of bodies may be in memory at once: RunPod comes again, and a server that is out of memory does not. */
const bufferedBodies = 4

/** What is being read now, by receiver. */
const buffered = new WeakMap<Service, { bytes: number }>()

const budgetOf = (service: Service): { bytes: number } => {
  const known = buffered.get(service)
  if (known !== undefined) return known
  const budget = { bytes: 0 }
  buffered.set(service, budget)
  return budget
}

const refused = (error: WebhookError): Effect.Effect<number> => {
  const status = statusOf(error)
  const log = status >= 500 ? Effect.logError : Effect.logDebug
  return Effect.as(log(error.message), status)
}

/**
 * Answers a delivery with a status and nothing else: 200 once it is stored (or was before), 4xx when it is refused, 503 when
 * it should come again. Whoever has no token is refused before the body is read.
 */
export const answer = (service: Service, request: Request): Effect.Effect<number> =>
  Effect.suspend(() => {
    const { headers, length, method, readBody, url } = request
    const { bodyLimit, readTimeout } = service
    if (method !== "POST") return Effect.succeed(405)
    const budget = budgetOf(service)
    const take = (bytes: number) => (budget.bytes += bytes)

    const body = (limit: number): Effect.Effect<Uint8Array, number> =>
      readBody(limit).pipe(
        Effect.mapError((problem) => (problem === "TooLarge" ? 413 : 400)),
        Effect.timeoutFail({ duration: readTimeout, onTimeout: () => 408 })
      )

    const accept = Effect.suspend(() => {
      if (length !== undefined && length > bodyLimit) return refused(new WebhookTooLargeError({ limit: bodyLimit }))
      // A body that does not say how long it is may be as long as is allowed.
      const reserved = length ?? bodyLimit
      if (budget.bytes > 0 && budget.bytes + reserved > bufferedBodies * bodyLimit) return Effect.succeed(503)
      take(reserved)
      return body(reserved).pipe(
        Effect.matchEffect({
          onFailure: Effect.succeed,
          onSuccess: (body) =>
            Effect.matchEffect(service.receive({ url, headers, body }), {
              onFailure: refused,
              onSuccess: () => Effect.succeed(200)
            })
        }),
        Effect.ensuring(Effect.sync(() => take(-reserved)))
      )
    })

    return Effect.matchEffect(service.verify({ url, headers }), { onFailure: refused, onSuccess: () => accept })
  }).pipe(
    Effect.catchAllCause((cause) =>
      // A bug: the delivery may be good, so let it come again.
      Effect.as(Effect.logError("A delivery to a webhook could not be handled", cause), 503)
    )
  )
