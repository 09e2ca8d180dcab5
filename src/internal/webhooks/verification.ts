import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import {
  type WebhookError,
  WebhookKeyUnknownError,
  WebhookSignatureError,
  WebhookTokenExpiredError,
  WebhookTokenInvalidError,
  WebhookTokenMissingError
} from "../../errors/WebhookError.js"
import type { Headers, Incoming } from "../../services/Webhooks.js"
import { isJsonObject, textOf } from "../text/json.js"
import type { Settings } from "./settings.js"
import * as StandardWebhooks from "./standardWebhooks.js"
import * as Token from "./token.js"

/** A token that is genuine and has not expired. */
export interface VerifiedToken {
  readonly text: string
  readonly grant: Token.Grant
}

/** What a request without its body proves. One of the two is there. */
export interface VerifiedHead {
  readonly token: VerifiedToken | undefined
  /** The signature of a relay; the body decides whether it holds. */
  readonly envelope: StandardWebhooks.Envelope | undefined
}

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

const verifyToken = (keys: Settings["keys"], text: string): Effect.Effect<VerifiedToken, WebhookError> =>
  Effect.gen(function* () {
    const token = Token.parse(text)
    if (token === undefined) return yield* new WebhookTokenInvalidError()
    const key = keys.get(token.keyId)
    if (key === undefined) return yield* new WebhookKeyUnknownError()
    if (!Token.isSignedWith(token, key)) return yield* new WebhookTokenInvalidError()
    const { endpointId, expiresAt, key: jobKey } = token.grant
    if (expiresAt <= (yield* Clock.currentTimeMillis)) {
      return yield* new WebhookTokenExpiredError({ endpointId, key: jobKey, expiredAt: new Date(expiresAt) })
    }
    return { text, grant: token.grant }
  })

/** Whatever can be verified before the body is there. */
export const verifyHead = (
  { keys, relayKeys }: Settings,
  { headers, url }: Omit<Incoming, "body">
): Effect.Effect<VerifiedHead, WebhookError> =>
  Effect.gen(function* () {
    const text = Token.find(String(url))
    const token = text === undefined ? undefined : yield* verifyToken(keys, text)
    const header = headerOf(headers)
    const isSigned = relayKeys.length > 0 && header("webhook-signature") !== undefined
    if (!isSigned && token === undefined) return yield* new WebhookTokenMissingError()
    if (!isSigned) return { token, envelope: undefined }
    const envelope = StandardWebhooks.readHeaders(header, yield* Clock.currentTimeMillis)
    if (typeof envelope === "string") return yield* new WebhookSignatureError({ reason: envelope })
    return { token, envelope }
  })

/** Verifies the signature of a relay, if there is one. */
export const verifySignature = (
  { relayKeys }: Settings,
  { envelope }: VerifiedHead,
  body: Uint8Array
): Effect.Effect<void, WebhookSignatureError> =>
  envelope === undefined
    ? Effect.void
    : Effect.flatMap(StandardWebhooks.verify(envelope, body, relayKeys), (holds) =>
        holds ? Effect.void : Effect.fail(new WebhookSignatureError({ reason: "Mismatch" }))
      )

/** The token that a body echoes: a relay may have been given the URL with the token, and pass on only the body. */
export const verifyEchoedToken = (
  { keys }: Settings,
  json: unknown
): Effect.Effect<VerifiedToken | undefined, WebhookError> => {
  const webhook = isJsonObject(json) ? textOf(json["webhook"]) : undefined
  const text = webhook === undefined ? undefined : Token.find(webhook)
  return text === undefined ? Effect.succeed(undefined) : verifyToken(keys, text)
}
