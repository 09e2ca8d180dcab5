/**
 * Whether the store gave an answer. A captive portal or a proxy can answer any request of plain HTTP, and often with status 200; a store
 * says more than that, as S3's protocol has it: an ETag, headers of its own, XML. No bytes of a body are needed to tell, but those of
 * a page.
 */
import { excerpt } from "../../internal/text/excerpt.js"
import type { Scrub } from "../../internal/text/scrub.js"
import { type BlobError, blobError, type Where } from "./error.js"

/** Headers by their names in lower case. */
export type Headers = Readonly<Record<string, string | undefined>>

/** An answer as it came. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
}

/** What was asked for: of the bucket, or by a link that somebody else has made. */
export type Asked = "Put" | "Part" | "Create" | "Complete" | "Abort" | "Get" | "Head" | "Remove" | "Link"

/** Whether the ETag of an answer is the MD5 of what was sent; unknown where it need be none. */
export type Sameness = "Same" | "Other" | "Unknown"

/** What else is known when an answer is judged. */
export interface Evidence {
  readonly sameness?: Sameness | undefined
  /** The body, of what is no download. */
  readonly text?: string | undefined
  /** How many bytes the object should have. */
  readonly size?: number | undefined
}

/**
 * - `Store`: the store said it
 * - `Doubtful`: a store can have said it, and so can a page that sends an ETag: ask the store for something that only it can answer
 * - `Other`: something else answered
 */
export type Verdict = "Store" | "Doubtful" | "Other"

/** How much of a body is read for what it says, in bytes: of a store's error or of a page. */
export const mostText = 8 * 1024

/** Headers that stores alone send: S3's, and Google's. What CloudFront adds (`x-amz-cf-id`), it adds to any page. */
const isMark = (name: string): boolean => /^x-(?:amz-(?!cf-)|goog-|guploader-)/.test(name)

/** Whether a header of an answer is one that only stores send. */
export const isMarked = (headers: Headers): boolean => Object.keys(headers).some(isMark)

const typeOf = (headers: Headers): string => (headers["content-type"] ?? "").trim().toLowerCase()

/** Some servers call an empty answer HTML. */
const isPage = (headers: Headers): boolean =>
  /^(?:text\/html|application\/xhtml\+xml)\b/.test(typeOf(headers)) && headers["content-length"] !== "0"

const isXml = (headers: Headers): boolean => /^(?:application|text)\/xml\b/.test(typeOf(headers))

/** Whether a text begins as a page does, whatever its type is said to be. */
export const startsAsPage = (text: string): boolean =>
  /^\ufeff?\s*(?:<!--(?:(?!-->)[^])*-->\s*)*<(?:!doctype\s+html|html|head|body)\b/i.test(text)

const isRoot = (text: string, name: string): boolean =>
  new RegExp(`^\\ufeff?\\s*(?:<\\?xml[^>]*\\?>\\s*)?<${name}[\\s>/]`).test(text)

const names: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", "#39": "'" }

