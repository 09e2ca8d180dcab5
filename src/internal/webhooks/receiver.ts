import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  WebhookKeyUnknownError,
  WebhookNotJsonError,
  WebhookReplayedError,
  type WebhookSetupError,
  WebhookShapeError,
  WebhookSignatureError,
  WebhookTokenExpiredError,
  WebhookTokenInvalidError,
  WebhookTokenMissingError,
  WebhookTooLargeError
} from "../../errors/WebhookError.js"
import type * as WebhookStore from "../../layers/WebhookStore.js"
import * as WebhookEvent from "../../schemas/WebhookEvent.js"
import type { Headers, Incoming, Options, Received, Service } from "../../services/Webhooks.js"
import { fromEither } from "../effect/either.js"
import { fork } from "../effect/fiber.js"
import { inJobSpan, type JobSpan } from "../telemetry/jobSpan.js"
import { currentTrace } from "../telemetry/tracing.js"
import { utf8 } from "../text/bytes.js"
import { excerpt } from "../text/excerpt.js"
import { fieldSpans } from "../text/fieldSpans.js"
import { defined, isJsonObject, textOf } from "../text/json.js"
import * as Settings from "./settings.js"
import * as Signature from "./signature.js"
import { Subscribers } from "./subscribers.js"
import * as Token from "./token.js"

/** How long it is remembered what a relay delivered without a token, in milliseconds. */
const relayMemory = 24 * 3600 * 1000
/** A text shorter than this is no secret. */
const minSecretLength = 8

const hasGet = (headers: Headers): headers is Extract<Headers, { get(name: string): string | null }> =>
  typeof headers["get"] === "function"

export const headerOf =
  (headers: Headers = {}) =>
  (name: string): string | undefined => {
    if (hasGet(headers)) return headers.get(name) ?? undefined
    const value = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1]
    return typeof value === "string" ? value : value?.join(" ")
  }

const verifyToken = Effect.fnUntraced(function* (keys: Settings.Settings["keys"], text: string) {
  const token = Token.parse(text)
  if (token === undefined) return yield* new WebhookTokenInvalidError()
  const signingKey = keys.get(token.keyId)
  if (signingKey === undefined) return yield* new WebhookKeyUnknownError()
  if (!Token.isSignedWith(token, signingKey)) return yield* new WebhookTokenInvalidError()
  const { endpointId, expiresAt, key } = token.grant
  if (expiresAt > (yield* Clock.currentTimeMillis)) return token
  return yield* new WebhookTokenExpiredError({ endpointId, key, expiredAt: new Date(expiresAt) })
})

/** What a request without its body proves: it has a token, or the signature of a relay, of which the body decides whether it holds. */
const verifyHead = Effect.fnUntraced(function* (
  { keys, relayKeys }: Settings.Settings,
  { headers, url }: Omit<Incoming, "body">
) {
  const text = Token.find(String(url))
  const token = text === undefined ? undefined : yield* verifyToken(keys, text)
  const header = headerOf(headers)
  const isSigned = relayKeys.length > 0 && header("webhook-signature") !== undefined
  if (!isSigned && token === undefined) return yield* new WebhookTokenMissingError()
  if (!isSigned) return { token, envelope: undefined }
  const envelope = Signature.readHeaders(header, yield* Clock.currentTimeMillis)
  if (typeof envelope === "string") return yield* new WebhookSignatureError({ reason: envelope })
  return { token, envelope }
})

/** The secrets that a body echoes: where it was sent to, and the S3 credentials of the submit. */
const secretsOf = (json: unknown): ReadonlyArray<string | undefined> => {
  if (!isJsonObject(json)) return []
  const s3Config = isJsonObject(json["s3Config"]) ? json["s3Config"] : {}
  return [json["webhook"], json["webhookV2"], s3Config["accessId"], s3Config["accessSecret"]].map(textOf)
}

/**
 * Takes out of a text what must not be kept: the token, wherever it is, and the secrets that the body echoes. A token is made of
 * letters that no encoder touches, so a plain search finds it; `scrub` would take too long for a body of any length.
 */
const redactorOf = (json: unknown, token: Token.Token | undefined): ((text: string) => string) => {
  const replacements = [token?.text, ...secretsOf(json)].flatMap((secret) => {
    if (secret === undefined || secret.length < minSecretLength) return []
    const written = JSON.stringify(secret).slice(1, -1)
    // The same digits may stand outside of a string, and the text must remain JSON.
    const isNumeric = /^[\d.eE+-]+$/.test(written)
    return [{ written, by: isNumeric ? written.replace(/\d/g, "1") : "<redacted>" }]
  })
  return (text) => replacements.reduce((text, { by, written }) => text.replaceAll(written, by), text)
}

