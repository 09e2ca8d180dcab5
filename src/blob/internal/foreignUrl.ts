import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { concatBytes } from "../../internal/text/bytes.js"
import { makeScrub, type Scrub } from "../../internal/text/scrub.js"
import {
  type Answer,
  intercepted,
  isMarked,
  mostText,
  startsAsPage,
  storeErrorIn,
  targetOf,
  verdictOf
} from "./answer.js"
import { decoded, looking } from "./body.js"
import { type BlobError, blobError, reasonOfStatus, transportError, type Where } from "./error.js"
import { type MakeHash, md5OfBody } from "./etag.js"
import { expiredDetail, isPresigned } from "./link.js"
import { type From, type Opened, startsAt, strongETag, totalOf } from "./store.js"

/** Reads a URL that does not lie in the bucket. */
export type Fetch = (url: URL, where: Where) => (from: From) => Effect.Effect<Opened, BlobError>

/** What may be fetched, and how its answers are looked at. */
export interface Options {
  readonly isAllowed: (url: URL) => boolean
  /** Whether a URL is of the store of the layer, whose answers are then a store's. */
  readonly isOfStore: (url: URL) => boolean
  readonly scrub: Scrub
  /** What computes an MD5; missing where ETags are not compared with any. */
  readonly md5: MakeHash | undefined
}

/** The bytes of a `data:` URL. */
const inUrl = ({ href }: URL, where: Where): Effect.Effect<Opened, BlobError> =>
  Effect.try({
    try: () => {
      const comma = href.indexOf(",")
      const text = decodeURIComponent(href.slice(comma + 1))
      const bytes = /;base64$/i.test(href.slice(0, comma))
        ? Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
        : new TextEncoder().encode(text)
      return {
        size: bytes.byteLength,
        etag: undefined,
        contentType: /^data:([^,;]+)/i.exec(href)?.[1],
        isPartial: false,
        stream: Stream.make(bytes)
      }
    },
    catch: () => blobError("BadRequest", where, "the data URL cannot be read")
  })

const sizeOf = (headers: Readonly<Record<string, string | undefined>>): number | undefined => {
  // Of a body that is unpacked on its way it is not the size.
  if (headers["content-encoding"] !== undefined) return undefined
  const length = headers["content-length"]
  return totalOf(headers["content-range"]) ?? (/^\d+$/.test(length ?? "") ? Number(length) : undefined)
}

/** How long the text of an answer that is an error is waited for, in milliseconds. */
const textTimeout = 5000

/** The beginning of a body; its rest is not read. */
const textOf = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<string> => {
  const pieces: Array<Uint8Array> = []
  let size = 0
  return Stream.runForEachWhile(response.stream, (piece) =>
    Effect.sync(() => {
      pieces.push(piece)
      size += piece.byteLength
      return size < mostText
    })
  ).pipe(
    Effect.timeoutOption(textTimeout),
    Effect.ignore,
    Effect.map(() => decoded(concatBytes(pieces), mostText))
  )
}

/** A link that is being read, and the words for what goes wrong with it. */
class Link {
  /** Whether what it leads to must answer as a store. */
  readonly isPromised: boolean
  readonly scrub: Scrub

  constructor(
    readonly url: URL,
    readonly where: Where,
    { isOfStore, scrub }: Options
  ) {
    this.isPromised = isPresigned(url) || isOfStore(url)
    // What a server says can hold the URL, and its query a signature.
    const hide = makeScrub([url.search, ...url.searchParams.values()])
    this.scrub = (text) => scrub(hide(text))
  }

  failed(cause: unknown): BlobError {
    return transportError(this.where, cause, this.scrub)
  }

  intercepted(answer: Answer, text: string): BlobError {
    return intercepted(this.where, answer, text, { scrub: this.scrub, from: this.url })
  }

  redirected({ headers, status }: Answer): BlobError {
    const target = targetOf(headers["location"], this.url)
    const detail = `it leads on${target === undefined ? "" : ` to ${target}`}: no redirect is followed`
    return blobError("Transport", this.where, this.scrub(detail), { status: status === 0 ? undefined : status })
  }

  /** What a refusal says; or what a store says in place of the bytes, whatever the status. */
  refused({ status }: Answer, text: string): Effect.Effect<BlobError> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      const said = storeErrorIn(text)
      const mayBeExpired = status < 400 || status === 400 || status === 401 || status === 403
      const expired = mayBeExpired ? expiredDetail(this.url, said, now) : undefined
      const code = said === undefined ? undefined : this.scrub(said.code)
      if (expired !== undefined) return blobError("Expired", this.where, expired, { status, code })
      const reason = reasonOfStatus(status < 400 ? (codes[said?.code ?? ""] ?? 500) : status, said?.code)
      const detail = said === undefined || said.message === "" ? "the server refused it" : this.scrub(said.message)
      return blobError(reason, this.where, detail, { status, code })
    })
  }
}

