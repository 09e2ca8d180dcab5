import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { WebhookReplayedError, type WebhookSetupError } from "../../errors/WebhookError.js"
import type * as WebhookStore from "../../layers/WebhookStore.js"
import * as WebhookEvent from "../../schemas/WebhookEvent.js"
import type { Options, Received, Service } from "../../services/Webhooks.js"
import { defined } from "../text/json.js"
import * as Delivery from "./delivery.js"
import * as Settings from "./settings.js"
import { Subscribers } from "./subscribers.js"
import * as Token from "./token.js"

export const make = Effect.fnUntraced(function* (
  options: Options,
  store: WebhookStore.Service
): Effect.fn.Return<Service, WebhookSetupError> {
  const settings = yield* Settings.read(options)
  const { bodyLimit, parseJson, readTimeout, signingKey } = settings

  /** Reads what is stored, which was a delivery once. */
  const fromStored = ({ body, endpointId, key, receivedAt, sequence }: WebhookStore.Stored): Option.Option<Received> =>
    Option.liftThrowable(parseJson)(body).pipe(
      Option.flatMap((json) => Option.getRight(WebhookEvent.fromBody(json))),
      Option.map((event) => ({ ...event, ...defined({ endpointId, key }), sequence, receivedAt }))
    )
  const subscribers = new Subscribers(store, fromStored)

  const issue: Service["issue"] = ({ endpointId, expiresIn = Settings.defaults.expiresIn, key, url }) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const token = Token.issue(signingKey, { endpointId, key, expiresAt: now + Duration.toMillis(expiresIn) })
      return Token.addTo(url === undefined ? settings.url : new URL(url), token)
    })

  const receive: Service["receive"] = (incoming) =>
    Effect.gen(function* () {
      const { delivery, event, subject } = yield* Delivery.read(settings, incoming)
      const { jobId, receivedAt } = delivery
      const added = yield* store.add(delivery).pipe(
        Effect.tap((added) => {
          if (added._tag !== "Stored") return
          subscribers.publish({ ...event, ...subject, receivedAt, sequence: added.sequence })
        }),
        Effect.uninterruptible
      )
      if (added._tag === "Replayed") return yield* new WebhookReplayedError({ ...subject, jobId })
      const duplicate = added._tag === "Duplicate"
      yield* Effect.annotateCurrentSpan({ ...subject, jobId, status: event.job.status, duplicate })
      return { ...event, ...subject, receivedAt, duplicate }
    }).pipe(Effect.withSpan("Webhooks.receive", { captureStackTrace: false }))

  return {
    bodyLimit,
    readTimeout,
    issue,
    verify: (incoming) => Effect.asVoid(Delivery.verifyHead(settings, incoming)),
    receive,
    events: Stream.unwrap(Effect.map(store.latest, (latest) => subscribers.eventsSince(latest))),
    eventsSince: (sequence) => subscribers.eventsSince(sequence),
    latest: store.latest,
    next: (match) => subscribers.next(match)
  }
})
