import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import {
  type WebhookError,
  WebhookKeyUnknownError,
  WebhookNotJsonError,
  WebhookReplayedError,
  WebhookSetupError,
  WebhookShapeError,
  WebhookSignatureError,
  type WebhookStoreError,
  WebhookTokenExpiredError,
  WebhookTokenInvalidError,
  WebhookTokenMissingError,
  WebhookTooLargeError
} from "../../errors/WebhookError.js"
import type * as WebhookStore from "../../layers/WebhookStore.js"
import * as WebhookEvent from "../../schemas/WebhookEvent.js"
import type { Headers, Incoming, Options, Receipt, Received, Service } from "../../services/Webhooks.js"
import { utf8 } from "../text/bytes.js"
import { excerpt } from "../text/excerpt.js"
import { defined, isJsonObject, textOf } from "../text/json.js"
import { sha256 } from "../text/sha256.js"
import * as StandardWebhooks from "./standardWebhooks.js"
import * as Token from "./token.js"
import { matches } from "./deliveries.js"

export const defaults = {
  expiresIn: "25 hours",
  bodyLimit: 32 * 1024 * 1024,
  readTimeout: "30 seconds"
} as const

const shortestSecret = 16
/** How long it is remembered what a relay delivered without a token. */
const relayMemory = 24 * 3600 * 1000
/** How many deliveries a subscriber takes from the store at once. */
const page = 16

// --- set-up -------------------------------------------------------------------------------------------------------

const reveal = (secret: string | Redacted.Redacted): string =>
  (Redacted.isRedacted(secret) ? Redacted.value(secret) : secret).trim()

const refuse = (detail: string) => Effect.fail(new WebhookSetupError({ detail }))

const readUrl = (url: string | URL): Effect.Effect<URL, WebhookSetupError> => {
  const text = String(url).trim()
  if (!URL.canParse(text)) return refuse("`url` is not a URL")
  const read = new URL(text)
  if (read.protocol !== "https:" && read.protocol !== "http:") return refuse("`url` must be http or https")
  return Token.find(read.search) === undefined
    ? Effect.succeed(read)
    : refuse("`url` has a `token` in its query already")
}

const readKey = ({ id, secret }: { readonly id?: string | undefined; readonly secret: string | Redacted.Redacted }) =>
  Effect.gen(function* () {
    const text = reveal(secret)
    if (text.length < shortestSecret) {
      return yield* refuse(`a secret has fewer than ${shortestSecret} characters; take 32 random bytes, for example`)
    }
    if (id !== undefined && !/^[A-Za-z0-9_-]{1,64}$/.test(id)) {
      return yield* refuse("the `id` of a key must be 1 to 64 letters, digits, - or _")
    }
    // Known to anybody who sees a URL. It names the key and tells no more of it than a signature does.
    const named = id ?? sha256(`effect-runpod key id ${text}`).slice(0, 8)
    return { id: named, key: utf8(text) } satisfies Token.SigningKey
  })

const readRelaySecret = (secret: string | Redacted.Redacted) => {
  const key = StandardWebhooks.readKey(reveal(secret))
  return key === undefined ? refuse("a relay's secret is not base64 with `whsec_` before it") : Effect.succeed(key)
}

// --- requests -----------------------------------------------------------------------------------------------------

const hasGet = (headers: Headers): headers is Extract<Headers, { get(name: string): string | null }> =>
  typeof headers["get"] === "function"

/** Reads one header, whatever kind of headers these are. */
const headerOf =
  (headers: Headers | undefined) =>
  (name: string): string | undefined => {
    if (headers === undefined) return undefined
    if (hasGet(headers)) return headers.get(name) ?? undefined
    const value = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1]
    return typeof value === "string" ? value : Array.isArray(value) ? value.join(" ") : undefined
  }

const sizeOf = (body: Uint8Array | string): number => (typeof body === "string" ? utf8(body).length : body.byteLength)

const bytesOf = (body: Uint8Array | string): Uint8Array => (typeof body === "string" ? utf8(body) : body)

const decodeText = (body: Uint8Array | string): Either.Either<string, WebhookNotJsonError> =>
  typeof body === "string"
    ? Either.right(body)
    : Either.try({
        try: () => new TextDecoder("utf-8", { fatal: true }).decode(body),
        catch: () => new WebhookNotJsonError()
      })

/**
 * Strikes out what must not be kept: the token, wherever it is, and what else the submit was sent with. A token is made of
 * letters that no encoder touches, so a plain search finds it; this is done for every delivery, however long.
 */
const strikeOut = (body: unknown, token: string | undefined): ((text: string) => string) => {
  const secrets: Array<string | undefined> = [token]
  if (isJsonObject(body)) {
    secrets.push(textOf(body["webhook"]), textOf(body["webhookV2"]))
    const s3Config = body["s3Config"]
    if (isJsonObject(s3Config)) secrets.push(textOf(s3Config["accessId"]), textOf(s3Config["accessSecret"]))
  }
  // A short text is no secret.
  const written = secrets.flatMap((secret) =>
    secret === undefined || secret.length < 8 ? [] : [JSON.stringify(secret).slice(1, -1)]
  )
  return (text) => written.reduce((text, secret) => text.replaceAll(secret, "<redacted>"), text)
}