const unescaped = (text: string): string =>
  text.replace(/&(amp|lt|gt|quot|apos|#39);/g, (_, name: string) => names[name] ?? "")

const oneLine = (text: string): string =>
  unescaped(text)
    .replace(/[\s\p{Cc}]+/gu, " ")
    .trim()

const elementIn = (text: string, name: string): string | undefined => {
  const value = new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]
  return value === undefined ? undefined : oneLine(value)
}

/** What a store says in the body of an error. */
export interface StoreError {
  readonly code: string
  readonly message: string
  /** When a signature ended, as the store writes it. */
  readonly expires: string | undefined
}

/** The error that a body is, or nothing. */
export const storeErrorIn = (text: string): StoreError | undefined => {
  const code = isRoot(text, "Error") ? elementIn(text, "Code") : undefined
  if (code === undefined) return undefined
  return { code, message: elementIn(text, "Message") ?? "", expires: elementIn(text, "Expires") }
}

/** A refusal is believed unless it is a page, or one that only proxies send. What a gateway says of a failure is a failure, too. */
const ofRefusal = ({ headers, status }: Answer): Verdict => {
  if (status === 407 || status === 511) return "Other"
  if (isMarked(headers) || isXml(headers) || status >= 500) return "Store"
  if (status < 400) return "Other"
  return isPage(headers) && status !== 408 && status !== 413 && status !== 429 ? "Other" : "Store"
}

const ofStored = (headers: Headers, { sameness, text = "" }: Evidence, isPart: boolean): Verdict => {
  if (headers["etag"] !== undefined && sameness === "Same") return "Store"
  if (isPage(headers)) return "Other"
  if (isMarked(headers)) return "Store"
  // The answer of a store has no body.
  if (headers["etag"] === undefined || sameness === "Other" || text !== "") return "Other"
  // The store takes no object of parts that it does not have.
  return isPart ? "Store" : "Doubtful"
}

const ofXml = (headers: Headers, { text = "" }: Evidence, root: string): Verdict => {
  if (isRoot(text, root) || storeErrorIn(text) !== undefined) return "Store"
  return !isPage(headers) && (text === "" || isXml(headers)) ? "Store" : "Other"
}

const ofRemoved = ({ headers, status }: Answer, { text }: Evidence): Verdict => {
  if (isMarked(headers)) return isPage(headers) && status !== 204 ? "Other" : "Store"
  if (status === 204) return isPage(headers) ? "Doubtful" : "Store"
  return text === "" && !isPage(headers) ? "Doubtful" : "Other"
}

/** The object itself may be a page, so that its type says nothing. */
const ofHead = (headers: Headers): Verdict => {
  const hasETag = headers["etag"] !== undefined
  if (isMarked(headers)) return hasETag || !isPage(headers) ? "Store" : "Other"
  return hasETag ? "Doubtful" : "Other"
}

const ofLink = (headers: Headers): Verdict => {
  const verdict = ofHead(headers)
  if (verdict !== "Doubtful") return verdict
  // Its end could not be told from a cut.
  if (headers["content-length"] === undefined && headers["transfer-encoding"] === undefined) return "Other"
  return isPage(headers) ? "Doubtful" : "Store"
}

/** Whether an ETag has the form of those of S3: an MD5, and the number of parts if it has some. */
const isS3s = (etag: string | undefined): boolean => /^(?:W\/)?"?[0-9a-f]{32}(?:-\d+)?"?$/i.test(etag ?? "")

const ofRead = (headers: Headers, { size }: Evidence): Verdict => {
  const verdict = ofLink(headers)
  if (verdict !== "Store" || isMarked(headers)) return verdict
  const isOfSize = size === undefined || headers["content-length"] === String(size)
  return isOfSize && isS3s(headers["etag"]) ? "Store" : "Doubtful"
}

/** Who gave an answer, as far as it says. */
export const verdictOf = (asked: Asked, answer: Answer, evidence: Evidence = {}): Verdict => {
  const { headers, status } = answer
  if (status < 200 || status >= 300) return ofRefusal(answer)
  switch (asked) {
    case "Put":
    case "Part":
      return ofStored(headers, evidence, asked === "Part")
    case "Create":
      return ofXml(headers, evidence, "InitiateMultipartUploadResult")
    case "Complete":
      return ofXml(headers, evidence, "CompleteMultipartUploadResult")
    case "Abort":
    case "Remove":
      return ofRemoved(answer, evidence)
    case "Head":
      return ofHead(headers)
    case "Get":
      return ofRead(headers, evidence)
    case "Link":
      return ofLink(headers)
  }
}

/** Where a redirect leads: its origin, since the rest can hold what is secret. */
export const targetOf = (location: string | undefined, from?: URL): string | undefined => {
  if (location === undefined || !URL.canParse(location, from)) return undefined
  const { host, protocol } = new URL(location, from)
  return `${protocol}//${host}${from === undefined || from.protocol === protocol ? "" : ", by another scheme"}`
}

/** An error that says who answered in the store's place. */
export const intercepted = (
  where: Where,
  { headers, status }: Answer,
  text: string,
  { from, scrub }: { readonly scrub: Scrub; readonly from?: URL | undefined }
): BlobError => {
  const title = headers["content-encoding"] === undefined ? /<title[^>]*>([^<]*)/i.exec(text.slice(0, mostText)) : null
  const fact = (name: string, value: string | undefined) => {
    const said = oneLine(value ?? "")
    return said === "" ? [] : [`${name} ${JSON.stringify(excerpt(said, 128))}`]
  }
  const facts = [
    fact("its title is", title?.[1]),
    fact("its type is", headers["content-type"]),
    fact("its server is", headers["server"]),
    fact("it came via", headers["via"]),
    fact("it leads to", targetOf(headers["location"], from))
  ].flat()
  const isRedirect = status >= 300 && status < 400
  const page = isPage(headers) || startsAsPage(text) ? "an HTML page" : "an answer without what a store sends in it"
  const what = isRedirect ? "a redirect, which is not followed," : page
  const detail = `${what} came from something else than the store${facts.length === 0 ? "" : `: ${facts.join(", ")}`}`
  return blobError("Intercepted", where, scrub(detail), { status })
}