/** Redacts the text of a body, except for the job's output, which is kept as it came whatever is in it. */
const redactBody = (text: string, redact: (text: string) => string): string => {
  let redacted = ""
  let done = 0
  for (const { end, start } of fieldSpans(text, "output")) {
    redacted += redact(text.slice(done, start)) + text.slice(start, end)
    done = end
  }
  return redacted + redact(text.slice(done))
}

/** Tells one end of a job from another, and is the same when an end is delivered again. */
const outcomeOf = ({ job }: WebhookEvent.WebhookEvent): string =>
  `${excerpt(job.status, 64)} ${job.delayTime ?? "-"} ${job.executionTime ?? "-"}`

const read = Effect.fnUntraced(function* (settings: Settings.Settings, incoming: Incoming) {
  const { bodyLimit, keys, parseJson, relayKeys } = settings
  const { body } = incoming
  const bytes = typeof body === "string" ? utf8(body) : body
  if (bytes.byteLength > bodyLimit) return yield* new WebhookTooLargeError({ limit: bodyLimit })
  const head = yield* verifyHead(settings, incoming)
  if (head.envelope !== undefined && !(yield* Signature.verify(head.envelope, bytes, relayKeys))) {
    return yield* new WebhookSignatureError({ reason: "Mismatch" })
  }
  const { json, text } = yield* Effect.try({
    try: () => {
      const text = typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body)
      return { text, json: parseJson(text) }
    },
    catch: () => new WebhookNotJsonError()
  })
  // A relay may have been given the URL with the token, and pass on only the body, which echoes it.
  const echoed = isJsonObject(json) ? Token.find(textOf(json["webhook"]) ?? "") : undefined
  const token = head.token ?? (echoed === undefined ? undefined : yield* verifyToken(keys, echoed))
  const redact = redactorOf(json, token)
  const event = yield* Effect.mapError(
    fromEither(WebhookEvent.fromBody(json)),
    (issue) => new WebhookShapeError({ issue: excerpt(redact(issue), 256) })
  )
  /** Empty when a relay vouched for the delivery and no token came with it. */
  const subject = defined({ endpointId: token?.grant.endpointId, key: token?.grant.key })
  const receivedAt = yield* Clock.currentTimeMillis
  const delivery: WebhookStore.Delivery = {
    token: token === undefined ? `relay ${event.job.id}` : Token.fingerprint(token.text),
    expiresAt: token?.grant.expiresAt ?? receivedAt + relayMemory,
    ...subject,
    jobId: event.job.id,
    outcome: outcomeOf(event),
    receivedAt,
    body: redactBody(text, redact)
  }
  return { event, subject, delivery, redact }
})

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
  const subscribers = new Subscribers(store, fromStored, yield* fork)

  /** For the link from a receipt to its submit: it goes into the store, since RunPod gets the token. */
  const noteTrace = (token: string, expiresAt: number): Effect.Effect<void> =>
    Effect.flatMap(currentTrace, (trace) =>
      trace === undefined || store.noteTrace === undefined
        ? Effect.void
        : Effect.ignoreLogged(store.noteTrace({ token: Token.fingerprint(token), trace, expiresAt }))
    )

  const issue: Service["issue"] = ({ endpointId, expiresIn = Settings.defaults.expiresIn, key, url }) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const expiresAt = now + Duration.toMillis(expiresIn)
      const token = Token.issue(signingKey, { endpointId, key, expiresAt })
      const issued = Token.addTo(url === undefined ? settings.url : new URL(url), token)
      return Effect.as(noteTrace(token, expiresAt), issued)
    })

  const linkToSubmit = (span: JobSpan, { token }: WebhookStore.Delivery): Effect.Effect<void> =>
    Effect.map(Effect.orElseSucceed(store.traceOf?.(token) ?? Effect.succeedNone, Option.none), (trace) =>
      span.linkTo(Option.getOrUndefined(trace))
    )

  const receiveIn = (incoming: Incoming, span: JobSpan | undefined) =>
    Effect.gen(function* () {
      const { delivery, event, redact, subject } = yield* read(settings, incoming)
      if (span !== undefined) {
        span.set({ "runpod.endpoint_id": subject.endpointId, "runpod.webhook_key": subject.key })
        span.onJob(event.job, "webhook", redact)
        yield* linkToSubmit(span, delivery)
      }
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
      span?.set({ "runpod.duplicate": duplicate })
      return { ...event, ...subject, receivedAt, duplicate }
    })
  const receive: Service["receive"] = (incoming) =>
    inJobSpan("Webhooks.receive", { kind: "consumer" }, (span) => receiveIn(incoming, span))

  return {
    bodyLimit,
    readTimeout,
    issue,
    verify: (incoming) => Effect.asVoid(verifyHead(settings, incoming)),
    receive,
    events: Stream.unwrap(Effect.map(store.latest, (latest) => subscribers.eventsSince(latest))),
    eventsSince: (sequence) => subscribers.eventsSince(sequence),
    latest: store.latest,
    next: (match) => subscribers.next(match)
  }
})