/** Tells one end of a job from another, and is the same when an end is told again. */
const outcomeOf = ({ job }: WebhookEvent.WebhookEvent): string =>
  `${excerpt(job.status, 64)} ${job.delayTime ?? "-"} ${job.executionTime ?? "-"}`

// --- who waits ----------------------------------------------------------------------------------------------------

interface Waiter {
  readonly match: WebhookStore.Match
  readonly event: Deferred.Deferred<Received>
}

/** Those who wait for one delivery, by what they wait for. */
class Waiters {
  private readonly waiting = new Map<string, Set<Waiter>>()

  add(waiter: Waiter): void {
    const name = nameOf(waiter.match.jobId, waiter.match.key)
    const set = this.waiting.get(name)
    if (set === undefined) this.waiting.set(name, new Set([waiter]))
    else set.add(waiter)
  }

  remove(waiter: Waiter): void {
    const name = nameOf(waiter.match.jobId, waiter.match.key)
    const set = this.waiting.get(name)
    set?.delete(waiter)
    if (set?.size === 0) this.waiting.delete(name)
  }

  tell(event: Received): void {
    const { endpointId, job, key, sequence } = event
    for (const name of [nameOf(job.id, undefined), nameOf(undefined, key)]) {
      for (const waiter of this.waiting.get(name) ?? []) {
        const isMeant = matches(waiter.match, { endpointId, jobId: job.id, key, sequence })
        if (isMeant) Deferred.unsafeDone(waiter.event, Effect.succeed(event))
      }
    }
  }
}

const nameOf = (jobId: string | undefined, key: string | undefined): string =>
  jobId === undefined ? `key ${key}` : `job ${jobId}`

// --- the service --------------------------------------------------------------------------------------------------

