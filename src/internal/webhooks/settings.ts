import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { WebhookSetupError } from "../../errors/WebhookError.js"
import type { BaseOptions, ConfigOptions, Key, Options, Secrets } from "../../services/Webhooks.js"
import { utf8 } from "../text/bytes.js"
import { read as readOption, secretOf } from "../text/config.js"
import { sha256 } from "../text/sha256.js"
import * as Signature from "./signature.js"
import * as Token from "./token.js"

export const defaults = {
  expiresIn: "25 hours",
  bodyLimit: 32 * 1024 * 1024,
  readTimeout: "30 seconds"
} as const

const minSecretLength = 16
const variable = "RUNPOD_WEBHOOK_SECRET"
const secretAdvice = "Tokens are signed with it: take 32 random bytes, such as `openssl rand -hex 32` prints."

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

const readKey = ({ id, secret }: Key): Effect.Effect<Token.SigningKey, WebhookSetupError> => {
  const text = reveal(secret)
  if (text.length < minSecretLength) {
    return refuse(`a secret has fewer than ${minSecretLength} characters; take 32 random bytes, for example`)
  }
  if (id !== undefined && !/^[A-Za-z0-9_-]{1,64}$/.test(id)) {
    return refuse("the `id` of a key must be 1 to 64 letters, digits, - or _")
  }
  // Everybody who sees a URL sees the id. A hash's first 8 digits name the key and tell no more of it than a signature does.
  return Effect.succeed({ id: id ?? sha256(`effect-runpod key id ${text}`).slice(0, 8), key: utf8(text) })
}

const readRelaySecret = (secret: string | Redacted.Redacted): Effect.Effect<Uint8Array, WebhookSetupError> => {
  const key = Signature.readKey(reveal(secret))
  return key === undefined ? refuse("a relay's secret is not base64 with `whsec_` before it") : Effect.succeed(key)
}

/** The options of a receiver, checked and with their defaults. The first key signs tokens, all of them are accepted. */
export const read = Effect.fnUntraced(function* (options: Options) {
  const url = yield* readUrl(options.url)
  const signingKeys = yield* Effect.forEach(options.keys ?? [{ secret: options.secret }], readKey)
  const [signingKey] = signingKeys
  if (signingKey === undefined) return yield* refuse("`keys` is empty")
  const keys: ReadonlyMap<string, Uint8Array> = new Map(signingKeys.map(({ id, key }) => [id, key]))
  if (keys.size < signingKeys.length) return yield* refuse("two keys have the same id")
  const { bodyLimit = defaults.bodyLimit, readTimeout = defaults.readTimeout, relaySecrets = [] } = options
  const { parseJson = (text): unknown => JSON.parse(text) } = options
  const relayKeys = yield* Effect.forEach(relaySecrets, readRelaySecret)
  return { url, signingKey, keys, relayKeys, bodyLimit, readTimeout: Duration.decode(readTimeout), parseJson }
})

export type Settings = Effect.Effect.Success<ReturnType<typeof read>>

/** The options of a layer but its URL, from values and `Config`s. */
export const fromConfig = (
  options: ConfigOptions
): Effect.Effect<Omit<BaseOptions, "url"> & Secrets, ConfigError.ConfigError> =>
  Effect.gen(function* () {
    const base = {
      relaySecrets: yield* readOption(options.relaySecrets),
      bodyLimit: yield* readOption(options.bodyLimit),
      readTimeout: yield* readOption(options.readTimeout),
      parseJson: yield* readOption(options.parseJson)
    }
    const keys = yield* readOption(options.keys)
    if (keys !== undefined) return { ...base, keys }
    const { secret } = options
    return { ...base, secret: yield* secret === undefined ? secretOf(variable, secretAdvice) : readOption(secret) }
  })
