import * as Effect from "effect/Effect"
import { type BlobError, blobError, type Where } from "./error.js"
import { isUrlLike, locationOf } from "./ref.js"
import type { Place } from "./store.js"

/** Where a bucket is. */
export interface Bucket {
  readonly name: string
  readonly endpoint: URL
  /** Where workers see its objects as files, with a slash at the end. */
  readonly mountPath?: string | undefined
}

const decode = (path: string): string | undefined => {
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined
  }
}

/** A step in a path: whoever resolves it reads `a/../b` as `b`, another object. Some take a backslash for a slash. */
const step = /(?:^|[\\/])\.\.?(?=[\\/]|$)/

/** The same in the text of a URL, where `%2e` is a dot, too. `URL` resolves it without a word, and leaves out the white space. */
const hasStep = (url: string): boolean =>
  /[\\/](?:\.|%2e){1,2}(?=[\\/]|$)/i.test(
    url
      .replace(/[?#].*$/s, "")
      .replace(/[\t\n\r]/g, "")
      .trimEnd()
  )

/** Why a text can be no key, or nothing. */
export const refusalOf = (key: string): string | undefined => {
  if (key === "") return "the key is empty"
  if (step.test(key)) return "`.` and `..` can be no part of a key: in a URL or a path they lead to another object"
  return /\p{Cs}/u.test(key) ? "the key has half of a surrogate pair, which no URL can hold" : undefined
}

/** The key that a URL of the bucket names, its host or the beginning of its path being the bucket. */
const keyIn = ({ endpoint, name }: Bucket, { host, pathname }: URL): string | undefined => {
  const inPath = `${endpoint.pathname.replace(/\/+$/, "")}/${name}/`
  if (host === endpoint.host) return pathname.startsWith(inPath) ? decode(pathname.slice(inPath.length)) : undefined
  return host === `${name}.${endpoint.host}` ? decode(pathname.slice(1)) : undefined
}

/** What a text names: a key of the bucket, by itself or as the bucket's URL, or a URL outside of it. */
export const placeOf = (bucket: Bucket, text: string, where: Where): Effect.Effect<Place, BlobError> => {
  const refuse = (detail: string) => Effect.fail(blobError("BadRequest", where, detail))
  const key = (key: string): Effect.Effect<Place, BlobError> => {
    const refusal = refusalOf(key)
    return refusal === undefined ? Effect.succeed({ _tag: "Key", key }) : refuse(refusal)
  }
  const { mountPath, name } = bucket
  if (mountPath !== undefined && text.startsWith(mountPath)) return key(text.slice(mountPath.length))
  const scheme = /^([a-z][a-z0-9+.-]*):(?:\/\/|data)?/i.exec(text)?.[1]?.toLowerCase()
  if (scheme === "s3") {
    const inBucket = `s3://${name}/`
    if (text.startsWith(inBucket)) return key(text.slice(inBucket.length))
    return Effect.fail(blobError("ForeignUrl", where, `${locationOf(text)} lies in another bucket than ${name}`))
  }
  if (scheme === "data" || ((scheme === "http" || scheme === "https") && URL.canParse(text))) {
    const url = new URL(text)
    const own = scheme === "data" ? undefined : keyIn(bucket, url)
    if (own === undefined) return Effect.succeed({ _tag: "Url", url })
    return hasStep(text) ? refuse("`.` and `..` in the path of a URL lead to another object: name that") : key(own)
  }
  // Such as `ftp://user:password@host`: read as a key it would stand in errors as it is.
  if (isUrlLike(text)) return refuse("it is neither a key nor a URL that can be fetched")
  return key(text)
}