export const make = (options: Options, store: WebhookStore.Service): Effect.Effect<Service, WebhookSetupError> =>
  Effect.gen(function* () {
    const base = yield* readUrl(options.url)
    const given = options.keys ?? [{ secret: options.secret }]
    const [newest, ...older] = yield* Effect.forEach(given, readKey)
    if (newest === undefined) return yield* refuse("`keys` is empty")
    const keys = new Map([newest, ...older].map((key) => [key.id, key.key]))
    if (keys.size < given.length) return yield* refuse("two keys have the same id")
    const relayKeys = yield* Effect.forEach(options.relaySecrets ?? [], readRelaySecret)
    const bodyLimit = options.bodyLimit ?? defaults.bodyLimit
    const parseJson = options.parseJson ?? ((text: string): unknown => JSON.parse(text))
    const waiters = new Waiters()
    let news = Deferred.unsafeMake<void>(FiberId.none)

    const verifyToken = (text: string): Effect.Effect<Token.Grant, WebhookError> =>
      Effect.gen(function* () {
        const token = Token.parse(text)
        if (token === undefined) return yield* new WebhookTokenInvalidError()
        const key = keys.get(token.keyId)
        if (key === undefined) return yield* new WebhookKeyUnknownError()
        if (!Token.isSignedWith(token, key)) return yield* new WebhookTokenInvalidError()
        const { endpointId, expiresAt, key: name } = token.grant
        if (expiresAt <= (yield* Clock.currentTimeMillis)) {
          return yield* new WebhookTokenExpiredError({ endpointId, key: name, expiredAt: new Date(expiresAt) })
        }
        return token.grant
      })

    /** Whatever can be checked before the body is there. */
    const admit = ({ headers, url }: Omit<Incoming, "body">) =>
      Effect.gen(function* () {
        const token = Token.find(String(url))
        const grant = token === undefined ? undefined : yield* verifyToken(token)
        const header = headerOf(headers)
        const isSigned = relayKeys.length > 0 && header("webhook-signature") !== undefined
        if (!isSigned && grant === undefined) return yield* new WebhookTokenMissingError()
        if (!isSigned) return { token, grant, envelope: undefined }
        const envelope = StandardWebhooks.readHeaders(header, yield* Clock.currentTimeMillis)
        return typeof envelope === "string"
          ? yield* new WebhookSignatureError({ reason: envelope })
          : { token, grant, envelope }
      })

    /** A relay may have been given the URL with the token, and pass on only the body, which echoes it. */
    const echoedToken = (json: unknown): string | undefined => {
      const webhook = isJsonObject(json) ? textOf(json["webhook"]) : undefined
      return webhook === undefined ? undefined : Token.find(webhook)
    }

    const publish = (event: Received) => {
      waiters.tell(event)
      Deferred.unsafeDone(news, Effect.void)
      news = Deferred.unsafeMake(FiberId.none)
    }

    const receive = (incoming: Incoming): Effect.Effect<Receipt, WebhookError> =>
      Effect.gen(function* () {
        const { body } = incoming
        if (sizeOf(body) > bodyLimit) return yield* new WebhookTooLargeError({ limit: bodyLimit })
        const admission = yield* admit(incoming)
        const { envelope } = admission
        if (envelope !== undefined && !(yield* StandardWebhooks.verify(envelope, bytesOf(body), relayKeys))) {
          return yield* new WebhookSignatureError({ reason: "Mismatch" })
        }
        const text = yield* decodeText(body)
        const json = yield* Effect.try({ try: () => parseJson(text), catch: () => new WebhookNotJsonError() })
        let { grant, token } = admission
        if (token === undefined) {
          token = echoedToken(json)
          if (token !== undefined) grant = yield* verifyToken(token)
        }
        const strike = strikeOut(json, token)
        const event = yield* Either.mapLeft(
          WebhookEvent.fromBody(json),
          (issue) => new WebhookShapeError({ issue: excerpt(strike(issue), 256) })
        )
        const receivedAt = yield* Clock.currentTimeMillis
        const delivery: WebhookStore.Delivery = {
          token: token === undefined ? `relay ${event.job.id}` : Token.fingerprint(token),
          expiresAt: grant?.expiresAt ?? receivedAt + relayMemory,
          ...defined({ endpointId: grant?.endpointId, key: grant?.key }),
          jobId: event.job.id,
          outcome: outcomeOf(event),
          receivedAt,
          body: strike(text)
        }
        const subject = defined({ endpointId: grant?.endpointId, key: grant?.key })
        const added = yield* Effect.uninterruptible(
          Effect.tap(store.add(delivery), (added) =>
            Effect.sync(() => {
              if (added._tag === "Stored") publish({ ...event, ...subject, receivedAt, sequence: added.sequence })
            })
          )
        )
        if (added._tag === "Replayed") return yield* new WebhookReplayedError({ ...subject, jobId: event.job.id })
        const duplicate = added._tag === "Duplicate"
        yield* Effect.annotateCurrentSpan({ ...subject, jobId: event.job.id, status: event.job.status, duplicate })
        return { ...event, ...subject, receivedAt, duplicate }
      }).pipe(Effect.withSpan("Webhooks.receive", { captureStackTrace: false }))

    // What is stored was a delivery once.
    const read = (stored: WebhookStore.Stored): Option.Option<Received> => {
      const { body, endpointId, key, receivedAt, sequence } = stored
      return Option.flatMap(Option.liftThrowable(parseJson)(body), (json) =>
        Option.map(Option.getRight(WebhookEvent.fromBody(json)), (event) => ({
          ...event,
          ...defined({ endpointId, key }),
          sequence,
          receivedAt
        }))
      )
    }

    const eventsSince = (sequence: number): Stream.Stream<Received, WebhookStoreError> =>
      Stream.flatMap(
        // One page at a time: a slow subscriber leaves its deliveries in the store.
        Stream.unfoldEffect(sequence, (last) => {
          const next: Effect.Effect<
            Option.Option<readonly [ReadonlyArray<WebhookStore.Stored>, number]>,
            WebhookStoreError
          > = Effect.suspend(() => {
            const more = Deferred.await(news)
            return Effect.flatMap(store.after(last, page), (found) => {
              const newest = found.at(-1)
              return newest === undefined
                ? Effect.zipRight(more, next)
                : Effect.succeed(Option.some([found, newest.sequence] as const))
            })
          })
          return next
        }),
        (found) => Stream.filterMap(Stream.fromIterable(found), read)
      )

    return {
      bodyLimit,
      readTimeout: Duration.decode(options.readTimeout ?? defaults.readTimeout),
      issue: ({ endpointId, expiresIn = defaults.expiresIn, key, url }) =>
        Effect.gen(function* () {
          const now = yield* Clock.currentTimeMillis
          const expiresAt = now + Duration.toMillis(expiresIn)
          const token = Token.issue(newest, { endpointId, key, expiresAt })
          return Token.addTo(url === undefined ? base : new URL(url), token)
        }),
      verify: (incoming) => Effect.asVoid(admit(incoming)),
      receive,
      events: Stream.unwrap(Effect.map(store.latest, eventsSince)),
      eventsSince,
      latest: store.latest,
      next: (match) =>
        Effect.suspend(() => {
          const waiter: Waiter = { match, event: Deferred.unsafeMake(FiberId.none) }
          // First in line, then a look at what has come already: nothing can come between.
          waiters.add(waiter)
          return Effect.flatMap(store.find(match), (found) =>
            Option.match(Option.flatMap(found, read), {
              onNone: () => Deferred.await(waiter.event),
              onSome: Effect.succeed
            })
          ).pipe(Effect.ensuring(Effect.sync(() => waiters.remove(waiter))))
        })
    }
  })
