import * as Cookies from "@effect/platform/Cookies"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { BadRequestError, PayloadTooLargeError, type RunPodError } from "../../errors/RunPodError.js"
import type { HttpClientOptions, OpenResponse, Service } from "../../layers/RunPodHttpClient.js"
import * as EndpointId from "../../schemas/EndpointId.js"
import * as HttpErrors from "../effect/httpClientError.js"
import { isAbsoluteUrl } from "../text/url.js"
import { responseOf, withBufferedBody } from "./bufferedBody.js"

/** What the layer sets, and what belongs to one connection. */
const ownHeaders = new Set(["authorization", "accept-encoding", "connection", "content-length", "host", "user-agent"])

/** A request as its errors and its answer may show it: a program can have put a key into it, too. */
const withoutKey = ({ body, hash, headers, method, url, urlParams }: HttpClientRequest.HttpClientRequest) =>
  HttpClientRequest.make(method)(url, {
    urlParams,
    headers: Object.entries(headers).filter(([name]) => !ownHeaders.has(name)),
    body,
    ...(hash._tag === "Some" ? { hash: hash.value } : {})
  })

/** Those that change nothing. */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])

/** Where a request goes: below the base URL, and nowhere else, since the key goes with it. */
const urlOf = ({ hash, url, urlParams }: HttpClientRequest.HttpClientRequest, baseUrl: string): URL | string => {
  const base = baseUrl.replace(/\/+$/, "")
  const whole = UrlParams.makeUrl(isAbsoluteUrl(url) ? url : `${base}/${url.replace(/^\/+/, "")}`, urlParams, hash)
  if (Either.isLeft(whole)) return "the URL of the request, or that of the endpoint, is not a URL"
  const { origin, pathname } = whole.right
  const allowed = URL.canParse(base) ? new URL(base) : undefined
  const isBelow =
    origin === allowed?.origin && `${pathname}/`.startsWith(allowed.pathname === "/" ? "/" : `${allowed.pathname}/`)
  if (!isBelow) return `the URL is not below ${base}, and the key is for nothing else`
  whole.right.hash = ""
  return whole.right
}

/** A body of which the length is known, or that fails where it becomes too long. */
const bounded = (
  { body }: HttpClientRequest.HttpClientRequest,
  largest: number,
  tooLarge: (size: number) => PayloadTooLargeError
): Effect.Effect<HttpBody.HttpBody, PayloadTooLargeError> => {
  const check = (size: number, body: HttpBody.HttpBody) =>
    size > largest ? Effect.fail(tooLarge(size)) : Effect.succeed(body)
  switch (body._tag) {
    case "Empty":
      return Effect.succeed(body)
    case "Uint8Array":
      return check(body.body.byteLength, body)
    case "Raw": {
      if (typeof body.body !== "string") return Effect.succeed(body)
      const bytes = new TextEncoder().encode(body.body)
      return check(bytes.byteLength, HttpBody.uint8Array(bytes, body.contentType))
    }
    case "FormData":
      return Effect.promise(async () => {
        const form = new globalThis.Response(body.formData)
        const bytes = new Uint8Array(await form.arrayBuffer())
        return HttpBody.uint8Array(bytes, form.headers.get("content-type") ?? undefined)
      }).pipe(Effect.flatMap((read) => check(read.body.byteLength, read)))
    case "Stream": {
      if (body.contentLength !== undefined && body.contentLength > largest)
        return Effect.fail(tooLarge(body.contentLength))
      const counted = Stream.mapAccumEffect(body.stream, 0, (before, bytes: Uint8Array) => {
        const size = before + bytes.byteLength
        return size > largest ? Effect.fail<unknown>(tooLarge(size)) : Effect.succeed([size, bytes] as const)
      })
      return Effect.succeed(HttpBody.stream(counted, body.contentType, body.contentLength))
    }
  }
}

/** An answer as an `HttpClientResponse` of this request. */
export const toResponse = <E extends Error>(
  request: HttpClientRequest.HttpClientRequest,
  { cookies, headers: given, status, stream }: OpenResponse<E>
): HttpClientResponse.HttpClientResponse => {
  const headers = new globalThis.Headers(Object.entries(given).filter(([name]) => name !== "set-cookie"))
  for (const cookie of Cookies.toSetCookieHeaders(cookies)) headers.append("set-cookie", cookie)
  const response = responseOf(request, status, { headers })
  return withBufferedBody(
    response,
    Stream.mapError(stream, (error) => HttpErrors.bodyError(response, error, error.message))
  )
}

/** An `HttpClient` for the routes of one endpoint, over the steps of the layer's client. */
export const make = <E extends Error>(
  client: Service,
  options: HttpClientOptions<E>
): HttpClient.HttpClient.With<RunPodError | E> => {
  const {
    baseUrl,
    endpointId,
    errorOf,
    errorWait,
    largestBody = Infinity,
    limit,
    name,
    read,
    repeat,
    rewrite
  } = options
  const headersTimeout = Duration.toMillis(options.headersTimeout)
  const idleTimeout = Duration.toMillis(options.idleTimeout)

  const send = Effect.fnUntraced(function* (given: HttpClientRequest.HttpClientRequest) {
    const request = withoutKey(given)
    const { method } = request
    const rewritten = rewrite === undefined ? request : HttpClientRequest.setUrl(request, rewrite(request.url))
    const problem = EndpointId.problemOf(endpointId)
    const url = problem === undefined ? urlOf(rewritten, baseUrl) : `the endpoint id is not valid: ${problem}`
    const where = { operation: name, method, path: typeof url === "string" ? "" : url.pathname, endpointId }
    if (typeof url === "string") return yield* new BadRequestError({ ...where, detail: url })
    // A transport tells of a body that fails while it is sent in words of its own.
    let refusal: PayloadTooLargeError | undefined
    const body = yield* bounded(request, largestBody, (size) => {
      refusal = new PayloadTooLargeError({ ...where, size, limit: largestBody })
      return refusal
    })
    const answer = yield* client
      .open({
        operation: { name, method, path: url.pathname, repeat: safeMethods.has(method) ? "Repeatable" : repeat, limit },
        params: { endpointId },
        url: url.href,
        headers: { ...request.headers },
        body,
        headersTimeout,
        idleTimeout,
        errorOf,
        errorWait
      })
      .pipe(Effect.mapError((error) => refusal ?? error))
    return toResponse(request, yield* read(answer, request))
  })

  return HttpClient.makeWith<never, never, RunPodError | E, never>(Effect.flatMap(send), Effect.succeed)
}

/** The errors as those of any `HttpClient`, which the original is the cause of. */
export const plain = <E extends Error>(client: HttpClient.HttpClient.With<E>): HttpClient.HttpClient =>
  HttpClient.makeWith<never, never, HttpErrors.HttpError, never>(
    Effect.flatMap((request) =>
      Effect.mapError(client.execute(request), (error) => toHttpError(withoutKey(request), error))
    ),
    Effect.succeed
  )

const statusOf = (error: Error): number | undefined =>
  "status" in error && typeof error.status === "number" && error.status >= 200 ? error.status : undefined

const toHttpError = (request: HttpClientRequest.HttpClientRequest, error: Error): HttpErrors.HttpError => {
  const status = statusOf(error)
  if (status === undefined) return HttpErrors.requestError(request, "Transport", error, error.message)
  const text = "body" in error && typeof error.body === "string" ? error.body : null
  const hasBody = status !== 204 && status !== 205 && status !== 304
  const response = responseOf(request, status, { body: hasBody ? text : null })
  return HttpErrors.statusError(response, error, error.message)
}