/** The status with which S3 sends an error, where it came with that of success. */
const codes: Readonly<Record<string, number>> = { AccessDenied: 403, NoSuchKey: 404, NoSuchBucket: 404 }

/**
 * A fetch of URLs whose origins are allowed: a URL that a job's output names could lead into the network of this program. It sends no
 * credentials, follows no redirects, and has no span, which would hold the query. What a signed URL leads to, or one of the layer's store, must
 * answer as S3 does.
 */
export const make = (options: Options): Effect.Effect<Fetch> =>
  Effect.gen(function* () {
    const { isAllowed, md5 } = options
    const http = HttpClient.withTracerDisabledWhen(yield* HttpClient.HttpClient, () => true)
    const execute = (request: HttpClientRequest.HttpClientRequest) =>
      Effect.provideService(http.execute(request), FetchHttpClient.RequestInit, { redirect: "manual" })

    /**
     * Whether a store is there: some send no header that is a store's alone, but to who asks without a signature for what nobody has, it
     * answers with an error in XML.
     */
    const isThereAt = (url: URL): Effect.Effect<boolean> =>
      execute(HttpClientRequest.get(`${url.origin}${url.pathname}.no-such-object`)).pipe(
        Effect.flatMap((response) =>
          Effect.map(textOf(response), (text) => response.status >= 400 && storeErrorIn(text) !== undefined)
        ),
        Effect.orElseSucceed(() => false)
      )

    /** Why an answer is not that of a store, or nothing. Its body is read only if so. */
    const refusalOf = (link: Link, response: HttpClientResponse.HttpClientResponse, isThere: Effect.Effect<boolean>) =>
      Effect.gen(function* () {
        const { headers, status } = response
        const answer = { status, headers }
        const isSuccess = status >= 200 && status < 300
        const verdict = link.isPromised || status === 407 || status === 511 ? verdictOf("Link", answer) : "Store"
        if (verdict === "Other" || (verdict === "Doubtful" && !(yield* isThere))) {
          const text = yield* textOf(response)
          // An error that came with the status of success has no ETag either.
          return isSuccess && storeErrorIn(text) !== undefined
            ? yield* link.refused(answer, text)
            : link.intercepted(answer, text)
        }
        if (isSuccess) return undefined
        const text = yield* textOf(response)
        return status < 400 ? link.redirected(answer) : yield* link.refused(answer, text)
      })

    /** An answer that has an ETag, and yet no bytes of an object: a store's error, or a page under another type. */
    const look = (link: Link, answer: Answer, isThere: Effect.Effect<boolean>) => (text: string) =>
      Effect.gen(function* () {
        const isObject = !link.isPromised && strongETag(answer.headers["etag"]) !== undefined
        if (!isObject && storeErrorIn(text) !== undefined) {
          return yield* Effect.flatMap(link.refused(answer, text), Effect.fail)
        }
        if (link.isPromised && startsAsPage(text) && !(yield* isThere)) {
          return yield* Effect.fail(link.intercepted(answer, text))
        }
      })

    const get = (url: URL, where: Where, { etag, offset }: From): Effect.Effect<Opened, BlobError> =>
      Effect.gen(function* () {
        if (!isAllowed(url)) {
          const detail = `this program may not fetch from ${url.origin}, which is not the bucket's`
          return yield* Effect.fail(blobError("ForeignUrl", where, detail))
        }
        if (url.username !== "" || url.password !== "") {
          const detail = "its URL holds a user or a password, which are not sent: sign the URL instead"
          return yield* Effect.fail(blobError("BadRequest", where, detail))
        }
        const link = new Link(url, where, options)
        const request = HttpClientRequest.get(url, {
          headers: {
            "accept-encoding": "identity",
            ...(offset === 0 ? {} : { range: `bytes=${offset}-` }),
            ...(offset === 0 || etag === undefined ? {} : { "if-match": etag })
          }
        })
        const response = yield* Effect.mapError(execute(request), (error) => link.failed(error.cause))
        const isThere = yield* Effect.cached(isThereAt(url))
        const refusal = yield* refusalOf(link, response, isThere)
        if (refusal !== undefined) return yield* Effect.fail(refusal)
        const { headers, status } = response
        const stream = Stream.mapError(response.stream, (error) => link.failed(error.cause))
        const expected = link.isPromised && offset === 0 ? md5OfBody(headers) : undefined
        return {
          size: sizeOf(headers),
          etag: strongETag(headers["etag"]),
          contentType: headers["content-type"],
          isPartial: status === 206 && startsAt(headers["content-range"], offset),
          md5: expected === undefined || md5 === undefined ? undefined : { expected, make: md5 },
          stream: offset > 0 || isMarked(headers) ? stream : looking(stream, look(link, { status, headers }, isThere))
        }
      })

    return (url: URL, where: Where) => (from: From) =>
      url.protocol === "data:" ? inUrl(url, where) : get(url, where, from)
  }).pipe(Effect.provide(FetchHttpClient.layer))
