import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  type WebhookError,
  WebhookNotJsonError,
  WebhookReplayedError,
  type WebhookSetupError,
  WebhookShapeError,
  WebhookTooLargeError
} from "../../errors/WebhookError.js"
import type * as WebhookStore from "../../layers/WebhookStore.js"
import * as WebhookEvent from "../../schemas/WebhookEvent.js"
import type { Incoming, Issue, Options, Receipt, Received, Service } from "../../services/Webhooks.js"
import { fromEither } from "../effect/either.js"
import { utf8 } from "../text/bytes.js"
import { excerpt } from "../text/excerpt.js"
import { defined } from "../text/json.js"
import { decodeText, outcomeOf, redactorOf } from "./deliveryBody.js"
import * as Settings from "./settings.js"
import { Subscribers } from "./subscribers.js"
import * as Token from "./token.js"
import * as Verification from "./verification.js"

/** How long it is remembered what a relay delivered without a token, in milliseconds. */
const relayMemory = 24 * 3600 * 1000

interface Receiver {
  readonly settings: Settings.Settings
  readonly store: WebhookStore.Service
  readonly subscribers: Subscribers
}

/** A delivery that was verified and read, and is not stored yet. */
interface Read {
  readonly event: WebhookEvent.WebhookEvent
  /** Of the token; empty when a relay vouched for the delivery and no token came with it. */
  readonly subject: { readonly endpointId?: string; readonly key?: string }
  readonly delivery: WebhookStore.Delivery
}

const issue = Effect.fnUntraced(function* (settings: Settings.Settings, options: Issue) {
  const { endpointId, expiresIn = Settings.defaults.expiresIn, key, url } = options
  const expiresAt = (yield* Clock.currentTimeMillis) + Duration.toMillis(expiresIn)
  const token = Token.issue(settings.signingKey, { endpointId, key, expiresAt })
  return Token.addTo(url === undefined ? settings.url : new URL(url), token)
})

/** Verifies and reads a delivery. */
const read = (settings: Settings.Settings, incoming: Incoming): Effect.Effect<Read, WebhookError> =>
  Effect.gen(function* () {
    const { bodyLimit, parseJson } = settings
    const { body } = incoming
    const bytes = typeof body === "string" ? utf8(body) : body
    if (bytes.byteLength > bodyLimit) return yield* new WebhookTooLargeError({ limit: bodyLimit })
    const head = yield* Verification.verifyHead(settings, incoming)
    yield* Verification.verifySignature(settings, head, bytes)
    const text = yield* fromEither(decodeText(body))
    const json = yield* Effect.try({ try: () => parseJson(text), catch: () => new WebhookNotJsonError() })
    const token = head.token ?? (yield* Verification.verifyEchoedToken(settings, json))
    const redact = redactorOf(json, token?.text)
    const event = yield* Effect.mapError(
      fromEither(WebhookEvent.fromBody(json)),
      (issue) => new WebhookShapeError({ issue: excerpt(redact(issue), 256) })
    )
    const subject = defined({ endpointId: token?.grant.endpointId, key: token?.grant.key })
    const receivedAt = yield* Clock.currentTimeMillis
    const delivery = {
      token: token === undefined ? `relay ${event.job.id}` : Token.fingerprint(token.text),
      expiresAt: token?.grant.expiresAt ?? receivedAt + relayMemory,
      ...subject,
      jobId: event.job.id,
      outcome: outcomeOf(event),
      receivedAt,
      body: redact(text)
    }
    return { event, subject, delivery }
  })

const receive = (
  { settings, store, subscribers }: Receiver,
  incoming: Incoming
): Effect.Effect<Receipt, WebhookError> =>
  Effect.gen(function* () {
    const { delivery, event, subject } = yield* read(settings, incoming)
    const { jobId, receivedAt } = delivery
    const added = yield* Effect.uninterruptible(
      Effect.tap(store.add(delivery), (added) =>
        Effect.sync(() => {
          if (added._tag !== "Stored") return
          subscribers.publish({ ...event, ...subject, receivedAt, sequence: added.sequence })
        })
      )
    )
    if (added._tag === "Replayed") return yield* new WebhookReplayedError({ ...subject, jobId })
    const duplicate = added._tag === "Duplicate"
    yield* Effect.annotateCurrentSpan({ ...subject, jobId, status: event.job.status, duplicate })
    return { ...event, ...subject, receivedAt, duplicate }
  }).pipe(Effect.withSpan("Webhooks.receive", { captureStackTrace: false }))

/** Reads what is stored, which was a delivery once. */
const fromStored =
  ({ parseJson }: Settings.Settings) =>
  ({ body, endpointId, key, receivedAt, sequence }: WebhookStore.Stored): Option.Option<Received> =>
    Option.liftThrowable(parseJson)(body).pipe(
      Option.flatMap((json) => Option.getRight(WebhookEvent.fromBody(json))),
      Option.map((event) => ({ ...event, ...defined({ endpointId, key }), sequence, receivedAt }))
    )

export const make = Effect.fnUntraced(function* (
  options: Options,
  store: WebhookStore.Service
): Effect.fn.Return<Service, WebhookSetupError> {
  const settings = yield* Settings.read(options)
  const subscribers = new Subscribers(store, fromStored(settings))
  const receiver: Receiver = { settings, store, subscribers }
  return {
    bodyLimit: settings.bodyLimit,
    readTimeout: settings.readTimeout,
    issue: (options) => issue(settings, options),
    verify: (incoming) => Effect.asVoid(Verification.verifyHead(settings, incoming)),
    receive: (incoming) => receive(receiver, incoming),
    events: Stream.unwrap(Effect.map(store.latest, (latest) => subscribers.eventsSince(latest))),
    eventsSince: (sequence) => subscribers.eventsSince(sequence),
    latest: store.latest,
    next: (match) => subscribers.next(match)
  }
})
