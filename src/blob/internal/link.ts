/** What the URL of a blob tells by itself: who has signed it, and until when. */
import type { StoreError } from "./answer.js"

const inQuery = (url: URL): ReadonlyMap<string, string> =>
  new Map(Array.from(url.searchParams, ([name, value]) => [name.toLowerCase(), value]))

/** Whether a URL is signed for a store: then what it leads to must answer as one. */
export const isPresigned = (url: URL): boolean => {
  const query = inQuery(url)
  const has = (...names: ReadonlyArray<string>) => names.every((name) => query.has(name))
  return (
    has("x-amz-signature") ||
    has("x-goog-signature") ||
    has("signature", "awsaccesskeyid") ||
    has("signature", "googleaccessid") ||
    // Azure's.
    has("sig", "se", "sv")
  )
}

/** `20240131T235959Z`, in milliseconds. */
const timeOfStamp = (stamp: string | undefined): number | undefined => {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp ?? "") ?? []
  return timeOf(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

const timeOf = (text: string | undefined): number | undefined => {
  const time = Date.parse(text ?? "")
  return Number.isNaN(time) ? undefined : time
}

const secondsOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,11}$/.test(text) ? Number(text) * 1000 : undefined

/** When the signature of a URL ends, in milliseconds: S3's, Google's, that of their older kind and of CloudFront, and Azure's. */
export const expiryOf = (url: URL): number | undefined => {
  const query = inQuery(url)
  for (const vendor of ["x-amz", "x-goog"]) {
    const start = timeOfStamp(query.get(`${vendor}-date`))
    const length = secondsOf(query.get(`${vendor}-expires`))
    if (start !== undefined && length !== undefined) return start + length
  }
  return secondsOf(query.get("expires")) ?? (query.has("sig") ? timeOf(query.get("se")) : undefined)
}

/** Whether a store says that a signature is valid no more. */
const saysExpired = ({ code, message }: StoreError): boolean =>
  /expired/i.test(code) || /\bexpired\b|not valid in the specified time frame/i.test(message)

const timeText = (time: number): string => new Date(time).toISOString().replace(".000Z", "Z")

/**
 * What is said of a link that has expired, or nothing: that the store says so, or that it refuses the link after the time until which it was
 * signed.
 */
export const expiredDetail = (url: URL, said: StoreError | undefined, now: number): string | undefined => {
  const expiry = expiryOf(url) ?? timeOf(said?.expires)
  if (expiry !== undefined && expiry <= now) return `the link has expired at ${timeText(expiry)}`
  if (said === undefined || !saysExpired(said)) return undefined
  return expiry === undefined
    ? "the link has expired"
    : `the link has expired, as the store says, though it was signed until ${timeText(expiry)}: compare the clocks`
}
