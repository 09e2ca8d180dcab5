import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import { utf8 } from "../text/bytes.js"
import { digest } from "../text/sha256.js"
import * as Signature from "./signature.js"

/** What a token permits: to tell of the end of one job, until a time. */
export interface Grant {
  readonly endpointId: string
  readonly key: string
  /** When it expires, in milliseconds of the clock; whole seconds. */
  readonly expiresAt: number
}

export interface SigningKey {
  readonly id: string
  readonly key: Uint8Array
}

const parameter = "token"
/** Begins what is signed, so that no signature of anything else with the same key counts as one of a token. */
const purpose = "effect-runpod webhook "
/** No token that was issued here is longer. */
const maxLength = 8_192
/** Of an endpoint id and of a key, in characters. */
const maxNameLength = 512
/** The latest time that a `Date` can hold, in seconds. */
const maxExpiry = 8_640_000_000_000

const problemOf = (name: string, text: string): string | undefined => {
  if (text.length > maxNameLength)
    return `the ${name} of a webhook is ${text.length} characters long (at most ${maxNameLength})`
  return text.isWellFormed() ? undefined : `the ${name} of a webhook is not well-formed Unicode`
}

const signatureOf = (key: Uint8Array, signed: string): string =>
  Encoding.encodeBase64Url(Signature.hmac(key, utf8(purpose + signed)))

/** `v1.<key id>.<expiry>.<endpoint>.<key>.<signature>`. It throws a `RangeError` for a grant that no token can hold. */
export const issue = ({ id, key }: SigningKey, grant: Grant): string => {
  const problem = problemOf("endpoint id", grant.endpointId) ?? problemOf("key", grant.key)
  if (problem !== undefined) throw new RangeError(problem)
  const expiry = Math.min(Math.ceil(grant.expiresAt / 1000), maxExpiry).toString(36)
  const signed = `v1.${id}.${expiry}.${Encoding.encodeBase64Url(grant.endpointId)}.${Encoding.encodeBase64Url(grant.key)}`
  return `${signed}.${signatureOf(key, signed)}`
}

/** The URL with the token in its query. It throws a `RangeError` for one that has another token. */
export const addTo = (base: URL, token: string): URL => {
  if (find(base.search) !== undefined) throw new RangeError("The `url` of a webhook has a `token` in its query already")
  const url = new URL(base)
  url.hash = ""
  url.search = `${base.search === "" ? "?" : `${base.search}&`}${parameter}=${token}`
  return url
}

/**
 * The token in a URL or in a path with its query, not decoded: no two spellings carry the same token. `undefined` when there
 * is none, an empty text when there are several.
 */
export const find = (url: string): string | undefined => {
  const mark = url.indexOf("?")
  if (mark < 0) return undefined
  const hash = url.indexOf("#", mark)
  const query = url.slice(mark + 1, hash < 0 ? undefined : hash)
  const found = query.split("&", 256).filter((part) => part.startsWith(`${parameter}=`))
  return found.length <= 1 ? found[0]?.slice(parameter.length + 1) : ""
}

const form = /^v1\.([A-Za-z0-9_-]{1,64})\.([0-9a-z]{1,10})\.([A-Za-z0-9_-]*)\.([A-Za-z0-9_-]*)\.([A-Za-z0-9_-]{43})$/

/** Takes a token apart, whose signature is not verified yet; `undefined` when it has not the form of one. */
export const parse = (text: string) => {
  const parts = text.length > maxLength ? null : form.exec(text)
  const [, keyId = "", expiry = "", endpoint = "", name = "", signature = ""] = parts ?? []
  const endpointId = Encoding.decodeBase64UrlString(endpoint)
  const key = Encoding.decodeBase64UrlString(name)
  if (keyId === "" || Either.isLeft(endpointId) || Either.isLeft(key)) return undefined
  const grant: Grant = { endpointId: endpointId.right, key: key.right, expiresAt: Number.parseInt(expiry, 36) * 1000 }
  return { text, keyId, signed: text.slice(0, -signature.length - 1), signature, grant }
}

export type Token = NonNullable<ReturnType<typeof parse>>

export const isSignedWith = (token: Token, key: Uint8Array): boolean =>
  Signature.isSame(signatureOf(key, token.signed), token.signature)

/** Identifies a token, and cannot be used as one. */
export const fingerprint = (token: string): string => Encoding.encodeBase64Url(digest(utf8(token)))
