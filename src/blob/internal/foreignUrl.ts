import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { makeScrub, type Scrub } from "../../internal/text/scrub.js"
import { type BlobError, blobError, reasonOfStatus, transportError, type Where } from "./error.js"
import { type From, type Opened, startsAt, strongETag, totalOf } from "./store.js"

/** Reads a URL that does not lie in the bucket. */
export type Fetch = (url: URL, where: Where) => (from: From) => Effect.Effect<Opened, BlobError>

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

/**
 * A fetch of URLs whose origins are allowed: a URL that a job's output names could lead into the network of this program. It sends no
 * credentials, follows no redirects, and has no span, which would hold the query.
 */
export const make = (isAllowed: (url: URL) => boolean, scrub: Scrub): Effect.Effect<Fetch> =>
  Effect.gen(function* () {
    const client = HttpClient.withTracerDisabledWhen(yield* HttpClient.HttpClient, () => true)

    const get = (url: URL, where: Where, { etag, offset }: From): Effect.Effect<Opened, BlobError> =>
      Effect.gen(function* () {
        /** What the transport says can hold the URL, and its query a signature. */
        const failed = (cause: unknown) => transportError(where, cause, (text) => scrub(makeScrub([url.search])(text)))
        if (!isAllowed(url)) {
          const detail = `this program may not fetch from ${url.origin}, which is not the bucket's`
          return yield* Effect.fail(blobError("ForeignUrl", where, detail))
        }
        if (url.username !== "" || url.password !== "") {
          const detail = "its URL holds a user or a password, which are not sent: sign the URL instead"
          return yield* Effect.fail(blobError("BadRequest", where, detail))
        }
        const request = HttpClientRequest.get(url, {
          headers: {
            "accept-encoding": "identity",
            ...(offset === 0 ? {} : { range: `bytes=${offset}-` }),
            ...(offset === 0 || etag === undefined ? {} : { "if-match": etag })
          }
        })
        const response = yield* Effect.mapError(client.execute(request), (error) => failed(error.cause))
        const { headers, status } = response
        if (status < 200 || status >= 300) {
          return yield* Effect.fail(blobError(reasonOfStatus(status), where, "the server refused it", { status }))
        }
        return {
          size: sizeOf(headers),
          etag: strongETag(headers["etag"]),
          contentType: headers["content-type"],
          isPartial: status === 206 && startsAt(headers["content-range"], offset),
          stream: Stream.mapError(response.stream, (error) => failed(error.cause))
        }
      })

    return (url: URL, where: Where) => (from: From) =>
      url.protocol === "data:"
        ? inUrl(url, where)
        : Effect.provideService(get(url, where, from), FetchHttpClient.RequestInit, { redirect: "error" })
  }).pipe(Effect.provide(FetchHttpClient.layer))
